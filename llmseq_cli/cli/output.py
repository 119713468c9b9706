"""Write a command's output to stdout, or to the file that the user named."""

from __future__ import annotations

import sys
from pathlib import Path

from llmseq_cli.cli.console import err
from llmseq_cli.files import check_output, write_whole
from llmseq_cli.printable import printable


def write_output(text: str, to: Path | None) -> None:
    """Write to stdout without terminal control sequences, or atomically to a file.

    Raises LlmseqError if it cannot be written.
    """
    if to is None:
        sys.stdout.write(printable(text))
    else:
        write_bytes(text.encode("utf-8"), to)


def write_bytes(content: bytes, to: Path) -> None:
    """Write atomically to a file, as `write_output`."""
    check_output(to)
    write_whole(to, content)
    err.print(f"written to {to}", soft_wrap=True)
