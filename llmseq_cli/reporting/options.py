"""What can be said of a report and of a plot."""

from __future__ import annotations

from dataclasses import dataclass

from llmseq_cli.evaluation.evaluate import CUTOFFS


@dataclass(frozen=True)
class ReportOptions:
    """What a report shows.

    sort: the column to sort by; None: NDCG@20, and with `paper` NDCG@10 where all tables are under leave-one-out, whose
    published figures go to ten. models: only these models or runs. cutoffs: of the metrics. where: a condition in SQL
    over the columns. columns: the columns of tables, None for the usual ones. group: one row for runs that differ only
    in their seed. paper: with published results. significance: with tests against `baseline`, a run, or the best row
    where it is None; test: t, permutation or wilcoxon. segments: with the metrics of the sessions that end in warm,
    tail and cold items, in tables at the last of the cutoffs.
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
    """What a plot shows.

    runs: by name, number or model; with none, the best run of each of the best models. k: length of the lists that
    count. embeddings: those that diversity is measured with. positions: for hits-by-position, how many items to go
    back from the end.
    """

    runs: tuple[str, ...] = ()
    dataset: str | None = None
    k: int = 20
    embeddings: str = "lexical"
    positions: int = 5
