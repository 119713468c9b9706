"""RecBole's atomic files: tab-separated, with types in the header (user_id:token, title:token_seq, …)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llmseq_cli.data.readers.lines import first_line
from llmseq_cli.data.readers.reading import Reading
from llmseq_cli.data.readers.stage_items import keywords
from llmseq_cli.data.readers.stage_tables import read_interactions, read_items
from llmseq_cli.data.readers.table_files import CsvTable
from llmseq_cli.errors import LlmseqError


def is_recbole(file: str) -> bool:
    """Whether a file has the ending of interactions; .item is MovieLens' too."""
    return _plain(file).endswith(".inter")


def _plain(file: str) -> str:
    return file.removesuffix(".gz").removesuffix(".zst").lower()


def read_recbole(reading: Reading, files: list[str], item_files: list[str]) -> None:
    """Read .inter files, and the .item files named or lying beside them."""
    inters = [file for file in files if is_recbole(file)]
    if not inters:
        raise LlmseqError("no file is a RecBole .inter file", "name it, for example ml-100k/ml-100k.inter")
    items = [*item_files, *(file for file in files if _plain(file).endswith(".item"))]
    beside = [str(Path(file).with_suffix(".item")) for file in inters]
    items = items or [file for file in beside if Path(file).exists()]
    for file in inters:
        read_interactions(reading, _table(reading, file))
    for file in items:
        read_items(reading, _table(reading, file), required=True, words=_spaced)


def _table(reading: Reading, file: str) -> CsvTable:
    header = first_line(reading.con, file).split("\t")
    if not all(":" in name for name in header):
        raise LlmseqError(f"the header of {file} has no types", "RecBole's names are like user_id:token")
    return CsvTable(reading.con, file, "\t", True, [name.partition(":")[0] for name in header], quote="")


def _spaced(text: Any) -> list[str]:
    return keywords(str(text).split(" ")) if text else []
