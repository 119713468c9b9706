"""`neighbors`."""

from __future__ import annotations

from typing import Annotated

import typer

from llmseq_cli.cli.common import Common, DatasetOption, JsonOption, SeedOption, command
from llmseq_cli.cli.console import out, print_json, print_table
from llmseq_cli.cli.train import DimOption, ReduceOption


def register(app: typer.Typer) -> None:
    command(app, "neighbors", split=False)(neighbors)


def neighbors(
    common: Common,
    item: Annotated[str, typer.Argument(help="Id or title.", metavar="ITEM")],
    embeddings: Annotated[
        str, typer.Option("--embeddings", help="Item embeddings, see `llmseq embeddings`.", metavar="SOURCE[:MODEL]")
    ],
    dataset: DatasetOption = None,
    reduce: ReduceOption = None,
    dim: DimOption = None,
    k: Annotated[int, typer.Option("-k", help="How many items.", min=1)] = 10,
    seed: SeedOption = 0,
    json: JsonOption = False,
) -> None:
    """Show the items whose vectors are nearest to an item's, by cosine.

    Examples:

        llmseq neighbors "spaghetti no. 5" --embeddings lexical

        llmseq neighbors B0001 --embeddings openai --reduce none -k 5
    """
    found = common.open().neighbors(item, embeddings, dataset=dataset, reduce=reduce, dim=dim, k=k, seed=seed)
    if json:
        print_json(found)
        return
    if not found["neighbors"]:
        out.print("The item has no text and so no vector: it has no neighbours.")
        return
    about = found["embeddings"]
    columns = ["rank", "item", "similarity", "title"]
    title = f"nearest to {found['title'] or found['item']} ({about['source']}:{about['model']}, {about['reduce']})"
    print_table(columns, [[row[column] for column in columns] for row in found["neighbors"]], title=title)
