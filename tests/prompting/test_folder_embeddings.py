"""Answers are embedded by the model that made the items' vectors, where that is a folder on this machine."""

import shutil

import numpy as np
import pytest
from support.prompting_steps import BASE, dataset_of, prompt, rows
from support.small_shop import KINDS, WORDS

pytest.importorskip("sentence_transformers", reason="the extra 'local' is not installed")


@pytest.fixture
def bert(tmp_path):
    """A folder with a random BERT that knows the shop's words."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *KINDS]
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=16,
        initializer_range=0.5,
    )
    folder = tmp_path / "models" / "bert"
    with torch.random.fork_rng():
        torch.manual_seed(1)
        BertModel(config).save_pretrained(folder)
    BertTokenizerFast(vocab={word: place for place, word in enumerate(words)}).save_pretrained(folder)
    return folder


def test_the_folder_is_found_again(llmseq, server, shop, bert):
    from sentence_transformers import SentenceTransformer

    assert llmseq("embed", "--source", "huggingface", "--model", bert, "--set", "device=cpu").status == 0
    server.answer = lambda question, sample: "very warm red sock"
    made = prompt(llmseq, "--base-model", BASE, "--samples", "1")
    catalog = dataset_of(shop).catalog
    encoder = SentenceTransformer(str(bert), device="cpu")
    vectors = encoder.encode([*catalog.titles, "very warm red sock"], normalize_embeddings=True)
    products = np.where(catalog.in_train, vectors[:-1] @ vectors[-1], -np.inf)
    said = rows(llmseq, f"select distinct item, similarity from answers where run = '{made['run']}'")
    assert said[0]["item"] == catalog.external_ids[products.argmax()]
    assert said[0]["similarity"] == pytest.approx(products.max(), abs=1e-4)


@pytest.mark.parametrize("change", ["gone", "another model"])
def test_without_the_folder_s_model_nothing_is_asked(llmseq, server, shop, bert, change):
    llmseq("embed", "--source", "huggingface", "--model", bert, "--set", "device=cpu")
    if change == "gone":
        shutil.rmtree(bert)
    else:
        (bert / "vocab.txt").write_text("other")
    refused = llmseq("prompt", "--base-model", BASE)
    assert (refused.status, "--embeddings" in refused.err) == (1, True), refused.err
    assert server.requests == []
    llmseq("embed", "--source", "lexical")
    assert llmseq("prompt", "--base-model", BASE, "--samples", "1", "--embeddings", "lexical").status == 0
