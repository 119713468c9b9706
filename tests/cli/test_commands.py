"""The command line as a whole: help, wrong usage, errors, hints, the terminal it is on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from llmseq_cli._version import __version__


def test_version(llmseq):
    assert llmseq("--version").out == f"llmseq {__version__}\n"


def test_without_arguments_help_is_shown(llmseq):
    done = llmseq()
    assert done.status == 0
    assert "Usage: llmseq" in done.out


def test_module_runs_as_a_program(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "llmseq_cli", "datasets", "--workspace", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines()[0].startswith("error: there is no workspace in")
    assert done.stderr.splitlines()[1].startswith("hint: ")


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from llmseq_cli.cli.app import run; run(['--help']);"
        "heavy = {'torch', 'sklearn', 'openai', 'google.genai', 'duckdb', 'numpy', 'scipy', 'pandas', 'transformers'};"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"--help imported {done.stderr}"


def test_every_command_has_help_with_an_example(llmseq):
    from llmseq_cli.cli.app import app

    names = [command.name for command in app.registered_commands]
    assert len(names) == len(set(names)) >= 14
    for name in names:
        done = llmseq(name, "--help")
        assert done.status == 0
        assert f"llmseq {name}" in done.out.split("Example", 1)[1], name
        assert "--json" in done.out, name
        assert all(len(line) <= 80 for line in done.out.splitlines()), name


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["reprot"], "No such command 'reprot'"),
        (["train"], "Missing argument 'MODEL'"),
        (["train", "sknn", "--bogus"], "No such option: --bogus"),
        (["train", "sasrek"], "no model is called 'sasrek'"),
        (["train", "sknn", "--set", "k"], "not of the form key=value"),
        (["train", "sknn", "--set", "kk=3"], "sknn has no setting 'kk'"),
        (["train", "sknn", "--set", "k=0"], "below its minimum"),
        (["train", "sknn", "--embeddings", "lexical"], "sknn does not use item embeddings"),
        (["train", "llmseqsim"], "llmseqsim needs item embeddings"),
        (["ingest", "x.csv", "--name", "a", "--k-core", "many"], "Invalid value for '--k-core'"),
        (["ingest", "x.csv", "--name", "a", "--tie-break", "coin"], "there is no tie-break 'coin'"),
        (["ingest", "x.csv", "--name", "a/b"], "'a/b' is not a valid name for a dataset"),
        (["ingest", "x.csv", "--name", "a", "--k-core", "-1"], "--k-core is -1"),
        (["ingest", "x.csv", "--name", "a", "--min-session", "0"], "--min-session is 0"),
        (["ingest", "x.csv", "--name", "a", "--folds", "21"], "--folds is 21"),
        (["train", "v-sknn", "--device", "gpu"], "there is no device 'gpu'"),
        (["describe", "shop", "--dataset", "other"], "name two datasets"),
        (["train", "v-sknn", "--seed", "-1"], "Invalid value for '--seed'"),
        (["train", "v-sknn", "--seed", "99999999999999999999"], "Invalid value for '--seed'"),
        (["embed", "--text", "foo"], "the text template 'foo' names no attribute"),
        (["embed", "--text", "{title"], "is not valid"),
        (["embed", "--text", "{title!r:>1000000000}"], "formats an attribute"),
        (["embed", "--text", "{title:>1000000000}"], "formats an attribute"),
        (["sql", " "], "the query is empty"),
        (["sql", "/* only a comment */"], "the query is empty"),
        (["report", "--k", "ten"], "'ten' is not a list of cut-offs"),
        (["sql"], "give either a query or a file"),
        (["embed", "--source", "lexcal"], "there is no embedding source 'lexcal'"),
    ],
)
def test_wrong_usage_is_status_2_and_two_lines(llmseq, shop, words, message):
    done = llmseq(*words)
    assert done.status == 2
    assert done.out == ""
    lines = done.err.splitlines()
    assert lines[0].startswith("error: ")
    assert message in lines[0]
    assert lines[1].startswith("hint: ")
    assert len(lines) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ingest", "missing.csv", "--name", "a"], "missing.csv does not exist"),
        (["ingest", "no-*.csv", "--name", "a"], "no file matches"),
        (["describe", "shoop"], "there is no dataset 'shoop'"),
        (["train", "llmseqsim", "--embeddings", "openai"], "the dataset has no embeddings 'openai'"),
        (["recommend", "latest", "i01"], "there is no run 'latest'"),
        (["sql", "select * from nothing"], "Table with name nothing does not exist"),
        (["sql", "-f", "missing.sql"], "cannot read missing.sql"),
        (["sql", "selec 1"], 'syntax error at or near "selec"'),
        (["sql", "select colour from items"], 'Referenced column "colour" not found'),
        (["embeddings", "--dataset", "shoop"], "there is no dataset 'shoop'"),
        (["embed", "--text", "{colour}"], "has the attribute 'colour'"),
    ],
)
def test_failures_are_status_1_and_two_lines(llmseq, shop, words, message):
    done = llmseq(*words)
    assert done.status == 1
    assert message in done.err.splitlines()[0]
    assert done.err.splitlines()[1].startswith("hint: ")


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["ingest", "x.csv", "--name", "a", "--map", "user"], "for example --map user=visitor,item=sku,time=ts"),
        (["ingest", "x.csv", "--name"], "see `llmseq ingest --help`"),
        (["report", "--bogus"], "see `llmseq report --help`"),
        (["sql", "select * from nothing"], '`llmseq sql "show tables"` lists tables, "describe TABLE" columns'),
        (["train", "llmseqsim", "--embeddings", "99"], "`llmseq embeddings` lists all"),
        (
            ["train", "llmseqsim", "--embeddings", "openai:bge"],
            "make them with `llmseq embed --source openai` and --model bge; `llmseq embeddings` lists all",
        ),
    ],
)
def test_hints_fit_what_was_typed(llmseq, shop, words, hint):
    assert llmseq(*words).err.splitlines()[1] == f"hint: {hint}"


def test_debug_shows_where(llmseq, shop):
    from llmseq_cli.errors import LlmseqError

    with pytest.raises(LlmseqError):
        llmseq("describe", "shoop", "--debug")


def test_no_colour_and_no_bars_off_a_terminal(llmseq, trained):
    done = llmseq("train", "sknn")
    assert "\x1b" not in done.out + done.err


def test_closed_pipe_is_no_failure(shop):
    done = subprocess.run(
        f"{sys.executable} -m llmseq_cli sql 'select range from range(20000)' | head -1",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert "error" not in done.stderr


def test_installed_program_completes(monkeypatch):
    program = Path(sys.executable).with_name("llmseq")
    if not program.exists():
        pytest.skip("the console script is not installed beside this Python")
    done = subprocess.run(
        [program],
        env={"_LLMSEQ_COMPLETE": "complete_bash", "COMP_WORDS": "llmseq repo", "COMP_CWORD": "1", "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["report"]


def test_json_documents_hold_no_nan(llmseq, shop):
    out = llmseq("sql", "select 'nan'::double as x", "--json").out
    assert json.loads(out) == [{"x": None}]


@pytest.mark.parametrize(
    ("command", "old", "new"),
    [
        (("tune", "sknn"), "--jobs", "--workers"),
        (("embed",), "--jobs", "--workers"),
        (("score", "latest"), "--jobs", "--workers"),
        (("train", "sknn"), "--depth", "--list-length"),
    ],
)
def test_an_option_that_was_renamed_says_its_new_name(llmseq, command, old, new):
    done = llmseq(*command, old, 2)
    assert (done.status, done.out) == (2, "")
    assert done.err.splitlines() == [f"error: {old} is now called {new}", f"hint: use {new}"]
