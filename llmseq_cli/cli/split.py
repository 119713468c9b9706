"""`split`, and the options for splitting a dataset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from llmseq_cli.cli.common import Common, DatasetArgument, JsonOption, command
from llmseq_cli.cli.console import print_facts, print_json
from llmseq_cli.settings import LARGEST_SEED


@dataclass(frozen=True)
class SplitWords:
    """How a dataset is split; None means the default of the kind of split."""

    test_fraction: Annotated[
        float | None,
        typer.Option("--test-fraction", help="sessions, users: share of the sessions to hold out.  [default: 0.2]"),
    ] = None
    point: Annotated[
        str | None,
        typer.Option(
            "--point",
            help="global-time: test from this date on, or after this share of the interactions.  [default: 0.9]",
            metavar="DATE|SHARE",
        ),
    ] = None
    targets: Annotated[
        str | None,
        typer.Option(
            "--targets",
            help="global-time, files: which test items of a session to predict: last, first, random, successive or "
            "all.",
            metavar="WORD",
        ),
    ] = None
    validation: Annotated[
        str | None,
        typer.Option(
            "--validation",
            help="global-time: validate on the latest sessions, on the last training item, or on users.  "
            "[default: latest]",
            metavar="WORD",
        ),
    ] = None
    validation_fraction: Annotated[
        float | None,
        typer.Option("--validation-fraction", help="Share of the users to validate on.  [default: 0.1]"),
    ] = None
    unseen_items: Annotated[
        str | None,
        typer.Option(
            "--unseen-items",
            help="Test items that training never saw: drop or keep. Default: keep for leave-one-out and files, "
            "otherwise drop.",
            metavar="WORD",
        ),
    ] = None
    repeats: Annotated[
        str | None,
        typer.Option(
            "--repeats", help="Items of the history in lists: exclude or allow.  [default: exclude]", metavar="WORD"
        ),
    ] = None
    folds: Annotated[
        int | None,
        typer.Option("--folds", help="Temporal folds for tuning, if a split has no validation items.  [default: 3]"),
    ] = None


def register(app: typer.Typer) -> None:
    command(app, "split")(split)


def split(
    common: Common,
    *,
    name: DatasetArgument = None,
    kind: Annotated[
        str,
        typer.Option("--split", help="Kind of split: sessions, leave-one-out, global-time or users.", metavar="KIND"),
    ] = "leave-one-out",
    called: Annotated[
        str | None, typer.Option("--as", help="Name for the split; default: its kind.", metavar="NAME")
    ] = None,
    rule: SplitWords,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of random choices.", min=0, max=LARGEST_SEED)] = None,
    json: JsonOption = False,
) -> None:
    """Add another split to a dataset, without reading its files again.

    Other commands choose a split with --split NAME. Embeddings belong to the dataset and work for all its splits.

    Examples:

        llmseq split beauty --split leave-one-out

        llmseq split beauty --split global-time --point 2014-04-01 --targets successive

        llmseq train sasrec --dataset beauty --split leave-one-out
    """
    from llmseq_cli.data.splits import rule_of

    given = vars(rule) | {"seed": seed}
    done = common.open().split(rule_of(kind, given), dataset=name, name=called)
    if json:
        print_json(done)
        return
    facts = [
        ("rule", done["rule"]),
        ("train", f"{done['train_sessions']:,} sessions, {done['train_interactions']:,} interactions"),
        ("items", f"{done['train_items']:,} in training"),
        ("validation", f"{done['validation_sessions']:,} items to predict" if done["validation_sessions"] else "none"),
        ("test", f"{done['evaluated_sessions']:,} items to predict"),
    ]
    print_facts(facts, title=f"Split {done['split']} of {done['dataset']}")
