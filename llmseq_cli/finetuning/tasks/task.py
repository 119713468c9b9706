"""`PromptTask`: the interface of all fine-tuning tasks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.errors import LlmseqError
from llmseq_cli.finetuning.tasks.answer_text import read_list
from llmseq_cli.finetuning.wording import Wording
from llmseq_cli.language_model.messages import Example


@dataclass(frozen=True)
class Categories:
    """The categories of the task classify.

    items: int32[c], the item that represents each. nearest: (targets int32[n], k) → int32[n, k], the categories closest
    to each target, closest first.
    """

    items: np.ndarray
    nearest: Callable[[np.ndarray, int], np.ndarray]


@dataclass(frozen=True)
class Ingredients:
    """The inputs from which tasks make examples.

    k: how many items an answer names. seed: of all shuffling. groups: see `title_groups`.
    candidates: a model's lists, (prompts, k) → int32[n, k], for tasks that need them. categories: likewise.
    """

    k: int
    seed: int
    groups: np.ndarray
    candidates: Callable[[Sessions, int], np.ndarray] | None = None
    categories: Categories | None = None


@dataclass(frozen=True)
class Material:
    """The content of some sessions' examples: options int32[n, m] in the order shown, and answers int32[n, k].

    Both are padded with NO_ITEM; m is 0 for tasks without options.
    """

    options: np.ndarray
    answers: np.ndarray


class PromptTask(ABC):
    """One way to ask for the next item.

    A subclass is one file: what is asked (`options`), what should be answered (`material`), how to parse answers
    (`parse`).
    """

    name: ClassVar[str]
    label: ClassVar[str]
    """The name in reports, as in the paper."""
    needs: ClassVar[str] = "nothing"
    """Needed for questions: "nothing", "candidates" or "categories"."""
    trains_on: ClassVar[str] = "nothing"
    """Needed for training examples; as `needs`."""
    template: ClassVar[str | None] = None
    """The template with its wording; None for the one of its own name."""
    submits: ClassVar[bool] = True
    """Whether providers can train on its examples; otherwise the files are for another trainer."""
    names_one: ClassVar[bool] = False
    """Whether an answer names one item instead of k."""
    samples: ClassVar[int] = 1
    """Default number of answers per session."""
    temperature: ClassVar[float] = 0.0
    """The paper's best temperature."""

    @property
    def lists_options(self) -> bool:
        return self.needs != "nothing"

    @abstractmethod
    def options(self, prompts: Sessions, ingredients: Ingredients) -> np.ndarray:
        """The options shown at prediction, int32[n, m]."""

    @abstractmethod
    def material(self, prompts: Sessions, targets: np.ndarray, ingredients: Ingredients) -> Material:
        """Options and answers for training; targets (int32[n]) are the true next items."""

    def example(self, wording: Wording, session: np.ndarray, options: np.ndarray, answer: np.ndarray) -> Example:
        """One training example as text."""
        return wording.example(session, options, answer)

    def parse(self, text: str, *, cut_off: bool = False) -> list[str]:
        """The titles that an answer names, best first; [] if it names none. cut_off: it ended at a limit."""
        return read_list(text, cut_off=cut_off)


def no_options(n: int) -> np.ndarray:
    return np.empty((n, 0), dtype=np.int32)


def candidates_of(prompts: Sessions, ingredients: Ingredients) -> np.ndarray:
    """A model's lists, int32[n, k]."""
    if ingredients.candidates is None:
        raise LlmseqError("there are no candidates", "name a run with --candidates")
    return ingredients.candidates(prompts, ingredients.k)
