"""`append`."""

from __future__ import annotations

from typing import Annotated

import typer

from llmseq_cli.cli.common import Common, JsonOption, command
from llmseq_cli.cli.console import print_facts, print_json


def register(app: typer.Typer) -> None:
    command(app, "append")(append)


def append(
    common: Common,
    dataset: Annotated[str, typer.Argument(help="Which dataset.", metavar="DATASET")],
    paths: Annotated[list[str], typer.Argument(help="Files, globs, folders or http(s) addresses.", metavar="PATH...")],
    items: Annotated[
        list[str] | None,
        typer.Option("--items", help="A file of metadata of new items; may be repeated.", metavar="PATH"),
    ] = None,
    format: Annotated[
        str,
        typer.Option("--format", help="Of the interactions: auto, amazon, steam, movielens, recbole or table."),
    ] = "auto",
    items_format: Annotated[str, typer.Option("--items-format", help="Of the item metadata, as --format.")] = "auto",
    map: Annotated[
        list[str] | None,
        typer.Option("--map", help="Which columns are user, session, item, time, …, as for ingest.", metavar="K=COL,…"),
    ] = None,
    time_format: Annotated[
        str | None, typer.Option("--time-format", help="How times are written, as for ingest.", metavar="FORMAT")
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(
            "--where", help="Keep only these rows: an SQL condition on the file's columns.", metavar="CONDITION"
        ),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Fail on the first bad row.")] = False,
    json: JsonOption = False,
) -> None:
    """Add new interactions and items to a dataset.

    They make a new version, with the same k-core, order and splits, that takes the dataset's name. The version before
    is called DATASET@1 (then @2, …) and keeps its runs: --dataset DATASET@1 means it. Interactions that are there
    already are left out. Embed again afterwards: texts that have a vector are not sent again.

    Examples:

        llmseq append shop this-week.csv --items new-products.csv
    """
    from llmseq_cli.data.append import AppendOptions
    from llmseq_cli.settings import parse_assignments

    columns = [word for words in map or [] for word in words.split(",") if word]
    done = common.open().append(
        AppendOptions(
            paths,
            dataset,
            items=items or [],
            format=format,
            items_format=items_format,
            columns=parse_assignments(columns, "--map user=visitor,item=sku,time=ts"),
            time_format=time_format,
            where=where,
            strict=strict,
        )
    )
    if json:
        print_json(done)
        return
    print_facts(
        [
            ("dataset", done["name"]),
            ("the version before", done["version_before"]),
            ("new interactions", done["new_interactions"]),
            ("there already", done["there_already"]),
            ("left out by the k-core", done["left_out"]),
            ("set aside", done["rejected"]),
            ("new items", done["new_items"]),
            ("new sessions", done["new_sessions"]),
            ("longer sessions", done["longer_sessions"]),
            ("sessions", done["sessions"]),
            ("items", done["items"]),
        ]
    )
