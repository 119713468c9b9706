"""Store new orders as a run on the leaderboard."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from llmseq_cli.evaluation.evaluate import Evaluation
from llmseq_cli.evaluation.metrics import metrics_at
from llmseq_cli.evaluation.ranking import Ranking
from llmseq_cli.models.reranked import Reranked, RerankedSettings, scores_of
from llmseq_cli.prompting.rerank.cases import Cases
from llmseq_cli.store.runs import RunRecord, find_same_run
from llmseq_cli.training.environment import environment, peak_memory_mb
from llmseq_cli.training.stored_runs import store_run

if TYPE_CHECKING:
    from datetime import datetime

    from llmseq_cli.data.dataset import Dataset
    from llmseq_cli.finetuning.templates import Template
    from llmseq_cli.progress import Progress
    from llmseq_cli.prompting.asking import AskUsage
    from llmseq_cli.prompting.replies import ReplyStore
    from llmseq_cli.prompting.rerank.options import RerankOptions
    from llmseq_cli.prompting.whom import Whom
    from llmseq_cli.store.connection import Store
    from llmseq_cli.store.runs import RunInfo

_VALIDATED_AT = 20


class Work(Protocol):
    """What is known of the re-ranking that a run comes of. info: the run whose lists were put in order."""

    store: Store
    dataset: Dataset
    info: RunInfo
    whom: Whom
    options: RerankOptions
    template: Template
    replies: ReplyStore
    usage: AskUsage
    started_at: datetime
    progress: Progress

    def about(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Reordered:
    """Cases with their lists in the new order, int32[n, depth], and counts of what the answers were like."""

    cases: Cases
    lists: np.ndarray
    counts: dict[str, int]

    @property
    def evaluation(self) -> Evaluation:
        ranking = Ranking(self.lists, scores_of(self.lists))
        return Evaluation(ranking, ranking.ranks(self.cases.sessions.targets()), self.cases.sessions.ids)


def store_reranked(work: Work, parts: list[Reordered], seconds: float) -> str:
    """Stores the run of the test sessions (the first part) and returns its name. Lists for validation sessions lie with
    its files, for blends to learn their weights from.
    """
    settings = _settings(work)
    test = parts[0]
    found = _same(work, settings, test.lists.shape[1])
    if found is not None:
        work.progress.message(f"nothing is new since {found}")
        return found
    evaluation, popularity = test.evaluation, work.dataset.catalog.popularity
    record = RunRecord(
        dataset_id=work.dataset.info.dataset_id,
        split_id=work.dataset.info.split_id,
        model=Reranked.name,
        label=f"{work.info.label} reranked",
        seed=work.options.seed,
        settings=settings,
        embeddings=None,
        environment=environment(work.whom.provider.device),
        figures=_figures(work, parts, popularity, seconds),
        started_at=work.started_at,
    )
    return store_run(
        work.store,
        record,
        evaluation,
        evaluation.metrics(test.cases.sessions.targets(), popularity),
        lambda folder: _write_files(work, parts, folder),
    )


def _settings(work: Work) -> dict[str, Any]:
    given = work.options
    of_method: dict[str, dict[str, Any]] = {
        "listwise": {"window": given.window, "step": given.step, "shuffles": given.shuffles},
        "pairwise": {"rounds": given.rounds},
    }
    return work.about() | {
        "base_model": work.whom.base_model,
        "job": work.whom.job.job if work.whom.job else None,
        "top": given.top,
        **of_method.get(given.method, {}),
        "template": given.template,
        "template_digest": work.template.digest,
        "limit": given.limit,
        **({"validation": "held-out"} if given.validation else {}),
    }


def _same(work: Work, settings: dict[str, Any], depth: int) -> str | None:
    """The run of the same answers."""
    if work.usage.replies:
        return None
    split, seed = work.dataset.info.split_id, work.options.seed
    with work.store.read("looking for runs") as con:
        return find_same_run(con, split, Reranked.name, seed, depth, settings, None)


def _figures(work: Work, parts: list[Reordered], popularity: np.ndarray, seconds: float) -> dict[str, Any]:
    ids = np.unique(np.concatenate([part.cases.sessions.ids for part in parts]))
    counts: Counter[str] = Counter()
    for part in parts:
        counts.update(part.counts)
    figures: dict[str, Any] = {
        **counts,
        **work.replies.usage(ids),
        "score_seconds": seconds,
        "peak_memory_mb": peak_memory_mb(),
    }
    for part in parts[1:]:
        found, targets = part.evaluation, part.cases.sessions.targets()
        k = min(_VALIDATED_AT, found.ranking.k)
        metrics = metrics_at(found.ranking.items, found.ranks, targets, popularity, k)
        figures |= {"validation_ndcg": metrics["ndcg"], "validation_sessions": len(targets)}
    return figures


def _write_files(work: Work, parts: list[Reordered], folder: Path) -> None:
    model = Reranked(RerankedSettings(runs=work.info.run), len(work.dataset.catalog))
    model.keep([(part.cases.sessions.histories(), part.lists) for part in parts])
    model.save(folder)
