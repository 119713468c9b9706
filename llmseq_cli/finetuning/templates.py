"""Prompt templates: data in TOML files, one for each task that ships, or a file of the user's."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import Any

from llmseq_cli.errors import UsageError, did_you_mean

_FOLDER = Path(__file__).parent / "templates"
_OF_A_LINE = frozenset({"title", "number"})


@dataclass(frozen=True)
class Template:
    """How examples are worded; see templates/genitem.toml for the placeholders.

    system: the first message, left out where it is empty. user: the question. item, option, answer: one item of the
    session, of the options, of the answer. separator: what stands between items.
    """

    user: str
    system: str = ""
    item: str = "{number}. {title}"
    option: str = "- {title}"
    answer: str = "{title}"
    separator: str = "\n"

    def lines(self, form: str, titles: list[str]) -> str:
        """Titles worded by one of item, option and answer."""
        return self.separator.join(form.format(number=place, title=title) for place, title in enumerate(titles, 1))

    def question(self, session: list[str], options: list[str], k: int) -> str:
        """The user's message for titles of a session, oldest first, and of options."""
        return self.user.format(session=self.lines(self.item, session), options=self.lines(self.option, options), k=k)

    def to_dict(self) -> dict[str, str]:
        return dataclasses.asdict(self)

    @property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]


def load_template(task: str, name: str | None, *, needs_options: bool, takes_options: bool) -> Template:
    """The template of a task, one that ships by its name ("tallrec"), or a TOML file.

    needs_options, takes_options: whether the task's question must, and can, list options.
    Raises UsageError for a file that cannot be read, a wrong key or placeholder, or one that lacks.
    """
    shipped = sorted(file.stem for file in _FOLDER.glob("*.toml"))
    name = name or task
    file = _FOLDER / f"{name}.toml" if name in shipped else Path(name)
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        hint = f"give a TOML file, or one of {', '.join(shipped)}"
        raise UsageError(f"the template '{name}' cannot be read: {error.strerror}", hint) from error
    except ValueError as error:
        raise UsageError(f"the template {file} is not TOML: {error}", "see `llmseq finetune --help`") from error
    template = parse_template(table, str(name))
    fields = _fields("user", template.user)
    if "options" in fields and not takes_options:
        raise UsageError(f"the task {task} has no {{options}}, which the template '{name}' asks for", "take {session}")
    if "options" not in fields and needs_options:
        raise UsageError(f"the template '{name}' has no {{options}}, which the task {task} needs", "add it to `user`")
    return template


def shipped_words() -> list[str]:
    """What stands around titles in the questions of all templates that ship."""
    tables = [tomllib.loads(file.read_text(encoding="utf-8")) for file in sorted(_FOLDER.glob("*.toml"))]
    return [parse_template(table, "").user.format(session="", options="", k=20) for table in tables]


def parse_template(table: dict[str, Any], name: str) -> Template:
    """A template out of a TOML table. Raises UsageError."""
    known = [field.name for field in dataclasses.fields(Template)]
    for key, value in table.items():
        if key not in known:
            raise UsageError(f"the template '{name}' has the unknown key '{key}'", did_you_mean(key, known))
        if not isinstance(value, str):
            raise UsageError(f"'{key}' of the template '{name}' is not a text", 'for example answer = "{title}"')
    if "session" not in _fields("user", table.get("user", "")):
        raise UsageError(f"the template '{name}' has no `user` with {{session}} in it", "the items so far go there")
    for key, allowed in (("user", {"session", "options", "k"}), *((form, _OF_A_LINE) for form in _FORMS)):
        for field in _fields(key, table.get(key, "")) - set(allowed):
            hint = f"known there: {', '.join(sorted(allowed))}; a literal brace is written twice"
            raise UsageError(f"`{key}` of the template '{name}' has the unknown placeholder {{{field}}}", hint)
    for form in _FORMS:
        if form in table and "title" not in _fields(form, table[form]):
            raise UsageError(f"`{form}` of the template '{name}' lacks {{title}}", f'for example {form} = "{{title}}"')
    return Template(**{key: value.strip("\n") if key == "user" else value for key, value in table.items()})


_FORMS = ("item", "option", "answer")


def _fields(key: str, text: str) -> set[str]:
    """The placeholders of a text; plain names only, so that a template reaches nothing but what it is given."""
    try:
        parts = list(Formatter().parse(text))
    except ValueError as error:
        raise UsageError(
            f"`{key}` of the template is not well formed: {error}", "write a literal brace twice"
        ) from None
    names = {name for _, name, _, _ in parts if name is not None}
    for name in names:
        if not name.isidentifier():
            raise UsageError(
                f"`{key}` of the template has the placeholder {{{name}}}", "only plain names such as {title}"
            )
    if any(spec or conversion for _, _, spec, conversion in parts):
        raise UsageError(f"`{key}` of the template formats a placeholder", "only plain names such as {title}")
    return names
