"""`embed --backend ray`: a tiny random BERT on the workers of a cluster makes the vectors that it makes here."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal

import numpy as np
import pytest
from support.embedding_steps import catalog, stored
from support.ray_nodes import free_port
from support.small_bert import WORDS, save_bert

from llmseq_cli.embeddings.sources import on_ray
from llmseq_cli.errors import LlmseqError

for library, extra in (("sentence_transformers", "local"), ("ray", "ray")):
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"the extra '{extra}' is not installed", allow_module_level=True)

TITLES = [" ".join([WORDS[place % 10], WORDS[10 + place % 5], "x" * (place // 10)]).strip() for place in range(90)]


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return save_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    monkeypatch.setattr(on_ray, "_TEXTS_PER_TASK", 16)
    made = catalog(tmp_path, [(title, "") for title in TITLES])
    monkeypatch.setenv("LLMSEQ_WORKSPACE", str(made.folder))
    return made


@pytest.fixture
def embed(llmseq, bert):
    def call(*words):
        return llmseq("embed", "--source", "huggingface", "--model", bert, "--json", *words)

    return call


ON_RAY = ["--backend", "ray", "--workers", 2]


def test_no_cluster_at_the_address(workspace, embed):
    made = embed("--backend", "ray", "--ray-address", f"127.0.0.1:{free_port()}")
    assert (made.status, "no Ray cluster answers at 127.0.0.1" in made.err) == (1, True), made.err


@pytest.mark.usefixtures("cluster")
def test_workers_make_the_same_vectors(workspace, embed, tmp_path):
    shutil.copytree(workspace.folder, tmp_path / "other")
    made = embed(*ON_RAY)
    assert made.status == 0, made.err
    assert (made.json["texts_sent"], made.json["requests"]) == (90, 6)
    assert embed().json["texts_sent"] == 0, "to the cache they are the same"
    assert embed("--workspace", tmp_path / "other").json["texts_sent"] == 90
    here = type(workspace)(tmp_path / "other")
    np.testing.assert_allclose(stored(workspace, "huggingface")[1], stored(here, "huggingface")[1], atol=1e-6)


@pytest.mark.usefixtures("cluster")
def test_a_worker_that_goes_away_costs_nothing(workspace, embed, tmp_path, monkeypatch):
    once, embed_texts = tmp_path / "once", on_ray._embed

    def dies_once(options, variant, texts):
        if not once.exists():
            once.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return embed_texts(options, variant, texts)

    monkeypatch.setattr(on_ray, "_embed", dies_once)
    made = embed(*ON_RAY)
    assert made.status == 0, made.err
    assert once.exists()
    assert made.json["texts_sent"] == 90


@pytest.mark.usefixtures("cluster")
def test_what_was_answered_before_a_failure_is_kept(workspace, embed, monkeypatch):
    embed_texts = on_ray._embed

    def fails(options, variant, texts):
        if "red sock" in texts:  # among the shortest, which come last
            raise LlmseqError("out of order", "mend it")
        return embed_texts(options, variant, texts)

    with monkeypatch.context() as patch:
        patch.setattr(on_ray, "_embed", fails)
        failed = embed(*ON_RAY)
    assert (failed.status, failed.out) == (1, "")
    assert failed.err.splitlines() == ["error: out of order", "hint: mend it"]
    again = embed(*ON_RAY)
    assert again.status == 0, again.err
    assert 0 < again.json["texts_sent"] <= 26
    assert again.json["cached"] == 90 - again.json["texts_sent"]


def test_a_folder_that_is_another_on_a_worker(workspace, bert):
    from llmseq_cli.embeddings.sources.registry import SourceOptions

    options = SourceOptions(str(bert), settings={"device": "cpu"})
    with pytest.raises(LlmseqError, match="is not the same on all machines"):
        on_ray._embed(options, "another", ["red sock"])


@pytest.mark.parametrize("source", ["lexical", "openai", "vertex"])
def test_other_sources_do_not_go_to_a_cluster(llmseq, workspace, source):
    for more in ([], ["--dry-run"] if source != "lexical" else []):
        refused = llmseq("embed", "--source", source, "--backend", "ray", *more)
        assert refused.status == 2
        assert "--backend ray is for local models" in " ".join(refused.err.split())


def test_words_that_do_not_go_together(embed, workspace):
    for wrong in (["--backend", "spark"], ["--ray-address", "auto"], ["--workers", 2]):
        refused = embed(*wrong)
        assert refused.status == 2, refused.err
