"""Writes docs/reference/ from the program itself: `make docs`. Tests fail where the pages and the program differ."""

from __future__ import annotations

from dataclasses import Field, fields
from pathlib import Path
from typing import Any

import typer

from llmseq_cli.cli.app import app
from llmseq_cli.settings import Settings

FOLDER = Path(__file__).parent / "reference"
_COMMON = "Common options"


def pages() -> dict[str, str]:
    """The text of every page by its file name."""
    return {"commands.md": _commands(), "settings.md": _settings()}


def _commands() -> str:
    group = typer.main.get_command(app)
    commands = group.commands  # type: ignore[attr-defined]
    first = next(iter(commands.values()))
    common = [one for one in first.params if _panel(one) == _COMMON]
    parts = [
        "# Commands\n\nMade from `--help` by `make docs`. Every command also takes:\n",
        _table(["option", "what it is"], [[_names(one), one.help] for one in common]),
    ]
    for name, command in commands.items():
        own = [one for one in command.params if _panel(one) != _COMMON]
        parts += [f"\n## llmseq {name}\n", _help(command.help), ""]
        if own:
            parts.append(_table(["option", "default", "what it is"], [[_names(p), _default(p), p.help] for p in own]))
    return "\n".join(parts).rstrip() + "\n"


def _panel(parameter: Any) -> str | None:
    return getattr(parameter, "rich_help_panel", None)


def _names(parameter: Any) -> str:
    """`--set KEY=VALUE`; an argument by its placeholder."""
    if not parameter.opts[0].startswith("-"):
        return f"`{parameter.metavar or parameter.name.upper()}`"
    word = "" if getattr(parameter, "is_flag", False) else f" {parameter.metavar or _kind(parameter)}"
    both = [*parameter.opts, *getattr(parameter, "secondary_opts", [])]
    return ", ".join(f"`{name}{word}`" for name in both)


def _kind(parameter: Any) -> str:
    kind = getattr(parameter.type_descriptor.annotation, "__name__", "value")
    return {"int": "N", "float": "X", "Path": "PATH", "list": "VALUE"}.get(kind, "WORD")


def _default(parameter: Any) -> str:
    if getattr(parameter, "required", False):
        return "needed"
    value = getattr(parameter, "default", None)
    return "" if value in (None, False, [], ()) or callable(value) else f"`{value}`"


def _help(text: str) -> str:
    """The command's description, then its examples as one block."""
    paragraphs = text.split("\n\n")
    said = [one for one in paragraphs if not one.startswith((" ", "Example"))]
    examples = [one.strip() for one in paragraphs if one.startswith(" ")]
    return "\n\n".join([*said, "```\n" + "\n".join(examples) + "\n```"])


def _settings() -> str:
    parts = ["# Settings\n\nMade from the program by `make docs`. `--set name=value` sets one.\n"]
    for title, how, owners in _owners():
        parts.append(f"## {title}\n\n{how}\n")
        for name, about, cls in owners:
            parts.append(f"### {name}\n\n{about}\n")
            rows = [_setting(field) for field in fields(cls)]
            heads = ["setting", "default", "takes", "tuning searches", "what it is"]
            parts.append(_table(heads, rows) if rows else "No settings.")
            parts.append("")
    return "\n".join(parts).rstrip() + "\n"


def _owners() -> list[tuple[str, str, list[tuple[str, str, type[Settings]]]]]:
    from llmseq_cli.embeddings.lexical import LexicalSettings
    from llmseq_cli.embeddings.sources.huggingface import HuggingFaceSettings
    from llmseq_cli.embeddings.sources.openai import OpenAISettings
    from llmseq_cli.embeddings.sources.vertex import VertexSettings
    from llmseq_cli.models.registry import model_class, model_names
    from llmseq_cli.providers.registry import PROVIDER_NAMES, provider_class

    models = [(name, f"{model_class(name).summary}.", model_class(name).Settings) for name in model_names()]
    sources: list[tuple[str, str, type[Settings]]] = [
        ("lexical", "Words and character n-grams, on this machine.", LexicalSettings),
        ("openai", "OpenAI and servers of its protocol.", OpenAISettings),
        ("vertex", "Google's models on Vertex AI.", VertexSettings),
        ("huggingface", "A model on this machine.", HuggingFaceSettings),
    ]
    providers = [(name, f"Fine-tuning by {name}.", provider_class(name).Settings) for name in PROVIDER_NAMES]
    return [
        ("Models", "`llmseq train MODEL --set …`; `llmseq models MODEL` shows the same.", models),
        ("Sources of embeddings", "`llmseq embed --source SOURCE --set …`", sources),
        ("Providers of fine-tuning", "`llmseq finetune --provider PROVIDER --set …`", providers),
    ]


def _setting(field: Field[Any]) -> list[str]:
    info = field.metadata["setting"]
    default = "" if field.default == "" else f"`{field.default}`"
    default += "".join(f"; {split}: `{value}`" for split, value in info.by_split.items())
    is_range = info.tune and len(info.tune) == 2 and all(isinstance(one, (int, float)) for one in info.tune)
    between = " … " if is_range and not any(isinstance(one, bool) for one in info.tune) else ", "
    search = between.join(f"{one:g}" if isinstance(one, float) else str(one) for one in info.tune or ())
    return [f"`{field.name}`", default, _takes(field), search, info.help]


def _takes(field: Field[Any]) -> str:
    info = field.metadata["setting"]
    words = ", ".join(f"`{choice}`" for choice in info.choices or ())
    if info.low is None and info.high is None:
        kind = str(field.type).replace("|", "or").replace("str", "text").replace("bool", "true or false")
        return words or kind
    low = "" if info.low is None else f"from {info.low:g}"
    high = "" if info.high is None else f"to {info.high:g}"
    return f"{low} {high}".strip() + (f", or {words}" if words else "")


def _table(heads: list[str], rows: list[list[str]]) -> str:
    cells = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in cells)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
