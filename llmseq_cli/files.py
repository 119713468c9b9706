"""Files and folders that are there whole or not at all, and locks between processes.

What is written lies beside its place under a name of its own until it is complete. What a killed process left behind
there is removed by the next one that writes into the folder.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from itertools import count
from pathlib import Path
from typing import Any, Literal

from llmseq_cli.errors import LlmseqError, WorkspaceBusyError
from llmseq_cli.machine import PARTIAL_MARK, machine_errors

_LONGEST_STEM = 60
_PARTIAL = re.compile(rf"\..*{re.escape(PARTIAL_MARK)}(?P<host>.*)-(?P<process>\d+)-\d+\.partial(\.[^.]*)?", re.DOTALL)
_numbers = count()
_mine: set[str] = set()
"""Names of what this process is writing."""

DATABASE = "llmseq.duckdb"
"""The file of a workspace that holds its tables."""

_DEVICES = ("/dev/", "/proc/", "/sys/")


def check_output(path: Path | None) -> None:
    """Raises LlmseqError for a place that no result of a command may take: a workspace's own files, and devices, pipes
    and the like, whose place a file would take. Without a place there is nothing to check.
    """
    if path is None:
        return
    real, named = Path(os.path.realpath(path)), Path(os.path.realpath(path.parent), path.name)
    if any((folder / DATABASE).is_file() and _is_own(real.relative_to(folder)) for folder in real.parents):
        raise LlmseqError(f"{path} belongs to a workspace", "name a file elsewhere")
    odd = real.exists() and not real.is_file() and not real.is_dir()
    if odd or any(str(place).startswith(_DEVICES) and place.parts[2] != "shm" for place in (real, named)):
        raise LlmseqError(f"{path} is a device", "name a file; where --out may be left out, the result is printed")


def _is_own(place: Path) -> bool:
    return place.parts[0].startswith((DATABASE, "in-use.json", "artifacts"))


@contextmanager
def atomic_path(path: Path, *, durable: bool = True, make_folder: bool = False) -> Iterator[Path]:
    """A path beside `path` to write one file to. It takes the place of `path` at the end, and goes away on failure.

    durable: the file is on the disk, not only with the system, before it takes its place. Raises LlmseqError for a
    folder that is missing, and for what the disk refuses.
    """
    if os.path.isdir(path):
        raise LlmseqError(f"{path} is a folder", "name a file")
    with _partial_of(path, make_folder) as partial:
        try:
            yield partial
            if durable:
                _sync(partial)
            os.replace(partial, path)
            if durable:
                _sync(path.parent)
        finally:
            with suppress(OSError):
                partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(
    path: Path,
    *,
    existing: Literal["replace", "keep", "fail"] = "replace",
    durable: bool = True,
    checksums: bool = False,
) -> Iterator[Path]:
    """A new folder beside `path` to write files into. It becomes `path` at the end, and goes away on failure.

    existing: what happens to a folder that is there at the end: it is replaced, or kept and the new one dropped, or
    FileExistsError is raised. checksums: of all files are added (see `llmseq_cli.checksums`).
    """
    with temporary_folder(path, make_parent=True) as partial:
        yield partial
        if checksums:
            from llmseq_cli.checksums import write_checksums

            write_checksums(partial)
        move_folder(partial, path, existing, durable=durable)


@contextmanager
def temporary_folder(path: Path, *, make_parent: bool = False) -> Iterator[Path]:
    """A folder beside `path` that goes away at the end, unless `move_folder` has given it a place."""
    with _partial_of(path, make_parent) as partial:
        try:
            partial.mkdir()
            yield partial
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def move_folder(
    partial: Path, path: Path, existing: Literal["replace", "keep", "fail"], *, durable: bool = True
) -> None:
    """Gives a finished folder its place, as `atomic_folder` does."""
    if durable:
        for file in partial.rglob("*"):
            _sync(file)
    _rename(partial, path, existing)
    if durable:
        _sync(path.parent)


def _rename(partial: Path, path: Path, existing: str) -> None:
    if existing == "replace" and path.is_dir():
        old = path.with_name(_partial_name(path))
        os.rename(path, old)
        os.rename(partial, path)
        shutil.rmtree(old, ignore_errors=True)
        return
    try:
        os.rename(partial, path)
    except OSError:
        if not path.is_dir():
            raise
        if existing == "replace":  # another process was faster just now
            _rename(partial, path, existing)
        elif existing == "fail":
            raise FileExistsError(f"{path} is there already") from None


def write_whole(path: Path, content: bytes | str, *, durable: bool = True) -> None:
    """Writes one file with this content, text as UTF-8; errors as for `atomic_path`."""
    with atomic_path(path, durable=durable) as partial:
        partial.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)


def write_json(path: Path, content: Any, *, durable: bool = True) -> None:
    """Writes one file of JSON; errors as for `atomic_path`."""
    write_whole(path, json.dumps(content, indent=1) + "\n", durable=durable)


@contextmanager
def exclusive(path: Path, doing: str) -> Iterator[None]:
    """Only one process at a time is inside with the same lock file, which is made where it is missing.

    Raises WorkspaceBusyError at once while another is. The system frees the lock when its process ends, however it
    ends.
    """
    held = take_lock(path, doing)
    try:
        yield
    finally:
        held.release()


def take_lock(path: Path, doing: str) -> Any:
    """The lock of `exclusive`, held until its `release()`. Raises WorkspaceBusyError while another process has it."""
    from filelock import FileLock, Timeout

    with machine_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        held = FileLock(path, thread_local=False)
        try:
            held.acquire(timeout=0)
        except Timeout:
            raise WorkspaceBusyError(f"another llmseq process {doing}", "wait until it is done") from None
    return held


def forget_lock(held: Any) -> None:
    """Releases a lock for good: its file goes, too."""
    with suppress(OSError):  # Windows removes no open files
        os.unlink(held.lock_file)
    held.release()


def shared_lock(path: Path) -> Any:
    """A lock to wait for: `with shared_lock(path):` has one process at a time inside, one after the other."""
    from filelock import FileLock

    return FileLock(path)


@contextmanager
def _partial_of(path: Path, make_folder: bool) -> Iterator[Path]:
    """Where to write what becomes `path`. What goes wrong with the machine meanwhile names `path`."""
    with machine_errors(path):
        if make_folder:
            path.parent.mkdir(parents=True, exist_ok=True)
        elif not path.parent.is_dir():
            raise LlmseqError(f"the folder {path.parent} does not exist", "make it first, or name another one")
        _remove_leftovers(path.parent)
    partial = path.with_name(_partial_name(path))
    _mine.add(partial.name)
    try:
        with machine_errors(path):
            yield partial
    finally:
        _mine.discard(partial.name)


def _partial_name(path: Path) -> str:
    # The suffix stays: some libraries choose what to write by it.
    stem = path.name.encode()[:_LONGEST_STEM].decode(errors="ignore")
    return f".{stem}{PARTIAL_MARK}{_host()}-{os.getpid()}-{next(_numbers)}.partial{path.suffix[:10]}"


def _host() -> str:
    return re.sub(r"[^\w.-]", "_", socket.gethostname())[:60]


def _remove_leftovers(folder: Path) -> None:
    """Removes what processes of this machine were writing in the folder when they were killed."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if ".partial" in entry.name]
    for name in names:
        found = _PARTIAL.fullmatch(name)
        if not found or name in _mine or found["host"] != _host():
            continue
        if int(found["process"]) == os.getpid() or not _runs(int(found["process"])):
            one = folder / name
            with suppress(OSError):
                shutil.rmtree(one) if one.is_dir() else one.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    if os.name != "posix":
        return True  # there, signal 0 would end the process
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # somebody else's
    return True


def _sync(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk."""
    if path.is_dir() and os.name != "posix":
        return
    number = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        with suppress(OSError) if path.is_dir() else nullcontext():  # some file systems cannot sync folders
            os.fsync(number)
    finally:
        os.close(number)
