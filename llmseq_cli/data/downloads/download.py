"""Downloads that continue where they were interrupted.

A download grows in `NAME.part`. `NAME.part.json` records how to recognise that the server still has the same file (RFC
9110: ETag, Last-Modified), so that this process or a later one can continue. Once size and checksum are right, the part
is renamed, and `NAME.download.json` records where it came from.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from llmseq_cli.checksums import file_checksum
from llmseq_cli.data.downloads.addresses import file_name, plain_url, query_digest
from llmseq_cli.data.downloads.notes import DownloadRecord, Origin, origin_path, part_path, read_note, record_path
from llmseq_cli.data.downloads.transfer import Retries, Transfer
from llmseq_cli.errors import LlmseqError
from llmseq_cli.files import forget_lock, take_lock, write_json
from llmseq_cli.machine import machine_errors
from llmseq_cli.progress import Progress, SilentProgress


@dataclass(frozen=True)
class Downloaded:
    """A complete file.

    resumed_from: bytes that an earlier call had downloaded. from_cache: the whole file already existed.
    """

    path: Path
    bytes: int
    sha256: str
    resumed_from: int
    from_cache: bool


def download(
    url: str,
    out: Path,
    *,
    name: str | None = None,
    sha256: str | None = None,
    progress: Progress | None = None,
    patience: Retries | None = None,
) -> Downloaded:
    """Download a file into the folder `out`, continuing an earlier call.

    name: of the file; by default the last part of the URL. sha256: of the whole file, in hexadecimal; without it only
    the size is checked. patience: how often and how long to try.

    Raises UsageError for a URL that is not http(s), SourceError if this URL does not provide the file, and LlmseqError
    if the file cannot be stored. Received bytes are kept for the next call.
    """
    progress, sha256 = progress or SilentProgress(), sha256.lower() if sha256 else None
    target = out / (name or file_name(url))
    with machine_errors(target), _folder(out), _lock(target):
        there = present(url, out, name=name, sha256=sha256)
        if there is not None:
            progress.message(f"{target.name} is already there")
            return there
        if target.exists() and read_note(record_path(target), DownloadRecord) is None:
            raise LlmseqError(
                f"{target} exists, but was not downloaded from this URL",
                "move it away, or give another folder with --out",
            )
        transfer = Transfer(url, target, progress, sha256, patience or Retries())
        try:
            digest = transfer.run()
        except BaseException:
            if not transfer.size():
                part_path(target).unlink(missing_ok=True)
                origin_path(target).unlink(missing_ok=True)
            raise
        return _finish(target, transfer, digest)


def fetch_all(paths: Sequence[str], folder: Path, progress: Progress) -> list[str]:
    """Local paths for what users gave: http(s) URLs are downloaded once below `folder`, other paths stay unchanged.

    Every URL has its own subfolder, so files with the same name do not collide.
    """
    local = []
    for path in paths:
        if path.startswith(("http://", "https://")):
            own = hashlib.sha256(plain_url(path).encode()).hexdigest()[:12]
            path = str(download(path, folder / own, progress=progress).path)
        local.append(path)
    return local


def present(url: str, out: Path, *, name: str | None = None, sha256: str | None = None) -> Downloaded | None:
    """The file in the folder `out` if it came from this URL and still has its size, otherwise None.

    A file placed there by hand counts if it has the required SHA-256.
    """
    target = out / (name or file_name(url))
    if not target.is_file():
        return None
    size, record = target.stat().st_size, read_note(record_path(target), DownloadRecord)
    if record is None:
        by_hand = sha256 is not None and file_checksum(target) == sha256.lower()
        return Downloaded(target, size, str(sha256).lower(), 0, True) if by_hand else None
    same = (record.url, record.query, record.bytes) == (plain_url(url), query_digest(url), size)
    if same and sha256 in (None, record.sha256):
        return Downloaded(target, size, record.sha256, 0, True)
    return None


def begun_at(out: Path, name: str) -> str | None:
    """The URL, from `plain_url`, that a part of this file came from; None if there is no part."""
    origin = read_note(origin_path(out / name), Origin)
    return origin.url if origin and part_path(out / name).exists() else None


@contextmanager
def _folder(folder: Path) -> Iterator[None]:
    """Create the folder; after a failure, remove created folders that are empty."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        with suppress(OSError):  # the folder is not empty
            for one in missing:
                one.rmdir()
        raise


@contextmanager
def _lock(target: Path) -> Iterator[None]:
    held = take_lock(target.with_name(f"{target.name}.part.lock"), f"is downloading {target.name} to {target.parent}")
    try:
        yield
    finally:
        forget_lock(held)


def _finish(target: Path, transfer: Transfer, digest: str) -> Downloaded:
    size, origin = transfer.size(), transfer.origin
    when = datetime.now(UTC).isoformat(timespec="seconds")
    # Write the record first: without one, a file counts as placed there by hand.
    write_json(record_path(target), asdict(DownloadRecord(origin.url, origin.query, size, digest, origin.etag, when)))
    os.replace(part_path(target), target)
    origin_path(target).unlink(missing_ok=True)
    return Downloaded(target, size, digest, transfer.resumed_from, False)
