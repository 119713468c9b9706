"""Fixtures that all tests share: a workspace of their own, a small shop dataset, the command line."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmseq_cli.cli.app import run
from llmseq_cli.workspace import Workspace


@pytest.fixture(autouse=True)
def _own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the user's workspace, keys or terminal."""
    monkeypatch.setenv("LLMSEQ_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)


@dataclass(frozen=True)
class Result:
    """What a command did: exit status, stdout, stderr."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def llmseq(capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Run a command line in this process: llmseq("report", "--json").json."""

    def call(*arguments: Any) -> Result:
        capsys.readouterr()
        status = run([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return Result(status, printed.out, printed.err)

    return call


WORDS = ["red", "green", "blue", "wool", "silk", "long", "short", "soft", "warm", "light"]
KINDS = ["sock", "shirt", "scarf", "hat", "glove"]


def write_shop(folder: Path, sessions: int = 120, seed: int = 1) -> tuple[Path, Path]:
    """A small shop as two CSV files; sessions keep to one kind of clothes, so text and neighbours both help."""
    random = np.random.default_rng(seed)
    pairs = list(zip(WORDS, WORDS[1:], strict=False))[:8]
    titles = [f"{first} {second} {kind}" for kind in KINDS for first, second in pairs]
    kinds = [kind for kind in KINDS for _ in range(8)]
    clicks, items = folder / "clicks.csv", folder / "items.csv"
    with items.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["item_id", "title", "category", "brand"])
        for number, (title, kind) in enumerate(zip(titles, kinds, strict=True)):
            writer.writerow([f"i{number:02d}", title, kind, "Acme" if number % 2 else ""])
    with clicks.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["user_id", "item_id", "timestamp"])
        for user in range(sessions):
            kind = int(random.integers(len(KINDS)))
            start = 1_600_000_000 + user * 3600
            for step, item in enumerate(random.choice(8, size=int(random.integers(5, 8)), replace=False)):
                writer.writerow([f"u{user:03d}", f"i{kind * 8 + int(item):02d}", start + 60 * step])
    return clicks, items


@pytest.fixture
def shop_files(tmp_path: Path) -> tuple[Path, Path]:
    return write_shop(tmp_path)


@pytest.fixture
def shop(tmp_path: Path, shop_files: tuple[Path, Path]) -> Workspace:
    """A workspace with the dataset "shop" in it."""
    workspace = Workspace(tmp_path / "workspace")
    clicks, items = shop_files
    workspace.ingest([clicks], items=[items], name="shop")
    return workspace
