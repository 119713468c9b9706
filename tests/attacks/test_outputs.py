"""Where results may be written: never over a workspace's own files, never in the place of a device, never through links
that somebody put into a workspace.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from support.prompting_steps import BASE, clairvoyant, dataset_of

from llmseq_cli import EmbedOptions, TrainOptions
from llmseq_cli.errors import LlmseqError
from llmseq_cli.files import check_output

WRITING = {
    "export csv": ["export", "v-sknn", "--format", "csv", "--out", "{out}"],
    "export parquet": ["export", "v-sknn", "--format", "parquet", "--out", "{out}"],
    "report csv": ["report", "--format", "csv", "--out", "{out}"],
    "report html": ["report", "--format", "html", "--out", "{out}"],
    "plot": ["plot", "popularity", "--out", "{out}.png"],
    "describe": ["describe", "--plot", "{out}.svg"],
    "score": ["score", "v-sknn", "--sessions", "{sessions}", "--out", "{out}.csv"],
    "run --copy": ["run", "beauty", "--copy", "{out}"],
}


@pytest.fixture
def trained(shop, shop_files, prepared):
    def build(workspace) -> None:
        workspace.embed(EmbedOptions("lexical"))
        workspace.train(TrainOptions("v-sknn"))

    prepared(shop, "with-outputs", build)
    shop_files[0].with_name("sessions.csv").write_text("session,item\ns1,i01\ns1,i02\n")
    return shop


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", WRITING)
@pytest.mark.parametrize("place", ["llmseq.duckdb", "artifacts/runs/v-sknn-1/model.json", "artifacts/mine"])
def test_no_result_takes_the_place_of_a_workspaces_file(llmseq, trained, shop_files, tmp_path, name, place):
    """As it is named, and through a link; the database of another workspace is as safe as this one's."""
    other = tmp_path / "other"
    shutil.copytree(trained.folder, other)
    (tmp_path / "link").symlink_to(other)
    before = files(tmp_path)
    for folder in (trained.folder, other, tmp_path / "link"):
        words = {"out": folder / place, "sessions": shop_files[0].with_name("sessions.csv")}
        done = llmseq(*(word.format(**words) for word in WRITING[name]))
        assert (done.status, "bug" in done.err) == (1, False), done.err
        assert files(tmp_path) == before


def test_a_database_cannot_be_named_through_a_link(llmseq, trained, tmp_path):
    (tmp_path / "report.csv").symlink_to(trained.folder / "llmseq.duckdb")
    done = llmseq("report", "--format", "csv", "--out", tmp_path / "report.csv")
    assert done.status == 1
    assert "belongs to a workspace" in done.err
    assert llmseq("datasets").status == 0


@pytest.mark.skipif(os.name != "posix", reason="devices and pipes of Unix")
def test_devices_and_pipes_stay_what_they_are(llmseq, trained, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    (tmp_path / "null").symlink_to("/dev/null")
    for place in (pipe, tmp_path / "null", Path("/dev/null"), Path("/dev/stdout"), Path("/proc/self/fd/1")):
        with pytest.raises(LlmseqError, match="is a device"):
            check_output(place)
    done = llmseq("report", "--format", "csv", "--out", pipe)
    assert (done.status, "is a device" in done.err) == (1, True), done.err
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    check_output(Path("/dev/shm/report.csv"))
    check_output(tmp_path / "not there yet.csv")


def test_links_in_a_workspace_lead_no_writing_elsewhere(llmseq, server, ready, tmp_path):
    """A workspace that somebody sent may hold links to files of its new user."""
    precious = tmp_path / "precious.txt"
    precious.write_text("precious")
    server.answer = clairvoyant(dataset_of(ready))
    words = ["prompt", "--base-model", BASE, "--samples", "1", "--limit", "2"]
    assert llmseq(*words).status == 0
    with ready.store.write("testing") as con:
        [(dataset, digest)] = con.execute("select dataset_id, digest from core.asking").fetchall()
        con.execute("delete from core.reply")
    stem = ready.folder / "artifacts" / "answers" / f"{dataset}-{digest[:24]}"
    (ready.folder / "in-use.json").symlink_to(precious)
    for ending in (".in-flight", ".in-flight.new"):
        Path(f"{stem}{ending}").unlink(missing_ok=True)
        Path(f"{stem}{ending}").symlink_to(precious)
    assert llmseq(*words).status == 0
    with ready.store.write("testing") as con:
        con.execute("delete from core.reply")
    Path(f"{stem}.jsonl").symlink_to(precious)
    done = llmseq(*words)
    assert (done.status, "is a link" in done.err) == (1, True), done.err
    assert precious.read_text() == "precious"


def test_errors_that_repeat_what_was_given_are_cut(llmseq, trained):
    done = llmseq("show", "x" * 5000)
    assert done.status == 1
    assert max(map(len, done.err.splitlines())) < 1100
    assert done.err.startswith("error: ")


@pytest.mark.skipif(os.name != "posix", reason="the shell of Unix")
@pytest.mark.parametrize(
    ("ending", "status"),
    [("| head -1 >/dev/null; exit ${PIPESTATUS[0]}", 0), (">&-", 0), ("2>&-", 0), (">/dev/full", 1)],
)
def test_output_that_nobody_takes(trained, monkeypatch, ending, status):
    """A reader that went away, and closed streams, are no failure; a full disk is one, and no bug."""
    monkeypatch.setenv("LLMSEQ_WORKSPACE", str(trained.folder))
    command = f"{sys.executable} -m llmseq_cli sql 'select range from range(20000)' {ending}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, "bug" in done.stderr, "Traceback" in done.stderr) == (status, False, False), done.stderr
