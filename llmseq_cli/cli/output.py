"""What a command made as text: to stdout, or to the file that the user named."""

from __future__ import annotations

import sys
from pathlib import Path

from llmseq_cli.cli.console import err
from llmseq_cli.files import check_output, write_whole
from llmseq_cli.printable import printable


def write_output(text: str, to: Path | None) -> None:
    """To stdout, without what a terminal would obey, or whole into a file, which is never left half-written.

    Raises LlmseqError where it cannot be written.
    """
    if to is None:
        sys.stdout.write(printable(text))
    else:
        write_bytes(text.encode("utf-8"), to)


def write_bytes(content: bytes, to: Path) -> None:
    """Whole into a file, as `write_output`."""
    check_output(to)
    write_whole(to, content)
    err.print(f"written to {to}", soft_wrap=True)
