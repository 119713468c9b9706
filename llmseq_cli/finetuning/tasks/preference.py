"""Preference: pairs of the next item and another candidate, for DPO (Rafailov et al. 2023)."""

from __future__ import annotations

import numpy as np

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.evaluation.ranking import NO_ITEM
from llmseq_cli.finetuning.item_lists import shuffled
from llmseq_cli.finetuning.tasks.answer_text import read_one
from llmseq_cli.finetuning.tasks.task import Ingredients, Material, PromptTask, candidates_of, no_options
from llmseq_cli.finetuning.wording import Wording
from llmseq_cli.language_model.messages import Example


class Preference(PromptTask):
    """The prompt is that of genitem, so a model trained on pairs is asked in the same way. The rejected title is drawn
    from a model's first k candidates, except those with the title of the next item.
    """

    name = "preference"
    label = "LLMSeqPromptPreference"
    template = "genitem"
    submits = False
    names_one = True
    trains_on = "candidates"
    samples = 20
    temperature = 0.25

    def options(self, prompts: Sessions, ingredients: Ingredients) -> np.ndarray:
        return no_options(len(prompts))

    def material(self, prompts: Sessions, targets: np.ndarray, ingredients: Ingredients) -> Material:
        """answers: the chosen and the rejected item; empty if there is none to reject."""
        candidates = candidates_of(prompts, ingredients)
        groups = np.where(candidates >= 0, ingredients.groups[candidates], -1)
        other = (groups >= 0) & (groups != ingredients.groups[targets][:, None])
        drawn = shuffled(np.where(other, candidates, NO_ITEM).astype(np.int32), prompts.ids, ingredients.seed)[:, :1]
        answers = np.concatenate([targets[:, None].astype(np.int32), drawn], axis=1)
        return Material(no_options(len(prompts)), np.where(drawn >= 0, answers, NO_ITEM).astype(np.int32))

    def example(self, wording: Wording, session: np.ndarray, options: np.ndarray, answer: np.ndarray) -> Example:
        return Example(
            wording.template.system,
            wording.question(session, options),
            wording.answer(answer[:1]),
            wording.answer(answer[1:]),
        )

    def parse(self, text: str, *, cut_off: bool = False) -> list[str]:
        return read_one(text)
