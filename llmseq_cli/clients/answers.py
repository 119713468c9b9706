"""Parse server answers into typed values. If one does not fit, the error names the server and quotes its answer.

A server can send anything: HTML with status 200, a number where a list belongs, tokens below zero. Everything from a
service passes through here before it is used or stored. Lists are parsed entry by entry, so that one bad entry does not
lose the good ones, which are paid for.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from llmseq_cli.clients.errors import BadAnswerError, TransientError

M = TypeVar("M", bound=BaseModel)

MOST_TOKENS = 10**12
"""No request uses more tokens: a larger count is an error."""

_EXCERPT = 200
_LOOKED_AT = 2_000


@dataclass(frozen=True)
class Answer:
    """The body of an answer, not yet parsed. server: who sent it. scrub: makes text safe to show, without keys."""

    server: str
    content: bytes
    scrub: Callable[..., str]

    def wrong(self, what: str, *, refuses: bool = False, hint: str | None = None) -> BadAnswerError:
        """The error for an answer that does not fit."""
        start = self.scrub(self.content[:_LOOKED_AT].decode("utf-8", "replace"), _EXCERPT)
        error = BadAnswerError(f"{self.server}: the answer {what}: {start or 'it is empty'}", refuses=refuses)
        error.hint = hint or error.hint
        return error

    def misread(self, what: str) -> TransientError:
        """The error for an answer that a library could not parse: cut off, or `what`."""
        try:
            self.document()
        except TransientError as error:
            return error
        return self.wrong(what)

    def document(self) -> Any:
        """The JSON in it. Raises TransientError if it is cut off, BadAnswerError if it is not JSON."""
        try:
            return json.loads(self.content)
        except json.JSONDecodeError as error:
            cut = error.pos >= len(error.doc.rstrip()) or error.msg.startswith("Unterminated string")
            if cut and error.doc.lstrip()[:1] in ("{", "["):
                raise TransientError(f"{self.server}: the answer is cut off", lost=True) from None
            raise self.wrong("is not JSON") from None
        except (ValueError, RecursionError):
            raise self.wrong("is not JSON") from None

    def read(self, kind: type[M], what: str = "makes no sense") -> M:
        """The answer as a typed value. Raises TransientError or BadAnswerError."""
        found = fitting(kind, self.document())
        if found is None:
            raise self.wrong(what)
        return found


def fitting(kind: type[M], value: Any) -> M | None:
    """A part of an answer as a typed value, None if it does not fit."""
    try:
        return kind.model_validate(value)
    except (ValidationError, RecursionError, OverflowError):
        return None


def token_count(value: Any) -> int | None:
    """A token count; None, as if missing, for a value that cannot be one."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 13:  # as Google writes int64
        value = int(value)
    if isinstance(value, float) and math.isfinite(value):
        value = round(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_TOKENS:
        return None
    return value


def _or_none(kind: type) -> BeforeValidator:
    return BeforeValidator(lambda value: value if isinstance(value, kind) and not isinstance(value, bool) else None)


def _dict_or_empty(value: Any) -> Any:
    return value if isinstance(value, dict) else {}


def _list_or_empty(value: Any) -> Any:
    return value if isinstance(value, list) else []


Tokens = Annotated[int | None, BeforeValidator(token_count)]
Words = Annotated[str | None, _or_none(str)]
"""Optional text; anything else counts as missing."""
Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:@|-]{0,254}$")]
"""An id that is used in URLs and file names."""
OptionalId = Annotated[Id | None, BeforeValidator(lambda value: value or None)]
Object = Annotated[dict[str, Any], BeforeValidator(_dict_or_empty), Field(default_factory=dict)]
Entries = Annotated[list[Any], BeforeValidator(_list_or_empty), Field(default_factory=list)]


class Typed(BaseModel):
    """Strict: nothing is converted. Unknown fields are ignored."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class Page(Typed):
    """A page of a list in OpenAI's protocol."""

    data: list[Any]
    has_more: Annotated[bool, BeforeValidator(lambda value: value is True)] = False

    def entries(self, kind: type[M]) -> list[M]:
        return [found for entry in self.data if (found := fitting(kind, entry)) is not None]
