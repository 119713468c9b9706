"""`append`."""

from __future__ import annotations

from typing import Annotated

import typer

from llmseq_cli.cli.common import Common, JsonOption, command
from llmseq_cli.cli.console import print_facts, print_json
from llmseq_cli.cli.reading import PathsArgument, Reading


def register(app: typer.Typer) -> None:
    command(app, "append")(append)


def append(
    common: Common,
    dataset: Annotated[str, typer.Argument(help="Which dataset.", metavar="DATASET")],
    paths: PathsArgument,
    reading: Reading,
    json: JsonOption = False,
) -> None:
    """Add new interactions and items to a dataset.

    The new version has the same k-core, order and splits, and takes the dataset's name. The previous version is renamed
    DATASET@1 (then @2, …) and keeps its runs: use it with --dataset DATASET@1. Interactions that are already stored are
    left out. Those that the k-core leaves out are kept waiting, and count again with the next files. Run `llmseq embed`
    again afterwards: texts that have a vector are not sent again.

    Examples:

        llmseq append shop this-week.csv --items new-products.csv
    """
    from llmseq_cli.data.append import AppendOptions

    done = common.open().append(
        AppendOptions(
            paths,
            dataset,
            **reading.fields(),
        )
    )
    if json:
        print_json(done)
        return
    print_facts(
        [
            ("dataset", done["name"]),
            ("previous version", done["version_before"]),
            ("new interactions", done["new_interactions"]),
            ("there already", done["there_already"]),
            ("waiting, below the k-core", done["left_out"]),
            ("set aside", done["rejected"]),
            ("new items", done["new_items"]),
            ("new sessions", done["new_sessions"]),
            ("longer sessions", done["longer_sessions"]),
            ("sessions", done["sessions"]),
            ("items", done["items"]),
        ]
    )
