"""The tutorial's commands, on files of Beauty's formats with other sessions, and on Beauty where it is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.beauty_split import FOLDER, needs_beauty
from support.doc_pages import commands, run
from support.review_files import write_reviews

"""The item that the tutorial looks at."""


def tour(llmseq, lines: list[str]) -> str:
    """Runs the commands (training for one epoch) and returns what they printed; downloading is left out."""
    printed = ""
    for line in lines:
        if not line.startswith("llmseq download"):
            printed += run(llmseq, line.replace("epochs=8", "epochs=1"))
    return printed


def test_the_tutorial_runs(llmseq, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_reviews(tmp_path / "data" / "beauty")
    printed = tour(llmseq, commands("tutorial.md"))
    for words in ("LLM2SASRec", "V_SKNN", "Blend", "only by llmseqsim-1", "nearest to"):
        assert words in printed
    assert Path("recommendations.parquet").stat().st_size > 0


def test_the_protocol_page_runs(llmseq, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_reviews(tmp_path / "data" / "beauty")
    short = [line.replace("train sasrec", "train sasrec --set epochs=1") for line in commands("protocol.md")]
    printed = tour(llmseq, short)
    assert "by-chance" in printed
    assert "by-file" in printed


@needs_beauty
def test_the_figures_of_the_tutorial_are_right(llmseq, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "beauty").symlink_to(FOLDER)
    lines = commands("tutorial.md")
    upto = next(place for place, line in enumerate(lines) if line.startswith("llmseq compare"))
    printed = tour(llmseq, lines[: upto + 1])
    shown = (Path(__file__).parent.parent.parent / "docs" / "tutorial.md").read_text(encoding="utf-8")
    # The last digits depend on the processor: items of almost equal scores change places.
    for start in ("llmseqsim-1  LLMSeqSim", "v-sknn-3     V_SKNN", "v-sknn-2     V_SKNN"):
        expected = pytest.approx(numbers(shown, start)[0], rel=0.01, abs=0.001)
        assert any(found == expected for found in numbers(printed, start))
    assert numbers(printed, "only by llmseqsim-1")[0][-1] == pytest.approx(353, abs=5)


def numbers(text: str, start: str) -> list[list[float]]:
    """The numbers in every line that starts so."""
    lines = [line.strip() for line in text.splitlines() if line.strip().startswith(start)]
    return [[float(number) for number in re.findall(r"(?<![\w.-])\d+(?:\.\d+)?(?![\w.])", line)] for line in lines]
