"""What the tests of the documentation share: the blocks of a page, and how its commands are run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

DOCS = Path(__file__).parent.parent.parent / "docs"


def blocks(page: str, language: str) -> list[str]:
    """The code of a page in one language, block by block."""
    return blocks_of((DOCS / page).read_text(encoding="utf-8"), language)


def blocks_of(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def commands(page: str, *, having: str = "", without: str = "\0") -> list[str]:
    """The commands of the sh blocks of a page, in their order; only of blocks that have one word, or lack another."""
    found = [block for block in blocks(page, "sh") if having in block and without not in block]
    return [line for block in found for line in block.splitlines() if line.startswith("llmseq ")]


def run(llmseq, command: str) -> str:
    """Runs one command line (with `> FILE` where it has one) and returns what it printed; it must succeed."""
    words = shlex.split(command)
    file = None
    if ">" in words:
        file = Path(words[words.index(">") + 1])
        words = words[: words.index(">")]
    done = llmseq(*words[1:])
    assert done.status == 0, f"{command}\n{done.out}\n{done.err}"
    if file:
        file.write_text(done.out, encoding="utf-8")
    return done.out + done.err
