"""`models`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from llmseq_cli.cli.common import Common, JsonOption, command
from llmseq_cli.cli.console import out, print_json, print_table


def register(app: typer.Typer) -> None:
    command(app, "models")(models)


def models(
    common: Common,
    name: Annotated[str | None, typer.Argument(help="Show the settings of this model.", metavar="MODEL")] = None,
    json: JsonOption = False,
) -> None:
    """List the models, or the settings of one with their defaults and ranges.

    Examples:

        llmseq models

        llmseq models v-sknn
    """
    from llmseq_cli.models.registry import model_class, model_names

    rows = []
    for one in [name] if name else model_names():
        cls = model_class(one)
        rows.append(
            {
                "model": one,
                "title": cls.title,
                "summary": cls.summary,
                "embeddings": cls.embeddings_use,
                "settings": cls.Settings.describe(),
            }
        )
    if json:
        print_json(rows)
    elif name:
        _print_model(rows[0])
    else:
        print_table(
            ["model", "embeddings", "what it does"], [[row["model"], row["embeddings"], row["summary"]] for row in rows]
        )
        out.print("\n`llmseq models MODEL` lists its settings.")


def _print_model(row: dict[str, Any]) -> None:
    out.print(f"{row['model']}: {row['summary']}. Item embeddings: {row['embeddings']}.\n", soft_wrap=True)
    if not row["settings"]:
        out.print("It has no settings.")
        return
    print_table(
        ["setting", "default", "takes", "what it is"],
        [[one["name"], _default(one), _accepted(one), one["help"]] for one in row["settings"]],
    )


def _default(setting: dict[str, Any]) -> str:
    by_split = (f"; {split}: {value}" for split, value in setting["by_split"].items())
    return f"{setting['default']}{''.join(by_split)}"


def _accepted(setting: dict[str, Any]) -> str:
    if setting["choices"]:
        words = ", ".join(str(choice) for choice in setting["choices"])
        return words if setting["type"] == "text" else f"{setting['type'].replace('text', words)}"
    if setting["low"] is None and setting["high"] is None:
        return str(setting["type"])
    low = "" if setting["low"] is None else f"{setting['low']:g}"
    high = "" if setting["high"] is None else f"{setting['high']:g}"
    return f"{setting['type']} {low}…{high}"
