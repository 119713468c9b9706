"""Explain problems of the machine: full disks, read-only folders, too little memory.

Libraries report the same problem in many ways: as an OSError, as their own class, or in the text of a RuntimeError.
`machine_error` turns each into one error that names the path and says what to do.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llmseq_cli.errors import LlmseqError

_FULL = ("the disk is full", "free some space, then run the command again")
_QUOTA = ("your disk quota is used up", "free some space, then run the command again")
_READ_ONLY = ("the file system is read-only", "choose a folder that you can write to")
_DENIED = ("permission denied", "check who owns the folder, or choose another one")
_TOO_LARGE = ("the file would be larger than this machine allows", "check `ulimit -f` and the file system")
_TOO_LONG = ("the name is too long", "choose a shorter name or path")
_IS_FOLDER = ("a folder has that name", "choose another name")
_TAKEN = ("that name already exists", "choose another name")
_NO_FOLDER = ("a part of the path is a file", "choose another path")
_GONE = ("there is no such file or folder", "check the path; another program may have removed it")
_FILES = ("too many files are open", "raise the limit with `ulimit -n 4096`")
_MEMORY = ("not enough memory", "close other programs, or process less data at a time")
_BROKEN = ("the disk reports an error", "check the disk and the system's log")

_BY_NUMBER = {
    errno.ENOSPC: _FULL,
    getattr(errno, "EDQUOT", -1): _QUOTA,
    errno.EROFS: _READ_ONLY,
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.EFBIG: _TOO_LARGE,
    errno.ENAMETOOLONG: _TOO_LONG,
    errno.EISDIR: _IS_FOLDER,
    errno.EEXIST: _TAKEN,
    errno.ENOTDIR: _NO_FOLDER,
    errno.ENOENT: _GONE,
    errno.EMFILE: _FILES,
    errno.ENFILE: _FILES,
    errno.ENOMEM: _MEMORY,
    errno.EIO: _BROKEN,
}
_BY_WORDS = (
    (r"no space left on device|database or disk is full|\(os error 28\)|max_temp_directory_size", _FULL),
    (r"disk quota exceeded|\(os error 122\)", _QUOTA),
    (r"read-only file system|attempt to write a readonly database|\(os error 30\)", _READ_ONLY),
    (r"permission denied|\(os error 13\)", _DENIED),
    (r"file too large|\(os error 27\)", _TOO_LARGE),
    (r"file ?name too long|\(os error 36\)", _TOO_LONG),
    (r"too many open files|\(os error 24\)", _FILES),
    (r"is a directory\b|\(os error 21\)", _IS_FOLDER),
    (
        r"can(not|'t) allocate memory|not enough memory|out of memory|bad_alloc|\(os error 12\)",
        _MEMORY,
    ),
    (r"input/output error|disk i/o error|\(os error 5\)", _BROKEN),
)
_GRAVE = (_FULL, _QUOTA, _READ_ONLY, _TOO_LARGE, _FILES, _MEMORY, _BROKEN)
PARTIAL_MARK = ".llmseq-"
"""In temporary names of files being written; messages show the final name."""

_PATH = re.compile(r"[\"']([^\"'\n]*[/\\][^\"'\n]*)[\"']")


def machine_error(error: BaseException, path: Path | None = None) -> LlmseqError | None:
    """The machine problem behind an exception; None if it is about something else.

    path: the file being written or read, for exceptions that do not name it.
    """
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        found = _state(one)
        # An earlier, handled exception counts only if no program could have recovered from it.
        if found is not None and (one is error or found in _GRAVE):
            what, hint = found
            named = _path_in(one)
            where = path if path and (named is None or PARTIAL_MARK in named) else named
            return LlmseqError(f"{where}: {what}" if where else _unnamed(what, one), hint)
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
    return None


@contextmanager
def machine_errors(path: Path) -> Iterator[None]:
    """While `path` is written or read, turn machine problems into an LlmseqError that names it."""
    try:
        yield
    except LlmseqError:
        raise
    except Exception as error:
        explained = machine_error(error, path)
        if explained is None:
            raise
        raise explained from error


def _state(error: BaseException) -> tuple[str, str] | None:
    if isinstance(error, LlmseqError):
        return None
    if isinstance(error, MemoryError):
        return _MEMORY
    if isinstance(error, OSError) and error.errno in _BY_NUMBER:
        return _BY_NUMBER[error.errno]
    text = str(error).lower()
    for words, state in _BY_WORDS:
        if re.search(words, text):
            return state
    if isinstance(error, OSError) and error.errno is not None and error.strerror:
        return error.strerror, "check the disk and the network, then run the command again"
    return None


def _path_in(error: BaseException) -> str | None:
    """The path that an exception names."""
    if isinstance(error, OSError) and error.filename is not None:
        return str(error.filename2 or error.filename)
    found = _PATH.search(str(error))
    return found.group(1) if found else None


def _unnamed(what: str, error: BaseException) -> str:
    said = " ".join(str(error).split())[:200]
    return f"{what} ({said})" if said else what
