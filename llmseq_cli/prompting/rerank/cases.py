"""The lists that are put in order: those that a run has stored, and what its model says of validation sessions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from llmseq_cli.data.dataset import Dataset
from llmseq_cli.data.sessions import Sessions
from llmseq_cli.errors import UsageError
from llmseq_cli.evaluation.ranking import NO_ITEM
from llmseq_cli.finetuning.item_lists import compact, keyed_order
from llmseq_cli.models.list_combiner import held_out_of
from llmseq_cli.models.recommender import FitContext
from llmseq_cli.progress import Progress
from llmseq_cli.store.queries import query
from llmseq_cli.store.runs import RunInfo
from llmseq_cli.training.base_runs import BaseRuns

if TYPE_CHECKING:
    import duckdb

    from llmseq_cli.store.connection import Store


@dataclass(frozen=True)
class Cases:
    """Sessions (a history, and as the last item its target) and their lists, int32[n, depth], best first."""

    sessions: Sessions
    lists: np.ndarray

    def drawn(self, limit: int | None, seed: int) -> Cases:
        """At most `limit` of them, drawn at random; a larger limit adds to a smaller one's."""
        if limit is None or limit >= len(self.lists):
            return self
        order = np.argsort(keyed_order(seed, self.sessions.ids, np.zeros(1)), kind="stable")
        places = np.sort(order[:limit])
        return Cases(self.sessions.take(places), self.lists[places])


def test_cases(con: duckdb.DuckDBPyConnection, dataset: Dataset, info: RunInfo) -> Cases:
    """The test sessions that a run was scored on, and its stored lists. Raises UsageError if it stored none."""
    depth = info.list_length
    columns = con.execute(query("prompting/run_lists"), {"run_id": info.run_id, "depth": depth}).fetchnumpy()
    case_ids, row_of = np.unique(np.ma.getdata(columns["case_id"]), return_inverse=True)
    ranks = np.ma.filled(np.ma.asarray(columns["rank"]), 0)
    if not ranks.any():
        raise UsageError(f"{info.run} has stored no recommendations", "name another run; `llmseq report` lists them")
    lists = np.full((len(case_ids), depth), NO_ITEM, dtype=np.int32)
    listed = ranks > 0
    lists[row_of[listed], ranks[listed] - 1] = np.ma.getdata(columns["item_id"])[listed]
    places = np.flatnonzero(np.isin(dataset.test.ids, case_ids))
    ids = dataset.test.ids[places]
    return Cases(dataset.test.take(places), lists[np.searchsorted(case_ids, ids)])


def validation_cases(store: Store, dataset: Dataset, info: RunInfo, depth: int, progress: Progress) -> Cases:
    """The sessions that blends learn their weights from, and what the run's model says of them unseen.

    Raises UsageError for a run of a language model, which has no lists for other sessions.
    """
    base_runs = BaseRuns(store, dataset, "auto", progress)
    context = FitContext(
        dataset.catalog,
        progress=progress,
        keeps_unseen=dataset.info.keeps_unseen,
        validation=dataset.validation,
    )
    earlier, held_out = held_out_of(dataset.train, len(dataset.catalog), context)
    histories = held_out.histories()
    ranking = base_runs.base_run(info).refitted_lists(earlier, histories, depth)
    if dataset.info.allows_repeats:
        return Cases(held_out, ranking.items)
    keys = np.arange(len(histories))[:, None] * len(dataset.catalog) + ranking.items
    own = np.isin(keys, histories.rows() * len(dataset.catalog) + histories.items)
    return Cases(held_out, compact(ranking.items, (ranking.items >= 0) & ~own))
