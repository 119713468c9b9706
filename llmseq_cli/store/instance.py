"""The DuckDB of this process. Workspaces are attached to it for as long as a piece of work needs them.

Attaching a file takes a sixth of the time that starting a DuckDB takes, and a command opens its workspace several
times. Only an attached file is locked, so other processes notice no difference.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb


@dataclass
class _Attached:
    """name: of the catalog. users: connections that are open."""

    name: str
    users: int = 0


@dataclass
class _Instance:
    """attached: by file and whether it is only read."""

    memory: duckdb.DuckDBPyConnection
    attached: dict[tuple[str, bool], _Attached] = field(default_factory=dict)


_lock = threading.RLock()
_instances: dict[int, _Instance] = {}
"""By process: a forked one has none of its parent's threads and must not touch what those work with."""


def scratch() -> duckdb.DuckDBPyConnection:
    """A connection for questions that concern no workspace, for a `with`. Its temporary tables are its own; no setting
    may be changed.
    """
    with _lock:
        return _instance().memory.cursor()


@contextmanager
def attached(file: Path, *, read_only: bool) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to a file, whose tables need no catalog's name. No setting may be changed.

    Raises what DuckDB raises where the file cannot be opened or another process has locked it.
    """
    import duckdb

    key = (os.path.abspath(file), read_only)
    with _lock:
        instance = _instance()
        try:
            there = instance.attached.get(key) or _attach(instance, key)
            con = instance.memory.cursor()
            there.users += 1
        except (duckdb.FatalException, duckdb.InternalException):
            _forget(instance)
            raise
    try:
        con.execute(f"use {there.name}")
        con.execute("set enable_progress_bar = false")  # it would print into our output
        yield con
    except (duckdb.FatalException, duckdb.InternalException):
        _forget(instance)  # it refuses all that comes after
        raise
    finally:
        con.close()
        with _lock:
            there.users -= 1
            if not there.users:
                del instance.attached[key]
                _detach(instance, key, there)


@contextmanager
def opened_alone(file: Path, *, read_only: bool) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to a file in a DuckDB of its own, for work that changes settings; raises as `attached` does."""
    import duckdb

    with duckdb.connect(str(file), read_only=read_only) as con:
        con.execute("set enable_progress_bar = false")
        yield con


def _instance() -> _Instance:
    import duckdb

    if os.getpid() not in _instances:
        _instances[os.getpid()] = _Instance(duckdb.connect())
    return _instances[os.getpid()]


def _attach(instance: _Instance, key: tuple[str, bool]) -> _Attached:
    file, read_only = key
    taken = {one.name for one in instance.attached.values()}
    name = next(name for number in range(len(taken) + 1) if (name := f"llmseq{number or ''}") not in taken)
    path, spilled = (text.replace("'", "''") for text in (file, f"{file}.tmp"))
    if not taken:
        instance.memory.execute(f"set temp_directory = '{spilled}'")
    instance.memory.execute(f"attach '{path}' as {name}{' (read_only)' if read_only else ''}")
    instance.attached[key] = _Attached(name)
    return instance.attached[key]


def _detach(instance: _Instance, key: tuple[str, bool], there: _Attached) -> None:
    """Closes the file. What is written stands in its log already, should that be all that the disk has room for."""
    import duckdb

    try:
        instance.memory.execute(f"detach {there.name}")
    except duckdb.Error:
        _forget(instance)
        instance.memory.close()
    if os.path.isdir(f"{key[0]}.tmp"):  # what was too large for the memory; it goes with the instance
        _forget(instance)


def _forget(instance: _Instance) -> None:
    """The next file is attached to another instance; this one ends with the last of its connections."""
    with _lock:
        if _instances.get(os.getpid()) is instance:
            del _instances[os.getpid()]
