"""GenItem (Boz et al., Section 4.1): the answer is the next item; the model is asked many times, and answers are ranked
by frequency."""

from __future__ import annotations

import numpy as np

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.finetuning.tasks.answer_text import read_one
from llmseq_cli.finetuning.tasks.task import Ingredients, Material, PromptTask, no_options


class GenItem(PromptTask):
    name = "genitem"
    label = "LLMSeqPromptGenItem"
    names_one = True
    samples = 20
    temperature = 0.25

    def options(self, prompts: Sessions, ingredients: Ingredients) -> np.ndarray:
        return no_options(len(prompts))

    def material(self, prompts: Sessions, targets: np.ndarray, ingredients: Ingredients) -> Material:
        return Material(no_options(len(prompts)), targets[:, None].astype(np.int32))

    def parse(self, text: str, *, cut_off: bool = False) -> list[str]:
        return read_one(text)
