"""Downloads that survive: cut connections, restarts, changed files, full disks.

A download grows in `NAME.part`. Beside it `NAME.part.json` holds what tells whether the server still has the same file
(RFC 9110: ETag, Last-Modified), so that it can go on where it stopped, in this process or a later one. When size and
checksum are right it is renamed in one step, and `NAME.download.json` says where it came from.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BufferedRandom
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from llmseq_cli.data.downloads.transfer import Origin, Patience, Transfer, meter, read_json
from llmseq_cli.data.downloads.transfer_errors import cannot_write
from llmseq_cli.errors import LlmseqError, UsageError
from llmseq_cli.files import write_json
from llmseq_cli.progress import Progress, SilentProgress


@dataclass(frozen=True)
class Downloaded:
    """A file that is completely there.

    resumed_from: bytes that were there from an earlier try before this call and did not have to be fetched again.
    from_cache: nothing was fetched, the file was already there.
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
    patience: Patience | None = None,
) -> Downloaded:
    """Fetch a file into the folder `out`, going on with what an earlier call left there.

    name: of the file; by default the last part of the address.
    sha256: of the whole file, in hexadecimal; without it the size is what is checked.
    patience: how often and how long to try.

    Raises UsageError for an address that is not http(s), and LlmseqError where the file cannot be had; what was
    received is kept for the next call.
    """
    progress = progress or SilentProgress()
    target = out / (name or file_name(url))
    try:
        there = present(url, out, name=name, sha256=sha256)
        if there is not None:
            progress.message(f"{target.name} is already there")
            return there
        _check_owner(target)
        with _made(out), _part_of(target) as part, meter(progress) as at:
            transfer = Transfer(
                url, target, _origin(url), part, at, sha256.lower() if sha256 else None, patience or Patience()
            )
            digest = transfer.run()
            return _finish(target, part, transfer, digest)
    except OSError as error:
        raise cannot_write(error, target) from error


def present(url: str, out: Path, *, name: str | None = None, sha256: str | None = None) -> Downloaded | None:
    """The file from this address, where it is in the folder `out` with the size that it had; else None.

    A file that someone else put there counts where it has the SHA-256 that is asked for.
    """
    target = out / (name or file_name(url))
    if not target.is_file():
        return None
    record, size, origin = read_json(_record_of(target)), target.stat().st_size, _origin(url)
    if not record:
        found = _sha256(target) if sha256 else ""
        return Downloaded(target, size, found, 0, True) if sha256 and found == sha256.lower() else None
    same = (record.get("url"), record.get("query"), record.get("bytes")) == (origin.url, origin.query, size)
    if same and (sha256 is None or record.get("sha256") == sha256.lower()):
        return Downloaded(target, size, str(record.get("sha256", "")), 0, True)
    return None


def plain_url(url: str) -> str:
    """The address as it may be shown and kept: without user, password, query and fragment."""
    split = _parse(url)
    return urlunsplit((split.scheme, split.netloc.rpartition("@")[2], split.path, "", ""))


def file_name(url: str) -> str:
    """The name that a file from this address gets: its last part, decoded, without what file systems forbid."""
    last = unquote(_parse(url).path).rstrip("/").rpartition("/")[2]
    safe = re.sub(r'[\x00-\x1f\x7f<>:"/\\|?*]', "_", last).strip(" .")
    # File systems count bytes, and the records beside the file bear longer names.
    return safe.encode()[-150:].decode(errors="ignore").strip(" .") or "download"


def _parse(url: str) -> SplitResult:
    try:
        split = urlsplit(url.strip())
        usable = split.scheme in ("http", "https") and bool(split.hostname) and (split.port or 1) > 0
    except ValueError:
        usable = False
    if not usable:
        raise UsageError("only complete http and https addresses can be downloaded", "for example https://host/file.gz")
    return split


def begun_at(out: Path, name: str) -> str | None:
    """The address, as `plain_url` gives it, from which a part of this file was fetched and kept; None without one."""
    url = read_json(_origin_path(out / name)).get("url")
    return str(url) if url and _part_path(out / name).exists() else None


def _origin(url: str) -> Origin:
    query = _parse(url).query
    return Origin(plain_url(url), hashlib.sha256(query.encode()).hexdigest() if query else "")


def _check_owner(target: Path) -> None:
    """Raise LlmseqError where a file would be replaced that no download put there."""
    if target.exists() and not read_json(_record_of(target)):
        raise LlmseqError(
            f"{target} is already there and was not downloaded from this address",
            "move it away, or give another folder with --out",
        )


def _part_path(target: Path) -> Path:
    return target.with_name(target.name + ".part")


def _origin_path(target: Path) -> Path:
    return target.with_name(target.name + ".part.json")


def _record_of(target: Path) -> Path:
    return target.with_name(target.name + ".download.json")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """The folder, which is removed again, with those above that had to be made, where a failure leaves it empty."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        with suppress(OSError):  # it is not empty
            for one in missing:
                one.rmdir()
        raise


@contextmanager
def _part_of(target: Path) -> Iterator[BufferedRandom]:
    """The growing file, opened to read and write; no other process works on it meanwhile. Removed if left empty."""
    path = _part_path(target)
    with open(os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666), "r+b") as part:
        # Where the other process has just finished, what was opened here is its finished file.
        if not _lock(part) or not path.exists() or not os.path.samestat(os.fstat(part.fileno()), path.stat()):
            raise LlmseqError(
                f"another process is downloading {target.name} into {target.parent}", "wait for it to end"
            )
        try:
            yield part
        finally:
            if path.exists() and path.stat().st_size == 0:
                path.unlink()
                _origin_path(target).unlink(missing_ok=True)


def _lock(file: BufferedRandom) -> bool:
    """Take the file for this process until it is closed; False where another one has it. No-op without flock."""
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        # Some network file systems have no locks.
        return True
    return True


def _finish(target: Path, part: BufferedRandom, transfer: Transfer, digest: str) -> Downloaded:
    size = os.fstat(part.fileno()).st_size
    os.fsync(part.fileno())
    record = {
        "url": transfer.origin.url,
        "query": transfer.origin.query,
        "bytes": size,
        "sha256": digest,
        "etag": transfer.origin.etag,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    # The record first: a file without one would be taken for someone else's.
    write_json(_record_of(target), record)
    if os.name == "nt":
        # Windows does not rename what is open.
        part.close()
    os.replace(_part_path(target), target)
    with suppress(OSError):
        _origin_path(target).unlink()
    return Downloaded(target, size, digest, transfer.resumed_from, False)
