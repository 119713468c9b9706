"""Training and validation examples: choose sessions, questions and answers; stream them to JSON lines."""

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
    """Numbers of examples. limit: most training examples, None for all. validation: most validation examples, at most
    validation_share of all. context: most tokens of an example.
    """

    limit: int | None
    validation: int
    context: int
    validation_share: float = 0.1


@dataclass
class Built:
    """What was built. digest: sha256 of both files. left_out: number of sessions by reason. Token counts are
    estimates."""

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
    """Examples of a block of sessions as arrays: see `Material`. tokens: int64[n], of question and answer.

    for_validation: bool[n].
    """

    prompts: Sessions
    targets: np.ndarray
    options: np.ndarray
    answers: np.ndarray
    tokens: np.ndarray
    for_validation: np.ndarray


class ExampleBuilder:
    """Builds a task's examples from training sessions.

    Sessions with fewer than two items, an untitled item, no answer, or too many tokens are left out and counted. The
    others come in a random order that depends only on the seed and each session; the first ones are for validation.
    """

    def __init__(self, task: PromptTask, wording: Wording, ingredients: Ingredients, amounts: Amounts) -> None:
        self.task, self.wording, self.ingredients, self.amounts = task, wording, ingredients, amounts

    def blocks(self, train: Sessions, built: Built) -> Iterator[ExampleBlock]:
        """Examples block by block; the counts in `built` are complete after the last block."""
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
        """(places of the sessions to use, in order; how many of the first are for validation)."""
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
        """Count what would be built, without writing it."""
        built = Built()
        with progress.task("Counting examples", len(train), "sessions") as task:
            for block in self.blocks(train, built):
                task.advance(len(block.prompts))
        return built

    def show(self, train: Sessions, n: int) -> list[ExampleBlock]:
        """Blocks with the first n training examples."""
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
        """Write training.jsonl and, if it is not empty, validation.jsonl, line by line, into an existing folder."""
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
    """Raises LlmseqError if a file is larger than the provider's limit in bytes."""
    for name in (TRAINING, VALIDATION):
        file = folder / name
        if largest is not None and file.exists() and file.stat().st_size > largest:
            raise LlmseqError(
                f"{name} has {file.stat().st_size / 1e6:,.0f} MB; the provider's limit is {largest / 1e6:,.0f}",
                "give a smaller --limit",
            )


def check_amount(built: Built, least: int, most: int | None) -> None:
    """Raises LlmseqError if there are too few or too many training examples."""
    if most is not None and built.training > most:
        raise LlmseqError(
            f"{built.training:,} training examples are more than the provider's limit", f"use --limit {most} at most"
        )
    if built.training >= max(1, least):
        return
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in built.left_out.items())
    hint = f"the provider needs at least {least:,}; give a larger --limit"
    if not built.training:
        hint = "give a larger --context" if BEYOND_CONTEXT in built.left_out else "check the titles"
    raise LlmseqError(
        f"{built.training:,} examples are too few to train on" + (f" (left out: {reasons})" if reasons else ""), hint
    )


def _count(built: Built, reason: str, count: int) -> None:
    if count:
        built.left_out[reason] = built.left_out.get(reason, 0) + count
