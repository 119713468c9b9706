"""The HTTP side of a download: requests, resuming, retries, and words for what goes wrong."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from io import BufferedRandom
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit, urlunsplit

from llmseq_cli._version import __version__
from llmseq_cli.clients.retry_after import retry_after
from llmseq_cli.data.downloads.transfer_errors import SourceError, explain_connection, refusal, transport_reason
from llmseq_cli.errors import LlmseqError, UsageError
from llmseq_cli.files import write_json
from llmseq_cli.progress import Progress, Task

if TYPE_CHECKING:
    import httpx
    import tenacity

# A try counts as fruitful, and the count of failures starts again, when it brings at least this much.
FRUITFUL_BYTES = 1 << 20
# A server that asks for a longer pause than this is left alone.
LONGEST_PAUSE = 120.0
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504}
_MAGIC = {".gz": b"\x1f\x8b", ".zip": b"PK", ".zst": b"\x28\xb5\x2f\xfd"}
_COMPRESSED = (".gz", ".gzip", ".tgz", ".zst", ".zip", ".bz2", ".xz", ".br")


@dataclass(frozen=True)
class Origin:
    """What a part was made from. `url` bears no credentials, and of the query only a checksum is kept."""

    url: str
    query: str
    etag: str = ""
    last_modified: str = ""
    total: int | None = None

    @property
    def validator(self) -> str:
        """What `If-Range` may hold: a strong ETag, else the date."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.last_modified


@dataclass(frozen=True)
class Patience:
    """How long a download keeps trying.

    tries: how often in a row a try may fail; one that brings FRUITFUL_BYTES starts the count again.
    first_wait: seconds before the second try; the pauses double up to half a minute, with jitter.
    timeout: seconds in which the server must answer or send something.
    """

    tries: int = 6
    first_wait: float = 1.0
    timeout: float = 60.0


