"""Plots of datasets and runs, including the paper's Figures 9 to 12."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from llmseq_cli.data.dataset import DatasetInfo
from llmseq_cli.data.sessions import Sessions
from llmseq_cli.embeddings.item_embeddings import ItemEmbeddings
from llmseq_cli.errors import LlmseqError, UsageError
from llmseq_cli.models.recommender import Recommender
from llmseq_cli.progress import Task
from llmseq_cli.reporting.plot import Plot, Series
from llmseq_cli.store.queries import query
from llmseq_cli.store.runs import RunInfo

if TYPE_CHECKING:
    import duckdb

_BINS = 8
_LENGTHS = (1, 2, 3, 4, 5, 7, 10, 20)
"""Starts of the bins of history lengths."""

_SESSIONS_OF_DIVERSITY = 5000
_HITS = "Share of sessions of '{dataset}' whose ground truth is among the first {k}, with 95% intervals."
_Z = 1.959964
"""The 97.5 % quantile of the normal distribution."""


def popularity_curve(con: duckdb.DuckDBPyConnection, info: DatasetInfo) -> Plot:
    """Occurrences of items by rank, both logarithmic (the paper's Figure 11, left)."""
    counts = _column(con, "analysis/popularities", info, "popularity")
    ranks = np.arange(1, len(counts) + 1)
    shown = np.unique(np.geomspace(1, len(counts), 400).astype(int)) - 1
    caption = f"{len(counts):,} items of '{info.name}', the most popular first: how often each occurs."
    series = Series(info.name, ranks[shown].astype(float), counts[shown].astype(float))
    return Plot("popularity", "Popularity of items", caption, "rank", "interactions", (series,), x_log=True, y_log=True)


def session_lengths(con: duckdb.DuckDBPyConnection, info: DatasetInfo) -> Plot:
    """Number of sessions by length (the paper's Figure 11, right)."""
    lengths = _column(con, "analysis/lengths", info, "length")
    counts = _column(con, "analysis/lengths", info, "sessions")
    caption = f"{int(counts.sum()):,} sessions of '{info.name}' by their number of items."
    series = Series(info.name, lengths.astype(float), counts.astype(float))
    return Plot("lengths", "Length of sessions", caption, "items", "sessions", (series,), "bars", y_log=True)


def diversity(sessions: Sessions, embeddings: ItemEmbeddings, name: str) -> Plot:
    """Histogram of the mean Euclidean distance between the item vectors of a session, at length 1 (Figure 12).

    Uses sessions with at least two items; if there are more than 5,000, a random sample.
    """
    places = np.flatnonzero(sessions.lengths >= 2)
    if not len(places):
        raise LlmseqError(f"no session of '{name}' has two items", "see `llmseq describe`")
    if len(places) > _SESSIONS_OF_DIVERSITY:
        places = np.sort(np.random.default_rng(0).choice(places, _SESSIONS_OF_DIVERSITY, replace=False))
    means = np.array([_mean_distance(embeddings.vectors[sessions[place]]) for place in places.tolist()])
    counts, edges = np.histogram(means, bins=30)
    middles = (edges[:-1] + edges[1:]) / 2
    caption = (
        f"{len(places):,} sessions of '{name}': mean distance between the {embeddings.source}:{embeddings.model} "
        f"vectors of their items, at length 1. Median {np.median(means):.2f}; the greater, the more diverse."
    )
    series = Series(name, middles, counts.astype(float))
    return Plot("diversity", "Diversity within sessions", caption, "mean distance", "sessions", (series,), "bars")


def _mean_distance(vectors: Any) -> float:
    rows = vectors if isinstance(vectors, np.ndarray) else vectors.tocsr()
    products = rows @ rows.T
    products = np.asarray(products if isinstance(products, np.ndarray) else products.todense(), dtype=np.float64)
    lengths = np.sqrt(np.maximum(np.diag(products), 1e-12))
    cosines = (products / lengths[:, None] / lengths)[np.triu_indices(len(lengths), 1)]
    return float(np.sqrt(np.maximum(0.0, 2 - 2 * cosines)).mean())


def hits_by_popularity(con: duckdb.DuckDBPyConnection, info: DatasetInfo, runs: Sequence[RunInfo], k: int) -> Plot:
    """HR@k by the training frequency of the history's last item (the paper's Figure 9)."""
    popularity = _column(con, "analysis/histories", info, "popularity")
    edges = np.unique(np.quantile(popularity, np.linspace(0, 1, _BINS + 1)[1:-1], method="higher"))
    firsts = np.concatenate([[popularity.min()], edges[edges > popularity.min()]])
    series, ticks = _hits_by(con, info, runs, k, popularity, firsts)
    return Plot(
        "hits-by-popularity",
        "Hits by popularity of the last item",
        _HITS.format(dataset=info.name, k=k),
        "training interactions of the last item",
        f"HR@{k}",
        series,
        ticks=ticks,
    )


def hits_by_length(con: duckdb.DuckDBPyConnection, info: DatasetInfo, runs: Sequence[RunInfo], k: int) -> Plot:
    """HR@k by the number of items in the history."""
    lengths = _column(con, "analysis/histories", info, "length")
    firsts = np.array([first for first in _LENGTHS if first <= lengths.max()])
    series, ticks = _hits_by(con, info, runs, k, lengths, firsts)
    return Plot(
        "hits-by-length",
        "Hits by length of the history",
        _HITS.format(dataset=info.name, k=k),
        "items in the history",
        f"HR@{k}",
        series,
        ticks=ticks,
    )


def _hits_by(
    con: duckdb.DuckDBPyConnection,
    info: DatasetInfo,
    runs: Sequence[RunInfo],
    k: int,
    values: np.ndarray,
    firsts: np.ndarray,
) -> tuple[tuple[Series, ...], tuple[str, ...]]:
    """Series of HR@k by bins of one number per evaluated session; bins start at `firsts`."""
    sessions = _column(con, "analysis/histories", info, "case_id")
    ids = [run.run_id for run in runs]
    ranks = con.execute(query("report/ranks_of_runs"), {"run_ids": ids}).fetchnumpy()
    bins = np.searchsorted(firsts, values, side="right") - 1
    series = []
    for run in runs:
        own = np.ma.getdata(ranks["run_id"]) == run.run_id
        scored, rank = np.ma.getdata(ranks["case_id"])[own], np.ma.getdata(ranks["rank"])[own]
        of = bins[np.searchsorted(sessions, scored)]
        hits = np.bincount(of, weights=(rank > 0) & (rank <= k), minlength=len(firsts))
        series.append(_shares(run.run, hits, np.bincount(of, minlength=len(firsts))))
    lasts = np.append(firsts[1:] - 1, values.max())
    return tuple(series), tuple(
        str(first) if first == last else f"{first}–{last}" for first, last in zip(firsts, lasts, strict=True)
    )


def hits_by_position(
    models: Sequence[tuple[str, Recommender]], test: Sessions, name: str, k: int, positions: int, task: Task
) -> Plot:
    """HR@k with histories cut 0, 1, 2, … items earlier (the paper's Figure 10), for sessions that are long enough."""
    histories, targets = test.histories(), test.targets()
    long = np.flatnonzero(histories.lengths >= positions)
    if not len(long):
        raise UsageError(f"no history in '{name}' has {positions} items", "give a smaller --positions")
    histories, targets = histories.take(long), targets[long]
    series = []
    for label, model in models:
        hits = np.zeros(positions)
        for dropped in range(positions):
            shortened = histories.where(histories.positions_from_end() > dropped)
            hits[dropped] = np.count_nonzero(model.recommend(shortened, k).ranks(targets))
            task.advance(1)
        series.append(_shares(label, hits, np.full(positions, len(long))))
    caption = (
        f"{len(long):,} sessions of '{name}' with histories of at least {positions} items: share whose ground truth is "
        f"among the first {k} if the history ends at that item, with 95% intervals."
    )
    ticks = ("last", *(f"{place + 1} from end" for place in range(1, positions)))
    return Plot(
        "hits-by-position",
        "Hits by the item taken as last",
        caption,
        "item taken as last",
        f"HR@{k}",
        tuple(series),
        ticks=ticks,
    )


def _shares(name: str, hits: np.ndarray, counts: np.ndarray) -> Series:
    """Shares with Wilson's score interval (Wilson, "Probable inference", 1927); bins without sessions are left out."""
    places = np.flatnonzero(counts)
    n, share = counts[places].astype(float), hits[places] / counts[places]
    middle = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z * np.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2)) / (1 + _Z**2 / n)
    return Series(name, places.astype(float), share, np.minimum(middle - half, share), np.maximum(middle + half, share))


