"""The pages of docs/reference are what the program says of itself."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent.parent / "docs" / "make_reference.py"
spec = importlib.util.spec_from_file_location("make_reference", SCRIPT)
assert spec is not None
assert spec.loader is not None
make_reference = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make_reference)


@pytest.mark.parametrize("name", ["commands.md", "settings.md"])
def test_the_page_is_up_to_date(name):
    written = (make_reference.FOLDER / name).read_text(encoding="utf-8")
    assert written == make_reference.pages()[name], "the program has changed: run `make docs`"


def test_every_command_and_model_has_a_section():
    from llmseq_cli.cli.app import app
    from llmseq_cli.models.registry import model_names

    pages = make_reference.pages()
    for command in app.registered_commands:
        assert f"\n## llmseq {command.name}\n" in pages["commands.md"]
    for model in model_names():
        assert f"\n### {model}\n" in pages["settings.md"]
    assert "`--set KEY=VALUE`" in pages["commands.md"]
    assert "| `cutoff` |" in pages["settings.md"]
