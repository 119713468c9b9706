"""Traits of items from training data: how new an item is, and how often it occurred recently.

If a dataset was reduced to a k-core over all time, like public datasets, a new item is sure to come back, so newness
counts more than it would in production.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llmseq_cli.data.sessions import Sessions

TRAITS = (
    "newness",
    "popularity_latest_5",
    "popularity_latest_20",
    "popularity",
    "agreement",
    "newness_x_agreement",
)
"""Newness; popularity in the latest 5 % of the sessions, in the latest 20 % and in all; the share of base models with a
gain above 0 for the item; newness times this share.
"""

_WINDOWS = (0.05, 0.2, 1.0)
_YOUNGEST = 0.002  # share of sessions; items that first occurred within it are equally new


@dataclass(frozen=True)
class ItemTraits:
    """values: float32[4, n_items], all TRAITS except the last two, which depend on the lists.

    Newness is ln((1 + y) / (a + y)), where a is the share of sessions after the item's first one and y = 0.002; an item
    that never occurred has the maximum. Popularity is ln(1 + interactions).
    """

    values: np.ndarray

    @staticmethod
    def of(train: Sessions, n_items: int) -> ItemTraits:
        """Traits of all items; sessions are ordered by time."""
        place = np.argsort(np.argsort(train.ids, kind="stable"))
        later = ((len(train) - 0.5 - place) / max(len(train), 1))[train.rows()]
        age = np.zeros(n_items)
        np.maximum.at(age, train.items, later)
        newness = np.log((1 + _YOUNGEST) / (age + _YOUNGEST))
        popularity = [np.log1p(np.bincount(train.items[later < window], minlength=n_items)) for window in _WINDOWS]
        return ItemTraits(np.stack([newness, *popularity]).astype(np.float32))

    def of_items(self, items: np.ndarray, agreement: np.ndarray) -> np.ndarray:
        """float32[len(TRAITS), n]; agreement: float[n], the share of base models with a gain above 0 for each item."""
        known = self.values[:, items]
        return np.concatenate([known, [agreement, known[0] * agreement]]).astype(np.float32)
