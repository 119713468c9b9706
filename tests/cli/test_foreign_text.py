"""What others wrote (ids, titles, answers of servers) reaches no terminal and no spreadsheet as a command."""

from __future__ import annotations

import csv
import json

import pytest

from llmseq_cli.cli.console import err, print_error, print_facts, print_table
from llmseq_cli.printable import json_text, printable, safe_cell

EVIL = "\x1b]0;owned\x07\x1b[31mred\x9b2J\x08\x7f\u202egnp[bold]x[/bold]:smile:"
FORBIDDEN = set("\x1b\x07\x9b\x08\x7f\u202e\r")


def test_printable_keeps_what_is_text():
    assert printable("a\tb\nc é 日本 [x]") == "a\tb\nc é 日本 [x]"
    assert printable("\x1b[31m\x00\u2066") == "�[31m��"


def test_json_is_exact_and_safe():
    text = json_text({"x": EVIL + "\ud800", "n": float("nan")})
    assert json.loads(text) == {"x": EVIL + "\ud800", "n": None}
    assert not FORBIDDEN & set(text)


@pytest.mark.parametrize(
    ("cell", "safe"),
    [("=1+1", "'=1+1"), ("+x", "'+x"), ("-x", "'-x"), ("@x", "'@x"), ("\tx", "'\tx"), ("\r=x", "'\r=x"), ("-5", "-5"),
     ("+5.25", "+5.25"), ("-5+cmd", "'-5+cmd"), ("a=b", "a=b"), ("", ""), (-5, -5), (-0.5, -0.5), (None, None)],
)  # fmt: skip
def test_safe_cells(cell, safe):
    assert safe_cell(cell) == safe


def test_everything_that_prints_is_clean(capsys):
    print_table([EVIL], [[EVIL]], title=EVIL)
    print_facts([(EVIL, EVIL)])
    print_error(EVIL, EVIL)
    err.print(EVIL)
    printed = capsys.readouterr()
    assert not FORBIDDEN & set(printed.out + printed.err)
    assert "[bold]x[/bold]:smile:" in printed.err


@pytest.fixture
def evil_shop(llmseq, shop):
    """A shop whose second item and sessions have dangerous names, with a run."""
    assert llmseq("train", "most-popular").status == 0
    with shop.store.transaction("testing") as con:
        evil = ["=cmd " + EVIL, "@" + EVIL]
        con.execute("update core.item set external_id = ? || item_id, title = ? || item_id", evil)
        con.execute("update core.session set external_id = '-' || external_id || ' x'")
    return shop


def test_commands_that_show_items(llmseq, evil_shop):
    for words in (
        ["sql", "from items"],
        ["sql", f"select '{EVIL}' as \"{EVIL}\""],
        ["sql", f'select * from "{EVIL}"'],
        ["show", "most-popular-1"],
        ["describe"],
        ["report", "--where", f"model = '{EVIL}"],
    ):
        done = llmseq(*words)
        assert done.out + done.err
        assert not FORBIDDEN & set(done.out + done.err), words
    [row] = llmseq("sql", "select title from items order by item limit 1", "--json").json
    assert row["title"].startswith("@" + EVIL)


def test_exports_to_csv_and_trec(llmseq, evil_shop, tmp_path):
    out = tmp_path / "lists.csv"
    assert llmseq("export", "latest", "--format", "csv", "--out", out).status == 0
    with out.open(newline="") as file:
        safe = list(csv.DictReader(file))
    assert {row["item"][:2] for row in safe} == {"'="}
    assert {row["title"][:2] for row in safe} == {"'@"}
    assert {row["session"][:2] for row in safe} == {"'-"}
    assert llmseq("export", "latest", "--format", "csv", "--out", out, "--no-safe-cells").status == 0
    with out.open(newline="") as file:
        plain = list(csv.DictReader(file))
    assert [row["item"] for row in plain] == [row["item"][1:] for row in safe]
    wrong = llmseq("export", "latest", "--format", "json", "--out", out, "--safe-cells")
    assert (wrong.status, "only work with CSV" in wrong.err) == (2, True)
    assert llmseq("export", "latest", "--format", "trec", "--out", tmp_path / "trec").status == 0
    for file, fields in (("qrels", 4), ("most-popular-1.run", 6)):
        lines = (tmp_path / "trec" / file).read_text().splitlines()
        assert lines
        assert all(len(line.split()) == fields for line in lines)
        assert all("%20x" in line.split()[0] for line in lines)


def test_a_leaderboard_as_csv(llmseq, evil_shop, tmp_path):
    (tmp_path / "own.sql").write_text("select '=1+1' as \"=x\", -0.5 as n, run from runs")
    assert (
        "'=x,n,run\n'=1+1,-0.5,most-popular-1\n"
        in llmseq("report", "--sql", tmp_path / "own.sql", "--format", "csv").out
    )
    assert "\n=1+1,-0.5," in llmseq("report", "--sql", tmp_path / "own.sql", "--format", "csv", "--no-safe-cells").out
