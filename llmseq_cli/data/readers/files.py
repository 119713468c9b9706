"""Files: find them, explain why one cannot be read, and quote names for SQL."""

from __future__ import annotations

import glob
import gzip
import os
import re
import zlib
from pathlib import Path
from textwrap import shorten

from llmseq_cli.errors import LlmseqError

_ICONV = "iconv -f LATIN1 -t UTF-8 FILE > NEW_FILE"
_CHUNK = 1 << 20
_MAGIC = {".gz": b"\x1f\x8b", ".zst": b"\x28\xb5\x2f\xfd"}
LONGEST_LINE = 4_000_000  # bytes; DuckDB allocates many times as much


def is_remote(path: str) -> bool:
    return "://" in path


def plain_name(file: str) -> str:
    """A file's name in lower case, without the suffix of a compression."""
    return file.lower().removesuffix(".gz").removesuffix(".zst")


def find_files(paths: list[str]) -> list[str]:
    """All files that the paths mean, in order. Raises LlmseqError if a path matches nothing or cannot be read."""
    files: list[str] = []
    for path in paths:
        if is_remote(path):
            files.append(path)
        elif os.path.isdir(path):
            files += _in_folder(Path(path))
        elif os.path.exists(path):
            files.append(path)
        elif glob.has_magic(path):
            matching = sorted(p for p in glob.glob(path, recursive=True) if os.path.isfile(p))
            if not matching:
                raise LlmseqError(f"no file matches {path}", "quote the pattern, or check the folder")
            files += matching
        else:
            raise LlmseqError(f"{path} does not exist", "check the path, or `llmseq download` a public dataset")
    for file in files:
        if not is_remote(file):
            _check_readable(file)
    return list(dict.fromkeys(files))


def _in_folder(folder: Path) -> list[str]:
    try:
        names = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith((".", "README")))
    except OSError as error:
        raise LlmseqError(f"cannot read the folder {folder}: {error.strerror}", "check its permissions") from error
    known = [str(p) for p in names if _looks_like_data(p.name)]
    if not known:
        raise LlmseqError(f"the folder {folder} contains no file that llmseq can read", "name the files themselves")
    return known


def _looks_like_data(name: str) -> bool:
    plain = name.removesuffix(".gz").removesuffix(".zst")
    endings = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet", ".dat", ".inter", ".item")
    return plain.endswith(endings) or plain in ("u.data", "u.item")


def _check_readable(file: str) -> None:
    try:
        with open(file, "rb") as opened:
            start = opened.read(256)
    except OSError as error:
        raise LlmseqError(f"cannot read {file}: {error.strerror}", "check the path and its permissions") from error
    first = start[:4]
    if not first:
        raise LlmseqError(f"{file} is empty", "check how it was made")
    if first[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise LlmseqError(f"{file} is encoded in UTF-16", "convert it: iconv -f UTF-16 -t UTF-8 FILE > NEW_FILE")
    if start.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith((b"<!doctype", b"<html")):
        raise LlmseqError(f"{file} is a web page, not data", "download the file again; its server may require a login")
    if first == b"PK\x03\x04":
        raise LlmseqError(f"{file} is a zip archive", "unpack it first")
    for ending, magic in _MAGIC.items():
        named, is_so = file.lower().endswith(ending), first.startswith(magic)
        if named and not is_so:
            raise LlmseqError(
                f"{file} is not compressed, although its name ends in {ending}", "rename it, or download it again"
            )
        if is_so and not named:
            raise LlmseqError(f"{file} is compressed, but its name does not end in {ending}", "rename it")


def unreadable(file: str, error: Exception) -> LlmseqError:
    """Turn DuckDB's error about an unreadable file into one clear line. Raises KeyboardInterrupt if that was the
    cause."""
    text = " ".join(str(error).split())
    if "interrupt" in text.lower():
        raise KeyboardInterrupt from error
    words = ("gzip", "inflate", "miniz", "unexpected end of file", "decompress", "zstd")
    if any(word in text.lower() for word in words):
        return damaged(file)
    if "unicode" in text.lower() or "utf-8" in text.lower() or "byte sequence" in text.lower():
        return not_utf8(file)
    if is_remote(file):
        return _out_of_reach(file, text)
    try:
        check_archive(file)
    except LlmseqError as broken:
        return broken
    if "json" in text.lower():
        told = shorten(text.partition("Try ")[0], 200, placeholder=" …")
        return LlmseqError(f"{file} is not valid JSON: {told}", "download the file again, or fix it")
    if "invalid state" in text:
        return LlmseqError(f"{file} mixes line ends of Windows and Unix", "unify them: tr -d '\\r' < FILE > NEW_FILE")
    return LlmseqError(f"cannot read {file}: {shorten(text, 160, placeholder=' …')}", "check the file and --format")


def _out_of_reach(file: str, said: str) -> LlmseqError:
    elsewhere = "or copy the file to this machine and ingest the copy"
    extension = re.search(r"extension ['\"]?(\w+)", said)
    if extension:
        why = f"DuckDB's extension {extension.group(1)}, which reads such URLs, cannot be downloaded or loaded"
        return LlmseqError(f"cannot read {file}: {why}", f"check the network, {elsewhere}")
    return LlmseqError(
        f"cannot read {file}: {shorten(said, 300, placeholder=' …')}",
        "check the URL, the network and the credentials (for s3:// AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and"
        f" AWS_REGION), {elsewhere}",
    )


def not_utf8(file: str) -> LlmseqError:
    return LlmseqError(f"{file} is not UTF-8 text", f"convert it: {_ICONV}")


def damaged(file: str) -> LlmseqError:
    return LlmseqError(f"{file} is damaged: its compressed data ends early or is broken", "download the file again")


def check_archive(file: str) -> None:
    """Verify the checksum of a gzip file, which DuckDB does not. Raises LlmseqError if it differs."""
    if not file.lower().endswith(".gz") or "://" in file:
        return
    try:
        with gzip.open(file) as opened:
            while opened.read(_CHUNK):
                pass
    except (OSError, EOFError, zlib.error) as error:
        raise damaged(file) from error


def quoted(text: str) -> str:
    """A string as an SQL literal, for places that take no parameters (file names in table functions)."""
    return "'" + text.replace("'", "''") + "'"


def address(file: str) -> str:
    """A file name as an SQL literal, escaped because DuckDB treats every name as a pattern."""
    return quoted(file if is_remote(file) else glob.escape(file))


def identifier(name: str) -> str:
    """A column name as SQL."""
    return '"' + name.replace('"', '""') + '"'


def count(n: int, one: str, several: str) -> str:
    """'1 row is', '2 rows are'."""
    return f"{n:,} {one if n == 1 else several}"
