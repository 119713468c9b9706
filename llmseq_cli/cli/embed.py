"""`embed`, `embeddings`."""

from __future__ import annotations

from typing import Annotated

import typer

from llmseq_cli.cli.common import Common, DatasetOption, JsonOption, SeedOption, SetOption, command
from llmseq_cli.cli.console import print_facts, print_json, print_table


def register(app: typer.Typer) -> None:
    command(app, "embed")(embed)
    command(app, "embeddings")(embeddings)


def embed(
    common: Common,
    dataset: DatasetOption = None,
    source: Annotated[
        str, typer.Option("--source", help="lexical: TF-IDF of words and character n-grams; no network, no key.")
    ] = "lexical",
    text: Annotated[
        str, typer.Option("--text", help="Template of an item's text over its attributes.", metavar="TEMPLATE")
    ] = "{title}",
    dimensions: Annotated[
        int | None,
        typer.Option("--dimensions", help="Reduce to so many by truncated SVD; without it vectors stay sparse.", min=1),
    ] = None,
    set: SetOption = None,
    seed: SeedOption = 0,
    json: JsonOption = False,
) -> None:
    """Turn item texts into vectors and keep them.

    Examples:

        llmseq embed --source lexical

        llmseq embed --source lexical --text '{title} {brand}' --dimensions 256
    """
    from llmseq_cli.settings import parse_assignments

    made = common.open().embed(
        dataset,
        source=source,
        text=text,
        dimensions=dimensions,
        settings=parse_assignments(set or []),
        seed=seed,
    )
    if json:
        print_json(made)
        return
    kind = "sparse" if made["sparse"] else "dense"
    print_facts(
        [
            ("embeddings", f"{made['source']}:{made['model']} (number {made['number']})"),
            ("texts", f"{made['texts']:,} of '{made['text']}'; {made['items_without_text']:,} items have none"),
            ("dimensions", f"{made['dimensions']:,}, {kind}"),
            ("seconds", round(made["seconds"], 2)),
        ]
    )


def embeddings(common: Common, dataset: DatasetOption = None, json: JsonOption = False) -> None:
    """List the item embeddings of the workspace.

    `--embeddings` of other commands takes SOURCE, SOURCE:MODEL or the number.

    Example:

        llmseq embeddings
    """
    rows = common.open().embeddings(dataset)
    if json:
        print_json(rows)
        return
    columns = ["number", "dataset", "source", "model", "text", "dimensions", "items"]
    print_table(columns, [[row[column] for column in columns] for row in rows])
