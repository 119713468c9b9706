"""Options for reading files of interactions and items, for `ingest` and `append`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import typer

PathsArgument = Annotated[list[str], typer.Argument(help="Files, globs, folders or http(s) URLs.", metavar="PATH...")]
FormatOption = Annotated[
    str,
    typer.Option("--format", help="Format of interactions: auto, amazon, steam, movielens, recbole or table."),
]


@dataclass(frozen=True)
class ReadWords:
    """How files are read; see `ReadOptions`."""

    items: Annotated[
        list[str] | None,
        typer.Option("--items", help="A file of item metadata, in any of the formats; repeatable.", metavar="PATH"),
    ] = None
    format: FormatOption = "auto"
    items_format: Annotated[str, typer.Option("--items-format", help="Format of item metadata, as --format.")] = "auto"
    map: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            help="Columns for user, session, item, time, order, rating, title, category; any other key is an"
            " attribute of items.",
            metavar="KEY=COLUMN,…",
        ),
    ] = None
    time_format: Annotated[
        str | None,
        typer.Option(
            "--time-format",
            help="Format of times: a pattern such as '%d/%m/%Y %H:%M', or s, ms, us, ns, iso.",
            metavar="FORMAT",
        ),
    ] = None
    quote: Annotated[
        str | None,
        typer.Option("--quote", help="Quote character of CSV files, or none if quotes are text.", metavar="CHARACTER"),
    ] = None
    where: Annotated[
        str | None,
        typer.Option(
            "--where", help="Keep only these rows: an SQL condition on the file's columns.", metavar="CONDITION"
        ),
    ] = None
    min_rating: Annotated[
        float | None, typer.Option("--min-rating", help="Keep only rows with at least this rating.")
    ] = None
    max_rating: Annotated[
        float | None, typer.Option("--max-rating", help="Keep only rows with at most this rating.")
    ] = None
    drop_duplicates: Annotated[
        bool, typer.Option("--drop-duplicates", help="Keep only one of several rows with the same user, item and time.")
    ] = False
    strict: Annotated[bool, typer.Option("--strict", help="Fail on the first bad row.")] = False

    def fields(self) -> dict[str, Any]:
        """The fields of `ReadOptions`, and the files of items."""
        given = vars(self) | {"items": self.items or [], "columns": _columns(self.map)}
        del given["map"]
        return given


def _columns(words: list[str] | None) -> dict[str, str]:
    """The values of all --map options: role or attribute → column."""
    from llmseq_cli.settings import parse_assignments

    given = [word for several in words or [] for word in several.split(",") if word]
    return parse_assignments(given, "--map user=visitor,item=sku,time=ts")
