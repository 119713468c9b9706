"""Files and folders appear whole or not at all, locks end with their process, and the disk's faults name the path."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from llmseq_cli.errors import LlmseqError, WorkspaceBusyError
from llmseq_cli.files import (
    atomic_folder,
    atomic_path,
    exclusive,
    move_folder,
    take_lock,
    temporary_folder,
    write_json,
    write_whole,
)
from llmseq_cli.machine import machine_error, machine_errors


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_whole_and_nothing_else_stays(tmp_path):
    with atomic_path(tmp_path / "a.json") as partial:
        partial.write_text("new")
        assert partial.suffix == ".json"
        assert not (tmp_path / "a.json").exists()
    assert names(tmp_path) == ["a.json"]
    assert (tmp_path / "a.json").read_text() == "new"


def test_on_failure_the_old_file_stays(tmp_path):
    write_whole(tmp_path / "a", "old")
    with pytest.raises(KeyboardInterrupt):
        _interrupted(tmp_path / "a")
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_text() == "old"


def _interrupted(path: Path) -> None:
    with atomic_path(path) as partial:
        partial.write_text("half")
        raise KeyboardInterrupt


def test_folders_are_replaced_kept_or_refused(tmp_path):
    place = tmp_path / "deep" / "runs"
    for existing, content in (("replace", "1"), ("keep", "2")):
        with atomic_folder(place, existing=existing) as partial:
            write_json(partial / "a", content)
        assert (place / "a").read_text() == '"1"\n'
    with atomic_folder(place) as partial:
        write_whole(partial / "b", "3")
    assert names(place) == ["b"]
    with pytest.raises(FileExistsError), atomic_folder(place, existing="fail"):
        pass
    with pytest.raises(ZeroDivisionError), atomic_folder(place):
        raise ZeroDivisionError
    assert names(place.parent) == ["runs"]


def test_a_temporary_folder_goes_away_unless_it_gets_a_place(tmp_path):
    with temporary_folder(tmp_path / "building") as partial:
        write_whole(partial / "a", "1")
    assert names(tmp_path) == []
    with temporary_folder(tmp_path / "building") as partial:
        write_whole(partial / "a", "1")
        move_folder(partial, tmp_path / "job-1", "keep")
    assert names(tmp_path) == ["job-1"]


KILLED = """
import os, sys
from pathlib import Path
from llmseq_cli.files import atomic_folder, atomic_path, take_lock
held = take_lock(Path(sys.argv[1]) / "lock", "is at it")
with atomic_path(Path(sys.argv[1]) / "a") as one, atomic_folder(Path(sys.argv[1]) / "b") as other:
    one.write_text("half"); (other / "c").write_text("half")
    print(len(os.listdir(sys.argv[1])), flush=True)
    os.kill(os.getpid(), 9)
"""


def test_what_a_killed_process_leaves_is_removed_and_its_lock_is_free(tmp_path):
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (killed.returncode, killed.stdout) == (-9, "3\n")
    assert len(names(tmp_path)) == 3
    with atomic_path(tmp_path / "other") as mine:
        mine.write_text("1")
        write_whole(tmp_path / "second", "2")  # a process does not remove what it is writing itself
        assert mine.exists()
    assert names(tmp_path) == ["lock", "other", "second"]
    with exclusive(tmp_path / "lock", "is at it"):
        pass


def test_a_lock_keeps_others_out_and_says_what_they_do(tmp_path):
    with exclusive(tmp_path / "deep" / "lock", "is training it"):
        with pytest.raises(WorkspaceBusyError, match="another llmseq process is training it"):
            take_lock(tmp_path / "deep" / "lock", "is training it")
        take_lock(tmp_path / "lock", "is training it").release()


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
        (OSError(errno.EROFS, "Read-only file system"), "the file system is read-only"),
        (OSError(errno.EFBIG, "File too large"), "larger than this machine allows"),
        (OSError(errno.EMFILE, "Too many open files"), "too many files are open"),
        (OSError(errno.ENAMETOOLONG, "File name too long"), "the name is too long"),
        (OSError(errno.EISDIR, "Is a directory"), "a folder has that name"),
        (OSError(errno.ETXTBSY, "Text file busy"), "Text file busy"),
        (MemoryError(), "not enough memory"),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
            "not enough memory",
        ),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "the disk is full"),
        (ValueError("database or disk is full"), "the disk is full"),
        (ValueError("attempt to write a readonly database"), "read-only"),
    ],
)
def test_what_the_machine_refuses_names_the_path(tmp_path, error, says):
    with pytest.raises(LlmseqError) as caught, atomic_path(tmp_path / "out.csv"):
        raise error
    assert caught.value.message.startswith(f"{tmp_path / 'out.csv'}: ")
    assert says in caught.value.message
    assert caught.value.hint
    assert names(tmp_path) == []


def test_an_error_that_names_another_path_keeps_it(tmp_path):
    with pytest.raises(LlmseqError, match="/elsewhere/x: permission denied"), machine_errors(tmp_path):
        raise PermissionError(errno.EACCES, "Permission denied", "/elsewhere/x")
    said = machine_error(RuntimeError('Could not write file "/data/tmp.duckdb": No space left on device'))
    assert said is not None
    assert said.message == "/data/tmp.duckdb: the disk is full"


def test_bugs_stay_bugs():
    assert machine_error(KeyError("weights")) is None
    assert machine_error(ValueError("Error in file a/b")) is None
    bug = KeyError("x")
    bug.__context__ = FileNotFoundError(errno.ENOENT, "No such file or directory", "/elsewhere")
    assert machine_error(bug) is None
    bug.__context__ = OSError(errno.ENOSPC, "No space left on device", "/elsewhere")
    said = machine_error(bug)
    assert said is not None
    assert said.message == "/elsewhere: the disk is full"


def test_a_missing_folder_and_a_folder_in_the_place_are_told(tmp_path):
    with pytest.raises(LlmseqError, match=f"the folder {tmp_path / 'none'} does not exist"):
        write_whole(tmp_path / "none" / "a", "1")
    with pytest.raises(LlmseqError, match="is a folder"):
        write_whole(tmp_path, "1")
    write_whole(tmp_path / "file", "1")
    in_a_file = atomic_path(tmp_path / "file" / "a", make_folder=True)
    with pytest.raises(LlmseqError, match="file: that name already exists"), in_a_file:
        pass
    with pytest.raises(LlmseqError, match="the name is too long"):
        write_whole(tmp_path / ("x" * 300), "1")
    assert names(tmp_path) == ["file"]
    assert os.listdir(tmp_path) == ["file"]
