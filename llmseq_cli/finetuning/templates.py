"""Prompt templates: TOML files, one built in per task, or the user's own."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from string import Formatter
from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator, model_validator

from llmseq_cli.errors import UsageError
from llmseq_cli.toml_files import checked, read_toml, wrong

_FOLDER = Path(__file__).parent / "templates"
_FORMS = ("item", "option", "answer")
_OF_A_LINE = {"title", "number"}
_OF_A_QUESTION = {"session", "options", "k"}


class Template(BaseModel):
    """The wording of examples; see templates/genitem.toml for the placeholders.

    system: the first message, left out if it is empty. user: the question. item, option, answer: the wording of one
    item of the session, the options, the answer. separator: the text between items.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    user: str
    system: str = ""
    item: str = "{number}. {title}"
    option: str = "- {title}"
    answer: str = "{title}"
    separator: str = "\n"

    @model_validator(mode="after")
    def _check(self) -> Template:
        if "session" not in _fields("user", self.user):
            raise wrong("`user` lacks {session}", "the session's items go there")
        for key, allowed in (("user", _OF_A_QUESTION), *((form, _OF_A_LINE) for form in _FORMS)):
            for field in _fields(key, getattr(self, key)) - allowed:
                hint = f"allowed: {', '.join(sorted(allowed))}; write a literal brace twice"
                raise wrong(f"`{key}` has the unknown placeholder {{{field}}}", hint)
        for form in _FORMS:
            if "title" not in _fields(form, getattr(self, form)):
                raise wrong(f"`{form}` lacks {{title}}", f'for example {form} = "{{title}}"')
        return self

    @field_validator("user")
    @classmethod
    def _stripped(cls, user: str) -> str:
        return user.strip("\n")

    def lines(self, form: str, titles: list[str]) -> str:
        """Titles in the wording of item, option or answer."""
        return self.separator.join(form.format(number=place, title=title) for place, title in enumerate(titles, 1))

    def question(self, session: list[str], options: list[str], k: int) -> str:
        """The user message for the titles of a session, oldest first, and of options."""
        return self.user.format(session=self.lines(self.item, session), options=self.lines(self.option, options), k=k)

    def to_dict(self) -> dict[str, str]:
        return self.model_dump()

    @property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]


def load_template(task: str, name: str | None, *, needs_options: bool, takes_options: bool) -> Template:
    """The template of a task, a built-in one by name ("tallrec"), or a TOML file.

    needs_options, takes_options: whether the task's question must, and can, list options. Raises UsageError for an
    unreadable file, or a wrong or missing key or placeholder.
    """
    shipped = sorted(file.stem for file in _FOLDER.glob("*.toml"))
    name = name or task
    file = _FOLDER / f"{name}.toml" if name in shipped else Path(name)
    hint = f"give a TOML file, or one of {', '.join(shipped)}"
    template = parse_template(read_toml(file, "the template", hint, UsageError), str(name))
    fields = _fields("user", template.user)
    if "options" in fields and not takes_options:
        raise UsageError(f"the task {task} has no {{options}}, which the template '{name}' uses", "use {session}")
    if "options" not in fields and needs_options:
        raise UsageError(f"the template '{name}' has no {{options}}, which the task {task} needs", "add it to `user`")
    return template


def shipped_words() -> list[str]:
    """The text around titles in the questions of all built-in templates."""
    templates = [parse_template(read_toml(file, "the template", ""), "") for file in sorted(_FOLDER.glob("*.toml"))]
    return [template.user.format(session="", options="", k=20) for template in templates]


def parse_template(table: dict[str, Any], name: str) -> Template:
    """Parse a template from a TOML table. Raises UsageError."""
    return checked(Template, table, name, "the template", UsageError)


def _fields(key: str, text: str) -> set[str]:
    """The placeholders of a text; only plain names, so that a template can access nothing but its values."""
    try:
        parts = list(Formatter().parse(text))
    except ValueError as error:
        raise wrong(f"`{key}` is not valid: {error}", "write a literal brace twice") from None
    names = {name for _, name, _, _ in parts if name is not None}
    for name in names:
        if not name.isidentifier():
            raise wrong(f"`{key}` has the placeholder {{{name}}}", "only plain names such as {title}")
    if any(spec or conversion for _, _, spec, conversion in parts):
        raise wrong(f"`{key}` formats a placeholder", "only plain names such as {title}")
    return names
