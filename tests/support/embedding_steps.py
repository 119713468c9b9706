"""What tests of `llmseq embed` share: catalogs as files, and what the store holds of vectors."""

from __future__ import annotations

import csv

from llmseq_cli import IngestOptions
from llmseq_cli.embeddings.stored import load_embeddings
from llmseq_cli.workspace import Workspace


def catalog(folder, rows):
    """A workspace with a dataset whose items are (title, category) of `rows`, each bought often enough to be kept."""
    items, clicks = folder / "items.csv", folder / "clicks.csv"
    names = [f"i{place:05d}" for place in range(len(rows))]
    with items.open("w", newline="") as file:
        csv.writer(file).writerows([["item_id", "title", "category", "brand"]])
        csv.writer(file).writerows(
            [name, title, kind, f"b{place % 3}"]
            for place, (name, (title, kind)) in enumerate(zip(names, rows, strict=True))
        )
    with clicks.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["user_id", "item_id", "timestamp"])
        for user in range(6):
            writer.writerows(
                [f"u{user}", name, 1_600_000_000 + user * 10**6 + place] for place, name in enumerate(names)
            )
    workspace = Workspace(folder / "workspace")
    from llmseq_cli.data.ingest import Protocol

    workspace.ingest(IngestOptions([clicks], "shop", items=[items], protocol=Protocol(k_core=0)))
    return workspace


def stored(workspace, name="openai"):
    """(titles, vectors) of all items."""
    with workspace.store.read("testing") as con:
        titles = [row[0] or "" for row in con.execute("select title from core.item order by item_id").fetchall()]
        return titles, load_embeddings(con, 1, name, len(titles)).vectors


ROWS = [
    ("red sock", "socks"),
    ("blue sock", "socks"),
    ("", "socks"),
    ("hat", "hats"),
    ("", ""),
    ("red sock", "hats"),
    ("", "gloves"),
]
