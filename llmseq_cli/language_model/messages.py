"""Messages to and from language models, wherever they run: examples, questions, answers, states of jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

SUCCEEDED, CANCELLED = "succeeded", "cancelled"


@dataclass(frozen=True)
class Example:
    """One training example as text. `system` may be empty. rejected: a worse answer than completion."""

    system: str
    user: str
    completion: str
    rejected: str = ""


def chat_messages(example: Example) -> list[dict[str, str]]:
    """An example as chat messages, for OpenAI's protocol and chat templates."""
    said = ("system", example.system), ("user", example.user), ("assistant", example.completion)
    return [{"role": role, "content": content} for role, content in said if content]


def gemini_contents(example: Example) -> dict[str, Any]:
    """An example in Gemini's format."""
    line: dict[str, Any] = {}
    if example.system:
        line["systemInstruction"] = {"role": "system", "parts": [{"text": example.system}]}
    said = ("user", example.user), ("model", example.completion)
    line["contents"] = [{"role": role, "parts": [{"text": text}]} for role, text in said]
    return line


@dataclass(frozen=True)
class RemoteJob:
    """A job at the provider. status: queued, running, succeeded, failed or cancelled. model: the fine-tuned one, once
    it exists. error: why it failed. trained_tokens: the tokens billed.
    """

    remote_id: str
    status: str
    model: str | None = None
    error: str | None = None
    trained_tokens: int | None = None
    finishes_in: float | None = None
    """Remaining seconds, as estimated by the provider."""


@dataclass(frozen=True)
class JobEvent:
    """An event of a job at its provider."""

    event_id: str
    message: str


@dataclass(frozen=True)
class Constraint:
    """The only allowed answers: titles, each at most once.

    line: the wording of one title, with the placeholders {title} and {number}. separator: the text between two.
    titles: distinct. allowed: places of allowed titles, int64[n]; without: places to exclude. names: how many an answer
    names.
    """

    line: str
    separator: str
    titles: Sequence[str]
    allowed: np.ndarray
    without: np.ndarray
    names: int

    def answer(self, titles: Sequence[str]) -> str:
        """An answer that names these titles."""
        return self.separator.join(self.line.format(number=n, title=title) for n, title in enumerate(titles, 1))


@dataclass(frozen=True)
class Weighing:
    """Answers whose log-probabilities are requested. whole: of the complete answer, not only of an answer that begins
    so."""

    texts: tuple[str, ...]
    whole: bool = False


@dataclass(frozen=True)
class ChatRequest:
    """A question to a model: n answers of at most max_tokens tokens each. seed, and first (the number of the first
    answer among all requested so far) determine the random draws of a local model. weighing: return a JSON list with a
    log-probability for each of its texts instead of an answer, null if unknown.
    """

    model: str
    system: str
    user: str
    n: int
    temperature: float
    top_p: float
    max_tokens: int
    seed: int = 0
    first: int = 0
    constraint: Constraint | None = None
    weighing: Weighing | None = None


@dataclass(frozen=True)
class Completions:
    """Answers to a question, possibly fewer than requested.

    finishes: why each ended: stop, length, content_filter or another word of the provider. Tokens are None if the
    provider does not count them. Rates: the account's limits according to the answer.
    """

    texts: list[str]
    finishes: list[str]
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    extra: dict[str, Any] = field(default_factory=dict)
