"""Significance: paired tests over sessions, corrected for multiple comparisons, and intervals.

Every run is scored on the same sessions, so runs are compared session by session; a group of seeds counts with the mean
over its seeds. The t-test is the default: on paired differences of thousands of sessions it agrees with the permutation
test, and its p-values have no lower limit (Smucker et al. 2007; Urbano et al. 2019). All comparisons of a table are
corrected together after Holm (1979).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from llmseq_cli.errors import LlmseqError, UsageError, did_you_mean
from llmseq_cli.evaluation.metrics import is_among_most_popular, per_session
from llmseq_cli.reporting.report import Report
from llmseq_cli.store.queries import query
from llmseq_cli.store.runs import find_run

if TYPE_CHECKING:
    import duckdb

TESTS = ("t", "permutation", "wilcoxon")
LEVEL = 0.05
TESTED = ("ndcg", "hr", "mrr", "serendipity")
"""Metrics that are means over sessions. Coverage is over all lists together, and novelty has no ground truth."""

_PERMUTATIONS = 10_000
_PERMUTATIONS_PER_BLOCK = 500


def paired_p(differences: np.ndarray, test: str = "t") -> np.ndarray:
    """Two-sided p-values for the hypothesis that the mean of each column is 0.

    differences: float64[n_sessions, n_comparisons], one run's metric minus the other's in each session.
    test: "t", Student's; "permutation", 10,000 random changes of sign, under the null hypothesis that the two runs
    could be swapped in any session; "wilcoxon", signed ranks. Columns of zeros have p = 1. Raises UsageError for
    another test.
    """
    if test not in TESTS:
        raise UsageError(f"there is no test '{test}'", did_you_mean(test, list(TESTS)))
    if len(differences) < 2:
        return np.ones(differences.shape[1])
    if test == "wilcoxon":
        return np.array([_wilcoxon(column) for column in differences.T])
    if test == "permutation":
        return _permutation(differences)
    return _student(differences)


def holm(p: np.ndarray) -> np.ndarray:
    """p-values with Holm's correction: the smallest times their number, the next times one less, and so on, never
    decreasing."""
    order = np.argsort(p)
    corrected = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    result = np.empty(len(p))
    result[order] = np.minimum(corrected, 1.0)
    return result


def interval(values: np.ndarray) -> tuple[float, float]:
    """Student's confidence interval of the mean of float64[n] values."""
    from scipy.special import stdtrit

    n = len(values)
    mean = float(values.mean()) if n else 0.0
    if n < 2:
        return mean, mean
    half = float(stdtrit(n - 1, 1 - LEVEL / 2)) * float(values.std(ddof=1)) / n**0.5
    return mean - half, mean + half


def add_significance(con: duckdb.DuckDBPyConnection, report: Report, baseline: str | None, test: str) -> None:
    """Add "intervals" and, against the baseline, "significance": {metric: difference, p, p_holm, …} to every row.

    baseline: a run, "latest" or a model's name; None for the first complete row of each dataset. Raises LlmseqError for
    a run on none of the report's datasets.
    """
    if test not in TESTS:
        raise UsageError(f"there is no test '{test}'", did_you_mean(test, list(TESTS)))
    metrics = [key for key in report.metrics() if key.partition("@")[0] in TESTED]
    datasets = list(dict.fromkeys(row["dataset"] for row in report.rows))
    named = find_run(con, baseline) if baseline else None
    if named and datasets and named.dataset not in datasets:
        raise LlmseqError(f"{named.run} is a run on {named.dataset}", f"the report is on {', '.join(datasets)}")
    for dataset in datasets:
        rows = [row for row in report.rows if row["dataset"] == dataset]
        ids = [row["run_ids"] if "run_ids" in row else [row["run_id"]] for row in rows]
        first = next((place for place, row in enumerate(rows) if row["sessions"] == row["dataset_sessions"]), 0)
        base_ids, base_name = ids[first], rows[first]["run"]
        if named:
            if named.dataset != dataset:
                continue
            base_ids = next((one for one in ids if named.run_id in one), [named.run_id])
            base_name = named.run
        ranks = SessionRanks(con, dataset, sorted({one for many in [*ids, base_ids] for one in many}))
        _compare_rows(rows, ids, base_ids, base_name, ranks, metrics, test)
        words = {"t": "paired t-test", "permutation": "paired permutation test", "wilcoxon": "Wilcoxon test"}[test]
        report.notes.setdefault(dataset, []).append(
            f"▲ ▼ better, worse than {base_name} ({words} over sessions, Holm-corrected p < {LEVEL})"
        )


