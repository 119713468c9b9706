"""Command lines of the README and the pages: all are understood, and those of the pages are run by a test."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer
from support.doc_pages import DOCS, commands

from llmseq_cli.cli.app import app

PAGES = [DOCS.parent / "README.md", *sorted(DOCS.rglob("*.md"))]
RUN_ELSEWHERE = {
    "howto/fine-tuning.md": "finetuning/test_scratch_learns.py",
    "howto/plug-ins.md": "docs/test_plug_in.py",
    "howto/services.md": "providers/test_hosted.py",
    "howto/train-elsewhere.md": "finetuning/test_exports.py",
    "howto/tuning.md": "tuning/test_ray.py",
    "howto/your-data.md": "data/test_readers_silence.py",
}
"""Pages that show commands for real data, a cluster or a service, as `console`, and the tests that run the like."""

FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def command_lines(page: Path) -> list[tuple[str, str]]:
    """(language of its block, command line) of all that a page has."""
    lines = [
        (language, line.removeprefix("$ "))
        for language, block in FENCE.findall(page.read_text(encoding="utf-8"))
        for line in block.splitlines()
    ]
    return [(language, line) for language, line in lines if line.startswith("llmseq ")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_line_is_understood(page):
    group = typer.main.get_command(app)
    for _, line in command_lines(page):
        words = shlex.split(line, comments=True)[1:]
        words = words[: words.index(">")] if ">" in words else words
        words = words[2:] if words[0] == "--workspace" else words
        assert words[0] in group.commands, line  # type: ignore[attr-defined]
        group.commands[words[0]].make_context(words[0], words[1:])  # type: ignore[attr-defined]


@pytest.mark.parametrize("page", sorted(page for page in DOCS.rglob("*.md") if page.parent.name != "reference"))
def test_every_command_of_a_page_stands_where_tests_run_it(page):
    name = str(page.relative_to(DOCS))
    elsewhere = RUN_ELSEWHERE.get(name)
    assert {language for language, _ in command_lines(page)} <= ({"sh", "console"} if elsewhere else {"sh"})
    assert elsewhere is None or (Path(__file__).parent.parent / elsewhere).is_file()
    if commands(name):
        tests = "".join(file.read_text(encoding="utf-8") for file in Path(__file__).parent.glob("test_*.py"))
        assert f'commands("{name}"' in tests, f"no test runs the commands of {name}"
