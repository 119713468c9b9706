"""Answers of Vertex AI, except vectors: candidates of `:generateContent`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llmseq_cli.clients.answers import Answer, Entries, Object, Typed, Words, fitting, token_count
from llmseq_cli.clients.errors import RefusedError

_FINISHES = {"STOP": "stop", "MAX_TOKENS": "length"}


class _Part(Typed):
    text: Words = None
    thought: Any = False


class _Content(Typed):
    parts: Entries


class _Candidate(Typed):
    content: _Content | None = None
    finishReason: Words = None  # noqa: N815 as it is called there
    logprobsResult: Object  # noqa: N815

    @property
    def text(self) -> str | None:
        """The text without thoughts; None if a part is not valid."""
        parts = [fitting(_Part, part) for part in (self.content.parts if self.content else ())]
        if any(part is None for part in parts):
            return None
        return "".join(part.text for part in parts if part is not None and part.text and part.thought is not True)


class _Token(Typed):
    token: str
    logProbability: float  # noqa: N815


class _Tokens(Typed):
    candidates: Entries


class _Generated(Typed):
    candidates: Entries
    promptFeedback: Object  # noqa: N815
    usageMetadata: Object  # noqa: N815


@dataclass(frozen=True)
class ChatCandidates:
    """The valid candidates, why each ended, and the tokens of all, including thoughts.

    first_tokens: (token, log-probability) of the most likely first tokens of the first one, if requested.
    """

    texts: list[str]
    finishes: list[str]
    prompt_tokens: int | None
    completion_tokens: int | None
    first_tokens: list[tuple[str, float]]


def vertex_chat(answer: Answer, hint: str) -> ChatCandidates:
    """The candidates of an answer. Raises RefusedError for a blocked prompt, BadAnswerError if none is valid."""
    found = fitting(_Generated, answer.document() if answer.content.strip() else {})
    if found is None:
        raise answer.wrong("makes no sense", hint=hint)
    read = [fitting(_Candidate, entry) for entry in found.candidates]
    sound = [(text, one) for one in read if one is not None and (text := one.text) is not None]
    if not sound:
        blocked = found.promptFeedback.get("blockReason")
        if isinstance(blocked, str) and not found.candidates:
            raise RefusedError(f"the prompt is blocked: {answer.scrub(blocked)}")
        raise answer.wrong("makes no sense" if found.candidates else "has no candidate", hint=hint)
    usage = found.usageMetadata
    completion = token_count(usage.get("candidatesTokenCount"))
    if completion is not None:
        completion += token_count(usage.get("thoughtsTokenCount")) or 0
    return ChatCandidates(
        [text for text, _ in sound],
        [_FINISHES.get(one.finishReason or "STOP", "content_filter") for _, one in sound],
        token_count(usage.get("promptTokenCount")),
        completion,
        _first_tokens(sound[0][1].logprobsResult),
    )


def _first_tokens(logprobs: dict[str, Any]) -> list[tuple[str, float]]:
    tokens = logprobs.get("topCandidates")
    first = fitting(_Tokens, tokens[0]) if isinstance(tokens, list) and tokens else None
    told = [fitting(_Token, entry) for entry in (first.candidates if first else ())]
    return [(one.token, one.logProbability) for one in told if one is not None]
