"""What training tells of an item itself: how new it is, and how often it occurred lately.

Where a dataset was cut to a k-core over all time, as public ones are, a new item is sure to come back, and newness is
worth more than it would be in service.
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
"""Newness; popularity in the latest 5 % of the sessions, in the latest 20 % and in all; the share of the base models
that say something for the item (a gain above 0); newness times this share.
"""

_WINDOWS = (0.05, 0.2, 1.0)
_YOUNGEST = 0.002  # of the sessions; items that first occurred later than that are equally new


@dataclass(frozen=True)
class ItemTraits:
    """values: float32[4, n_items], all of TRAITS but the last two, which depend on the lists.

    Newness is ln((1 + y) / (a + y)), a being the share of the sessions that are later than the item's first one, and
    y = 0.002; an item that never occurred is as new as can be. A popularity is ln(1 + interactions).
    """

    values: np.ndarray

    @staticmethod
    def of(train: Sessions, n_items: int) -> ItemTraits:
        """Traits of all items; the sessions' order in time is that of their numbers."""
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
