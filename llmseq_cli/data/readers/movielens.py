"""MovieLens: 100k (u.data, u.item), 1M and 10M (.dat), 20M and later (.csv)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmseq_cli.data.readers.csv_files import CsvTable
from llmseq_cli.data.readers.files import plain_name
from llmseq_cli.data.readers.item_tables import read_items
from llmseq_cli.data.readers.lines import batches_of_lines
from llmseq_cli.data.readers.open_table import open_table
from llmseq_cli.data.readers.reading import Reading
from llmseq_cli.data.readers.rejections import Rejection, set_aside
from llmseq_cli.data.readers.stage_items import Item, keywords, stage_items
from llmseq_cli.data.readers.table_files import TableFile

if TYPE_CHECKING:
    from collections.abc import Iterator

_RATINGS = ("u.data", "ratings.dat", "ratings.csv")
_MOVIES = ("u.item", "movies.dat", "movies.csv")
_GENRES_100K = (
    *("unknown", "Action", "Adventure", "Animation", "Children", "Comedy", "Crime", "Documentary", "Drama", "Fantasy"),
    *("Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
)


def is_movielens(file: str) -> bool:
    return _kind(file) in (*_RATINGS, *_MOVIES) and not file.endswith(".parquet")


def _kind(file: str) -> str:
    return Path(plain_name(file)).name


def is_ratings(file: str) -> bool:
    return _kind(file) in _RATINGS


def is_movies(file: str) -> bool:
    return _kind(file) in _MOVIES


def movies_beside(file: str) -> list[str]:
    """The file of movies next to a file of ratings."""
    beside = [Path(file).with_name(name) for name in _MOVIES if _fits(file, name)]
    return [str(path) for path in beside if path.exists()]


def _fits(ratings: str, movies: str) -> bool:
    return _RATINGS.index(_kind(ratings)) == _MOVIES.index(movies)


def open_ratings(reading: Reading, file: str) -> TableFile:
    """Open a file of ratings as a table."""
    names = ["user_id", "item_id", "rating", "timestamp"]
    if _kind(file) == "u.data":
        return CsvTable(reading.con, file, "\t", False, names, quote="")
    if _kind(file) == "ratings.dat":
        return CsvTable(reading.con, file, "::", False, names, quote="")
    return open_table(reading.con, file, reading.source.quote_character)


def read_movies(reading: Reading, file: str) -> None:
    """Stage MovieLens' movies."""
    if _kind(file) == "movies.csv":
        read_items(reading, open_table(reading.con, file), required=True, words=_piped)
        return
    reading.report.item_files.append(file)
    reading.note(f"{file}: MovieLens movies (Latin-1)")
    rejected: list[Rejection] = []
    described = stage_items(reading.con, _movies(reading, file, rejected))
    set_aside(reading, file, rejected, described + len(rejected))


def _movies(reading: Reading, file: str, rejected: list[Rejection]) -> Iterator[Item]:
    separator = "|" if _kind(file) == "u.item" else "::"
    number = 0
    for batch in batches_of_lines(reading.con, file, rejected, "latin-1"):
        for line in batch:
            number += 1
            parts = line.split(separator)
            if len(parts) < 3:
                if line.strip():
                    rejected.append(Rejection(number, f"3 columns expected, {len(parts)} found"))
                continue
            if separator == "::":
                genres = _piped(parts[2])
            else:
                genres = [name for name, flag in zip(_GENRES_100K, parts[5:], strict=False) if flag == "1"]
            year = re.search(r"\((\d{4})\)\s*$", parts[1])
            yield parts[0], parts[1], genres, {"genres": genres, "year": year.group(1) if year else None}


def _piped(text: Any) -> list[str]:
    return [] if text in (None, "(no genres listed)") else keywords(str(text).split("|"))
