"""Compare two runs: metrics and their significance, what each finds, how similar their lists are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from llmseq_cli.errors import LlmseqError, UsageError
from llmseq_cli.evaluation.ranking import NO_ITEM
from llmseq_cli.reporting.inspection import RunDetails, read_details, sessions_in_words
from llmseq_cli.reporting.leaderboard import make_report
from llmseq_cli.reporting.options import ReportOptions
from llmseq_cli.reporting.significance import LEVEL, TESTED, SessionRanks, holm, interval, paired_p
from llmseq_cli.store.queries import query
from llmseq_cli.store.runs import case_ids, check_within_lists

if TYPE_CHECKING:
    import duckdb

    from llmseq_cli.store.connection import Store

_PERSISTENCE = 0.9  # of rank-biased overlap: the first ten places have 86 % of the weight (Webber et al. 2010)
_SESSIONS_PER_BLOCK = 2_000


def compare_runs(
    store: Store,
    first: str,
    second: str,
    *,
    dataset: str | None = None,
    k: int = 20,
    sessions: int = 5,
    test: str = "t",
) -> dict[str, Any]:
    """Compare two runs on the sessions that both have scored.

    Returns runs, sessions, k, metrics (one dict per metric: both values, second minus first, its interval, p and p_holm
    if testable), found (sessions by which run has the ground truth among the first k), overlap (see `overlap`), differs
    (settings that differ) and, in only_first and only_second, sessions as text. Raises UsageError for runs on different
    datasets, LlmseqError if no session is common or lists are too short.
    """
    if k < 1:
        raise UsageError(f"-k is {k}", "give at least 1")
    with store.read("comparing runs") as con:
        runs = [read_details(con, store, name, dataset) for name in (first, second)]
        _check(runs, k)
        ids = [run.run_id for run in runs]
        ranks = SessionRanks(con, runs[0].dataset, ids)
        both = ranks.asked(ids)
        if not both.any():
            raise LlmseqError("the runs have no session in common", "score both without --limit")
        lists = [stored_lists(con, run, k)[np.isin(case_ids(con, run.run_id), ranks.case_ids[both])] for run in runs]
        hits = [(ranks.ranks[run_id] > 0) & (ranks.ranks[run_id] <= k) for run_id in ids]
        only = [hits[0] & ~hits[1] & both, hits[1] & ~hits[0] & both]
        chosen = [_most_striking(ranks, ids[place], only[place], sessions) for place in (0, 1)]
        words = [sessions_in_words(con, runs[0].dataset, ids, one, 3) for one in chosen]
        return {
            "runs": [run.run for run in runs],
            "labels": [run.label for run in runs],
            "dataset": runs[0].dataset,
            "sessions": int(both.sum()),
            "sessions_of_each": [run.sessions for run in runs],
            "k": k,
            "test": test,
            "metrics": _metrics(con, store, runs, ranks, both, k, test),
            "found": {
                "both": int((hits[0] & hits[1] & both).sum()),
                "only_first": int(only[0].sum()),
                "only_second": int(only[1].sum()),
                "neither": int((~hits[0] & ~hits[1] & both).sum()),
            },
            "overlap": overlap(lists[0], lists[1]),
            "differs": _differences(*runs),
            "only_first": words[0],
            "only_second": words[1],
        }


def overlap(first: np.ndarray, second: np.ndarray) -> dict[str, float]:
    """How similar two runs' recommendations are; lists: int32[n_sessions, k] each, NO_ITEM if shorter.

    common: mean share of the items of the longer list that both have; jaccard: mean of common items over all items of
    both;
    rank_biased: mean rank-biased overlap, extrapolated from the end of the longer list, p 0.9 (Webber, Moffat and Zobel
    2010, eq. 32), 1 for the same items in the same order; same_first: share of sessions with the same first item;
    catalog: items that either run recommends at all, the share of them that both do.
    """
    n, k = first.shape
    sums = np.zeros(3)
    weights = _PERSISTENCE ** np.arange(1, k + 1)
    for start in range(0, n, _SESSIONS_PER_BLOCK):
        a, b = first[start : start + _SESSIONS_PER_BLOCK], second[start : start + _SESSIONS_PER_BLOCK]
        same = (a[:, :, None] == b[:, None, :]) & (a != NO_ITEM)[:, :, None]
        # Items common to the first d places are those at or above d in both lists.
        later = np.maximum(np.arange(k)[:, None], np.arange(k)[None, :])
        at = np.stack([same[:, later == d].sum(axis=1) for d in range(k)], axis=1).cumsum(axis=1)
        shared = at[:, -1]
        lengths = np.stack([(a != NO_ITEM).sum(axis=1), (b != NO_ITEM).sum(axis=1)])
        either, longer = lengths.sum(axis=0) - shared, np.maximum(lengths.max(axis=0), 1)
        agreement = at / np.minimum(np.arange(1, k + 1), longer[:, None])
        biased = agreement[:, -1] * weights[-1] + (1 - _PERSISTENCE) / _PERSISTENCE * (agreement * weights).sum(axis=1)
        sums += [
            (shared / longer).sum(),
            np.divide(shared, either, out=np.zeros(len(a)), where=either > 0).sum(),
            biased.sum(),
        ]
    ours, theirs = np.unique(first[first != NO_ITEM]), np.unique(second[second != NO_ITEM])
    union = len(np.union1d(ours, theirs))
    return {
        "common": float(sums[0] / n),
        "jaccard": float(sums[1] / n),
        "rank_biased": float(sums[2] / n),
        "same_first": float(((first[:, 0] == second[:, 0]) & (first[:, 0] != NO_ITEM)).mean()),
        "catalog": len(np.intersect1d(ours, theirs)) / union if union else 0.0,
    }


def stored_lists(con: duckdb.DuckDBPyConnection, run: RunDetails, k: int) -> np.ndarray:
    """int32[n_sessions, k]: the first k items of every session of a run, NO_ITEM if its list is shorter."""
    rows = con.execute(query("report/stored_lists"), {"run_id": run.run_id, "k": k}).fetchnumpy()
    items = np.full((run.sessions, k), NO_ITEM, dtype=np.int32)
    items[np.ma.getdata(rows["case_number"]), np.ma.getdata(rows["rank"]) - 1] = np.ma.getdata(rows["item_id"])
    return items


def _check(runs: list[RunDetails], k: int) -> None:
    first, second = runs
    if first.dataset != second.dataset:
        raise UsageError(
            f"{first.run} is on {first.dataset}, {second.run} on {second.dataset}", "compare runs on the same dataset"
        )
    if first.run == second.run:
        raise UsageError(f"both runs are {first.run}", "`llmseq report` lists runs")
    check_within_lists(runs, k)


def _most_striking(ranks: SessionRanks, run_id: int, which: np.ndarray, sessions: int) -> np.ndarray:
    """The given sessions that the run ranks best."""
    places = np.flatnonzero(which)
    order = np.argsort(ranks.ranks[run_id][places], kind="stable")
    return ranks.case_ids[places[order[:sessions]]]


def _metrics(
    con: duckdb.DuckDBPyConnection,
    store: Store,
    runs: list[RunDetails],
    ranks: SessionRanks,
    both: np.ndarray,
    k: int,
    test: str,
) -> list[dict[str, Any]]:
    """One dict per metric: over the common sessions if it is a mean over sessions, otherwise as in the leaderboard."""
    options = ReportOptions(sort=f"ndcg@{k}", models=[run.run for run in runs], cutoffs=(k,))
    report = make_report(con, runs[0].dataset, options, store)
    by_run = {row["run"]: row for row in report.rows}
    made = []
    for metric in report.metrics():
        values = [by_run[run.run][metric] for run in runs]
        entry: dict[str, Any] = {"metric": metric, "first": values[0], "second": values[1]}
        if metric.partition("@")[0] in TESTED:
            each = [ranks.values([run.run_id], metric)[both] for run in runs]
            away = each[1] - each[0]
            entry |= {"first": float(each[0].mean()), "second": float(each[1].mean()), "interval": list(interval(away))}
            entry["p"] = float(paired_p(away[:, None], test)[0])
        made.append(entry | {"difference": entry["second"] - entry["first"]})
    tested = [entry for entry in made if "p" in entry]
    for entry, p in zip(tested, holm(np.array([entry["p"] for entry in tested])).tolist(), strict=True):
        entry |= {"p_holm": p, "significant": p < LEVEL}
    return made


def _differences(first: RunDetails, second: RunDetails) -> dict[str, list[Any]]:
    """What differs: {name: [first run's, second run's]}; settings of different models are not compared."""
    about = [_about(run, with_settings=first.model == second.model) for run in (first, second)]
    names = dict.fromkeys([*about[0], *about[1]])
    return {name: [one.get(name) for one in about] for name in names if about[0].get(name) != about[1].get(name)}


def _about(run: RunDetails, *, with_settings: bool) -> dict[str, Any]:
    vectors = {
        key if key in ("text", "reduce") else f"embeddings {key}": value
        for key, value in (run.embeddings or {}).items()
    }
    return {"model": run.model, "seed": run.seed} | vectors | (run.settings if with_settings else {})
