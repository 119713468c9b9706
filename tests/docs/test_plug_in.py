"""The sample package of the docs is installed and used as any model; a broken one is told by its package's name."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import EntryPoint
from typing import Any

import pytest
from support.doc_pages import DOCS

from llmseq_cli import LlmseqError, plugins
from llmseq_cli.models.recommender import Recommender
from llmseq_cli.models.registry import model_class, model_names

ROOT = DOCS.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> dict[str, str]:
    """The environment of a process that has the package."""
    folder = tmp_path_factory.mktemp("plug-in")
    source = shutil.copytree(DOCS / "howto" / "plug-in", folder / "source")  # what building leaves does not lie in docs
    words = ["install", "--quiet", "--no-deps", "--no-build-isolation", "--target", str(folder / "site"), str(source)]
    subprocess.run([sys.executable, "-m", "pip", *words], check=True, capture_output=True)
    path = os.pathsep.join([str(folder / "site"), str(ROOT), str(ROOT / "tests")])
    return os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def test_it_passes_the_contract_of_all_models(installed):
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/models/test_contract.py", "-k", "recent"]
    done = subprocess.run(
        [sys.executable, *words], env=installed, capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert done.stdout.count(".") > 10


def test_its_model_and_source_are_used_as_any_other(installed, shop):
    def llmseq(*words: str) -> Any:
        command = [sys.executable, "-m", "llmseq_cli", *words, "--json"]
        environment = installed | {"LLMSEQ_WORKSPACE": str(shop.folder)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    [row] = llmseq("train", "recent", "--set", "sessions=200")
    assert (row["run"], row["label"]) == ("recent-1", "Recent")
    llmseq("embed", "--source", "letters")
    [row] = llmseq("train", "llmseqsim", "--embeddings", "letters")
    assert row["embeddings"].startswith("letters")
    assert "recent" in [one["model"] for one in llmseq("models")]


class Broken:
    name = "broken"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("no_such_module:X", "cannot be loaded: ModuleNotFoundError"),
        ("test_plug_in:Missing", "cannot be loaded: AttributeError"),
        ("test_plug_in:Broken", "is not a Recommender"),
        ("llmseq_cli.models.popularity:MostPopular", "calls itself 'most-popular'"),
    ],
)
def test_a_broken_plug_in_is_told_when_it_is_asked_for(llmseq, monkeypatch, value, said):
    sys.modules["test_plug_in"] = sys.modules[__name__]
    entry = EntryPoint("broken", value, plugins.MODELS)
    monkeypatch.setattr(plugins, "_found", lambda group: {"broken": entry} if group == plugins.MODELS else {})
    assert model_names()[-1] == "broken"
    done = llmseq("train", "broken")
    assert (done.status, said in done.err) == (1, True), done.err
    with pytest.raises(LlmseqError, match=r"update or uninstall|same name"):
        model_class("broken")


def test_built_in_names_cannot_be_taken(monkeypatch):
    entry = EntryPoint("v-sknn", "test_plug_in:Broken", plugins.MODELS)
    monkeypatch.setattr(plugins, "_found", lambda group: {"v-sknn": entry})
    assert model_names().count("v-sknn") == 1
    assert issubclass(model_class("v-sknn"), Recommender)


def test_a_provider_is_found(monkeypatch):
    from llmseq_cli.providers.openai import OpenAIProvider

    class Own(OpenAIProvider):
        name = "own"

    sys.modules["test_plug_in"] = sys.modules[__name__]
    monkeypatch.setattr(sys.modules[__name__], "Own", Own, raising=False)
    entry = EntryPoint("own", "test_plug_in:Own", plugins.PROVIDERS)
    monkeypatch.setattr(plugins, "_found", lambda group: {"own": entry} if group == plugins.PROVIDERS else {})
    assert plugins.plugin_names(plugins.PROVIDERS) == ["own"]
    assert plugins.load_plugin(plugins.PROVIDERS, "own", OpenAIProvider) is Own
