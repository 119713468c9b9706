"""Four rolling weeks of the demo shop: SASRec that goes on from last week's run against one that is trained anew."""

from __future__ import annotations

import csv
import tempfile
from argparse import Namespace
from pathlib import Path

from llmseq_cli import AppendOptions, EmbedOptions, IngestOptions, TrainOptions, Workspace
from llmseq_cli.data.demo_shop.generate import generate_demo

_WEEKS = 4
_WEEK = 7 * 24 * 3600


def run(options: Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        first, *weeks = _weeks(Path(folder))
        workspace = Workspace(Path(folder) / "workspace")
        items = [Path(folder) / "items.csv"]
        workspace.ingest(IngestOptions([first], "shop", items=items))
        warm = _train(workspace, None)
        for number, week in enumerate(weeks, 1):
            grown = workspace.append(AppendOptions([week], "shop", items=items))
            scratch, warm = _train(workspace, None), _train(workspace, warm)
            rows = {row["run"]: row for row in workspace.report("shop")}
            told = ", ".join(
                f"{name} NDCG@20 {rows[one]['ndcg@20']:.4f} in {rows[one]['train_seconds'] / 60:.2f} min"
                for name, one in (("scratch", scratch), ("warm", warm))
            )
            print(
                f"week {number} (+{grown['new_interactions']:,} clicks, +{grown['new_items']} items): {told}",
                flush=True,
            )


def _train(workspace: Workspace, warm: str | None) -> str:
    """A run of SASRec on the newest version, with lexical embeddings of all its items."""
    workspace.embed(EmbedOptions("lexical", dataset="shop"))
    options = TrainOptions("sasrec", dataset="shop", embeddings="lexical", device="cpu", warm=warm)
    [run] = workspace.train(options)
    return run


def _weeks(folder: Path) -> list[Path]:
    """The clicks before the last four weeks, then those of each week, as files; items.csv lies beside them."""
    files = generate_demo(folder)
    with files.interactions.open(newline="", encoding="utf-8") as lines:
        head, *rows = csv.reader(lines)
    last = max(int(row[2]) for row in rows)
    started: dict[str, int] = {}
    for user, _, time in rows:
        started[user] = min(started.get(user, last), int(time))
    parts: list[list[list[str]]] = [[] for _ in range(_WEEKS + 1)]
    for row in rows:  # a basket belongs to the week that it was begun in
        parts[max(0, _WEEKS - (last - started[row[0]]) // _WEEK)].append(row)
    made = []
    for number, part in enumerate(parts):
        made.append(folder / f"week-{number}.csv")
        with made[-1].open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([head, *part])
    return made
