"""Turn arrays of items into the text of examples, and count its tokens."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from llmseq_cli.data.catalog import Catalog
from llmseq_cli.data.sessions import Sessions
from llmseq_cli.finetuning.templates import Template
from llmseq_cli.language_model.messages import Example

_TOKENS_PER_MESSAGE = 5
"""Tokens that a chat format adds to a message."""

CountTokens = Callable[[list[str]], np.ndarray]


def normal_titles(catalog: Catalog) -> list[str]:
    """Titles of all items, each on one line."""
    return [" ".join(str(title).split()) for title in catalog.titles]


class Wording:
    """Fills a template with the items of a catalog.

    Tokens are counted once per title and added up: an upper estimate, because lines are counted separately.
    count_tokens: see `FineTuneProvider.count_tokens`.
    """

    def __init__(self, template: Template, catalog: Catalog, k: int, count_tokens: CountTokens) -> None:
        self.template, self.k = template, k
        self.titles = normal_titles(catalog)
        self.title_tokens = count_tokens(self.titles)
        frame = template.user.format(session="", options="", k=k)
        around = [template.separator + form.format(number=999, title="") for form in self._forms]
        counted = count_tokens([template.system, frame, *around])
        # A blank separator counts as nothing by itself, but takes up to one token.
        self._of_item, self._of_option, self._of_answer = (int(count) + 1 for count in counted[2:])
        self._of_frame = int(counted[0] + counted[1]) + _TOKENS_PER_MESSAGE * (2 + bool(template.system))

    @property
    def _forms(self) -> tuple[str, str, str]:
        return self.template.item, self.template.option, self.template.answer

    def question(self, session: np.ndarray, options: np.ndarray) -> str:
        """The user message for items of a session, oldest first, and options (padded with NO_ITEM)."""
        return self.template.question(self._titles(session), self._titles(options), self.k)

    def answer(self, items: np.ndarray) -> str:
        return self.template.lines(self.template.answer, self._titles(items))

    def example(self, session: np.ndarray, options: np.ndarray, answer: np.ndarray) -> Example:
        return Example(self.template.system, self.question(session, options), self.answer(answer))

    def _titles(self, items: np.ndarray) -> list[str]:
        return [self.titles[item] for item in items.tolist() if item >= 0 and self.titles[item]]

    def question_tokens(self, prompts: Sessions, options: np.ndarray) -> np.ndarray:
        """Tokens of each question, int64[n_sessions]."""
        total = np.concatenate([[0], np.cumsum(self.item_tokens(prompts.items))])
        sessions = total[prompts.offsets[1:]] - total[prompts.offsets[:-1]]
        tokens: np.ndarray = self._of_frame + sessions + self._line_tokens(options, self._of_option)
        return tokens

    def item_tokens(self, items: np.ndarray) -> np.ndarray:
        """Tokens of each item's line in a session, int64[n]; 0 for an untitled one, which has no line."""
        tokens = self.title_tokens[items]
        return np.where(tokens > 0, tokens + self._of_item, 0)

    def answer_tokens(self, answers: np.ndarray) -> np.ndarray:
        """Tokens of each expected answer, int64[n_sessions]."""
        return self._line_tokens(answers, self._of_answer)

    def longest_answer(self, items: int) -> int:
        """Most tokens of an answer with this many items, from the longest titles except a few outliers."""
        if not len(self.title_tokens):
            return 0
        usual = float(np.quantile(self.title_tokens, 0.999 if items == 1 else 0.95))
        return int(items * (usual + self._of_answer)) + 16

    def _line_tokens(self, items: np.ndarray, around: int) -> np.ndarray:
        if not items.shape[1]:
            return np.zeros(len(items), dtype=np.int64)
        tokens: np.ndarray = np.where(items >= 0, self.title_tokens[items] + around, 0).sum(axis=1)
        return tokens
