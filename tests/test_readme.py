"""The README's tour is real: its commands run and print what stands there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"


def tour() -> list[tuple[str, list[str]]]:
    """(command, lines that it prints) of every step of the console blocks, in order."""
    blocks = re.findall(r"```console\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    steps = [step for block in blocks for step in re.split(r"^\$ ", block, flags=re.MULTILINE) if step]
    return [(step.splitlines()[0], step.splitlines()[1:]) for step in steps]


def test_the_tour_prints_what_the_readme_says(llmseq):
    steps = tour()
    assert len(steps) >= 5
    for command, lines in steps:
        done = llmseq(*shlex.split(command)[1:])
        assert done.status == 0, done.err
        printed = [" ".join(line.split()) for line in (done.out + done.err).splitlines()]
        assert lines, f"the README shows nothing for {command}"
        for line in lines:
            assert " ".join(line.split()) in printed, f"{command} does not print: {line}"


def test_every_command_has_a_line_in_the_readme():
    from llmseq_cli.cli.app import app

    text = README.read_text(encoding="utf-8")
    for command in app.registered_commands:
        assert f"`llmseq {command.name}`" in text, command.name


@pytest.mark.parametrize("name", ["LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "Makefile", "constraints.txt"])
def test_the_usual_files_are_there(name):
    assert (README.parent / name).stat().st_size > 0
