"""`Catalog`: the items of a dataset."""

from __future__ import annotations

import html
import re
import unicodedata
from dataclasses import dataclass
from functools import cached_property
from textwrap import shorten

import numpy as np

from llmseq_cli.errors import LlmseqError, did_you_mean


@dataclass(frozen=True)
class Catalog:
    """The items of a dataset, addressed by dense ids 0 … n − 1 that never change for a dataset.

    external_ids, titles, classes: str[n_items] (object arrays); a missing title or class is ''.
    popularity: int64[n_items], interactions of the item in the whole dataset (train and test).
    in_train: bool[n_items], whether the item occurs in a training session.
    """

    external_ids: np.ndarray
    titles: np.ndarray
    classes: np.ndarray
    popularity: np.ndarray
    in_train: np.ndarray

    def __len__(self) -> int:
        return len(self.external_ids)

    def label(self, item: int) -> str:
        """Title of an item, or its id if it has none."""
        return str(self.titles[item] or self.external_ids[item])

    @cached_property
    def _by_external_id(self) -> dict[str, int]:
        return {name: item for item, name in enumerate(self.external_ids)}

    @cached_property
    def _by_title(self) -> dict[str, int]:
        # Of items with equal titles, a title means the most popular one; with equal popularity, the one with the lower
        # id.
        order = np.lexsort((-np.arange(len(self)), self.popularity))
        return {normalise_title(self.titles[item]): int(item) for item in order if self.titles[item]}

    def known(self, text: str) -> int | None:
        """Dense id of the item with exactly this id or title, in either Unicode form; None if there is none."""
        plain = unicodedata.normalize("NFC", text.strip())
        for one in (text, plain):
            if one in self._by_external_id:
                return self._by_external_id[one]
        return self._by_title.get(normalise_title(plain)) if normalise_title(plain) else None

    def find(self, text: str, shown: str = '`llmseq sql "select item, title from items limit 20"` shows items') -> int:
        """Dense id of the item with this id or title. Raises LlmseqError if there is none; its hint is the closest
        name, or `shown`, which says where to look up items."""
        known = self.known(text)
        if known is not None:
            return known
        key = normalise_title(text)
        containing = [item for title, item in self._by_title.items() if key and key in title]
        if len(containing) == 1:
            return containing[0]
        if containing:
            best = sorted(containing, key=lambda item: -self.popularity[item])[:3]
            names = "; ".join(
                f"{self.external_ids[item]} = {shorten(self.titles[item], 60, placeholder=' …')}" for item in best
            )
            raise LlmseqError(f"{len(containing)} titles contain '{text}'", f"give the item's id, for example {names}")
        hint = did_you_mean(key, list(self._by_title)) if len(self) < 50_000 and self._by_title else ""
        if not hint.startswith("did"):
            hint = shown
        raise LlmseqError(f"no item has the id or title '{text}'", hint)


def normalise_title(title: str) -> str:
    """Title normalised for comparison: entities unescaped, case folded, anything but letters and digits replaced by one
    space."""
    plain = unicodedata.normalize("NFC", html.unescape(title).casefold())
    return re.sub(r"[\W_]+", " ", plain).strip()
