"""What is said to a language model and comes back, wherever it runs: examples, questions, answers, states of a job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

SUCCEEDED, CANCELLED = "succeeded", "cancelled"


@dataclass(frozen=True)
class Example:
    """One example to learn from, in words. `system` may be empty. rejected: an answer that is worse than completion."""

    system: str
    user: str
    completion: str
    rejected: str = ""


def chat_messages(example: Example) -> list[dict[str, str]]:
    """An example as messages of a chat, as OpenAI's protocol and chat templates have them."""
    said = ("system", example.system), ("user", example.user), ("assistant", example.completion)
    return [{"role": role, "content": content} for role, content in said if content]


def gemini_contents(example: Example) -> dict[str, Any]:
    """An example in Gemini's format of contents."""
    line: dict[str, Any] = {}
    if example.system:
        line["systemInstruction"] = {"role": "system", "parts": [{"text": example.system}]}
    said = ("user", example.user), ("model", example.completion)
    line["contents"] = [{"role": role, "parts": [{"text": text}]} for role, text in said]
    return line


@dataclass(frozen=True)
class RemoteJob:
    """A job as the provider sees it. status: queued, running, succeeded, failed or cancelled. model: the fine-tuned
    one, once there is one. error: why it failed. trained_tokens: what is paid for.
    """

    remote_id: str
    status: str
    model: str | None = None
    error: str | None = None
    trained_tokens: int | None = None
    finishes_in: float | None = None
    """Seconds that the provider expects it to need yet."""


@dataclass(frozen=True)
class JobEvent:
    """Something that a provider told of a job."""

    event_id: str
    message: str


@dataclass(frozen=True)
class Constraint:
    """The only answers that are allowed: titles, each at most once.

    line: how an answer words one title, with the placeholders {title} and {number}. separator: what stands between two.
    titles: distinct. allowed: places among them that may be named, int64[n]; without: but these. names: how many an
    answer names.
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
    """Answers whose log-probabilities are wanted. whole: that an answer says this and no more, not only begins so."""

    texts: tuple[str, ...]
    whole: bool = False


@dataclass(frozen=True)
class ChatRequest:
    """A question to a model: n answers of at most max_tokens tokens each. seed, and first (the number of the first
    answer, of all that were ever asked for): which draws a model makes that runs here. weighing: instead of an answer
    comes a JSON list with a log-probability for each of its texts, null for what is not told.
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
    """Answers to a question, which may be fewer than asked for.

    finishes: why each ended: stop, length, content_filter or another word of the provider's. Tokens are None where
    the provider does not count. Rates: limits of the account that the answer told.
    """

    texts: list[str]
    finishes: list[str]
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    extra: dict[str, Any] = field(default_factory=dict)
