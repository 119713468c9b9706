"""Damaged files of every format through the readers: no exception but the program's own, and no row that vanishes.

The slow test tries hundreds, `LLMSEQ_MUTATED_FILES=10000` as many. Prints the slowest and the memory it took.
"""

from __future__ import annotations

import os
import random
import resource
import time
from pathlib import Path

import pytest
from support.mutated_files import SOURCES, mutate
from support.reading import read_files, write

from llmseq_cli.errors import LlmseqError

FILES = int(os.environ.get("LLMSEQ_MUTATED_FILES", "600"))
FEW = 50
FIRST = int(os.environ.get("LLMSEQ_MUTATED_FIRST", "0"))
LONGEST_SECONDS = 20.0
LARGEST_BYTES = 2 << 30
ONE_ROW_A_LINE = ("u.data", "ratings.dat", "x.inter", "a.jsonl", "reviews.json", "literals.json", "steam.json")
TABLES_WITHOUT_QUOTES = ("dates.csv",)


@pytest.mark.parametrize("files", [FEW, pytest.param(FILES, marks=pytest.mark.slow)])
def test_damaged_files_are_read_or_refused_in_words(tmp_path: Path, files: int) -> None:
    read = refused = 0
    slowest = (0.0, "")
    mute: list[str] = []
    for number in range(FIRST, FIRST + files):
        dice = random.Random(number)
        source = dice.choice(sorted(SOURCES))
        name, content = mutate(source, SOURCES[source], dice)
        path = write(tmp_path, f"{number}/{name}", content)
        began = time.monotonic()
        try:
            result = read_files(path)
        except LlmseqError as error:
            refused += 1
            mute += [] if error.message and error.hint else [f"{number}, {name}: {error.message}"]
        except Exception as error:
            raise AssertionError(f"file {number}, {name}: {type(error).__name__}: {error}") from error
        else:
            read += 1
            _check_rows(number, source, name, content, result)
        slowest = max(slowest, (time.monotonic() - began, f"{number}, {name}"))
        path.unlink()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(
        f"{files} files: {read} read, {refused} refused; the slowest {slowest[0]:.1f} s ({slowest[1]}); {peak >> 20} MB"
    )
    assert slowest[0] < LONGEST_SECONDS, slowest
    assert peak < LARGEST_BYTES
    assert read > files // 5


def _check_rows(number: int, source: str, name: str, content: bytes, result) -> None:
    """Rows read and rows set aside are the rows of the file, wherever its lines can be counted."""
    report = result.report
    assert report.rows_read == len(result.rows) + report.rejected, (number, name)
    plain = b"\r" not in content.replace(b"\r\n", b"\n") and not name.endswith((".gz", ".zst"))
    if name != source or not plain:
        return
    lines = content.replace(b"\r\n", b"\n").removeprefix(b"\xef\xbb\xbf").split(b"\n")
    filled = sum(bool(line.strip()) for line in lines)
    if source in ONE_ROW_A_LINE and report.format != "table":
        assert report.rows_read == filled - int(source == "x.inter"), (number, name)
    elif source == "a.jsonl" and content.startswith(b'{"'):
        assert report.rows_read == filled, (number, name)
    elif source in TABLES_WITHOUT_QUOTES and b'"' not in content:
        assert filled - report.rows_read in (0, 1), (number, name)  # the accidents may have taken the header