def training_curves(curves: Sequence[tuple[str, list[dict[str, Any]]]]) -> Plot:
    """NDCG@20 on held-out sessions by epoch, for runs that have it; losses if none was validated."""
    validated = _by_epoch(curves, "ndcg")
    if validated:
        caption = "NDCG@20 on the training sessions held out, after every epoch of the search for the best."
        return Plot("training", "Training", caption, "epoch", "NDCG@20, held out", validated)
    losses = _by_epoch(curves, "loss")
    if not losses:
        raise LlmseqError("none of these runs was trained in epochs", "choose runs of a neural model")
    caption = "Mean loss of a training target, after every epoch; none of these runs held out sessions."
    return Plot("training", "Training", caption, "epoch", "loss", losses, from_zero=False)


def _by_epoch(curves: Sequence[tuple[str, list[dict[str, Any]]]], key: str) -> tuple[Series, ...]:
    series = []
    for name, curve in curves:
        points = [(one["epoch"], one[key]) for one in curve if one.get(key) is not None]
        if points:
            epochs, values = zip(*points, strict=True)
            series.append(Series(name, np.array(epochs, dtype=float), np.array(values, dtype=float)))
    return tuple(series)


def against(rows: Sequence[dict[str, Any]], kind: str, k: int) -> Plot:
    """Every run as a point: NDCG@k over coverage ("coverage") or over seconds of training and scoring ("time")."""
    names = [row["run"] for row in rows]
    said = f"NDCG@{k} of {len(rows)} run{'s' if len(rows) > 1 else ''} on '{rows[0]['dataset']}'"
    y = [row[f"ndcg@{k}"] for row in rows]
    if kind == "coverage":
        x, label, title = [row[f"coverage@{k}"] for row in rows], f"coverage@{k}", "Accuracy against coverage"
        caption = f"{said}, and the share of the catalog that the lists of {k} reach."
    else:
        x = [max(1e-3, (row["train_seconds"] or 0.0) + (row["score_seconds"] or 0.0)) for row in rows]
        label, title = "seconds of training and scoring", "Accuracy against time"
        caption = f"{said}, and the seconds that each took on its machine."
    series = tuple(
        Series(name, np.array([one]), np.array([value])) for name, one, value in zip(names, x, y, strict=True)
    )
    return Plot(kind, title, caption, label, f"NDCG@{k}", series, "points", x_log=kind == "time")


def _column(con: duckdb.DuckDBPyConnection, name: str, info: DatasetInfo, column: str) -> np.ndarray:
    given = {"split_id": info.split_id} if name == "analysis/histories" else {"dataset_id": info.dataset_id}
    rows = con.execute(query(name), given).fetchnumpy()
    return np.ma.getdata(rows[column]).astype(np.int64)
