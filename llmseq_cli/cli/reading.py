"""Options for reading files of interactions and items, for `ingest` and `append`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import typer

PathsArgument = Annotated[list[str], typer.Argument(help="Files, globs, folders or http(s) URLs.", metavar="PATH...")]
ItemsOption = Annotated[
    list[str] | None,
    typer.Option("--items", help="A file of item metadata, in any of the formats; repeatable.", metavar="PATH"),
]
FormatOption = Annotated[
    str,
    typer.Option("--format", help="Format of interactions: auto, amazon, steam, movielens, recbole or table."),
]
ItemsFormatOption = Annotated[str, typer.Option("--items-format", help="Format of item metadata, as --format.")]
MapOption = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        help="Columns for user, session, item, time, order, rating, title, category; any other key is an"
        " attribute of items.",
        metavar="KEY=COLUMN,…",
    ),
]
TimeFormatOption = Annotated[
    str | None,
    typer.Option(
        "--time-format",
        help="Format of times: a pattern such as '%d/%m/%Y %H:%M', or s, ms, us, ns, iso.",
        metavar="FORMAT",
    ),
]
QuoteOption = Annotated[
    str | None,
    typer.Option("--quote", help="Quote character of CSV files, or none if quotes are text.", metavar="CHARACTER"),
]
WhereOption = Annotated[
    str | None,
    typer.Option("--where", help="Keep only these rows: an SQL condition on the file's columns.", metavar="CONDITION"),
]
MinRatingOption = Annotated[
    float | None, typer.Option("--min-rating", help="Keep only rows with at least this rating.")
]
MaxRatingOption = Annotated[float | None, typer.Option("--max-rating", help="Keep only rows with at most this rating.")]
DropDuplicatesOption = Annotated[
    bool, typer.Option("--drop-duplicates", help="Keep only one of several rows with the same user, item and time.")
]
StrictOption = Annotated[bool, typer.Option("--strict", help="Fail on the first bad row.")]


@dataclass(frozen=True)
class Reading:
    """How files are read; see `ReadOptions`."""

    items: ItemsOption = None
    format: FormatOption = "auto"
    items_format: ItemsFormatOption = "auto"
    map: MapOption = None
    time_format: TimeFormatOption = None
    quote: QuoteOption = None
    where: WhereOption = None
    min_rating: MinRatingOption = None
    max_rating: MaxRatingOption = None
    drop_duplicates: DropDuplicatesOption = False
    strict: StrictOption = False

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
