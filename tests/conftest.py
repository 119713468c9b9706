"""Fixtures that all tests share: a workspace of their own, a small shop dataset, the command line."""

from __future__ import annotations

import gc
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support import core_share, one_tls, temporary_files  # noqa: F401  (first: what follows may import numpy)
from support.browser import browser  # noqa: F401 a fixture
from support.chat_fixtures import ready, server  # noqa: F401 fixtures
from support.once import Once, make_once
from support.ray_nodes import _no_cluster, cluster, on_ray, quiet_ray, two_nodes  # noqa: F401 fixtures
from support.small_shop import write_shop

from llmseq_cli import IngestOptions
from llmseq_cli.cli.app import run
from llmseq_cli.training.environment import usable_cores
from llmseq_cli.workspace import Workspace


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One worker more than there are cores: servers, killed processes and clusters make tests wait."""
    return usable_cores() + 1


def pytest_collection_finish() -> None:
    """What was imported until now stays: the garbage collector need not look through it thousands of times."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    gc.unfreeze()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that share what is dear to make go to one worker; those on Ray, which wait for its processes, begin."""
    items.sort(key=on_ray)
    for item in items:
        fixtures = item._fixtureinfo.name2fixturedefs.values()  # type: ignore[attr-defined]
        if on_ray(item) < 2:
            item.add_marker(pytest.mark.xdist_group("ray"))
        elif any(definitions[-1].scope == "module" for definitions in fixtures):
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))


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


Prepare = Callable[[Workspace, str, Callable[[Workspace], object]], Workspace]


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """once(name, make): the folder of that name, which make(folder) fills once for all workers."""
    return make_once(tmp_path_factory)


@pytest.fixture
def prepared(once: Once) -> Prepare:
    """Builds something in a workspace once, under a name; every test gets a copy of what came of it."""

    def prepare(workspace: Workspace, name: str, build: Callable[[Workspace], object]) -> Workspace:
        def make(folder: Path) -> None:
            build(workspace)
            shutil.copytree(workspace.folder, folder, dirs_exist_ok=True)

        kept = once(name, make)
        shutil.rmtree(workspace.folder, ignore_errors=True)
        shutil.copytree(kept, workspace.folder)
        return workspace

    return prepare


@pytest.fixture
def shop(tmp_path: Path, shop_files: tuple[Path, Path], prepared: Prepare) -> Workspace:
    """A workspace with the dataset "shop" in it."""
    clicks, items = shop_files
    build = IngestOptions([clicks], "shop", items=[items])
    return prepared(Workspace(tmp_path / "workspace"), "shop", lambda workspace: workspace.ingest(build))
