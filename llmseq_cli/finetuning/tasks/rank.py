"""Rank (Boz et al., Section 4.4): put a strong model's shuffled candidates in order."""

from __future__ import annotations

import numpy as np

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.finetuning.item_lists import shuffled, tidy, with_truth_on_top
from llmseq_cli.finetuning.tasks.task import Ingredients, Material, PromptTask, candidates_of


class Rank(PromptTask):
    """In training the ground truth is always among the candidates (if necessary in place of the last one); at
    prediction only if the model put it there.
    """

    name = "rank"
    label = "LLMSeqPromptRank"
    needs = "candidates"
    trains_on = "candidates"

    def options(self, prompts: Sessions, ingredients: Ingredients) -> np.ndarray:
        candidates = tidy(candidates_of(prompts, ingredients), ingredients.groups)
        return shuffled(candidates, prompts.ids, ingredients.seed)

    def material(self, prompts: Sessions, targets: np.ndarray, ingredients: Ingredients) -> Material:
        answers = tidy(with_truth_on_top(candidates_of(prompts, ingredients), targets), ingredients.groups)
        return Material(shuffled(answers, prompts.ids, ingredients.seed), answers)
