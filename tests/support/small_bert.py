"""A tiny BERT with random weights, for tests of models that run on this machine."""

from __future__ import annotations

from pathlib import Path

WIDTH, LONGEST = 16, 12
WORDS = ["red", "green", "blue", "wool", "silk", "long", "short", "soft", "warm", "light"]
WORDS += ["sock", "shirt", "scarf", "hat", "glove"]


def save_bert(folder: Path) -> Path:
    """A plain BERT with random weights, as transformers saves it: no configuration of sentence-transformers."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = {token: number for number, token in enumerate([*special, *WORDS, "##s", "##er"])}
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=LONGEST,
        initializer_range=0.5,
    )
    with torch.random.fork_rng():
        torch.manual_seed(1)
        BertModel(config).save_pretrained(folder)
    BertTokenizerFast(vocab=vocabulary).save_pretrained(folder)
    return folder
