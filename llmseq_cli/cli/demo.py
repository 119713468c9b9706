"""`demo`."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from llmseq_cli.cli.common import Common, JsonOption, SeedOption, command
from llmseq_cli.cli.console import out, print_json
from llmseq_cli.cli.leaderboard import print_leaderboard

if TYPE_CHECKING:
    from llmseq_cli.workspace import Workspace

_DATASET = "demo-grocery"
_MODELS = ("most-popular", "sknn", "v-sknn", "s-sknn", "sf-sknn", "llmseqsim")


def register(app: typer.Typer) -> None:
    command(app, "demo")(demo)


def demo(common: Common, seed: SeedOption = 0, json: JsonOption = False) -> None:
    """Generate a small grocery dataset, train a few models, show the leaderboard.

    Needs no network and no key, and
    takes well under a minute.

    Example:

        llmseq demo
    """
    from llmseq_cli.data.demo_shop.generate import generate_demo
    from llmseq_cli.data.options import IngestOptions
    from llmseq_cli.embeddings.options import EmbedOptions
    from llmseq_cli.training.options import TrainOptions

    clock = time.perf_counter()
    workspace = common.open()
    progress = workspace.progress
    with tempfile.TemporaryDirectory() as folder:
        files = generate_demo(Path(folder), seed)
        shop = IngestOptions([files.interactions], _DATASET, items=[files.items], format="table", replace=True)
        done = workspace.ingest(shop)
    progress.message(f"1. ingested {done['sessions']:,} grocery sessions with {done['items']:,} items as '{_DATASET}'")
    made = workspace.embed(EmbedOptions("lexical", dataset=_DATASET))
    progress.message(f"2. embedded {made['texts']:,} titles with the lexical source")
    runs = []
    for model in _MODELS:
        embeddings = "lexical" if model == "llmseqsim" else None
        runs += workspace.train(TrainOptions(model, dataset=_DATASET, embeddings=embeddings, seed=seed))
    progress.message(f"3. trained and scored {len(runs)} models on {done['evaluated_sessions']:,} held-out sessions")
    rows = workspace.report(_DATASET, models=runs)
    if json:
        print_json(rows)
        return
    out.print()
    print_leaderboard(rows)
    _print_next(workspace, time.perf_counter() - clock)


def _print_next(workspace: Workspace, seconds: float) -> None:
    title = workspace.sql(
        f"select title from items where dataset = '{_DATASET}' order by popularity desc, item limit 1"
    )
    popular = title[1][0][0]
    out.print(f"\nDone in {seconds:.0f} s. Next:")
    for line in (
        f"llmseq describe {_DATASET}",
        f'llmseq recommend llmseqsim "{popular}" -k 5',
        f"llmseq train v-sknn --dataset {_DATASET} --set k=100",
        f"llmseq report --dataset {_DATASET} --k 5,20",
        "llmseq ingest YOUR_FILE.csv --name mine",
    ):
        out.print(f"  {line}", soft_wrap=True)
