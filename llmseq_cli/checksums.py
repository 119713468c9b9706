"""Checksums: make sure that files have not changed since they were saved.

A folder that llmseq saves contains `checksums.json`, the SHA-256 of every other file in it, which is verified before
anything in the folder is used. A folder without it comes from an older version or another program; then only its
contents are checked.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from llmseq_cli.errors import LlmseqError
from llmseq_cli.machine import machine_errors

MANIFEST = "checksums.json"
_compared: dict[Path, tuple[int, ...]] = {}
"""Files that this process has verified, with what shows whether they have changed since."""


def write_checksums(folder: Path) -> None:
    """Write the checksums of all files of a folder into it."""
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file != folder / MANIFEST)
    sums = {file.relative_to(folder).as_posix(): file_checksum(file) for file in files}
    (folder / MANIFEST).write_text(json.dumps({"sha256": sums}, indent=1) + "\n", encoding="utf-8")


def check_checksums(folder: Path, hint: str) -> bool:
    """Whether the folder has checksums and all agree. Raises LlmseqError naming a missing or changed file. hint: of
    that error.
    """
    manifest = folder / MANIFEST
    with machine_errors(manifest):
        if not manifest.is_file():
            return False
        try:
            sums = json.loads(manifest.read_text(encoding="utf-8"))["sha256"]
            wanted = {str(name): str(digest) for name, digest in sums.items()}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise LlmseqError(f"{manifest} is damaged", hint) from None
        for name, digest in wanted.items():
            _compare(folder / name, digest, hint)
        return True


def _compare(file: Path, digest: str, hint: str) -> None:
    if not file.is_file():
        raise LlmseqError(f"{file} is missing", hint)
    about = file.stat()
    now = (about.st_mtime_ns, about.st_size, about.st_ino, about.st_ctime_ns)
    if _compared.get(file) == now:
        return
    if file_checksum(file) != digest:
        raise LlmseqError(f"{file} was damaged or changed after it was saved: its checksum differs", hint)
    _compared[file] = now


def file_checksum(file: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def array_checksum(array: np.ndarray, about: str) -> str:
    """SHA-256 of an array's type, shape and values, and of a description of it, in hexadecimal."""
    digest = hashlib.sha256(f"{array.dtype.str} {array.shape} {about}".encode())
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
