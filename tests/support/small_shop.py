"""Files of a small made-up shop, whose sessions follow the words of its titles."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

WORDS = ["red", "green", "blue", "wool", "silk", "long", "short", "soft", "warm", "light"]
KINDS = ["sock", "shirt", "scarf", "hat", "glove"]


def titles() -> list[str]:
    """Of the shop's 40 items: eight of each kind."""
    return [f"{first} {second} {kind}" for kind in KINDS for first, second in zip(WORDS[:8], WORDS[1:9], strict=True)]


def write_shop(folder: Path, sessions: int = 120, seed: int = 1) -> tuple[Path, Path]:
    """A small shop as two CSV files; sessions keep to one kind of clothes, so text and neighbours both help."""
    random = np.random.default_rng(seed)
    clicks, items = folder / "clicks.csv", folder / "items.csv"
    with items.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["item_id", "title", "category", "brand"])
        for number, title in enumerate(titles()):
            writer.writerow([f"i{number:02d}", title, title.split()[-1], "Acme" if number % 2 else ""])
    with clicks.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["user_id", "item_id", "timestamp"])
        for user in range(sessions):
            kind = int(random.integers(len(KINDS)))
            start = 1_600_000_000 + user * 3600
            for step, item in enumerate(random.choice(8, size=int(random.integers(5, 8)), replace=False)):
                writer.writerow([f"u{user:03d}", f"i{kind * 8 + int(item):02d}", start + 60 * step])
    return clicks, items
