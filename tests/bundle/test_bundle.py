"""A run as a folder: it recommends what the run recommends, says how, and is refused once it was changed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.doc_pages import blocks_of

from llmseq_cli import EmbedOptions, LlmseqError, TrainOptions
from llmseq_cli.bundle import Bundle
from llmseq_cli.checksums import write_checksums
from llmseq_cli.data.sessions import Sessions

SMALL = {"epochs": 2, "dim": 8}


@pytest.fixture
def trained(shop, prepared):
    def build(workspace):
        workspace.embed(EmbedOptions("lexical"))
        workspace.train(TrainOptions("v-sknn"))
        workspace.train(TrainOptions("llmseqsim", embeddings="lexical", reduce="whiten", dim=8))
        workspace.train(TrainOptions("sasrec", settings=SMALL, device="cpu"))
        workspace.train(TrainOptions("hybrid-sequential", runs=["llmseqsim", "sasrec"]))

    return prepared(shop, "runs-to-bundle", build)


@pytest.fixture
def sasrec(trained, prepared, tmp_path) -> Path:
    """The bundle of sasrec-3, made once."""
    if not (trained.folder / "bundle").exists():

        def build(workspace):
            shutil.copytree(workspace.folder, workspace.folder.with_name("kept"), dirs_exist_ok=True)
            workspace.export(["sasrec"], "bundle", workspace.folder / "bundle")

        prepared(trained, "bundle-of-sasrec", build)
    return Path(shutil.move(trained.folder / "bundle", tmp_path / "bundle"))


def sessions_of(workspace) -> list[list[str]]:
    _, rows = workspace.sql("select session, list(item order by position) from interactions group by 1 order by 1")
    return [items for _, items in rows]


@pytest.mark.parametrize("run", ["v-sknn-1", "llmseqsim-2", "hybrid-sequential-4"])
def test_lists_equal_those_of_the_run_without_the_workspace(llmseq, trained, tmp_path, run):
    done = llmseq("export", run, "--format", "bundle", "--out", tmp_path / "b", "--json")
    assert done.status == 0, done.err
    assert done.json["runs"] == [run]
    sessions = sessions_of(trained)
    wanted = [trained.recommend(run, session, k=10) for session in sessions[:5]]
    shutil.rmtree(trained.folder)
    bundle = Bundle.open(tmp_path / "b")
    assert bundle.recommend_many(sessions, k=10)[:5] == wanted
    assert bundle.recommend(sessions[0], k=10) == wanted[0]
    assert all(wanted)


def test_an_item_that_a_bundle_does_not_know(llmseq, sasrec):
    refused = llmseq("recommend", f"{sasrec}/", "zzzzzzzz")
    assert (refused.status, "items.jsonl lists the items" in refused.err.replace("\n", "")) == (1, True), refused.err


def test_onnxruntime_gives_the_lists_of_the_network(trained, sasrec):
    pytest.importorskip("onnxruntime")
    random = np.random.default_rng(0)
    ours, theirs = Bundle.open(sasrec), Bundle.open(sasrec, onnx=True)
    drawn = Sessions.from_lists([random.integers(0, 40, random.integers(0, 30)) for _ in range(1000)])
    mine, other = (one.ready.model.recommend(drawn, 10) for one in (ours, theirs))
    # Two items whose scores agree to 18 bits may change places; every other place is the same.
    apart = mine.items != other.items
    assert apart.sum() <= 4
    np.testing.assert_allclose(mine.scores, other.scores, rtol=2e-5, atol=1e-6)
    assert (mine.items[drawn.lengths == 0] == -1).all()


@pytest.mark.slow
@pytest.mark.parametrize(("model", "more"), [("gru4rec", {"layout": "paper", "hidden": 8}), ("bert4rec", {})])
def test_onnxruntime_gives_the_lists_of_other_networks(shop, tmp_path, model, more):
    pytest.importorskip("onnxruntime")
    shop.train(TrainOptions(model, settings=SMALL | more, device="cpu"))
    assert shop.export([model], "bundle", tmp_path / "b")["onnx"] is None
    random = np.random.default_rng(0)
    drawn = Sessions.from_lists([random.integers(0, 40, random.integers(1, 30)) for _ in range(1000)])
    mine, other = (
        Bundle.open(tmp_path / "b", onnx=onnx).ready.model.recommend(drawn, 10).items for onnx in (False, True)
    )
    assert (mine != other).sum() <= 4


def test_its_own_page_works(trained, sasrec, monkeypatch):
    monkeypatch.delenv("LLMSEQ_WORKSPACE")
    page = (sasrec / "README.md").read_text(encoding="utf-8")
    [command] = blocks_of(page, "sh")
    ours, *without = blocks_of(page, "python")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    words = command.split()
    assert words[:4] == ["python", "-m", "llmseq_cli.bundle", "."]
    printed = []
    for program in ([*words[1:], "-k", "5", "--json"], ["-c", ours], *(["-c", code] for code in without)):
        done = subprocess.run(
            [sys.executable, *program], cwd=sasrec, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout)
    items = [row["item"] for row in json.loads(printed[0])]
    assert len(items) == 5
    assert str(items[0]) in printed[1]
    assert [line.split()[0] for line in printed[-1].splitlines()] == items or not without
    assert not (sasrec / ".llmseq").exists()


def test_what_it_says_of_itself(llmseq, trained, sasrec):
    about = json.loads((sasrec / "bundle.json").read_text(encoding="utf-8"))
    [row] = llmseq("report", "--models", "sasrec", "--json").json
    assert about["metrics"]["ndcg@20"] == row["ndcg@20"]
    assert about["settings"]["epochs"] == 2
    assert about["environment"]["versions"]["llmseq"]
    assert about["rules"]["repeats"] == "exclude"
    assert len((sasrec / "items.jsonl").read_text(encoding="utf-8").splitlines()) == about["items"] == 40
    from safetensors.numpy import load_file

    vectors = load_file(sasrec / "vectors.safetensors")["vectors"]
    bundle = Bundle.open(sasrec)
    session = Sessions.from_lists([[3, 4]])
    best = bundle.recommend([bundle.ready.catalog.external_ids[3], bundle.ready.catalog.external_ids[4]], k=1)[0]
    space = bundle.ready.model.item_space()
    product = space.of_sessions(session)[0] @ vectors[bundle.ready.catalog.find(best["item"])]
    assert product == pytest.approx(best["score"], rel=1e-4)


@pytest.mark.parametrize(
    "file",
    ["bundle.json", "items.jsonl", "models/sasrec-3/model.safetensors", "vectors.safetensors", "README.md"],
)
def test_a_changed_bundle_is_refused(sasrec, file):
    content = bytearray((sasrec / file).read_bytes())
    content[len(content) // 2] ^= 1
    (sasrec / file).write_bytes(content)
    with pytest.raises(LlmseqError, match="damaged or changed"):
        Bundle.open(sasrec)


def test_what_is_gone_or_was_added_is_refused(llmseq, sasrec):
    (sasrec / "models" / "other").mkdir()
    (sasrec / "models" / "other" / "model.json").write_text("{}")
    with pytest.raises(LlmseqError, match="no checksum in the bundle"):
        Bundle.open(sasrec)
    shutil.rmtree(sasrec / "models" / "other")
    # Such a list inside would have arrays trusted that only compiled code can check.
    write_checksums(sasrec / "models" / "sasrec-3")
    write_checksums(sasrec)
    with pytest.raises(LlmseqError, match="does not belong"):
        Bundle.open(sasrec)
    (sasrec / "models" / "sasrec-3" / "checksums.json").unlink()
    (sasrec / "checksums.json").unlink()
    with pytest.raises(LlmseqError, match="lacks its checksums"):
        Bundle.open(sasrec)
    write_checksums(sasrec)
    assert Bundle.open(sasrec).recommend(["i03"])
    (sasrec / "items.jsonl").unlink()
    done = llmseq("recommend", f"{sasrec}/", "i03")
    assert done.status == 1
    assert "items.jsonl is missing" in done.err


@pytest.mark.parametrize(
    "change",
    [
        {"run": "../../elsewhere"},
        {"run": 7},
        {"rules": None},
        {"format": "new"},
        {"model": "no-such-model"},
        {"onnx": {"longest": "x"}},
    ],
)
def test_a_forged_bundle_is_refused(sasrec, change):
    about = json.loads((sasrec / "bundle.json").read_text(encoding="utf-8"))
    (sasrec / "bundle.json").write_text(json.dumps(about | change))
    write_checksums(sasrec)
    with pytest.raises(LlmseqError):
        Bundle.open(sasrec)


def test_a_newer_bundle_asks_for_an_update(sasrec):
    about = json.loads((sasrec / "bundle.json").read_text(encoding="utf-8"))
    (sasrec / "bundle.json").write_text(json.dumps(about | {"format": 99}))
    write_checksums(sasrec)
    with pytest.raises(LlmseqError, match="newer llmseq"):
        Bundle.open(sasrec)


def test_words_that_are_off(llmseq, trained, tmp_path):
    out = tmp_path / "b"
    assert llmseq("export", "v-sknn", "sasrec", "--format", "bundle", "--out", out).status == 2
    assert llmseq("export", "v-sknn", "--format", "bundle", "--out", out, "-k", "5").status == 2
    assert llmseq("export", "none-such", "--format", "bundle", "--out", out).status == 1
    assert not out.exists()
    out.mkdir()
    (out / "mine").write_text("kept")
    refused = llmseq("export", "v-sknn", "--format", "bundle", "--out", out)
    assert (refused.status, "not empty" in refused.err) == (2, True)
    assert llmseq("export", "v-sknn", "--format", "bundle", "--out", out / "mine").status == 2
    assert (out / "mine").read_text() == "kept"
    assert llmseq("recommend", f"{out}/", "i03").status == 1
    made = tmp_path / "made"
    for _ in range(2):  # a bundle takes a bundle's place
        assert llmseq("export", "v-sknn", "--format", "bundle", "--out", made).status == 0
    assert llmseq("recommend", f"{made}/", "i03", "--dataset", "shop").status == 2
    assert "no item has" in llmseq("recommend", f"{made}/", "unheard of").err
    with pytest.raises(LlmseqError, match="no ONNX graph"):
        Bundle.open(made, onnx=True)
