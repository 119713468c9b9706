"""kill -9 at random moments, over every command that writes: once it ends, everything is as without kills."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from support.embedding_server import KEY as EMBEDDING_KEY
from support.embedding_server import EmbeddingServer
from support.prompting_steps import BASE, ON, clairvoyant, dataset_of
from support.warm import Command

from llmseq_cli import TrainOptions

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="kill -9"),
    pytest.mark.filterwarnings("ignore"),
]

ROUNDS = int(os.environ.get("LLMSEQ_KILL_ROUNDS", "6"))
KILLS = 3
"""In a row, before the command may end: with 14 commands and 6 rounds 252."""

NEURAL = ["--set", "dim=16", "--set", "epochs=12", "--set", "patience=0", "--set", "threads=1"]
SCRATCH = ["--provider", "local", "--set", "dim=16", "--set", "layers=1", "--set", "heads=2", "--set", "epochs=2"]
RECIPE = """
[dataset]
name = "shop"
[[train]]
model = "most-popular"
[[train]]
model = "sknn"
[[train]]
model = "gru4rec"
settings = { dim = 8, epochs = 3, patience = 0, threads = 1 }
"""
COMMANDS: dict[str, list[str]] = {
    "ingest": ["ingest", "{files}/clicks.csv", "--items", "{files}/items.csv", "--name", "other"],
    "ingest --replace": ["ingest", "{files}/clicks.csv", "--items", "{files}/items.csv", "--name", "shop", "--replace"],
    "append": ["append", "shop", "{files}/more.csv"],
    "split": ["split", "shop", "--split", "leave-one-out"],
    "embed lexical": ["embed", "--source", "lexical", "--text", "{{title}} {{categories}}"],
    "embed openai": ["embed", "--source", "openai", "--base-url", "{embedder}", "--concurrency", "2"],
    "train sknn": ["train", "sknn", "--seeds", "2", "--resume"],
    "train sasrec": ["train", "sasrec", *NEURAL, "--resume"],
    "tune": ["tune", "sknn", "--trials", "6"],
    "finetune": ["finetune", *ON, "--task", "genitem", "--prepare-only"],
    "finetune local": ["finetune", "--task", "genitem", *SCRATCH, "--limit", "40"],
    "prompt": ["prompt", "--base-model", BASE, "--samples", "2", "--concurrency", "2"],
    "export": ["export", "v-sknn", "--format", "trec", "--out", "{out}/lists"],
    "run": ["run", "{files}/recipe.toml"],
}

DONE_ALREADY = ("interactions of the files", "has a split")
"""What a command says whose work was whole when it was killed on its way out."""
MORE = "user_id,item_id,timestamp\n" + "".join(
    f"more{user},i0{item},{1_700_000_000 + 10 * user + item}\n" for user in range(9) for item in range(5)
)


class Place:
    """A copy of the workspace in which a command runs, is killed, and ends at last."""

    def __init__(self, folder: Path, whole: Path, files: Path, embedder: str) -> None:
        self.folder, self.words = folder, {"files": files, "out": folder / "out", "embedder": embedder}
        shutil.copytree(whole, folder / "workspace")
        (folder / "out").mkdir()

    def start(self, command: list[str]) -> Command:
        words = [word.format(**self.words) for word in command]
        key = EMBEDDING_KEY if "{embedder}" in command else os.environ["OPENAI_API_KEY"]
        environment = os.environ | {"LLMSEQ_WORKSPACE": str(self.folder / "workspace"), "OPENAI_API_KEY": key}
        return Command(*words, env=environment)

    def kill(self, command: list[str], seconds: float) -> bool:
        """Whether the command was still running after so many seconds, and is killed with all that it started."""
        child = self.start(command)
        try:
            child.communicate(timeout=seconds)
            return False
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):  # it has ended just now
                os.killpg(child.pid, signal.SIGKILL)
            child.communicate()
            return True

    def end(self, command: list[str]) -> float:
        """Runs the command to its end, as a user would go on with it; seconds that it took."""
        begun = time.monotonic()
        done = self._run(command)
        for word in ("--resume", "--replace"):
            if done.returncode != 0 and word in done.stderr and word not in command:
                done = self._run([*command, word])
        whole_already = any(words in done.stderr for words in DONE_ALREADY)
        assert done.returncode == 0 or whole_already, done.stderr
        assert "this is a bug" not in done.stderr
        return time.monotonic() - begun

    def _run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        child = self.start(command)
        out, err = child.communicate(timeout=600)
        return subprocess.CompletedProcess(command, child.returncode, out, err)

    def state(self, llmseq: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
        """Rows, runs, jobs, vectors, files: all that a user has of a workspace, but for times and numbers of rows."""
        monkeypatch.setenv("LLMSEQ_WORKSPACE", str(self.folder / "workspace"))
        statements = {
            "interactions": "select * from interactions order by all",
            "items": "select dataset, item, title, category from items order by all",
            "vectors": "select dataset, item, source, model, template, vector from item_embeddings order by all",
            "runs": "select dataset, model, label, seed, settings, status from runs order by all",
            "metrics": "select r.model, r.seed, m.metric, m.k, m.value from metrics as m join runs as r using (run)"
            " order by all",
            "lists": "select r.model, r.seed, l.session, l.rank, l.item, l.score from recommendations as l"
            " join runs as r using (run) order by all",
            "answers": "select session, sample, text, item, kind from answers order by all",
            "jobs": "select dataset, task, provider, status from jobs order by all",
            "trials": "select study, trial, value, state from trials order by all",
        }
        found: dict[str, Any] = {}
        for name, statement in statements.items():
            read = llmseq("sql", statement, "--json")
            assert read.status == 0, (name, read.err)
            found[name] = (len(read.json), hashlib.sha256(read.out.encode()).hexdigest())
        health = llmseq("doctor", "--json")
        assert health.status == 0, health.err
        out = sorted((self.folder / "out").rglob("*"))
        found["out"] = [(file.name, file.read_bytes()) for file in out if file.is_file()]
        left = [path for path in self.folder.rglob("*") if ".partial" in path.name]
        assert left == [], "what the killed process was writing is removed by the one that goes on"
        for run in (self.folder / "workspace" / "artifacts" / "runs").iterdir():
            assert (run / "model.json").is_file(), run
        return found


@pytest.fixture
def whole(shop, shop_files, prepared, server) -> tuple[Path, Path, str]:
    """(workspace with runs, files of the shop, address of a server of embeddings)."""
    from llmseq_cli import EmbedOptions

    def build(workspace) -> None:
        workspace.embed(EmbedOptions("lexical"))
        workspace.train(TrainOptions("v-sknn"))

    prepared(shop, "to-be-killed", build)
    server.answer, server.latency = clairvoyant(dataset_of(shop)), 0.02
    files = shop_files[0].parent
    (files / "recipe.toml").write_text(RECIPE)
    (files / "more.csv").write_text(MORE)
    embedder = EmbeddingServer(dimensions=16)
    embedder.latency = 0.1
    yield shop.folder, files, embedder.url
    embedder.stop()


@pytest.mark.parametrize("name", COMMANDS)
def test_kills(llmseq, whole, tmp_path, monkeypatch, name):
    command, draw = COMMANDS[name], random.Random(name)
    Command("--version").wait()  # the first one waits for the process that the others are forked from
    reference = Place(tmp_path / "reference", *whole)
    seconds = reference.end(command)
    expected = reference.state(llmseq, monkeypatch)
    killed = 0
    for number in range(ROUNDS):
        place = Place(tmp_path / f"round-{number}", *whole)
        for _ in range(KILLS):
            killed += place.kill(command, seconds * draw.uniform(0.05, 1.0))
        place.end(command)
        found = place.state(llmseq, monkeypatch)
        for what, value in expected.items():
            assert found[what] == value, (what, number)
        shutil.rmtree(place.folder)
    assert killed >= ROUNDS, "most were killed before their end"
