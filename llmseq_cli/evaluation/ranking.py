"""Top-k lists under one tie rule: higher score first; with equal scores, the lower item id first.

The rule makes a list depend on the scores alone, not on the order in which an algorithm visits the items, nor on batch
size, number of threads or device.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NO_ITEM = -1
"""Pads a list if a model has fewer than k items to recommend."""


@dataclass(frozen=True)
class Ranking:
    """Recommendations, best first.

    items: int32[n_sessions, k], NO_ITEM if a list is shorter than k.
    scores: float32[n_sessions, k], −inf where there is no item.
    """

    items: np.ndarray
    scores: np.ndarray

    def __len__(self) -> int:
        return len(self.items)

    @property
    def k(self) -> int:
        return int(self.items.shape[1])

    def ranks(self, targets: np.ndarray) -> np.ndarray:
        """1-based place of each session's target in its list, 0 if it is not in it; int32[n_sessions]."""
        hits = self.items == np.asarray(targets)[:, None]
        return np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, 0).astype(np.int32)

    @staticmethod
    def concatenate(parts: list[Ranking]) -> Ranking:
        return Ranking(np.concatenate([p.items for p in parts]), np.concatenate([p.scores for p in parts]))
