"""RecBole's atomic files, with types in the header (user_id:token, title:token_seq, …); usually tab-separated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llmseq_cli.data.readers.csv_files import CsvTable, mixes_line_ends, untyped
from llmseq_cli.data.readers.files import plain_name
from llmseq_cli.data.readers.item_tables import read_items
from llmseq_cli.data.readers.lines import first_line
from llmseq_cli.data.readers.reading import Reading
from llmseq_cli.data.readers.stage_items import keywords
from llmseq_cli.errors import LlmseqError


def is_recbole(file: str) -> bool:
    """Whether a file has the suffix of interactions; MovieLens also uses .item."""
    return plain_name(file).endswith(".inter")


def is_recbole_items(file: str) -> bool:
    return plain_name(file).endswith(".item") and not plain_name(file).endswith("u.item")


def recbole_items_beside(file: str) -> list[str]:
    """The .item file next to an .inter file."""
    path = Path(file)
    name = path.name.partition(".")[0]
    beside = [path.with_name(f"{name}.item{ending}") for ending in ("", ".gz", ".zst")]
    return [str(one) for one in beside if one.exists()][:1]


def open_recbole(reading: Reading, file: str) -> CsvTable:
    """The table in an atomic file. Raises LlmseqError if its header has no types."""
    line = first_line(reading.con, file)
    quote = reading.source.quote_character
    for delimiter in ("\t", ",", " ", ";", "|"):
        header = line.split(delimiter)
        names = untyped([name.strip('"') for name in header])
        if len(header) > 1 and all(":" in name for name in header) and names != header:
            lists = [name for name in names if name.endswith("_list")]
            if lists:
                reading.warn(
                    f"{file}: the lists in {', '.join(lists)} are not read, so each row is one interaction; give the"
                    " dataset's plain .inter file, with a row for each interaction"
                )
            text = (quote or "") if delimiter == "\t" else '"' if quote is None else quote
            return CsvTable(reading.con, file, delimiter, True, names, text, strict=not mixes_line_ends(file))
    raise LlmseqError(f"the header of {file} has no types", "RecBole's names are like user_id:token")


def read_recbole_items(reading: Reading, file: str) -> None:
    read_items(reading, open_recbole(reading, file), required=True, words=_spaced)


def _spaced(text: Any) -> list[str]:
    return keywords(str(text).split(" ")) if text else []
