"""Users' TOML files, checked against a pydantic model: an error is one line that names the file and the key."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, get_args

from llmseq_cli.errors import LlmseqError, did_you_mean

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError
    from pydantic_core import ErrorDetails, PydanticCustomError

    M = TypeVar("M", bound=BaseModel)

_KINDS = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
}


def read_toml(file: Path, what: str, hint: str, error: type[LlmseqError] = LlmseqError) -> dict[str, Any]:
    """Read a file's table. what: the kind of file, for errors. hint: for a missing file."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as failure:
        raise error(f"{what} {file} cannot be read: {failure.strerror}", hint) from None
    except ValueError as failure:
        raise error(f"{what} {file} is not valid TOML: {failure}", "fix the TOML syntax") from None


def checked(model: type[M], table: dict[str, Any], origin: str, what: str, error: type[LlmseqError] = LlmseqError) -> M:
    """The table as a model. origin: the file's name; what: the kind of file, such as "the recipe"; both for errors."""
    from pydantic import ValidationError

    try:
        return model.model_validate(table)
    except ValidationError as failure:
        _explain(failure, model, origin, what, error)


def wrong(message: str, hint: str) -> PydanticCustomError:
    """The error that validators raise; `checked` adds the position."""
    from pydantic_core import PydanticCustomError

    # The texts are values of a fixed template, because they may contain braces.
    return PydanticCustomError("wrong", "{message}", {"message": message, "hint": hint})


def _explain(
    failure: ValidationError, model: type[BaseModel], origin: str, what: str, error: type[LlmseqError]
) -> NoReturn:
    found = failure.errors(include_url=False)
    # A misspelt key is often also a missing key; the misspelling is the better message.
    first = next((one for one in found if one["type"] == "extra_forbidden"), found[0])
    message, hint = _in_words(first, model, what)
    raise error(f"{origin}: {message}", hint) from None


def _in_words(found: ErrorDetails, model: type[BaseModel], what: str) -> tuple[str, str]:
    """(what is wrong and where, what is allowed)."""
    kind, given, context = found["type"], found["input"], found.get("ctx", {})
    if kind == "wrong":
        where = _place(found["loc"])
        return f"{where}: {context['message']}" if where else context["message"], context["hint"]
    last = max(place for place, word in enumerate(found["loc"]) if isinstance(word, str))
    where, key = _place(found["loc"][:last]) or what, str(found["loc"][last])
    owner = _model_at(model, found["loc"][:last])
    fields = owner.model_fields if owner else {}
    if kind == "extra_forbidden":
        return f"{where} has no key '{key}'", did_you_mean(key, list(fields))
    if kind == "missing":
        holds_table = _inner_model(fields[key].annotation) is not None
        return f"{where} lacks '{key}'", f"give it a table [{key}]" if holds_table else f'for example {key} = "…"'
    if kind == "literal_error":
        return f"{where}: {key} is {given!r}", f"it can be {context['expected']}"
    if kind == "greater_than_equal":
        return f"{where}: {key} is {given}", f"give at least {context['ge']}"
    if kind == "list_type" and _inner_model(fields[key].annotation):
        return f"{key} is not a list of tables", f"write [[{key}]]"
    if kind in _KINDS:
        at = "".join(f" number {place + 1}" for place in found["loc"][last + 1 :] if isinstance(place, int))
        return f"{where}: {key}{at} = {given!r} is not {_KINDS[kind]}", "check its quotes and brackets"
    return f"{where}: {key}: {found['msg']}", ""


def _place(loc: tuple[int | str, ...]) -> str:
    """ "[[train]] number 2", "[dataset]"; empty for the whole file."""
    words: list[str] = []
    for word in loc:
        if isinstance(word, int):
            words[-1] = f"[{words[-1]}] number {word + 1}"
        else:
            words.append(f"[{word}]")
    return " ".join(words)


def _model_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> type[BaseModel] | None:
    """The pydantic model of a table in the file."""
    at: type[BaseModel] | None = model
    for word in loc:
        if isinstance(word, str) and at is not None:
            at = _inner_model(at.model_fields[word].annotation)
    return at


def _inner_model(annotation: Any) -> type[BaseModel] | None:
    from pydantic import BaseModel

    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for one in get_args(annotation) if (found := _inner_model(one))), None)
