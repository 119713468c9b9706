"""A small language model, trained from scratch on this machine: nothing is downloaded, and it knows only one catalog.

A Llama (Touvron et al. 2023) of a few hundred thousand to some million weights, randomly initialised, with a tokenizer
learnt from the catalog's titles; it learns to write titles before it sees any session. It shows what fine-tuning does,
and runs on two cores; it does not replace a model that has read the web.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from llmseq_cli.errors import LlmseqError
from llmseq_cli.files import atomic_folder
from llmseq_cli.language_model.chat import Encoded, plain_tokens
from llmseq_cli.language_model.settings import LocalTuning
from llmseq_cli.model_files import quiet_libraries
from llmseq_cli.progress import Progress

SCRATCH = "scratch"
_START, _END, _PAD = "<s>", "</s>", "<pad>"
_CHAT = "{{ bos_token }}{% for m in messages if m['role'] != 'system' %}{{ m['content'] }}\n{% endfor %}"

"""Only the question: an instruction means nothing to a model that has only read titles."""


def scratch_folder(models: Path, titles: Sequence[str], settings: LocalTuning, seed: int) -> Path:
    """The folder for the model of these titles, sizes and seed."""
    made_of = [_CHAT, settings.dim, settings.layers, settings.heads, settings.vocabulary, settings.title_epochs, seed]
    digest = hashlib.blake2b(json.dumps([made_of, sorted(set(titles))]).encode(), digest_size=6)
    return models / f"scratch-{digest.hexdigest()}"


def make_scratch(
    models: Path, titles: Sequence[str], settings: LocalTuning, seed: int, frames: Sequence[str], progress: Progress
) -> Path:
    """The folder with the model, which is trained if it is missing. frames: the text around titles."""
    folder = scratch_folder(models, titles, settings, seed)
    if folder.is_dir():
        return folder
    distinct = _distinct(titles)
    with atomic_folder(folder, existing="keep", checksums=True) as partial, quiet_libraries():
        tokenizer = _make_tokenizer(distinct, settings.vocabulary, frames)
        model = _make_model(tokenizer, settings, seed)
        if settings.title_epochs:
            _learn_titles(model, tokenizer, distinct, settings, seed, progress)
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
    return folder


def scratch_tokenizer(titles: Sequence[str], settings: LocalTuning, frames: Sequence[str]) -> Any:
    """The tokenizer for the model of these titles, which is enough to count tokens."""
    return _make_tokenizer(_distinct(titles), settings.vocabulary, frames)


def _distinct(titles: Sequence[str]) -> list[str]:
    distinct = sorted({title for title in titles if title})
    if not distinct:
        raise LlmseqError(
            "no item of the catalog has a title",
            "--model scratch learns titles; ingest items with --items, or choose another --model",
        )
    return distinct


def _make_tokenizer(titles: list[str], size: int, frames: Sequence[str]) -> Any:
    """Byte-level BPE (Sennrich et al. 2016): frequent words are one token, and every text can be encoded."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=2,
        special_tokens=[_PAD, _START, _END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    # Words around titles are in every prompt, numbers in most, so each should be one token.
    tokenizer.train_from_iterator([*titles, *[*frames, " ".join(map(str, range(1, 100)))] * 100], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=_START,
        eos_token=_END,
        pad_token=_PAD,
        chat_template=_CHAT,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def _make_model(tokenizer: Any, settings: LocalTuning, seed: int) -> Any:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings.dim,
        intermediate_size=settings.dim * 4,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        max_position_embeddings=settings.max_length,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    model.generation_config.do_sample = True  # else servers ignore a request's temperature
    return model


def _learn_titles(
    model: Any, tokenizer: Any, titles: list[str], settings: LocalTuning, seed: int, progress: Progress
) -> None:
    """Train on single titles: the model learns how they are written, and nothing about who chooses what."""
    from llmseq_cli.language_model.training import Course, Trainer

    tokens = plain_tokens(tokenizer, titles)
    examples = Encoded([[tokenizer.bos_token_id]] * len(tokens), [[*row, tokenizer.eos_token_id] for row in tokens])
    course = Course(
        epochs=settings.title_epochs,
        batch_size=settings.batch(scratch=True),
        learning_rate=settings.rate(full=True),
        seed=int(np.random.SeedSequence([seed, 1]).generate_state(1)[0]),
    )
    with progress.task("Learning titles", total=len(examples) * course.epochs, unit="titles") as task:
        Trainer(model, examples, None, course).run(task)
