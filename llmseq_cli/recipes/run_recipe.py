"""Execute a recipe: existing results are kept, and a failed step does not stop the others."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmseq_cli.data.dataset import find_dataset
from llmseq_cli.data.ingest import Protocol
from llmseq_cli.data.options import IngestOptions
from llmseq_cli.data.readers.files import find_files
from llmseq_cli.embeddings.make import SOURCES
from llmseq_cli.embeddings.options import EmbedOptions
from llmseq_cli.embeddings.stored import find_embeddings
from llmseq_cli.errors import InterruptedByUserError, LlmseqError, UsageError, did_you_mean
from llmseq_cli.recipes.recipe import ALL_SEEDS, AT_HAND, BERT, Embed, Recipe, Train
from llmseq_cli.training.options import TrainOptions
from llmseq_cli.workspace import Workspace

_LOCAL = ("huggingface", "lexical")
"""Sources whose embeddings a recipe makes if the user names them; the others cost money."""

_PREFERRED = ("openai", "vertex", "huggingface", "lexical")
"""If the user names no embeddings, use stored ones of the first of these sources; of several, the newest."""


@dataclass(frozen=True)
class RunOptions:
    """A user's options for a recipe. dataset: its name here. data: files to ingest if it is missing.

    embeddings: what "at-hand" means, SOURCE[:MODEL]; missing local ones are made. models: names of steps or models;
    None for all. seeds: for every step that has several. device: for neural models. bert: what "bert" means, like
    embeddings.
    """

    dataset: str | None = None
    data: tuple[str, ...] = ()
    embeddings: str | None = None
    models: tuple[str, ...] | None = None
    seeds: int | None = None
    device: str = "auto"
    bert: str | None = None


@dataclass
class Done:
    """The result of a recipe: runs of each step, and the reasons of failed steps and embeddings, by name."""

    dataset: str
    runs: dict[str, list[str]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    failed_embeds: dict[str, str] = field(default_factory=dict)

    @property
    def all_runs(self) -> list[str]:
        return [run for runs in self.runs.values() for run in runs]


_FOUND = 0.1
"""A step that takes less than this share of its minutes already existed, and does not count for the speed."""

_LEAST_MINUTES = 0.05
"""Shorter times are not shown."""


class RecipeRun:
    """One execution of a recipe in a workspace.

    Raises UsageError for options that do not fit the recipe.
    """

    def __init__(self, workspace: Workspace, recipe: Recipe, options: RunOptions) -> None:
        self.workspace, self.recipe, self.options = workspace, recipe, options
        self.progress = workspace.progress
        self._words: dict[str, str] = {}
        for word in (options.embeddings, options.bert):
            source = (word or SOURCES[0]).partition(":")[0]
            if source not in SOURCES and not source.isdigit():
                raise UsageError(f"there is no source of embeddings '{source}'", did_you_mean(source, list(SOURCES)))
        self.dataset = options.dataset or recipe.dataset.name
        self.steps = tuple(self._with_seeds(step) for step in self._wanted())

    def _wanted(self) -> list[Train]:
        """The requested steps, and those that they need."""
        wanted = self.options.models
        if wanted is None:
            return list(self.recipe.train)
        known = [step.name for step in self.recipe.train]
        for name in wanted:
            if name not in known and name not in {step.model for step in self.recipe.train}:
                raise UsageError(f"the recipe {self.recipe.name} has no step '{name}'", did_you_mean(name, known))
        chosen = {step.name for step in self.recipe.train if step.name in wanted or step.model in wanted}
        for step in reversed(self.recipe.train):
            if step.name in chosen:
                chosen |= {run.removesuffix(ALL_SEEDS) for run in step.runs}
        return [step for step in self.recipe.train if step.name in chosen]

    def _with_seeds(self, step: Train) -> Train:
        seeds = self.options.seeds
        return step.model_copy(update={"seeds": seeds}) if seeds is not None and step.seeds > 1 else step

    def plan(self) -> list[dict[str, Any]]:
        """The steps in order: what each does, and an upper estimate of its remaining minutes."""
        rows: list[dict[str, Any]] = []
        if not self._has_dataset():
            find_files(list(self.options.data))  # what is not there is told before the run
            rows.append(
                {"step": "ingest", "what": self.dataset, "with": self._origin(), "seeds": None, "minutes": None}
            )
        rows += [
            {"step": "embed", "what": one.name, "with": one.word, "seeds": None, "minutes": None}
            for one in self._embeds()
        ]
        for step in self._possible():
            parts = ", ".join(step.runs) or self._described(step)
            minutes = step.minutes * step.seeds if step.minutes else None
            rows.append({"step": "train", "what": step.name, "with": parts, "seeds": step.seeds, "minutes": minutes})
        return rows

    def _described(self, step: Train) -> str:
        words = [self._told(step.embeddings)] if step.embeddings else []
        words += [f"{step.reduce or 'whiten'} {step.dim}"] if step.dim else [step.reduce] if step.reduce else []
        return " ".join(words)

    def _origin(self) -> str:
        download = self.recipe.dataset.download
        return ", ".join(self.options.data) or (f"download of {download}" if download else "–")

    def run(self) -> Done:
        """Execute all steps. Failed steps are recorded, and steps that need them are left out.

        Raises LlmseqError if the dataset, or named embeddings that cost money, are missing.
        """
        done = Done(self.dataset)
        self._check_at_hand()
        self._ensure_dataset()
        embeds = self._embeds()
        steps = self._possible()
        count = len(embeds) + len(steps)
        for step in self.steps:
            if step not in steps:
                self.progress.message(
                    f"{step.name} is left out: it needs BERT embeddings, --bert huggingface:bert-base-uncased"
                )
        for place, one in enumerate(embeds, 1):
            self.progress.message(f"step {place} of {count}: embed {one.name} ({one.word})")
            with self._noting(done.failed_embeds, one.name):
                self._embed(one)
        left = _TimeLeft(steps)
        for place, step in enumerate(steps, len(embeds) + 1):
            self.progress.message(f"step {place} of {count}: {step.name} ({step.model}){left.words()}")
            with self._noting(done.failed, step.name):
                done.runs[step.name] = self._train(step, done)
            left.done(step)
        return done

    def _possible(self) -> list[Train]:
        """The steps whose embeddings are available or can be made."""
        return [step for step in self.steps if step.embeddings != BERT or self._bert()]

    def _bert(self) -> str | None:
        """The BERT embeddings that the user named, or the newest stored ones."""
        if self.options.bert:
            return self.options.bert
        names = [f"{row['source']}:{row['model']}" for row in self._stored() if "bert" in row["model"].lower()]
        return names[-1] if names else None

    def _has_dataset(self) -> bool:
        is_made = self.workspace.store.file.exists()
        return is_made and self.dataset in {row["name"] for row in self.workspace.datasets()}

    def _ensure_dataset(self) -> None:
        if self._has_dataset():
            return
        paths = self.options.data or self._downloaded()
        protocol = {key: value for key, value in self.recipe.dataset.ingest.items() if key != "format"}
        try:
            chosen = Protocol(**protocol)
        except TypeError as error:
            raise LlmseqError(
                f"{self.recipe.origin}: [dataset.ingest]: {error}", "see `llmseq ingest --help`"
            ) from None
        self.progress.message(f"ingesting {self.dataset}")
        format = str(self.recipe.dataset.ingest.get("format", "auto"))
        self.workspace.ingest(IngestOptions(paths, self.dataset, format=format, protocol=chosen))

    def _downloaded(self) -> tuple[str, ...]:
        from llmseq_cli.data.downloads.public_datasets import download_dataset

        if self.recipe.dataset.download is None:
            raise LlmseqError(
                f"there is no dataset '{self.dataset}' in the workspace",
                f"`llmseq ingest FILES --name {self.dataset}`, or name its files with --data",
            )
        folder = self.workspace.folder / "artifacts" / "downloads" / self.recipe.dataset.download
        done = download_dataset(self.recipe.dataset.download, folder, self.progress, None)
        return tuple(str(Path(path)) for path in done.paths)

    def _embeds(self) -> list[Embed]:
        """Embeddings of the recipe that its steps use, and "at-hand" ones that can be made here."""
        used = {step.embeddings for step in self.steps}
        listed = [one for one in self.recipe.embed if one.name in used]
        source, _, model = self._at_hand().partition(":")
        is_there = self._is_stored(source, model) or any(
            one.source == source and model in ("", one.model) for one in listed
        )
        if AT_HAND in used and source in _LOCAL and not is_there:
            listed.append(Embed(name=AT_HAND, source=source, model=model or None))
        source, _, model = (self._bert() or "").partition(":")
        if BERT in used and source in _LOCAL and not self._is_stored(source, model):
            listed.append(Embed(name=BERT, source=source, model=model or None))
        return listed

    def _is_stored(self, source: str, model: str) -> bool:
        return any(row["source"] == source and model in ("", row["model"]) for row in self._stored())

    def _check_at_hand(self) -> None:
        """Raises LlmseqError if named embeddings are missing and cost money to make."""
        word = self._at_hand()
        if word.partition(":")[0] in _LOCAL or AT_HAND not in {step.embeddings for step in self.steps}:
            return
        if not self._has_dataset():
            raise LlmseqError(
                f"the dataset '{self.dataset}' does not exist yet, so it has no embeddings '{word}'",
                f"`llmseq ingest … --name {self.dataset}`, then `llmseq embed`, which shows what they cost",
            )
        with self.workspace.store.read("looking for embeddings") as con:
            find_embeddings(con, find_dataset(con, self.dataset).dataset_id, word)

    def _at_hand(self) -> str:
        """The embeddings that the user named, or the best stored ones, or the lexical source, which needs nothing."""
        if self.options.embeddings:
            return self.options.embeddings
        stored = self._stored()
        for source in _PREFERRED:
            for row in reversed(stored):
                if row["source"] == source:
                    return f"{source}:{row['model']}" if source != "lexical" else source
        return "lexical"

    def _stored(self) -> list[dict[str, Any]]:
        if not self.workspace.store.file.exists():
            return []
        return [row for row in self.workspace.embeddings() if row["dataset"] == self.dataset]

    def _embed(self, one: Embed) -> None:
        if self._number(one) is None:
            options = EmbedOptions(
                one.source, dataset=self.dataset, model=one.model, text=one.text, settings=one.settings
            )
            # A model in a folder has the folder's name, by which it would not be found.
            self._words[one.name] = str(self.workspace.embed(options)["number"])

    def _number(self, one: Embed) -> int | None:
        """The stored embeddings of this source, model and text, the newest if there are several."""
        found = [
            row["number"]
            for row in self._stored()
            if (row["source"], row["text"]) == (one.source, one.text) and one.model in (None, row["model"])
        ]
        return found[-1] if found else None

    def _embeddings_word(self, name: str | None) -> str:
        if name in self._words:
            return self._words[name]
        if name is None or name == AT_HAND:
            return self._at_hand()
        if name == BERT:
            return self._bert() or BERT
        listed = self._listed(name)
        if listed is None:
            return name
        number = self._number(listed)
        return listed.word if number is None else str(number)

    def _told(self, name: str) -> str:
        """What a plan says of embeddings: their source, not their number."""
        listed = self._listed(name)
        return listed.word if listed else self._embeddings_word(name)

    def _listed(self, name: str) -> Embed | None:
        return next((one for one in self.recipe.embed if one.name == name), None)

    def _train(self, step: Train, done: Done) -> list[str]:
        if step.embeddings in done.failed_embeds:
            raise LlmseqError("its embeddings failed", "run the recipe again")
        word = self._embeddings_word(step.embeddings) if step.embeddings else None
        options = TrainOptions(
            step.model,
            dataset=self.dataset,
            embeddings=word,
            reduce=step.reduce,
            dim=self._fitting(step.dim, word),
            lengths=step.lengths,
            settings=step.settings,
            seed=self.recipe.seed,
            seeds=step.seeds,
            device=self.options.device,
            resume="if-begun",
            runs=tuple(self._base_runs(step, done)),
        )
        return self.workspace.train(options)

    def _fitting(self, dim: int | None, word: str | None) -> int | None:
        """The requested number of dimensions, or fewer if embeddings and items allow fewer."""
        if dim is None or word is None:
            return dim
        source, _, model = word.partition(":")
        for row in self._stored():
            most = min(row["dimensions"], row["items"] - 1)
            named = word == str(row["number"]) or (row["source"] == source and model in ("", row["model"]))
            if named and most < dim:
                self.progress.message(f"{dim} dimensions were requested, at most {most} are possible")
                return int(most)
        return dim

    def _base_runs(self, step: Train, done: Done) -> Iterator[str]:
        for name in step.runs:
            one = name.removesuffix(ALL_SEEDS)
            if one in done.failed:
                raise LlmseqError(f"it needs {one}, which failed", "run the recipe again")
            made = done.runs.get(one, [name])
            yield from made if name.endswith(ALL_SEEDS) else made[:1]

    @contextmanager
    def _noting(self, failed: dict[str, str], name: str) -> Iterator[None]:
        """Record and report why a step failed, and let later steps continue; Ctrl-C stops everything."""
        try:
            yield
        except InterruptedByUserError as error:
            raise InterruptedByUserError(error.message, "run the same command to continue") from error
        except LlmseqError as error:
            failed[name] = f"{error.message}; {error.hint}" if error.hint else error.message
            self.progress.message(f"{name} failed: {failed[name]}")


class _TimeLeft:
    """Estimates the remaining time of a recipe from the minutes of its steps and the speed of finished ones."""

    def __init__(self, steps: Sequence[Train]) -> None:
        self.left = sum(map(_minutes, steps))
        self.planned, self.taken = 0.0, 0.0
        self.clock = time.perf_counter()

    def done(self, step: Train) -> None:
        taken = (time.perf_counter() - self.clock) / 60
        self.clock = time.perf_counter()
        self.left -= _minutes(step)
        if taken > _FOUND * _minutes(step):
            self.planned += _minutes(step)
            self.taken += taken

    def words(self) -> str:
        """ ", about 12 minutes left", or empty if the steps do not say how long they take."""
        pace = self.taken / self.planned if self.planned else 1.0
        minutes = self.left * pace
        if self.left < _LEAST_MINUTES:
            return ""
        return f", about {minutes:.0f} minutes left" if minutes < 120 else f", about {minutes / 60:.1f} hours left"


def _minutes(step: Train) -> float:
    return (step.minutes or 0.0) * step.seeds
