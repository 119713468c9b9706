"""URLs of files: how they are shown, and what the files are called."""

from __future__ import annotations

import hashlib
import re
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from llmseq_cli.errors import UsageError


def parse_url(url: str) -> SplitResult:
    """The parts of an http(s) URL. Raises UsageError for anything else."""
    try:
        split = urlsplit(url.strip())
        usable = split.scheme in ("http", "https") and bool(split.hostname) and (split.port or 1) > 0
    except ValueError:
        usable = False
    if not usable:
        raise UsageError("only complete http and https URLs can be downloaded", "for example https://host/file.gz")
    return split


def plain_url(url: str) -> str:
    """The URL, safe to show and store: without user, password, query and fragment."""
    split = parse_url(url)
    return urlunsplit((split.scheme, split.netloc.rpartition("@")[2], split.path, "", ""))


def query_digest(url: str) -> str:
    """A digest that distinguishes queries without showing them, since they may contain a key. Empty without a query."""
    query = parse_url(url).query
    return hashlib.sha256(query.encode()).hexdigest() if query else ""


def file_name(url: str) -> str:
    """A file name from this URL: its last part, decoded, without characters that file systems forbid."""
    last = unquote(parse_url(url).path).rstrip("/").rpartition("/")[2]
    safe = re.sub(r'[\x00-\x1f\x7f<>:"/\\|?*]', "_", last).strip(" .")
    # File systems count bytes, and the note files next to it have longer names.
    return safe.encode()[-150:].decode(errors="ignore").strip(" .") or "download"
