"""Fixtures that all tests share: a workspace of their own, a small shop dataset, the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support import core_share  # noqa: F401  (first: what follows may import numpy)
from support.chat_fixtures import ready, server  # noqa: F401 fixtures
from support.ray_nodes import cluster, quiet_ray, two_nodes  # noqa: F401 fixtures
from support.small_shop import write_shop

from llmseq_cli import IngestOptions
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


@pytest.fixture
def shop_files(tmp_path: Path) -> tuple[Path, Path]:
    return write_shop(tmp_path)


@pytest.fixture
def shop(tmp_path: Path, shop_files: tuple[Path, Path]) -> Workspace:
    """A workspace with the dataset "shop" in it."""
    workspace = Workspace(tmp_path / "workspace")
    clicks, items = shop_files
    workspace.ingest(IngestOptions([clicks], "shop", items=[items]))
    return workspace
