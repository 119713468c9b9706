"""The HTTP side of a download: requests, resuming, retries."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit, urlunsplit

from llmseq_cli._version import __version__
from llmseq_cli.checksums import file_checksum
from llmseq_cli.clients.retry_after import retry_after
from llmseq_cli.data.downloads.addresses import plain_url, query_digest
from llmseq_cli.data.downloads.notes import Origin, origin_path, part_path, read_note
from llmseq_cli.errors import LlmseqError
from llmseq_cli.files import write_json
from llmseq_cli.progress import Progress, Task

if TYPE_CHECKING:
    import httpx
    import tenacity

FRUITFUL_BYTES = 1 << 20
"""An attempt that receives this much resets the count of failures."""
LONGEST_PAUSE = 120.0
"""In seconds; if a server asks for a longer pause, give up."""
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504}
_MAGIC = {".gz": b"\x1f\x8b", ".zip": b"PK", ".zst": b"\x28\xb5\x2f\xfd"}
_COMPRESSED = (".gz", ".gzip", ".tgz", ".zst", ".zip", ".bz2", ".xz", ".br")


class SourceError(LlmseqError):
    """This URL does not provide the file; another one may."""


@dataclass(frozen=True)
class Retries:
    """tries: failures in a row before giving up. first_wait: seconds before the second attempt; pauses double up to 30.
    timeout: longest time in seconds without data.
    """

    tries: int = 6
    first_wait: float = 1.0
    timeout: float = 60.0


class _TransientError(Exception):
    """A temporary failure. pause: seconds that the server asks to wait, if any."""

    def __init__(self, reason: str, pause: float | None = None) -> None:
        super().__init__(reason)
        self.pause = pause


class Transfer:
    """Sends requests until the part of a file is complete.

    origin: what the part belongs to. resumed_from: bytes in it that an earlier call had downloaded.
    """

    def __init__(self, url: str, target: Path, progress: Progress, sha256: str | None, patience: Retries) -> None:
        self.url, self.target, self.progress = url.strip(), target, progress
        self.sha256, self.patience = sha256, patience
        self.host = urlsplit(plain_url(url)).netloc
        self.part = part_path(target)
        self.fresh = Origin(plain_url(url), query_digest(url))
        known = read_note(origin_path(target), Origin)
        same = known is not None and (known.url, known.query) == (self.fresh.url, self.fresh.query)
        self.origin = known if known is not None and same else self.fresh
        self.failures = self.received = self.shown = 0
        self.most = self.resumed_from = self.size() if self._resumable() else 0
        self.bar: Task | None = None

    def size(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def run(self) -> str:
        """Complete the part and return its SHA-256. Raises SourceError if this URL does not provide it."""
        with ExitStack() as self.stack:
            digest = self._fetch_whole()
            if self.sha256 not in (None, digest) and self.resumed_from:
                self.progress.message(f"{self.target.name}: the partial file does not fit, starting over")
                self._start_over(self.fresh)
                digest = self._fetch_whole()
        with self.part.open("rb") as part:
            magic = _MAGIC.get(self.target.suffix.lower(), b"")
            is_its_kind = part.read(len(magic)) == magic
        if is_its_kind and self.sha256 in (None, digest):
            return digest
        self._start_over(self.fresh)
        if not is_its_kind:
            raise SourceError(
                f"what {self.host} sends as {self.target.name} is not the file",
                "open the URL in a browser: it may lead to a login or a notice",
            )
        raise SourceError(
            f"{self.target.name} from {self.host} is not the expected file: its SHA-256 is {digest[:16]}…, "
            f"not {str(self.sha256)[:16]}…",
            "the file at this URL has changed, or a proxy replaces it; try another mirror",
        )

    def _resumable(self) -> bool:
        """Whether the server, or the checksum, can confirm that the rest belongs to the existing part."""
        return bool(self.origin.validator or (self.sha256 and self.origin.total)) and self.size() > 0

    def _start_over(self, origin: Origin) -> None:
        """Empty the part first, so that bytes of one file are never combined with the validator of another."""
        self.part.write_bytes(b"")
        self.resumed_from = 0
        self.origin = origin
        write_json(origin_path(self.target), asdict(origin), durable=False)

    def _fetch_whole(self) -> str:
        """SHA-256 of the part once its size is complete."""
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
            kept = f"run it again later: it continues after the {self.size():,} bytes received"
            raise SourceError(
                f"{self.target.name} could not be downloaded from {self.host}: {error}",
                kept if self._resumable() else "try again later",
            ) from error
        return file_checksum(self.part)

    def _client(self) -> httpx.Client:
        import httpx

        split = urlsplit(self.url)
        auth = (unquote(split.username), unquote(split.password or "")) if split.username else None
        # Without this header a server may compress the transfer, and sizes would not be those of the file.
        headers = {"User-Agent": f"llmseq/{__version__}", "Accept-Encoding": "identity"}
        try:
            return httpx.Client(follow_redirects=True, timeout=self.patience.timeout, headers=headers, auth=auth)
        except OSError as error:
            raise LlmseqError(
                f"the certificates of this machine cannot be read: {error.strerror or error}",
                "check SSL_CERT_FILE and SSL_CERT_DIR",
            ) from error

    def _pause(self, state: tenacity.RetryCallState) -> float:
        """Seconds until the next attempt: as the server asks, or doubling, with jitter."""
        import random

        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, _TransientError) and error.pause is not None:
            return error.pause
        doubled: float = self.patience.first_wait * 2 ** (self.failures - 1)
        return min(30.0, doubled) * random.uniform(0.5, 1.0)

    def _announce(self, state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        wait = state.next_action.sleep if state.next_action else 0.0
        self.progress.message(
            f"{self.target.name}: {error}; trying again in {wait:.0f} s ({self.failures} of {self.patience.tries})"
        )

    def _try(self, client: httpx.Client) -> None:
        """Make one request. Returns when the part is complete; raises _TransientError if another attempt may help."""
        import httpx

        try:
            self._request(client)
        except _TransientError:
            self._count_failure()
            raise
        except (httpx.TooManyRedirects, httpx.UnsupportedProtocol, httpx.InvalidURL):
            raise SourceError(
                f"{self.host} redirects in circles, or to an invalid URL", "check the URL"
            ) from None  # the URL may contain a password
        except (httpx.TransportError, httpx.DecodingError) as error:
            self._count_failure()
            if isinstance(error, httpx.ConnectError) and not self.received:
                raise SourceError(
                    f"{self.host} cannot be reached: {error}", "check the URL and your connection"
                ) from error
            slow = isinstance(error, httpx.TimeoutException)
            raise _TransientError("the server stopped sending" if slow else "the connection broke off") from error

    def _count_failure(self) -> None:
        size = self.size()
        self.failures = 1 if size >= self.most + FRUITFUL_BYTES else self.failures + 1
        self.most = max(self.most, size)

    def _request(self, client: httpx.Client) -> None:
        split = urlsplit(self.url)
        # User and password are passed as `auth`, so that no log shows them in a URL.
        url = urlunsplit((split.scheme, split.netloc.rpartition("@")[2], split.path, split.query, ""))
        headers = {}
        if self._resumable():
            if self.size() == self.origin.total:
                return
            headers["Range"] = f"bytes={self.size()}-"
            if self.origin.validator:
                headers["If-Range"] = self.origin.validator
        with client.stream("GET", url, headers=headers) as response:
            self._accept(response)

    def _accept(self, response: httpx.Response) -> None:
        status, ranged = response.status_code, "Range" in response.request.headers
        if status == 206 and ranged:
            if not self._continues(response):
                self._start_over(self.fresh)
                raise _TransientError("the file has changed on the server, starting over", 0.0)
            self._receive(response.iter_raw(), self.origin.total)
        elif status == 200:
            self._receive_from_start(response)
        elif status == 416 and ranged:
            total = re.fullmatch(r"bytes \*/(\d+)", response.headers.get("Content-Range", ""))
            if total is None or int(total[1]) != self.size():
                self._start_over(self.fresh)
                raise _TransientError("the file has changed on the server, starting over", 0.0)
        elif status in _TRANSIENT:
            raise _TransientError(
                f"{self.host} answers {status} {response.reason_phrase}".rstrip(), self._asked(response)
            )
        elif status in (404, 410):
            raise SourceError(f"{self.host} has no {self.target.name} at this URL ({status})", "check the URL")
        elif status in (401, 403, 407):
            raise SourceError(
                f"{self.host} does not provide {self.target.name} ({status})",
                "it may need a login, or the URL has expired",
            )
        else:
            raise SourceError(f"{self.host} answers {status} for {self.target.name}", "check the URL")

    def _continues(self, response: httpx.Response) -> bool:
        """Whether a 206 contains the rest of the existing part. Some servers ignore If-Range."""
        span = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", response.headers.get("Content-Range", ""))
        if span is None or int(span[1]) != self.size():
            return False
        if span[3] != "*":
            if self.origin.total not in (None, int(span[3])):
                return False
            self.origin = replace(self.origin, total=int(span[3]))
        etag, date = response.headers.get("ETag", ""), response.headers.get("Last-Modified", "")
        return etag in ("", self.origin.etag) and date in ("", self.origin.last_modified)

    def _receive_from_start(self, response: httpx.Response) -> None:
        """Receive the whole file: the first time, or if the server cannot or must not continue."""
        headers = response.headers
        if self.resumed_from:
            self.progress.message(f"{self.target.name}: the server sends it from the start")
        encoded = headers.get("Content-Encoding", "identity").lower() not in ("", "identity")
        if encoded and not self.target.name.lower().endswith(_COMPRESSED):
            # The transfer is compressed anyway: neither the size nor a position in the file is known.
            self._start_over(self.fresh)
            self._receive(response.iter_bytes(), None)
            return
        length, etag, date = (headers.get(name, "") for name in ("Content-Length", "ETag", "Last-Modified"))
        total = int(length) if length.isdecimal() else None
        self._start_over(replace(self.fresh, etag=etag, last_modified=date, total=total))
        self._receive(response.iter_raw(), total)

    def _receive(self, chunks: Iterator[bytes], total: int | None) -> None:
        """Append to the part, and flush it to disk."""
        at = self.size()
        self._show(at, total)
        with self.part.open("ab") as part:
            for chunk in chunks:
                part.write(chunk)
                at += len(chunk)
                self.received += len(chunk)
                self._show(at, total)
            part.flush()
            os.fsync(part.fileno())
        if total is not None and at != total:
            if at > total:
                self._start_over(self.fresh)
            raise _TransientError(f"{at:,} bytes arrived of {total:,}")

    def _show(self, at: int, total: int | None) -> None:
        """Show the position of the download in one bar for all attempts."""
        if self.bar is None:
            self.bar = self.stack.enter_context(self.progress.task(self.target.name, total=total, unit="B"))
        if at != self.shown:
            self.bar.advance(at - self.shown)
            self.shown = at

    def _asked(self, response: httpx.Response) -> float | None:
        """Seconds of `Retry-After`, or None. Raises SourceError if the pause is too long."""
        pause = retry_after(response.headers)
        if pause is not None and pause > LONGEST_PAUSE:
            raise SourceError(
                f"{self.host} asks to come back in {pause:.0f} seconds", "run it again then: received bytes are kept"
            )
        return pause
