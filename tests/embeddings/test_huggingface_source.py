"""The huggingface source, with a tiny random BERT that the tests make."""

import os
import subprocess
import sys

import numpy as np
import pytest
from support.small_bert import LONGEST, WIDTH, save_bert

from llmseq_cli.clients.errors import FinalError
from llmseq_cli.embeddings.sources.registry import SourceOptions, make_source
from llmseq_cli.embeddings.stored import load_embeddings
from llmseq_cli.errors import LlmseqError, UsageError

pytest.importorskip("sentence_transformers", reason="the extra 'local' is not installed")

TEXTS = [
    "red wool sock",
    "silk scarf",
    "long soft warm light blue wool hat",
    "glove",
    "red silk shirt",
    "unheardof hat",
]


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return save_bert(tmp_path_factory.mktemp("bert"))


def source(model, dimensions=None, **settings):
    return make_source("huggingface", SourceOptions(str(model), dimensions, settings={"device": "cpu"} | settings))


def by_hand(folder, text):
    """Mean of the last layer over all tokens of one text."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    with torch.inference_mode():
        states = AutoModel.from_pretrained(folder)(**AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt"))
    return states.last_hidden_state[0].mean(0).numpy()


def test_a_plain_transformer_gets_mean_pooling_in_the_given_order(bert):
    vectors = source(bert).embed(TEXTS).vectors
    assert (vectors.shape, vectors.dtype) == ((len(TEXTS), WIDTH), np.float32)
    for text, vector in zip(TEXTS, vectors, strict=True):
        assert vector == pytest.approx(by_hand(bert, text), abs=1e-5)


def test_batch_size_and_company_do_not_change_vectors(bert):
    whole = source(bert).embed(TEXTS).vectors
    assert source(bert, batch_size=1).embed(TEXTS).vectors == pytest.approx(whole, abs=1e-5)
    assert source(bert, batch_size=4).embed(TEXTS[::-1]).vectors[::-1] == pytest.approx(whole, abs=1e-5)
    assert np.array_equal(source(bert).embed(TEXTS).vectors, whole)


def test_tokens_are_counted_by_the_models_own_tokenizer(bert):
    model = source(bert)
    assert model.limits.tokens_per_text == LONGEST
    assert model.limits.texts_per_request == 1024
    assert not model.remote
    # [CLS] and [SEP]; "socks" is sock ##s, "unheardof" is one unknown.
    assert model.count_tokens(["glove", "red socks", "unheardof", "red " * 50]).tolist() == [3, 5, 3, 52]


def test_cut_is_the_longest_beginning(bert):
    model = source(bert)
    text = "red socks, silk shirter " + "blue " * 20
    assert model.cut(text, 1000) == text.rstrip()
    assert [model.cut(text, n) for n in (2, 3, 4, 5, 6)] == ["", "red", "red sock", "red socks", "red socks,"]
    assert model.cut(text, LONGEST) == "red socks, silk shirter blue blue blue"
    assert model.count_tokens([model.cut(text, LONGEST)]).tolist() == [LONGEST]


def test_what_is_cut_off_does_not_count(bert):
    model = source(bert)
    text = "red wool sock " * 20
    whole, cut = model.embed([text, model.cut(text, LONGEST)]).vectors
    assert cut == pytest.approx(whole, abs=1e-5)


def test_dimensions_are_the_first_of_a_vector(bert):
    whole = source(bert).embed(TEXTS).vectors
    assert np.array_equal(source(bert, 6).embed(TEXTS).vectors, whole[:, :6])
    assert source(bert, WIDTH).dimensions is None
    with pytest.raises(UsageError, match="has 16 dimensions, not 17"):
        source(bert, 17)


def test_the_models_own_prompt_takes_room(bert, tmp_path):
    from sentence_transformers import SentenceTransformer

    folder = tmp_path / "prompted"
    SentenceTransformer(str(bert), device="cpu", prompts={"item": "soft "}, default_prompt_name="item").save(
        str(folder)
    )
    model = source(folder)
    assert model.count_tokens(["glove"]).tolist() == [4]
    assert model.cut("red wool sock", 5) == "red wool"
    assert model.embed(["glove"]).vectors[0] == pytest.approx(by_hand(bert, "soft glove"), abs=1e-5)


def test_a_model_that_changed_in_its_folder_is_another_to_the_cache(tmp_path):
    folder = save_bert(tmp_path)
    before = source(folder).variant
    assert source(folder).variant == before
    (folder / "README.md").write_text("about")
    assert source(folder).variant == before
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    assert source(folder).variant != before


@pytest.mark.parametrize("name", ["/no/such/folder", "./nowhere", "a/b/c"])
def test_folder_that_is_not_there(name):
    with pytest.raises(FinalError, match="there is no folder"):
        source(name)


def test_folder_without_a_model(tmp_path):
    with pytest.raises(FinalError, match="cannot load the model") as raised:
        source(tmp_path)
    assert raised.value.hint


def test_half_precision_is_for_gpus(bert):
    with pytest.raises(UsageError, match="float16 is for GPUs"):
        source(bert, precision="float16")
    with pytest.raises(UsageError):
        source(bert, precision="int3")


def test_server_address_is_refused(llmseq, shop, bert):
    refused = llmseq("embed", "--source", "huggingface", "--model", bert, "--base-url", "http://localhost:1/v1")
    assert (refused.status, "--base-url is for servers" in refused.err) == (2, True)


def test_a_dry_run_speaks_of_no_requests_and_no_money(llmseq, shop, bert):
    planned = llmseq("embed", "--source", "huggingface", "--model", bert, "--dry-run")
    assert (planned.status, "tokens" in planned.out) == (0, True)
    assert not any(word in planned.out for word in ("requests", "dollars", "minutes"))


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(LlmseqError) as raised:
        source("any")
    assert raised.value.hint == "pip install 'llmseq[local]'"


def test_from_the_command_line(llmseq, shop, bert):
    made = llmseq("embed", "--source", "huggingface", "--model", bert, "--concurrency", 8, "--json")
    assert made.status == 0
    facts = made.json
    assert (facts["texts_sent"], facts["requests"], facts["dimensions"]) == (40, 1, WIDTH)
    assert (facts["cost_usd"], facts["cached"], facts["tokens"]) == (0, 0, 40 * 5)
    with shop.store.read("testing") as con:
        titles = [title for (title,) in con.execute("select title from core.item order by item_id").fetchall()]
        vectors = load_embeddings(con, 1, "huggingface", len(titles)).vectors
    assert vectors == pytest.approx(np.stack([by_hand(bert, title) for title in titles]), abs=1e-5)
    assert llmseq("embed", "--source", "huggingface", "--model", bert, "--json").json["texts_sent"] == 0
    trained = llmseq("train", "llmseqsim", "--embeddings", "huggingface", "--json")
    assert trained.status == 0, trained.err


def test_models_in_folders_go_by_their_name(llmseq, shop, tmp_path):
    for place in ("first", "second"):
        folder = tmp_path / place / "tiny-bert"
        folder.mkdir(parents=True)
        save_bert(folder)
        if place == "second":
            weights = bytearray((folder / "model.safetensors").read_bytes())
            weights[-1] ^= 1
            (folder / "model.safetensors").write_bytes(weights)
        made = llmseq("embed", "--source", "huggingface", "--model", folder)
        assert made.status == 0, made.err
        said = " ".join(made.out.split())
        assert f"embeddings huggingface:{folder.name} (number" in said
        assert "computed 40, 200 tokens" in said
        assert "US dollars" not in said
        assert "sent" not in said
    rows = llmseq("embeddings", "--json").json
    assert [row["model"] for row in rows] == [folder.name] * 2, "neither takes the other's place"
    assert llmseq("embed", "--source", "huggingface", "--model", folder, "--json").json["texts_sent"] == 0
    assert len(llmseq("embeddings", "--json").json) == 2


def test_the_libraries_are_silent_and_need_no_network(shop, bert, tmp_path):
    """In a process of its own, where nothing has been imported or made quiet before."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub")}

    words = ["embed", "--source", "huggingface", "--json", "--model"]
    program = (
        "import sys\n"
        "from llmseq_cli.cli.app import run\n"
        f"made = run({[*words, str(bert)]})\n"
        "print('then', file=sys.stderr)\n"
        f"print(made, run({[*words, 'nobody/such-a-model']}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=300, check=True
    )
    assert done.stdout.splitlines()[-1] == "0 1", done.stderr
    made, _, unknown = done.stderr.partition("then\n")
    noise = ("Loading", "arning", "it/s", "mean pooling")
    assert not any(word in made for word in noise), made
    assert "cannot load the model 'nobody/such-a-model'" in unknown
    assert "HF_HUB_OFFLINE is set" in unknown
    assert "Traceback" not in unknown
