"""The files that a user's SQL names, and the workspace's own files, which it must not change."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from glob import glob, has_magic
from pathlib import Path
from urllib.parse import unquote

from llmseq_cli.errors import LlmseqError
from llmseq_cli.store.statements import Statement, Token

_BESIDE_A_DATABASE = (".wal", ".wal.checkpoint", ".wal.recovery")
_LONGEST = 4096
_PLAIN_NAME = "write the file name as plain text, for example copy items to 'items.csv'"


@dataclass
class NamedFiles:
    """files, folders: what DuckDB may open; statements: with real paths for the files that they write."""

    files: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    statements: list[str] = field(default_factory=list)


def named_files(statements: list[Statement], workspace: Path) -> NamedFiles:
    """The files that strings in the statements name. Raises LlmseqError for a statement that would write or attach a
    file of the workspace, or a file whose name is not plain text.

    DuckDB lets any statement overwrite the workspace's file, because it has it open, so we check here what is written.
    For reading, it is enough to exclude the workspace from the files that DuckDB may open.
    """
    own, named = _OwnFiles(workspace), NamedFiles()
    for statement in statements:
        targets = _written(statement)
        for token in statement.tokens:
            if token.string and token not in targets:
                _allow_reading(token.string, own, named)
        for token in targets:
            _allow_writing(_path(token.string or ""), own, named)
        if statement.kind == "ATTACH":
            _check_attached(statement, own, named)
        named.statements.append(_with_real_paths(statement, targets))
    return named


class _OwnFiles:
    """Everything in the workspace's folder, by any name."""

    def __init__(self, workspace: Path) -> None:
        self.folder = Path(os.path.realpath(workspace))
        self._folder = _identity(self.folder)
        linked = (_identity(Path(folder, name)) for folder, _, names in os.walk(self.folder) for name in names)
        self._files = {identity for identity in linked if identity is not None}

    def holds(self, path: Path) -> bool:
        """Whether a path leads into the folder, also through links, and on case-insensitive file systems."""
        real = Path(os.path.realpath(path))
        if _identity(real) in self._files:
            return True
        return any(place == self.folder or _identity(place) == self._folder for place in (real, *real.parents))

    def reached_from(self, folder: Path) -> bool:
        """Whether anything in a folder, at any depth, leads into the workspace's folder."""
        if Path(os.path.realpath(folder)) in self.folder.parents:
            return True
        inside = ((place, name) for place, folders, names in os.walk(folder) for name in (*folders, *names))
        return any(self.holds(Path(place, name)) for place, name in inside)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def _path(text: str) -> Path:
    """The file that DuckDB would open for a string."""
    if text[:5].lower() == "file:":
        text = unquote(text[5:])
        text = "/" + text.lstrip("/").removeprefix("localhost/")
    return Path(os.path.abspath(Path(text).expanduser()))


def _allow_reading(text: str, own: _OwnFiles, named: NamedFiles) -> None:
    if "\0" in text or len(text) > _LONGEST:  # not a possible file name
        return
    path = _path(text)
    found = [path, *(map(Path, glob(str(path), recursive=True)) if has_magic(text) else ())]
    named.files += [str(file) for file in found if not own.holds(file)]


def _allow_writing(path: Path, own: _OwnFiles, named: NamedFiles) -> None:
    aside = path.with_name(f"tmp_{path.name}")  # DuckDB writes there first
    for file in (path, aside):
        if own.holds(file):
            raise LlmseqError(
                f"{path} belongs to the workspace, so a query cannot write it", "name a file outside its folder"
            )
        named.files.append(_real(file))
    if path.is_dir() and own.reached_from(path):
        raise LlmseqError(f"{path} leads into the workspace's folder", "use another folder")
    if path.is_dir() or not path.exists():
        named.folders.append(_real(path))


def _check_attached(statement: Statement, own: _OwnFiles, named: NamedFiles) -> None:
    for token in statement.tokens:
        if token.string and token.string != ":memory:":
            path = _path(token.string)
            beside = [path.with_name(path.name + ending) for ending in _BESIDE_A_DATABASE]
            if any(own.holds(file) for file in (path, *beside)):
                raise LlmseqError(
                    f"{path} belongs to the workspace and cannot be attached", "its tables are already available"
                )
            named.files += [str(file) for file in beside]
            named.folders.append(f"{path}.tmp")


def _written(statement: Statement) -> list[Token]:
    """The strings that name what a statement writes. Raises LlmseqError if a name is not plain text."""
    tokens, targets = statement.tokens, []
    for place, token in enumerate(tokens):
        if token.word == "copy" and statement.kind != "PRAGMA":
            to = _to(tokens, place)
            targets += [] if to is None else [_plain(tokens, to + 1)]
        elif token.word in ("filename_pattern", "file_extension"):
            _check_name(token.word, _plain(tokens, place + 1, sign="=").string or "")
    if statement.kind == "EXPORT":
        targets.append(next((token for token in tokens if token.string), tokens[-1]))
    return targets


def _check_name(option: str, name: str) -> None:
    """DuckDB appends it to the folder's name unchecked, so it must not be a path."""
    if "/" in name or "\\" in name:
        raise LlmseqError(f"{option} is a name, not a path", "leave out / and \\")


def _to(tokens: list[Token], place: int) -> int | None:
    """The position of a COPY's TO; None if there is none: it reads, or `copy` is a name."""
    depth = 0
    for later in range(place + 1, len(tokens)):
        word = tokens[later].word
        depth += (word == "(") - (word == ")")
        if depth < 0:
            return None
        if depth == 0 and word == "to":
            return later
    return None


def _plain(tokens: list[Token], place: int, sign: str = "") -> Token:
    """The single plain string at a position."""
    place += place < len(tokens) and tokens[place].text == sign
    follows = tokens[place + 1 : place + 2]
    if place >= len(tokens) or tokens[place].string is None or tokens[place].text[0] != "'":
        raise LlmseqError("a query cannot compute the name of a file that it writes", _PLAIN_NAME)
    if follows and follows[0].kind == "string_const":
        raise LlmseqError("a query cannot put the name of a file together", _PLAIN_NAME)
    return tokens[place]


def _with_real_paths(statement: Statement, targets: list[Token]) -> str:
    content = statement.text.encode()
    for token in sorted(targets, key=lambda token: -token.start):
        real = _real(_path(token.string or "")).replace("'", "''")
        content = content[: token.start] + f"'{real}'".encode() + content[token.start + len(token.text.encode()) :]
    return content.decode()


def _real(path: Path) -> str:
    """The path without links and dots; unchanged for a pipe or a terminal."""
    real = os.path.realpath(path)
    return str(path) if path.exists() and not os.path.exists(real) else real
