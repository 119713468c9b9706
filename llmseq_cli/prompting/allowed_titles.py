"""The titles that an answer may name, if a model is restricted to the catalog."""

from __future__ import annotations

import numpy as np

from llmseq_cli.data.catalog import Catalog
from llmseq_cli.errors import LlmseqError
from llmseq_cli.finetuning.wording import Wording
from llmseq_cli.language_model.messages import Constraint


class Constraints:
    """Allowed answers for each session: its options or, if it has none, the titles of training items, except items of
    the session.
    """

    def __init__(self, wording: Wording, catalog: Catalog, names: int) -> None:
        self.names = names
        self.line, self.separator = wording.template.answer, wording.template.separator
        places: dict[str, int] = {}
        self.of_item = np.array(
            [places.setdefault(title, len(places)) if title else -1 for title in wording.titles], dtype=np.int64
        )
        self.titles = list(places)
        self.learnt = np.unique(self.of_item[catalog.in_train & (self.of_item >= 0)])
        if not len(self.learnt):
            raise LlmseqError("no item that occurs in training has a title", "leave out --constrain")

    def of(self, session: np.ndarray, options: np.ndarray) -> Constraint:
        """session: int32[n]; options: int32[m], NO_ITEM fills."""
        listed = self._titles_of(options[options >= 0])
        if len(listed):
            return self._constraint(listed, np.empty(0, dtype=np.int64))
        without = self._titles_of(session)
        if np.isin(self.learnt, without).all():
            without = without[:0]
        return self._constraint(self.learnt, without)

    def _constraint(self, allowed: np.ndarray, without: np.ndarray) -> Constraint:
        return Constraint(self.line, self.separator, self.titles, allowed, without, self.names)

    def _titles_of(self, items: np.ndarray) -> np.ndarray:
        places = self.of_item[items]
        return np.unique(places[places >= 0])