class SessionRanks:
    """The rank of each session's ground truth in runs of one dataset.

    case_ids, targets: int64[n_cases], the split's test cases and their ground truths. ranks: run id → int32[n_cases], 0
    if the ground truth was not found, −1 if the run did not score the case.
    """

    def __init__(self, con: duckdb.DuckDBPyConnection, dataset: str, run_ids: list[int]) -> None:
        truths = con.execute(query("report/ground_truths"), {"dataset": dataset}).fetchnumpy()
        self.case_ids, self.targets = (np.ma.getdata(truths[name]) for name in ("case_id", "ground_truth"))
        popularity = con.execute(query("report/popularity"), {"dataset": dataset}).fetchnumpy()
        self.popularity = np.ma.getdata(popularity["popularity"])
        rows = con.execute(query("report/ranks_of_runs"), {"run_ids": run_ids}).fetchnumpy()
        runs, cases, ranks = (np.ma.getdata(rows[name]) for name in ("run_id", "case_id", "rank"))
        places = np.searchsorted(self.case_ids, cases)
        matrix = np.full((len(run_ids), len(self.case_ids)), -1, dtype=np.int32)
        known = np.array(sorted(run_ids))
        matrix[np.searchsorted(known, runs), places] = ranks
        self.ranks: dict[int, np.ndarray] = dict(zip(known.tolist(), matrix, strict=True))

    def asked(self, run_ids: list[int]) -> np.ndarray:
        """bool[n_sessions]: the sessions that all of these runs scored."""
        asked: np.ndarray = np.all([self.ranks[run_id] >= 0 for run_id in run_ids], axis=0)
        return asked

    def values(self, run_ids: list[int], metric: str) -> np.ndarray:
        """float64[n_sessions]: a metric such as "ndcg@20" for each session, averaged over the runs."""
        name, _, cutoff = metric.partition("@")
        k = int(cutoff)
        each = [per_session(self.ranks[run_id], k)["hr" if name == "serendipity" else name] for run_id in run_ids]
        values: np.ndarray = np.mean(each, axis=0)
        if name == "serendipity":
            values *= ~is_among_most_popular(self.targets, self.popularity, k)
        return values


def _compare_rows(
    rows: list[dict[str, Any]],
    ids: list[list[int]],
    base_ids: list[int],
    base_name: str,
    ranks: SessionRanks,
    metrics: list[str],
    test: str,
) -> None:
    others = [place for place, one in enumerate(ids) if one != base_ids]
    comparisons: list[tuple[int, str, float, float]] = []
    base = {metric: ranks.values(base_ids, metric) for metric in metrics}
    base_asked = ranks.asked(base_ids)
    for place, one in enumerate(ids):
        values = {metric: ranks.values(one, metric) for metric in metrics}
        asked = ranks.asked(one)
        rows[place]["intervals"] = {metric: list(interval(values[metric][asked])) for metric in metrics}
        rows[place]["significance"] = {}
        if place in others:
            both = asked & base_asked
            differences = np.stack([(values[metric] - base[metric])[both] for metric in metrics], axis=1)
            means = differences.mean(axis=0) if len(differences) else np.zeros(len(metrics))
            found = paired_p(differences, test)
            comparisons += [(place, *one) for one in zip(metrics, means.tolist(), found.tolist(), strict=True)]
    corrected = holm(np.array([p for *_, p in comparisons]))
    for (place, metric, difference, p), p_holm in zip(comparisons, corrected.tolist(), strict=True):
        rows[place]["significance"][metric] = {
            "against": base_name,
            "difference": difference,
            "p": p,
            "p_holm": p_holm,
            "significant": p_holm < LEVEL,
        }


def _student(differences: np.ndarray) -> np.ndarray:
    from scipy.special import stdtr

    n = len(differences)
    mean, deviation = differences.mean(axis=0), differences.std(axis=0, ddof=1)
    varies = deviation > 0
    t = np.divide(mean, deviation / n**0.5, out=np.zeros_like(mean), where=varies)
    p = 2 * stdtr(n - 1, -np.abs(t))
    return np.where(varies, p, np.where(mean == 0, 1.0, 0.0))


def _permutation(differences: np.ndarray) -> np.ndarray:
    """The share of random changes of sign with a mean at least as far from 0; the observed one counts, too."""
    random = np.random.default_rng(0)
    kept = differences[np.any(differences != 0, axis=1)]
    observed = np.abs(kept.sum(axis=0)) - 1e-9
    beyond = np.zeros(differences.shape[1])
    for _ in range(0, _PERMUTATIONS, _PERMUTATIONS_PER_BLOCK):
        signs = random.integers(0, 2, size=(_PERMUTATIONS_PER_BLOCK, len(kept)), dtype=np.int8) * 2.0 - 1.0
        beyond += (np.abs(signs @ kept) >= observed).sum(axis=0)
    return (beyond + 1) / (_PERMUTATIONS + 1)


def _wilcoxon(differences: np.ndarray) -> float:
    from scipy.stats import wilcoxon

    differences = differences[differences != 0]
    return float(wilcoxon(differences).pvalue) if len(differences) else 1.0
