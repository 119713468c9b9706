"""Turn stored replies into a run on the leaderboard: titles, items, lists, figures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from llmseq_cli.evaluation.evaluate import Evaluation
from llmseq_cli.files import write_json
from llmseq_cli.finetuning.task_setup import template_of
from llmseq_cli.prompting.answer_lists import Named, rank
from llmseq_cli.prompting.asking import REFUSED, AskUsage
from llmseq_cli.prompting.grounding import EMPTY, KINDS, NEAREST, Grounded, Grounder, prefer_options
from llmseq_cli.store.queries import query
from llmseq_cli.store.runs import RunRecord, find_same_run
from llmseq_cli.training.environment import environment, peak_memory_mb
from llmseq_cli.training.stored_runs import store_run

if TYPE_CHECKING:
    import duckdb

    from llmseq_cli.prompting.preparation import Preparation

_LEAST_DEPTH = 20  # metrics at 20 need lists of 20 places, however few of them a model fills


@dataclass(frozen=True)
class ReadReplies:
    """Items that replies name, what they said of each, and how it became an item: one of KINDS."""

    named: Named
    texts: list[str]
    kinds: np.ndarray


class RunMaker:
    """Makes a run of the replies that are stored."""

    def __init__(self, work: Preparation, usage: AskUsage, seconds: float) -> None:
        self.work, self.usage, self.seconds = work, usage, seconds
        self.store, self.dataset = work.store, work.dataset
        self.embeddings = work.embeddings

    def store_run(self) -> str:
        settings = self._settings()
        found = self._same(settings)
        if found is not None:
            self.work.progress.message(f"nothing is new since {found}")
            return found
        read, figures = self._read_replies()
        list_length = max(_LEAST_DEPTH, self.work.asked.setup.k)
        ranking = rank(
            read.named,
            self.work.test.histories(),
            len(self.dataset.catalog),
            list_length,
            exclude_history=not self.dataset.info.allows_repeats,
        )
        evaluation = Evaluation(ranking, ranking.ranks(self.work.test.targets()), self.work.test.ids)
        record = RunRecord(
            dataset_id=self.dataset.info.dataset_id,
            split_id=self.dataset.info.split_id,
            model=self._model(),
            label=self.work.asked.setup.label + (" (base)" if self.work.asked.is_base else ""),
            seed=self.work.asked.setup.seed,
            settings=settings,
            embeddings=self.embeddings.describe(),
            environment=environment(self.work.asked.provider.device),
            figures=figures | {"score_seconds": self.seconds, "peak_memory_mb": peak_memory_mb()},
            started_at=self.work.started_at,
        )
        metrics = evaluation.metrics(self.work.test.targets(), self.dataset.catalog.popularity)
        return store_run(
            self.store,
            record,
            evaluation,
            metrics,
            lambda folder: self._write_about(folder, record),
            lambda con, run_id: self._insert_answers(con, run_id, read),
        )

    def _model(self) -> str:
        return f"prompt-{self.work.asked.setup.task}"

    def _settings(self) -> dict[str, Any]:
        asked, sampling = self.work.asked, self.work.sampling
        setup = asked.setup
        return self.work.about() | {
            "base_model": asked.base_model,
            "job": asked.job.job if asked.job else None,
            "samples": sampling.samples,
            "limit": self.work.options.limit,
            "template": setup.wording,
            "template_digest": template_of(setup).digest,
            "k": setup.k,
            "candidates": setup.candidates,
            "categories": len(setup.categories) if setup.categories else None,
        }

    def _same(self, settings: dict[str, Any]) -> str | None:
        """The run of the same replies."""
        if self.usage.replies:
            return None
        list_length = max(_LEAST_DEPTH, self.work.asked.setup.k)
        with self.store.read("looking for runs") as con:
            return find_same_run(
                con,
                self.dataset.info.split_id,
                self._model(),
                self.work.asked.setup.seed,
                list_length,
                settings,
                self.embeddings.describe(),
            )

    def _read_replies(self) -> tuple[ReadReplies, dict[str, Any]]:
        """What the replies name, and figures of the run."""
        work = self.work
        askable = np.flatnonzero(work.prompts.askable)
        hashes = [work.prompts.hashes[place] for place in askable]
        replies = work.replies.read(work.test.ids[askable], hashes, work.sampling.samples)
        grounder = self._grounder()
        # A reply that is a title as it stands, such as "2. Skin 1 Cleanser", is not taken for a numbered one.
        parsed = [
            [text] if " ".join(text.split()) in grounder.by_title else work.task.parse(text, cut_off=finish == "length")
            for _, _, text, finish in replies
        ]
        lengths = [max(1, len(titles)) for titles in parsed]
        titles = [title for one in parsed for title in one or [""]]
        grounded = grounder.ground(titles)
        rows = np.repeat(askable[[number for number, _, _, _ in replies]], lengths)
        items = prefer_options(grounded.items, rows, work.prompts.options, work.ingredients.groups)
        samples = np.repeat(np.array([sample for _, sample, _, _ in replies], dtype=np.int64), lengths)
        places = np.concatenate([np.arange(length) for length in lengths] or [np.empty(0, dtype=np.int64)])
        named = Named(rows, samples, places, items, grounded.similarity)
        # What names nothing is kept as it was said.
        texts = [title or reply for title, reply in zip(titles, self._of_each(replies, lengths), strict=True)]
        figures = {
            "answers": len(replies),
            "empty_answers": sum(not text.strip() for _, _, text, _ in replies),
            "parse_failures": sum(
                bool(text.strip()) and not one for (_, _, text, _), one in zip(replies, parsed, strict=True)
            ),
            "refused_answers": sum(finish == REFUSED for _, _, _, finish in replies),
            "unasked_sessions": len(work.test) - len(askable),
            "cut_sessions": work.prompts.cut,
            **_truthfulness(titles, grounded),
            **work.replies.usage(work.test.ids),
        }
        return ReadReplies(named, texts, np.array(KINDS, dtype=object)[grounded.kinds]), figures

    @staticmethod
    def _of_each(replies: list[tuple[int, int, str, str]], lengths: list[int]) -> list[str]:
        return [text for (_, _, text, _), length in zip(replies, lengths, strict=True) for _ in range(length)]

    def _grounder(self) -> Grounder:
        return Grounder(self.dataset.catalog, self.embeddings.vectors, self.work.text_vectors.of)

    def _insert_answers(self, con: duckdb.DuckDBPyConnection, run_id: int, read: ReadReplies) -> None:
        named = read.named
        columns = {
            "session_id": self.work.test.ids[named.rows].astype(np.int32),
            "sample": named.samples.astype(np.int16),
            "place": named.places.astype(np.int16),
            "text": np.array(read.texts, dtype=object),
            "item_id": named.items,
            "similarity": named.similarity,
            "kind": read.kinds,
        }
        con.register("answer_columns", columns)
        con.execute(query("prompting/insert_answers"), {"run_id": run_id})
        con.unregister("answer_columns")

    def _write_about(self, folder: Path, record: RunRecord) -> None:
        """What was asked."""
        about = {"model": record.model, "settings": record.settings, "setup": self.work.asked.setup.to_dict()}
        write_json(folder / "model.json", about)


def _truthfulness(titles: list[str], grounded: Grounded) -> dict[str, Any]:
    """unique_recommendations: distinct titles named. hallucination_rate: share of the named that are no title of the
    catalog. hallucination_similarity: their mean similarity to the item taken for them.
    """
    said = np.array([bool(title) for title in titles], dtype=bool)
    nearest = grounded.kinds == NEAREST
    hallucinated = nearest | ((grounded.kinds == EMPTY) & said)
    return {
        "unique_recommendations": len(set(titles) - {""}),
        "hallucination_rate": float(hallucinated.sum() / said.sum()) if said.any() else None,
        "hallucination_similarity": float(grounded.similarity[nearest].mean()) if nearest.any() else None,
    }
