"""Turn messages into tokens, with the model's chat template or, if it has none, as plain paragraphs."""

from __future__ import annotations

import json
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from llmseq_cli.errors import LlmseqError
from llmseq_cli.language_model.watch import Watch

_LONGEST_FRAME = 1 << 20  # characters that a template may add around a question
_EXAMPLES_AT_ONCE = 4096  # tokenizers keep far more in memory than tokens


@dataclass(frozen=True)
class Encoded:
    """Examples as tokens: prompts, and completions with the end-of-text token."""

    prompts: Sequence[Sequence[int]]
    completions: Sequence[Sequence[int]]

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each example, int64[n]."""
        return np.array([len(p) + len(c) for p, c in zip(self.prompts, self.completions, strict=True)], dtype=np.int64)


def prompt_texts(tokenizer: Any, messages: Sequence[tuple[str, str]]) -> list[str]:
    """(system, user) of each prompt as the text after which the model answers."""
    if not tokenizer.chat_template:
        return ["\n\n".join([*([system] if system else []), user]) + "\n\n" for system, user in messages]
    texts = []
    with Watch(f"the chat template of {tokenizer.name_or_path}") as watch:
        for system, user in messages:
            watch.begin()
            said = _messages(tokenizer, system, user)
            texts.append(
                tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=True, enable_thinking=False)
            )
            if len(texts[-1]) > _LONGEST_FRAME + 8 * (len(system) + len(user)):
                raise LlmseqError(
                    f"{watch.what} writes {len(texts[-1]):,} characters for one question", "choose another model"
                )
    return texts


def _messages(tokenizer: Any, system: str, user: str) -> list[dict[str, str]]:
    # Some templates, such as Gemma's, have no system role.
    if not system:
        return [{"role": "user", "content": user}]
    if "system" not in str(tokenizer.chat_template):
        return [{"role": "user", "content": f"{system}\n\n{user}"}]
    return [{"role": "system", "content": system}, {"role": "user", "content": user}]


def prompt_tokens(tokenizer: Any, messages: Sequence[tuple[str, str]]) -> list[list[int]]:
    """Tokens of prompts. Chat templates write special tokens themselves; otherwise the tokenizer adds its own."""
    if not messages:
        return []
    texts = prompt_texts(tokenizer, messages)
    if tokenizer.chat_template:
        return plain_tokens(tokenizer, texts)
    first = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    return [first + tokens for tokens in plain_tokens(tokenizer, texts)]


def plain_tokens(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Tokens of texts, without special tokens."""
    if not texts:
        return []
    tokens: list[list[int]] = tokenizer(
        list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False
    )["input_ids"]
    return tokens


def read_examples(file: Path, tokenizer: Any, longest: int) -> Encoded:
    """Read examples from a file of chat messages; those longer than `longest` tokens lose the start of their prompt."""
    prompts: list[array[int]] = []
    completions: list[array[int]] = []
    with file.open(encoding="utf-8") as lines:
        while block := list(islice(lines, _EXAMPLES_AT_ONCE)):
            said = [{one["role"]: one["content"] for one in json.loads(line)["messages"]} for line in block]
            answered = plain_tokens(tokenizer, [one["assistant"] for one in said])
            asked = prompt_tokens(tokenizer, [(one.get("system", ""), one.get("user", "")) for one in said])
            for prompt, answer in zip(asked, answered, strict=True):
                completion = [*answer, tokenizer.eos_token_id][: longest - 1]
                completions.append(array("i", completion))
                prompts.append(array("i", prompt[-(longest - len(completion)) :]))
    return Encoded(prompts, completions)
