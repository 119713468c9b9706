"""What is made once for all workers of a test run: the first that needs it makes it, the others wait and read."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

Once = Callable[[str, Callable[[Path], object]], Path]


def make_once(factory: pytest.TempPathFactory) -> Once:
    """Returns once(name, make): the folder of that name, which make(folder) fills the first time."""
    base = factory.getbasetemp()
    # A worker of xdist has a folder of its own in the one of the whole run.
    shared = (base.parent if base.name.startswith("popen-") else base) / "once"
    shared.mkdir(exist_ok=True)

    def once(name: str, make: Callable[[Path], object]) -> Path:
        folder = shared / name
        if folder.is_dir():
            return folder
        with FileLock(shared / f"{name}.lock"):
            if not folder.is_dir():
                partial = shared / f"{name}.partial"
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir()
                make(partial)
                partial.rename(folder)
        return folder

    return once
