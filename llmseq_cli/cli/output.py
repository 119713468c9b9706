"""What a command made as text: to stdout, or to the file that the user named."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from llmseq_cli.cli.console import err
from llmseq_cli.errors import LlmseqError


def write_output(text: str, to: Path | None) -> None:
    """To stdout, or whole into a file, which is never left half-written. Raises LlmseqError where it cannot be."""
    if to is None:
        sys.stdout.write(text)
    else:
        write_bytes(text.encode("utf-8"), to)


def write_bytes(content: bytes, to: Path) -> None:
    """Whole into a file, as `write_output`."""
    if not to.parent.is_dir():
        raise LlmseqError(f"the folder {to.parent} does not exist", "make it first, or give another --out")
    partial = to.with_name(f"{to.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(to)
    except OSError as error:
        raise LlmseqError(f"cannot write {to}: {error.strerror}", "check the folder, or give another --out") from error
    finally:
        partial.unlink(missing_ok=True)
    err.print(f"written to {to}", soft_wrap=True)
