"""The real Beauty dataset for tests, built by the product's own ingest; found by LLMSEQ_BEAUTY, else tests skip."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from llmseq_cli.data.dataset import Dataset
from llmseq_cli.data.sessions import Sessions
from llmseq_cli.evaluation.metrics import metrics_at
from llmseq_cli.evaluation.ranking import Ranking

if TYPE_CHECKING:
    import duckdb

FOLDER = os.environ.get("LLMSEQ_BEAUTY", "")

needs_beauty = pytest.mark.skipif(
    not (FOLDER and (Path(FOLDER) / "reviews_Beauty_5.json.gz").is_file()),
    reason="LLMSEQ_BEAUTY does not name a folder with reviews_Beauty_5.json.gz and meta_Beauty.json.gz",
)


@cache
def stage_beauty(tie_break: str = "random") -> duckdb.DuckDBPyConnection:
    """A store with Beauty as `llmseq ingest` splits it with its defaults (k-core 5, random tie-break at seed 0)."""
    import duckdb

    from llmseq_cli.data.ingest import Protocol, build_dataset
    from llmseq_cli.data.readers import Source, read
    from llmseq_cli.progress import SilentProgress
    from llmseq_cli.store.migrations import migrate
    from llmseq_cli.store.queries import query

    con = duckdb.connect()
    migrate(con)
    con.execute("begin transaction")
    con.execute(query("ingest/staging"))
    read(con, Source(paths=[FOLDER], items=[], format="amazon", columns={}, strict=False), SilentProgress())
    build_dataset(con, "beauty", Protocol(tie_break=tie_break), {}, SilentProgress())
    con.execute("commit")
    return con


@cache
def load_beauty() -> Dataset:
    """Its default split."""
    from llmseq_cli.data.dataset import load_dataset

    return load_dataset(stage_beauty(), "beauty/sessions")


def measure(dataset: Dataset, ranking: Ranking, k: int = 20) -> dict[str, float]:
    """Metrics of lists for the evaluated sessions."""
    targets = dataset.test.targets()
    return metrics_at(ranking.items, ranking.ranks(targets), targets, dataset.catalog.popularity, k)


def first_sessions(sessions: Sessions, n: int) -> Sessions:
    return sessions.slice(0, min(n, len(sessions)))