class _TransientError(Exception):
    """A failure that may pass. `pause`: seconds that the server asks to wait, where it does."""

    def __init__(self, reason: str, pause: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.pause = pause


def read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


class Meter:
    """One bar for a download of several tries: it is set to where the download stands."""

    def __init__(self, progress: Progress, stack: ExitStack) -> None:
        self.progress = progress
        self._stack = stack
        self._task: Task | None = None
        self._total: int | None = None
        self._at = 0

    def start(self, name: str, total: int | None, at: int) -> None:
        if self._task is None or total != self._total:
            self._stack.close()
            self._task = self._stack.enter_context(self.progress.task(name, total=total, unit="B"))
            self._total, self._at = total, 0
        self.set(at)

    def set(self, at: int) -> None:
        if self._task is not None and at != self._at:
            self._task.advance(at - self._at)
            self._at = at


@contextmanager
def meter(progress: Progress) -> Iterator[Meter]:
    with ExitStack() as stack:
        yield Meter(progress, stack)


class Transfer:
    """One call of `download`: tries until the part is whole.

    origin: what the part is made from; before the first answer, what it was made from earlier.
    nowhere: this address without anything known of its file.
    resumed_from: bytes from an earlier call that did not have to be fetched again.
    """

    def __init__(
        self,
        url: str,
        target: Path,
        origin: Origin,
        part: BufferedRandom,
        meter: Meter,
        sha256: str | None,
        patience: Patience,
    ) -> None:
        self.url = url.strip()
        self.target = target
        self.part = part
        self.meter = meter
        self.sha256 = sha256
        self.patience = patience
        self.host = urlsplit(origin.url).netloc
        self.nowhere = origin
        self.origin_path = target.with_name(target.name + ".part.json")
        self.origin = self._known_origin(origin)
        self.failures = 0
        self.received = 0
        self.most = self.resumed_from = self._size() if self._resumable() else 0

    def run(self) -> str:
        """SHA-256 of the part, which is complete then. Raises LlmseqError where it cannot be had."""
        digest = self._fetch_whole()
        if not self._is_its_kind():
            self._start_over(self.nowhere)
            raise SourceError(
                f"what {self.host} sends as {self.target.name} is no such file",
                "open the address in a browser: it may lead to a login or a notice",
            )
        if self.sha256 not in (None, digest) and self.resumed_from:
            self.meter.progress.message(f"{self.target.name}: what was there does not fit, starting over")
            self._start_over(self.nowhere)
            digest = self._fetch_whole()
        if self.sha256 not in (None, digest):
            self._start_over(self.nowhere)
            raise SourceError(
                f"{self.target.name} from {self.host} is not the expected file: its SHA-256 is {digest[:16]}…, "
                f"not {str(self.sha256)[:16]}…",
                "the file at the address has changed, or something on the way replaces it; try another mirror",
            )
        return digest

    def _known_origin(self, origin: Origin) -> Origin:
        """What the part on disk was made from, where that is this address; else an origin that fits nothing."""
        known = read_json(self.origin_path)
        if (known.get("url"), known.get("query")) != (origin.url, origin.query):
            return origin
        fields = {name: known.get(name) for name in ("etag", "last_modified", "total")}
        total = fields["total"] if isinstance(fields["total"], int) else None
        return replace(
            origin, etag=str(fields["etag"] or ""), last_modified=str(fields["last_modified"] or ""), total=total
        )

    def _resumable(self) -> bool:
        """Whether the server can tell that the rest belongs to what is there, or the checksum will."""
        known = self.origin.validator or (self.sha256 and self.origin.total)
        return bool(known) and self._size() > 0

    def _is_its_kind(self) -> bool:
        """Whether the first bytes are those of a .gz, .zip or .zst, where the name says so."""
        magic = _MAGIC.get(self.target.suffix.lower(), b"")
        self.part.seek(0)
        return self.part.read(len(magic)) == magic

    def _size(self) -> int:
        return os.fstat(self.part.fileno()).st_size

    def _start_over(self, origin: Origin) -> None:
        """Empty the part first: bytes of one file must never stand beside the validator of another."""
        self.part.seek(0)
        self.part.truncate()
        self.resumed_from = 0
        self.origin = origin
        write_json(self.origin_path, asdict(origin), durable=False)

    def _fetch_whole(self) -> str:
        """SHA-256 of the part, complete as far as its size tells."""
        import tenacity

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_TransientError),
            stop=lambda state: self.failures >= self.patience.tries,
            wait=self._pause,
            before_sleep=self._announce,
            sleep=time.sleep,
            reraise=True,
        )
        try:
            with self._client() as client:
                retrying(self._try, client)
        except _TransientError as error:
            raise SourceError(
                f"{self.target.name} could not be fetched from {self.host}: {error.reason}",
                f"run it again later: {self._size():,} bytes are kept and it goes on there"
                if self._resumable()
                else "try again later",
            ) from error
        self.part.flush()
        self.part.seek(0)
        return hashlib.file_digest(self.part, "sha256").hexdigest()

    def _client(self) -> httpx.Client:
        import httpx

        split = urlsplit(self.url)
        auth = (unquote(split.username), unquote(split.password or "")) if split.username else None
        try:
            return httpx.Client(
                follow_redirects=True,
                timeout=self.patience.timeout,
                headers={"User-Agent": f"llmseq/{__version__}"},
                auth=auth,
            )
        except OSError as error:
            raise LlmseqError(
                f"the certificates of this machine cannot be read: {error.strerror or error}",
                "check SSL_CERT_FILE and SSL_CERT_DIR",
            ) from error

    def _pause(self, state: tenacity.RetryCallState) -> float:
        """Seconds until the next try: what the server asks for, else doubling with jitter."""
        import random

        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, _TransientError) and error.pause is not None:
            return error.pause
        return min(30.0, self.patience.first_wait * 2 ** (self.failures - 1)) * random.uniform(0.5, 1.0)

    def _announce(self, state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        wait = state.next_action.sleep if state.next_action else 0.0
        self.meter.progress.message(
            f"{self.target.name}: {error}; trying again in {wait:.0f} s ({self.failures} of {self.patience.tries})"
        )

    def _try(self, client: httpx.Client) -> None:
        """One request. Returns when the part is whole; raises _TransientError where another try may help."""
        import httpx

        try:
            self._request(client)
        except _TransientError:
            self._count_failure()
            raise
        except (httpx.TooManyRedirects, httpx.UnsupportedProtocol) as error:
            raise SourceError(
                f"{self.host} sends the request round in circles or elsewhere", "check the address"
            ) from error
        except httpx.InvalidURL:
            raise UsageError(
                f"the address at {self.host} is not well formed", "check it for spaces or odd signs"
            ) from None
        except (httpx.TransportError, httpx.DecodingError) as error:
            self._count_failure()
            permanent = explain_connection(error, self.host) if self.received == 0 else None
            if permanent is not None:
                raise permanent from error
            raise _TransientError(transport_reason(error)) from error

    def _count_failure(self) -> None:
        size = self._size()
        self.failures = 1 if size >= self.most + FRUITFUL_BYTES else self.failures + 1
        self.most = max(self.most, size)

    def _request(self, client: httpx.Client) -> None:
        split = urlsplit(self.url)
        # User and password go by `auth`, so that no log of the client shows them in the address.
        url = urlunsplit((split.scheme, split.netloc.rpartition("@")[2], split.path, split.query, ""))
        # Else a server may compress the file on the way, and the size of what arrives is not that of the file.
        headers = {"Accept-Encoding": "identity"}
        if self._resumable():
            if self._size() == self.origin.total:
                return
            headers["Range"] = f"bytes={self._size()}-"
            if self.origin.validator:
                headers["If-Range"] = self.origin.validator
        with client.stream("GET", url, headers=headers) as response:
            self._accept(response)

    def _accept(self, response: httpx.Response) -> None:
        status, ranged = response.status_code, "Range" in response.request.headers
        if status == 206 and ranged:
            if not self._continues(response):
                self._start_over(self.nowhere)
                raise _TransientError("the file has changed on the server, starting over", 0.0)
            self._receive(response.iter_raw(), self.origin.total)
        elif status == 200:
            self._receive_from_start(response)
        elif status == 416 and ranged:
            total = re.fullmatch(r"bytes \*/(\d+)", response.headers.get("Content-Range", ""))
            if total is None or int(total[1]) != self._size():
                self._start_over(self.nowhere)
                raise _TransientError("the server has another file than the one begun, starting over", 0.0)
        elif status in _TRANSIENT:
            raise _TransientError(
                f"{self.host} answers {status} {response.reason_phrase}".rstrip(), self._asked(response)
            )
        else:
            raise refusal(status, self.host, self.target.name)

    def _continues(self, response: httpx.Response) -> bool:
        """Whether a 206 holds the rest of what is there. Servers exist that ignore If-Range."""
        span = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", response.headers.get("Content-Range", ""))
        if span is None or int(span[1]) != self._size():
            return False
        if span[3] != "*" and self.origin.total not in (None, int(span[3])):
            return False
        if span[3] != "*":
            self.origin = replace(self.origin, total=int(span[3]))
        etag, date = response.headers.get("ETag", ""), response.headers.get("Last-Modified", "")
        return (not etag or etag == self.origin.etag) and (not date or date == self.origin.last_modified)

    def _receive_from_start(self, response: httpx.Response) -> None:
        """Take the whole file: the first time, or because the server cannot or must not continue."""
        headers = response.headers
        if self.resumed_from:
            self.meter.progress.message(f"{self.target.name}: the server sends it from the start again")
        encoded = headers.get("Content-Encoding", "identity").lower() not in ("", "identity")
        if encoded and not self.target.name.lower().endswith(_COMPRESSED):
            # Compressed on the way against our wish: neither size nor position in the file can be known.
            self._start_over(self.nowhere)
            self._receive(response.iter_bytes(), None)
            return
        length = headers.get("Content-Length", "")
        total = int(length) if length.isdecimal() else None
        etag, date = headers.get("ETag", ""), headers.get("Last-Modified", "")
        self._start_over(replace(self.nowhere, etag=etag, last_modified=date, total=total))
        free = shutil.disk_usage(self.target.parent).free
        if total is not None and total > free:
            raise LlmseqError(
                f"{self.target.name} has {total:,} bytes, only {free:,} are free in {self.target.parent}",
                "free some space, or give another folder with --out",
            )
        self._receive(response.iter_raw(), total)

    def _receive(self, chunks: Iterator[bytes], total: int | None) -> None:
        at = self._size()
        self.part.seek(at)
        self.meter.start(self.target.name, total, at)
        try:
            for chunk in chunks:
                self.part.write(chunk)
                at += len(chunk)
                self.received += len(chunk)
                self.meter.set(at)
        finally:
            self.part.flush()
        if total is not None and at != total:
            if at > total:
                self._start_over(self.nowhere)
            raise _TransientError(f"{at:,} bytes arrived of {total:,}")

    def _asked(self, response: httpx.Response) -> float | None:
        """Seconds of `Retry-After`, given as a number or a date; None without. Raises LlmseqError for a long one."""
        pause = retry_after(response.headers)
        if pause is not None and pause > LONGEST_PAUSE:
            raise SourceError(
                f"{self.host} asks to come back in {pause:.0f} seconds", "run it again then: what is there is kept"
            )
        return pause
