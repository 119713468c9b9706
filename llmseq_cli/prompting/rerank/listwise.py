"""Listwise: the model puts all candidates of a window in order (Sun et al. 2023, "Is ChatGPT good at search?").

Where a list is longer than a window, windows slide from its end to its top and overlap, so that the best items of one
reach the next.
"""

from __future__ import annotations

import numpy as np

from llmseq_cli.finetuning.item_lists import keyed_order
from llmseq_cli.prompting.asking import REFUSED
from llmseq_cli.prompting.rerank.method import Method, Shown, by_score
from llmseq_cli.prompting.rerank.reading import ReadAnswer


class Listwise(Method):
    """Candidates that an answer leaves out follow those that it names, in the order before; what it invents or repeats
    is dropped.

    shuffles: orders in which candidates are shown, each a way of its own through the list; 0: one, unshuffled.
    session_ids: int64[n]. titles: of all items, as shown.
    """

    def __init__(
        self,
        lists: np.ndarray,
        session_ids: np.ndarray,
        titles: list[str],
        read: ReadAnswer,
        window: int,
        step: int,
        shuffles: int,
        seed: int,
    ) -> None:
        super().__init__(lists)
        self.session_ids, self.titles, self.read = session_ids, titles, read
        self.shuffles, self.seed = shuffles, seed
        top = lists.shape[1]
        self.window = min(window, top)
        self.starts = [*range(top - self.window, 0, -step), 0]
        self.rounds = len(self.starts)
        ways = max(1, shuffles)
        self.orders = np.broadcast_to(np.arange(top), (ways, *lists.shape)).copy()
        self.shown_at = 0

    def show(self, round: int) -> Shown:
        n, start = len(self.lists), self.starts[round]
        self.shown_at = start
        slots = self.orders[:, :, start : start + self.window].copy()
        for way in range(self.shuffles):
            keys = keyed_order(self.seed + 7919 * way, self.session_ids[:, None], self._items(slots[way]))
            order = np.argsort(keys, axis=1, kind="stable")
            slots[way] = np.take_along_axis(slots[way], order, axis=1)
        flat = slots.reshape(-1, self.window)
        rows = np.tile(np.arange(n), len(self.orders))
        # Places that hold no item are moved to the right and shown as nothing.
        held = self.lists[rows[:, None], flat] >= 0
        left = np.argsort(~held, axis=1, kind="stable")
        flat = np.take_along_axis(np.where(held, flat, -1), left, axis=1)
        self.ways = np.repeat(np.arange(len(self.orders)), n)
        keep = held.sum(axis=1) >= 2
        self.ways = self.ways[keep]
        return Shown(rows[keep], flat[keep])

    def _items(self, slots: np.ndarray) -> np.ndarray:
        return np.take_along_axis(self.lists, slots, axis=1)

    def take(self, shown: Shown, answers: list[tuple[int, str, str]]) -> None:
        items = shown.items(self.lists)
        part = slice(self.shown_at, self.shown_at + self.window)
        for place, text, finish in answers:
            listed = items[place][items[place] >= 0]
            titles = [self.titles[item] for item in listed.tolist()]
            read = self.read(text, finish == "length", titles)
            self._count(read.invented, read.repeated, len(titles) - len(read.named), text, finish)
            self.counts["first_shown_named_first"] += read.named[:1] == [0]
            named = shown.slots[place][read.named]
            before = self.orders[self.ways[place], shown.rows[place], part]
            rest = before[~np.isin(before, named)]
            self.orders[self.ways[place], shown.rows[place], part] = np.concatenate([named, rest])

    def _count(self, invented: int, repeated: int, left_out: int, text: str, finish: str) -> None:
        self.counts["refused_answers"] += finish == REFUSED
        self.counts["empty_answers"] += not text.strip()
        self.counts["answers"] += 1
        self.counts["invented"] += invented
        self.counts["repeated"] += repeated
        self.counts["left_out"] += left_out
        self.counts["repaired_answers"] += bool(invented or repeated or left_out)

    def order(self) -> np.ndarray:
        """By the mean of the ranks that the ways end with."""
        ranks = np.argsort(self.orders, axis=2).mean(axis=0)
        return by_score(self.lists, -ranks)
