"""What is noted beside a download: of a part, what it is a part of; of a finished file, where it came from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Origin:
    """What a part is a part of. url: as `plain_url` gives it. query: as `query_digest` gives it."""

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
class DownloadRecord:
    """A finished file: where it came from, and what it holds."""

    url: str
    query: str
    bytes: int
    sha256: str
    etag: str
    when: str


def read_note(path: Path, kind: type[T]) -> T | None:
    """None where there is no note, or none of this kind."""
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
