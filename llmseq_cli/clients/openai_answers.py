"""Answers in OpenAI's protocol, except vectors: files, fine-tuning jobs and their events, batches, chats."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from llmseq_cli.clients.answers import (
    Answer,
    Entries,
    Id,
    Object,
    OptionalId,
    Tokens,
    Typed,
    Words,
    fitting,
    token_count,
)


class File(Typed):
    id: Id
    filename: Words = None
    bytes: Tokens = None


class ModelCard(Typed):
    """A server's facts about a model. shutdown_date: YYYY-MM-DD, None if none is announced. deprecation: Azure's times
    in seconds, under `fine_tune` and `inference`.
    """

    shutdown_date: Words = None
    deprecation: Object


class _Error(Typed):
    message: Words = None


def _error_or_none(value: Any) -> Any:
    return value if isinstance(value, dict) else None


def _seconds(value: Any) -> float | None:
    """A time in seconds since 1970, None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 10**11:
        return None
    return float(value) if math.isfinite(value) else None


def _ids(value: Any) -> list[Any]:
    return [one for one in value if fitting(_Named, {"id": one}) is not None] if isinstance(value, list) else []


class _Named(Typed):
    id: Id


class TuningJob(Typed):
    """A fine-tuning job."""

    id: Id
    status: str
    fine_tuned_model: Words = None
    training_file: Words = None
    error: Annotated[_Error | None, BeforeValidator(_error_or_none)] = None
    trained_tokens: Tokens = None
    estimated_finish: Annotated[float | None, BeforeValidator(_seconds)] = None
    metadata: Object
    result_files: Annotated[list[Id], BeforeValidator(_ids), Field(default_factory=list)]


class TuningEvent(Typed):
    id: Id
    message: str


class _Errors(Typed):
    data: Entries


class BatchState(Typed):
    """A batch of the batch service."""

    id: Id
    status: str
    output_file_id: OptionalId = None
    error_file_id: OptionalId = None
    metadata: Object
    errors: Annotated[_Errors | None, BeforeValidator(_error_or_none)] = None

    @property
    def said(self) -> list[str]:
        """Why it failed, in the server's words."""
        found = [fitting(_Error, entry) for entry in (self.errors.data if self.errors else ())]
        return [error.message for error in found if error is not None and error.message]


class BatchResponse(Typed):
    status_code: int
    body: Any = None

    @property
    def refusal(self) -> str:
        """The words of an error."""
        error = self.body.get("error") if isinstance(self.body, dict) else None
        message = error.get("message") if isinstance(error, dict) else None
        return message if isinstance(message, str) else str(self.body)


class BatchLine(Typed):
    """A line of a batch's output or error file."""

    custom_id: str
    response: BatchResponse


class _Message(Typed):
    content: str | None = None


class _Choice(Typed):
    message: _Message
    finish_reason: Words = None
    logprobs: Object


class _Token(Typed):
    token: str
    logprob: float


class _FirstToken(Typed):
    top_logprobs: Entries


class _Chat(Typed):
    choices: list[Any]
    usage: Object


@dataclass(frozen=True)
class ChatChoices:
    """The valid choices of a chat completion, why each ended, and the tokens of all.

    first_tokens: (token, log-probability) of the most likely first tokens of the first choice, if requested.
    """

    texts: list[str]
    finishes: list[str]
    prompt_tokens: int | None
    completion_tokens: int | None
    first_tokens: list[tuple[str, float]]


def openai_chat(answer: Answer, hint: str) -> ChatChoices:
    """The choices of a chat completion. Raises BadAnswerError if none is valid."""
    found = fitting(_Chat, answer.document())
    choices = [fitting(_Choice, entry) for entry in (found.choices if found else ())]
    sound = [choice for choice in choices if choice is not None]
    if found is None or not sound:
        what = "makes no sense" if found is None or found.choices else "has no choice"
        raise answer.wrong(what, hint=hint)
    return ChatChoices(
        [choice.message.content or "" for choice in sound],
        [choice.finish_reason or "stop" for choice in sound],
        token_count(found.usage.get("prompt_tokens")),
        token_count(found.usage.get("completion_tokens")),
        _first_tokens(sound[0].logprobs),
    )


def _first_tokens(logprobs: dict[str, Any]) -> list[tuple[str, float]]:
    content = logprobs.get("content")
    first = fitting(_FirstToken, content[0]) if isinstance(content, list) and content else None
    told = [fitting(_Token, entry) for entry in (first.top_logprobs if first else ())]
    return [(one.token, one.logprob) for one in told if one is not None]
