"""Full and read-only disks, over every command that writes: one clear error, nothing lost, nothing half-written."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from support.disks import Disk, small_disk
from support.prompting_steps import BASE, ON

from llmseq_cli import EmbedOptions, TrainOptions

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="limits and mounts of Unix")

NEURAL = ["--set", "dim=8", "--set", "epochs=2", "--set", "patience=0", "--set", "threads=1"]
RECIPE = """
[dataset]
name = "shop"
[[train]]
model = "most-popular"
[[train]]
model = "sasrec"
settings = { dim = 8, epochs = 2, patience = 0 }
"""


def commands(shop: Path, out: Path) -> dict[str, list[Any]]:
    """Every command that writes, by name. shop: its files. out: a folder on the disk."""
    recipe = shop / "recipe.toml"
    recipe.write_text(RECIPE)
    ingest = ["ingest", shop / "clicks.csv", "--items", shop / "items.csv"]
    scratch = ["--provider", "local", "--set", "dim=16", "--set", "layers=1", "--set", "heads=2", "--set", "epochs=1"]
    return {
        "ingest": [*ingest, "--name", "other"],
        "ingest --replace": [*ingest, "--name", "shop", "--replace"],
        "split": ["split", "shop", "--split", "leave-one-out"],
        "describe": ["describe", "shop", "--plot", out / "lengths.png"],
        "prompt": ["prompt", "--task", "genitem", "--base-model", BASE, "--samples", "2", "--limit", "9"],
        "embed": ["embed", "--source", "lexical", "--text", "{title} {categories}"],
        "train sknn": ["train", "sknn", "--set", "k=7"],
        "train sasrec": ["train", "sasrec", *NEURAL],
        "train reduced": ["train", "llmseqsim", "--embeddings", "lexical", "--reduce", "pca", "--dim", "4"],
        "tune": ["tune", "sknn", "--trials", "2"],
        "tune loky": ["tune", "sknn", "--trials", "2", "--workers", "2", "--study", "two"],
        "finetune": ["finetune", *ON, "--task", "genitem", "--prepare-only"],
        "finetune local": ["finetune", "--task", "genitem", *scratch, "--limit", "20"],
        "export parquet": ["export", "v-sknn", "--format", "parquet", "--out", out / "lists.parquet"],
        "export trec": ["export", "v-sknn", "--format", "trec", "--out", out / "lists"],
        "report html": ["report", "--format", "html", "--out", out / "report.html"],
        "report csv": ["report", "--format", "csv", "--out", out / "report.csv"],
        "plot": ["plot", "popularity", "--out", out / "plot.png"],
        "score": ["score", "v-sknn", "--sessions", shop / "sessions.csv", "--out", out / "scores.parquet"],
        "run": ["run", recipe],
        "run --copy": ["run", "beauty", "--copy", out / "copy.toml"],
        "demo": ["demo"],
    }


NAMES = [
    *("ingest", "ingest --replace", "embed", "train sknn", "train sasrec", "train reduced", "tune", "tune loky"),
    *("split", "describe", "prompt"),
    *("finetune", "finetune local", "export parquet", "export trec", "report html", "report csv", "plot", "score"),
    *("run", "run --copy", "demo"),
]


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    with small_disk(tmp_path_factory.mktemp("disks") / "disk") as made:
        yield made


@pytest.fixture
def on_disk(disk: Disk, shop, shop_files, prepared, server, monkeypatch) -> Path:
    """A workspace with runs, on the small disk, and a folder for outputs; a chat server that answers."""

    def build(workspace) -> None:
        workspace.embed(EmbedOptions("lexical"))
        workspace.train(TrainOptions("v-sknn"))

    prepared(shop, "on-a-disk", build)
    for old in disk.folder.iterdir():
        shutil.rmtree(old)
    shutil.copytree(shop.folder, disk.folder / "workspace")
    (disk.folder / "out").mkdir()
    sessions = shop_files[0].with_name("sessions.csv")
    sessions.write_text("session,item\ns1,i01\ns1,i02\ns2,i03\n")
    monkeypatch.setenv("LLMSEQ_WORKSPACE", str(disk.folder / "workspace"))
    return disk.folder


def state(llmseq, folder: Path) -> tuple[Any, ...]:
    """What a user would miss: rows, runs, jobs, vectors, files; and what should not lie about."""
    count = "select (select count(*) from interactions), (select count(*) from item_embeddings)"
    rows = llmseq("sql", count, "--json")
    runs = [(row["run"], row["ndcg@10"]) for row in llmseq("report", "--json").json]
    jobs = llmseq("jobs", "--json").json
    whole = sorted(path.name for path in folder.rglob("*") if ".partial" in path.name or path.name.endswith(".tmp"))
    outs = sorted((path.name, path.stat().st_size) for path in (folder / "out").rglob("*") if path.is_file())
    return rows.json, runs, len(jobs), whole, outs


@pytest.fixture(scope="module")
def _whole() -> list[tuple[Any, ...]]:
    return []


@pytest.fixture
def before(llmseq, on_disk, _whole) -> tuple[Any, ...]:
    """The state of the workspace that every test gets a copy of, looked at once."""
    if not _whole:
        _whole.append(state(llmseq, on_disk))
    return _whole[0]


def check_told(done, command: list[Any]) -> None:
    said = done.err
    assert "this is a bug" not in said, said
    assert "Traceback" not in said, said
    if done.status != 0:
        assert done.status == 1, said
        lines = [line for line in said.splitlines() if line.startswith(("error:", "hint:"))]
        assert lines, said
        assert any(line.startswith("hint:") for line in lines), said


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name == "finetune local" else []) for name in NAMES]
)
def test_with_room_for_it_the_same_command_works(llmseq, on_disk, shop_files, name):
    done = llmseq(*commands(shop_files[0].parent, on_disk / "out")[name])
    assert done.status == 0, done.err
    assert state(llmseq, on_disk)[3] == []


FULL = [(name, left) for left in (0, 300_000) for name in NAMES]
SLOW = ("finetune local", 300_000)  # half a minute


@pytest.mark.parametrize(
    ("name", "left"), [pytest.param(*case, marks=[pytest.mark.slow] if case == SLOW else []) for case in FULL]
)
def test_full_disk(llmseq, disk, on_disk, before, shop_files, name, left):
    command = commands(shop_files[0].parent, on_disk / "out")[name]
    with disk.full(left):
        done = llmseq(*command)
    check_told(done, command)
    after = state(llmseq, on_disk)
    if done.status != 0:
        assert after[:2] == before[:2] or name in ("run", "demo"), "what was there is there"
        assert after[4] == before[4], "no output is left half-written"
    else:
        assert after[0][0] is not None
    assert after[3] == [], "nothing half-written lies about"
    if left == 0 and disk.mounted and name not in ("run", "demo", "run --copy", "report csv"):
        assert done.status == 1 or name in ("tune", "tune loky", "finetune"), done.out


@pytest.mark.parametrize("name", NAMES)
def test_read_only_disk(llmseq, disk, on_disk, before, shop_files, name):
    if not disk.mounted and os.geteuid() == 0:
        pytest.skip("root writes into any folder")
    command = commands(shop_files[0].parent, on_disk / "out")[name]
    with disk.read_only():
        done = llmseq(*command)
    check_told(done, command)
    assert done.status == 1, done.out
    if name.startswith(("export", "report", "plot", "describe", "score", "run --copy")):
        assert str(on_disk / "out") in done.err.replace("\n", ""), "the folder that cannot be written is named"
    assert state(llmseq, on_disk) == before
