"""Notes next to a download: what a part belongs to, and where a finished file came from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Origin:
    """What a part belongs to. url: from `plain_url`. query: from `query_digest`."""

    url: str
    query: str
    etag: str = ""
    last_modified: str = ""
    total: int | None = None

    @property
    def validator(self) -> str:
        """The value for `If-Range`: a strong ETag, or else the date."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.last_modified


@dataclass(frozen=True)
class DownloadRecord:
    """A finished file: its origin, size and checksum."""

    url: str
    query: str
    bytes: int
    sha256: str
    etag: str
    when: str


def read_note(path: Path, kind: type[T]) -> T | None:
    """Read a note; None if there is none, or not of this kind."""
    from pydantic import TypeAdapter

    try:
        return TypeAdapter(kind).validate_json(path.read_bytes())
    except (OSError, ValueError):
        return None


def part_path(target: Path) -> Path:
    return target.with_name(f"{target.name}.part")


def origin_path(target: Path) -> Path:
    return target.with_name(f"{target.name}.part.json")


def record_path(target: Path) -> Path:
    return target.with_name(f"{target.name}.download.json")
