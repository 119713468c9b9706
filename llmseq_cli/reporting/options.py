"""Options of reports and plots."""

from __future__ import annotations

from dataclasses import dataclass

from llmseq_cli.evaluation.evaluate import CUTOFFS


@dataclass(frozen=True)
class ReportOptions:
    """What to show in a report.

    sort: the column to sort by; None: NDCG@20, or NDCG@10 with `paper` if all tables are under leave-one-out, whose
    published figures use k = 10. models: only these models or runs. cutoffs: of the metrics. where: an SQL condition
    over the columns. columns: of tables, None for the default. group: one row for runs that differ only in their seed.
    paper: add published results. significance: add tests against `baseline`, a run, or the best row if None; test: t,
    permutation or wilcoxon. segments: add metrics of sessions that end in warm, tail and cold items, in tables at the
    last of the cutoffs.
    """

    sort: str | None = None
    models: list[str] | None = None
    cutoffs: tuple[int, ...] = CUTOFFS
    where: str | None = None
    columns: tuple[str, ...] | None = None
    group: bool = False
    paper: bool = False
    significance: bool = False
    baseline: str | None = None
    test: str = "t"
    segments: bool = False


@dataclass(frozen=True)
class PlotOptions:
    """What to show in a plot.

    runs: by name, number or model; empty for the best run of each of the best models. k: length of the lists.
    embeddings: to measure diversity with. positions: for hits-by-position, how many items to go back from the end.
    """

    runs: tuple[str, ...] = ()
    dataset: str | None = None
    k: int = 20
    embeddings: str = "lexical"
    positions: int = 5
