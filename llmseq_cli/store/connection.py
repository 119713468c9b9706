"""`Store`: opens the workspace's DuckDB file for as long as it is needed, and explains errors.

Connections are short: read data, close, train a model, open again to write. So a second process can use the workspace
while the first one trains.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from llmseq_cli.errors import LlmseqError, WorkspaceBusyError
from llmseq_cli.progress import Progress, SilentProgress
from llmseq_cli.store.instance import attached, opened_alone
from llmseq_cli.store.interrupts import interruptible
from llmseq_cli.store.migrations import known_migrations, migrate, schema_version

if TYPE_CHECKING:
    import duckdb

_LOCK_POLL_SECONDS = 0.2


def workspace_folder(named: str | Path | None = None) -> Path:
    """The folder of a workspace: as named, or $LLMSEQ_WORKSPACE, or ./.llmseq."""
    return Path(named or os.environ.get("LLMSEQ_WORKSPACE") or ".llmseq").expanduser()


class Store:
    """The DuckDB file of a workspace folder."""

    def __init__(self, folder: Path, *, wait_for_lock: bool = False, progress: Progress | None = None) -> None:
        self.folder = folder
        self.file = folder / "llmseq.duckdb"
        self.wait_for_lock = wait_for_lock
        self.progress = progress or SilentProgress()

    @contextmanager
    def read(self, doing: str, *, alone: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
        """A read-only connection; any number of processes may have one at a time.

        alone: to a separate DuckDB instance, for work that changes settings. Raises LlmseqError if there is no
        workspace yet, WorkspaceBusyError while another process writes.
        """
        if not self.file.exists():
            raise LlmseqError(
                f"there is no workspace in {self.folder}",
                "create one with `llmseq ingest FILE --name NAME` or `llmseq demo`, or use another with --workspace",
            )
        with explained(self.folder):
            with self._open(read_only=True, wait=self.wait_for_lock, alone=alone) as con:
                if schema_version(con) == known_migrations()[-1][0]:
                    with interruptible(con):
                        yield con
                    return
            with self.write("upgrading the workspace"):
                pass
            with self._open(read_only=True, wait=self.wait_for_lock, alone=alone) as con, interruptible(con):
                yield con

    @contextmanager
    def write(self, doing: str, *, wait: bool = False, alone: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
        """The only writing connection, with all migrations applied; creates the folder if it is missing.

        wait: True waits for other processes even without the user's option, for work that would otherwise be lost.
        alone: as for `read`.
        """
        with explained(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._open(read_only=False, wait=wait or self.wait_for_lock, alone=alone) as con:
                note = self.folder / "in-use.json"
                try:
                    with suppress(OSError):  # the note only improves other processes' messages
                        note.unlink(missing_ok=True)  # even if it is a link to elsewhere
                        with note.open("x", encoding="utf-8") as file:
                            file.write(json.dumps({"pid": os.getpid(), "doing": doing}))
                    migrate(con)
                    with interruptible(con):
                        yield con
                finally:
                    with suppress(OSError):
                        note.unlink(missing_ok=True)

    @contextmanager
    def transaction(self, doing: str, *, wait: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
        """A writing connection in one transaction: all changes are kept, or none."""
        with self.write(doing, wait=wait) as con:
            con.execute("begin transaction")
            try:
                yield con
                con.execute("commit")
            except BaseException:
                with suppress(Exception):  # DuckDB may already have aborted the transaction
                    con.execute("rollback")
                raise

    @contextmanager
    def _open(self, *, read_only: bool, wait: bool, alone: bool) -> Iterator[duckdb.DuckDBPyConnection]:
        import duckdb

        told = False
        with ExitStack() as stack:
            while True:
                try:
                    con = stack.enter_context((opened_alone if alone else attached)(self.file, read_only=read_only))
                    break
                except duckdb.IOException as error:
                    if "lock" not in str(error):
                        raise
                    holder = self._holder(str(error))
                    if not wait:
                        raise WorkspaceBusyError(
                            f"the workspace is in use by {holder}", "wait for it, or use --wait-for-lock"
                        ) from error
                if not told:
                    self.progress.message(f"waiting for the workspace, in use by {holder}")
                    told = True
                time.sleep(_LOCK_POLL_SECONDS)
            yield con

    def _holder(self, lock_error: str) -> str:
        """'process N, doing …' for the process that holds the lock, as far as known."""
        found = re.search(r"PID (\d+)", lock_error)
        if not found:
            return "another process"
        pid = int(found.group(1))
        doing = ""
        with suppress(OSError, ValueError, KeyError):
            note = json.loads((self.folder / "in-use.json").read_text(encoding="utf-8"))
            doing = note["doing"] if note["pid"] == pid else ""
        return f"process {pid}, {doing}" if doing else f"process {pid}"


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Turn errors of DuckDB and the file system into LlmseqError, and an interrupted query into KeyboardInterrupt."""
    import duckdb

    try:
        yield
    except RuntimeError as error:
        if "interrupted" in str(error).lower():
            raise KeyboardInterrupt from error
        raise
    except duckdb.InterruptException as error:
        raise KeyboardInterrupt from error
    except duckdb.Error as error:
        raise _explain(error, folder) from error
    except OSError as error:
        raise _explain(error, folder) from error


def _explain(error: Exception, folder: Path) -> LlmseqError:
    import duckdb

    text = str(error)
    line = re.sub(r"\s+", " ", text.split("\n")[0]).strip()
    if "No space left" in text or "Disk quota" in text or "max_temp_directory_size" in text:
        return LlmseqError(
            f"the disk is full: {line}", "free some space and run the command again; nothing was changed"
        )
    if "not a valid DuckDB database" in text:
        return LlmseqError(f"{folder / 'llmseq.duckdb'} is not a DuckDB file", "give another folder with --workspace")
    if "Read-only file system" in text or "Permission denied" in text or "Cannot open file" in text:
        return LlmseqError(f"the workspace {folder} cannot be written: {line}", "give another folder with --workspace")
    if isinstance(error, duckdb.OutOfMemoryException):
        return LlmseqError(f"not enough memory: {line}", "close other programs, or work on fewer rows")
    if isinstance(error, (FileExistsError, NotADirectoryError)):
        return LlmseqError(f"the workspace {folder} is not a folder", "give another folder with --workspace")
    if "newer version" in text or "storage version" in text:
        return LlmseqError(f"this DuckDB cannot read the workspace: {line}", "upgrade with `pip install -U duckdb`")
    return LlmseqError(line, "`llmseq doctor` checks the workspace; --debug shows where it happened")
