"""Training and validation examples: which sessions, what is asked, what should be answered; streamed to JSON lines."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.errors import LlmseqError
from llmseq_cli.finetuning.item_lists import keyed_order
from llmseq_cli.finetuning.tasks.task import Ingredients, PromptTask
from llmseq_cli.finetuning.wording import Wording
from llmseq_cli.language_model.messages import Example
from llmseq_cli.progress import Progress

_SESSIONS_PER_BLOCK = 2048  # examples do not depend on it
TRAINING, VALIDATION = "training.jsonl", "validation.jsonl"
BEYOND_CONTEXT = "beyond the context"


@dataclass(frozen=True)
class Amounts:
    """How many examples. limit: at most so many to train on, None for all. validation: at most so many to validate
    with, and no larger a share of all than validation_share. context: tokens of the longest example.
    """

    limit: int | None
    validation: int
    context: int
    validation_share: float = 0.1


@dataclass
class Built:
    """What was built. digest: sha256 of both files. left_out: sessions by reason. Tokens are estimated."""

    digest: str = ""
    training: int = 0
    validation: int = 0
    training_tokens: int = 0
    validation_tokens: int = 0
    left_out: dict[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {
            "training_examples": self.training,
            "validation_examples": self.validation,
            "training_tokens": self.training_tokens,
            "validation_tokens": self.validation_tokens,
            "left_out": dict(self.left_out),
        }


@dataclass(frozen=True)
class ExampleBlock:
    """Examples of some sessions as arrays: see `Material`. tokens: int64[n], of question and answer.

    for_validation: bool[n].
    """

    prompts: Sessions
    targets: np.ndarray
    options: np.ndarray
    answers: np.ndarray
    tokens: np.ndarray
    for_validation: np.ndarray


class ExampleBuilder:
    """Examples of a task from training sessions.

    Sessions of fewer than two items, with an untitled item, without an answer, or beyond the context are left out and
    counted. Those that are used come in a random order that depends on the seed and each session alone; the first are
    for validation.
    """

    def __init__(self, task: PromptTask, wording: Wording, ingredients: Ingredients, amounts: Amounts) -> None:
        self.task, self.wording, self.ingredients, self.amounts = task, wording, ingredients, amounts

    def blocks(self, train: Sessions, built: Built) -> Iterator[ExampleBlock]:
        """Examples block by block; counts in `built` are complete once the last one has been taken."""
        chosen, n_validation = self._choose(train, built)
        for start in range(0, len(chosen), _SESSIONS_PER_BLOCK):
            places = chosen[start : start + _SESSIONS_PER_BLOCK]
            sessions = train.take(places)
            prompts, targets = sessions.histories(), sessions.targets()
            material = self.task.material(prompts, targets, self.ingredients)
            tokens = self.wording.question_tokens(prompts, material.options)
            tokens = tokens + self.wording.answer_tokens(material.answers)
            answered = (material.answers >= 0).any(axis=1)
            fits = tokens <= self.amounts.context
            _count(built, "without an answer", int((~answered).sum()))
            _count(built, BEYOND_CONTEXT, int((answered & ~fits).sum()))
            keep = np.flatnonzero(answered & fits)
            block = ExampleBlock(
                prompts.take(keep),
                targets[keep],
                material.options[keep],
                material.answers[keep],
                tokens[keep],
                np.arange(start, start + len(places))[keep] < n_validation,
            )
            built.training += int((~block.for_validation).sum())
            built.validation += int(block.for_validation.sum())
            built.training_tokens += int(block.tokens[~block.for_validation].sum())
            built.validation_tokens += int(block.tokens[block.for_validation].sum())
            yield block

    def example(self, block: ExampleBlock, place: int) -> Example:
        return self.task.example(self.wording, block.prompts[place], block.options[place], block.answers[place])

    def _choose(self, train: Sessions, built: Built) -> tuple[np.ndarray, int]:
        """(places of the sessions to use in their order, how many of the first are for validation)."""
        short = train.lengths < 2
        titled = np.concatenate([[0], np.cumsum(self.ingredients.groups[train.items] < 0)])
        untitled = (titled[train.offsets[1:]] - titled[train.offsets[:-1]]) > 0
        _count(built, "too short", int(short.sum()))
        _count(built, "with an untitled item", int((untitled & ~short).sum()))
        usable = np.flatnonzero(~short & ~untitled)
        order = usable[np.argsort(keyed_order(self.ingredients.seed, train.ids[usable], np.zeros(1)), kind="stable")]
        wanted = len(order) if self.amounts.limit is None else min(self.amounts.limit, len(order))
        n_validation = min(self.amounts.validation, int(wanted * self.amounts.validation_share))
        return order[: wanted if self.amounts.limit is None else wanted + n_validation], n_validation

    def count(self, train: Sessions, progress: Progress) -> Built:
        """What would be built, without building it."""
        built = Built()
        with progress.task("Counting examples", len(train), "sessions") as task:
            for block in self.blocks(train, built):
                task.advance(len(block.prompts))
        return built

    def show(self, train: Sessions, n: int) -> list[ExampleBlock]:
        """Blocks that hold the first n examples to train on."""
        shown: list[ExampleBlock] = []
        for block in self.blocks(train, Built()):
            keep = np.flatnonzero(~block.for_validation)[: n - sum(len(one.prompts) for one in shown)]
            shown.append(
                ExampleBlock(
                    block.prompts.take(keep),
                    block.targets[keep],
                    block.options[keep],
                    block.answers[keep],
                    block.tokens[keep],
                    block.for_validation[keep],
                )
            )
            if sum(len(one.prompts) for one in shown) >= n:
                break
        return shown

    def write(self, train: Sessions, folder: Path, as_line: Callable[[Example], str], progress: Progress) -> Built:
        """Writes training.jsonl and validation.jsonl, line by line, into an existing folder; the latter only where
        there is something in it.
        """
        built = Built()
        digests = {TRAINING: hashlib.sha256(), VALIDATION: hashlib.sha256()}
        with ExitStack() as opened, progress.task("Writing examples", len(train), "sessions") as task:
            files = {name: opened.enter_context((folder / name).open("wb")) for name in digests}
            for block in self.blocks(train, built):
                for place in range(len(block.prompts)):
                    example = self.example(block, place)
                    line = as_line(example)
                    name = VALIDATION if block.for_validation[place] else TRAINING
                    files[name].write(line.encode() + b"\n")
                    digests[name].update(line.encode() + b"\n")
                task.advance(len(block.prompts))
        if not built.validation:
            (folder / VALIDATION).unlink()
        both = digests[TRAINING].hexdigest() + digests[VALIDATION].hexdigest()
        built.digest = hashlib.sha256(both.encode()).hexdigest()
        return built


def check_files(folder: Path, largest: int | None) -> None:
    """Raises LlmseqError where a file is larger than a provider takes, in bytes."""
    for name in (TRAINING, VALIDATION):
        file = folder / name
        if largest is not None and file.exists() and file.stat().st_size > largest:
            raise LlmseqError(
                f"{name} has {file.stat().st_size / 1e6:,.0f} MB, and the provider takes {largest / 1e6:,.0f}",
                "give a smaller --limit",
            )


def check_amount(built: Built, least: int, most: int | None) -> None:
    """Raises LlmseqError where there are too few examples to train on, or too many."""
    if most is not None and built.training > most:
        raise LlmseqError(
            f"{built.training:,} examples to train on are more than the provider takes", f"--limit {most} at most"
        )
    if built.training >= max(1, least):
        return
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in built.left_out.items())
    hint = f"the provider takes {least:,} or more; give a larger --limit"
    if not built.training:
        hint = "give a larger --context" if BEYOND_CONTEXT in built.left_out else "check the titles"
    raise LlmseqError(
        f"{built.training:,} examples are too few to train on" + (f" (left out: {reasons})" if reasons else ""), hint
    )


def _count(built: Built, reason: str, count: int) -> None:
    if count:
        built.left_out[reason] = built.left_out.get(reason, 0) + count
