"""GenList (Boz et al., Section 4.2): the answer is a strong model's list with the ground truth on top."""

from __future__ import annotations

import numpy as np

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.finetuning.item_lists import tidy, with_truth_on_top
from llmseq_cli.finetuning.tasks.task import Ingredients, Material, PromptTask, candidates_of, no_options


class GenList(PromptTask):
    name = "genlist"
    label = "LLMSeqPromptGenList"
    trains_on = "candidates"
    temperature = 0.25

    def options(self, prompts: Sessions, ingredients: Ingredients) -> np.ndarray:
        return no_options(len(prompts))

    def material(self, prompts: Sessions, targets: np.ndarray, ingredients: Ingredients) -> Material:
        answers = with_truth_on_top(candidates_of(prompts, ingredients), targets)
        return Material(no_options(len(prompts)), tidy(answers, ingredients.groups))
