"""Atomic files and folders, and locks between processes.

Output is written under a temporary name next to its final place until it is complete. Leftovers of a killed process are
removed by the next one that writes into the folder.
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
"""Numbers for the temporary names of this process."""

DATABASE = "llmseq.duckdb"
"""The database file of a workspace."""

_DEVICES = ("/dev/", "/proc/", "/sys/")


def check_output(path: Path | None) -> None:
    """Raises LlmseqError for a path that no output may replace: a workspace's own files, devices, pipes and so on. None
    is always fine.
    """
    if path is None:
        return
    real, named = Path(os.path.realpath(path)), Path(os.path.realpath(path.parent), path.name)
    if any((folder / DATABASE).is_file() and _is_own(real.relative_to(folder)) for folder in real.parents):
        raise LlmseqError(f"{path} belongs to a workspace", "name a file elsewhere")
    odd = real.exists() and not real.is_file() and not real.is_dir()
    if odd or any(str(place).startswith(_DEVICES) and place.parts[2] != "shm" for place in (real, named)):
        raise LlmseqError(f"{path} is a device", "name a file, or leave out --out to print the result")


def _is_own(place: Path) -> bool:
    return place.parts[0].startswith((DATABASE, "in-use.json", "artifacts"))


@contextmanager
def atomic_path(path: Path, *, durable: bool = True, make_folder: bool = False) -> Iterator[Path]:
    """A temporary path next to `path` to write one file to. It replaces `path` at the end, and is removed on failure.

    durable: flush the file to disk before it replaces `path`. Raises LlmseqError for a missing folder or a disk error.
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
    """A new folder next to `path` to write files into. It becomes `path` at the end, and is removed on failure.

    existing: what to do if `path` exists at the end: replace it, keep it and drop the new one, or raise
    FileExistsError. checksums: add checksums of all files (see `llmseq_cli.checksums`).
    """
    with temporary_folder(path, make_parent=True) as partial:
        yield partial
        if checksums:
            from llmseq_cli.checksums import write_checksums

            write_checksums(partial)
        move_folder(partial, path, existing, durable=durable)


@contextmanager
def temporary_folder(path: Path, *, make_parent: bool = False) -> Iterator[Path]:
    """A folder next to `path` that is removed at the end, unless `move_folder` has moved it."""
    with _partial_of(path, make_parent) as partial:
        try:
            partial.mkdir()
            yield partial
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def move_folder(
    partial: Path, path: Path, existing: Literal["replace", "keep", "fail"], *, durable: bool = True
) -> None:
    """Move a finished folder to its place, as `atomic_folder` does."""
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
        if existing == "replace":  # another process was faster
            _rename(partial, path, existing)
        elif existing == "fail":
            raise FileExistsError(f"{path} already exists") from None


def write_whole(path: Path, content: bytes | str, *, durable: bool = True) -> None:
    """Write a file with this content, text as UTF-8; errors as for `atomic_path`."""
    with atomic_path(path, durable=durable) as partial:
        partial.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)


def write_json(path: Path, content: Any, *, durable: bool = True) -> None:
    """Write a JSON file; errors as for `atomic_path`."""
    write_whole(path, json.dumps(content, indent=1) + "\n", durable=durable)


@contextmanager
def exclusive(path: Path, doing: str) -> Iterator[None]:
    """Allow only one process at a time, by a lock file, which is created if it is missing.

    Raises WorkspaceBusyError at once if another process has the lock. The system releases the lock when its process
    ends, however it ends.
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
            raise WorkspaceBusyError(f"another llmseq process {doing}", "wait until it has finished") from None
    return held


def forget_lock(held: Any) -> None:
    """Release a lock and remove its file."""
    with suppress(OSError):  # Windows cannot remove open files
        os.unlink(held.lock_file)
    held.release()


def shared_lock(path: Path) -> Any:
    """A lock that waits: `with shared_lock(path):` lets processes in one after the other."""
    from filelock import FileLock

    return FileLock(path)


@contextmanager
def _partial_of(path: Path, make_folder: bool) -> Iterator[Path]:
    """A temporary path for `path`. System errors inside are reported with `path`."""
    with machine_errors(path):
        if make_folder:
            path.parent.mkdir(parents=True, exist_ok=True)
        elif not path.parent.is_dir():
            raise LlmseqError(f"the folder {path.parent} does not exist", "create it first, or choose another one")
        _remove_leftovers(path.parent)
    partial = path.with_name(_partial_name(path))
    _mine.add(partial.name)
    try:
        with machine_errors(path):
            yield partial
    finally:
        _mine.discard(partial.name)


def _partial_name(path: Path) -> str:
    # Keep the suffix: some libraries choose the format by it.
    stem = path.name.encode()[:_LONGEST_STEM].decode(errors="ignore")
    return f".{stem}{PARTIAL_MARK}{_host()}-{os.getpid()}-{next(_numbers)}.partial{path.suffix[:10]}"


def _host() -> str:
    return re.sub(r"[^\w.-]", "_", socket.gethostname())[:60]


def _remove_leftovers(folder: Path) -> None:
    """Remove leftovers of processes of this machine that were killed while writing into the folder."""
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
        return True  # on Windows, signal 0 would end the process
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # another user's process
    return True


def _sync(path: Path) -> None:
    """Flush a file, or the entries of a folder, to disk."""
    if path.is_dir() and os.name != "posix":
        return
    number = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        with suppress(OSError) if path.is_dir() else nullcontext():  # some file systems cannot sync folders
            os.fsync(number)
    finally:
        os.close(number)
