"""`Sessions`: the one data structure for sequences in llmseq."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_array


@dataclass(frozen=True)
class Sessions:
    """Sessions as flat arrays: the items of all sessions, concatenated.

    items: int32[n_interactions], dense item ids of the catalog, oldest first within a session.
    offsets: int64[n_sessions + 1]; session s has items[offsets[s]:offsets[s + 1]].
    ids: int64[n_sessions], the session ids of the dataset. They increase with the time of the last interaction, so a
    larger id is a more recent session.
    times: int64[n_interactions], microseconds since 1970, or None if they were not requested.
    """

    items: np.ndarray
    offsets: np.ndarray
    ids: np.ndarray
    times: np.ndarray | None = None

    @classmethod
    def from_lists(cls, sessions: Iterable[Sequence[int]]) -> Sessions:
        """Sessions numbered 0, 1, … from lists of item ids."""
        lists = [np.asarray(session, dtype=np.int32) for session in sessions]
        lengths = np.array([len(one) for one in lists], dtype=np.int64)
        items = np.concatenate(lists) if lists else np.empty(0, dtype=np.int32)
        return cls.from_lengths(items, lengths, np.arange(len(lists)))

    @classmethod
    def from_lengths(
        cls, items: np.ndarray, lengths: np.ndarray, ids: np.ndarray, times: np.ndarray | None = None
    ) -> Sessions:
        offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
        np.cumsum(lengths, out=offsets[1:])
        return cls(np.ascontiguousarray(items, dtype=np.int32), offsets, np.asarray(ids, dtype=np.int64), times)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, session: int) -> np.ndarray:
        """Items of the session at this position, int32[length]."""
        return self.items[self.offsets[session] : self.offsets[session + 1]]

    @property
    def lengths(self) -> np.ndarray:
        """int64[n_sessions]."""
        return np.diff(self.offsets)

    def rows(self) -> np.ndarray:
        """The position of the session of each interaction, int64[n_interactions]."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def positions_from_end(self) -> np.ndarray:
        """1 for the most recent item of a session, 2 for the one before, …; int64[n_interactions]."""
        return np.repeat(self.offsets[1:], self.lengths) - np.arange(len(self.items))

    def slice(self, start: int, stop: int) -> Sessions:
        """Sessions start … stop − 1, without copying their items."""
        offsets = self.offsets[start : stop + 1]
        places = slice(offsets[0], offsets[-1])
        times = None if self.times is None else self.times[places]
        return Sessions(self.items[places], offsets - offsets[0], self.ids[start:stop], times)

    def take(self, places: np.ndarray) -> Sessions:
        """The sessions at these places, in this order."""
        return self.first(places, self.lengths[places])

    def first(self, places: np.ndarray, lengths: np.ndarray) -> Sessions:
        """The first items of the sessions at these places, in this order; lengths: how many, int64[n]."""
        starts = np.repeat(self.offsets[:-1][places] - (np.cumsum(lengths) - lengths), lengths)
        taken = starts + np.arange(lengths.sum())
        times = None if self.times is None else self.times[taken]
        return Sessions.from_lengths(self.items[taken], lengths, self.ids[places], times)

    def only(self, wanted: np.ndarray) -> Sessions:
        """Every session with only the wanted items; wanted: bool[n_items]."""
        return self.where(wanted[self.items])

    def where(self, kept: np.ndarray) -> Sessions:
        """Every session with only some of its interactions; kept: bool[n_interactions]."""
        lengths = np.bincount(self.rows()[kept], minlength=len(self))
        times = None if self.times is None else self.times[kept]
        return Sessions.from_lengths(self.items[kept], lengths, self.ids, times)

    def numbered(self) -> Sessions:
        """The same sessions with the ids 0, 1, …"""
        return replace(self, ids=np.arange(len(self), dtype=np.int64))

    def last(self, n: int) -> Sessions:
        """Every session cut to its last n items."""
        return self.where(self.positions_from_end() <= n)

    def histories(self) -> Sessions:
        """Every session without its last item."""
        return self.where(self.positions_from_end() > 1)

    def targets(self) -> np.ndarray:
        """The last item of every session, int32[n_sessions]; every session must have at least one."""
        last: np.ndarray = self.items[self.offsets[1:] - 1]
        return last

    def counts(self, n_items: int) -> np.ndarray:
        """Interactions of every item, int64[n_items]."""
        return np.bincount(self.items, minlength=n_items)

    def to_csr(self, n_items: int, weights: np.ndarray | None = None) -> csr_array:
        """Sparse float32[n_sessions, n_items] with `weights` (one per interaction, default 1) of a session's items.

        An item that occurs several times in a session keeps the weight of its last occurrence.
        """
        from scipy.sparse import csr_array

        values = np.ones(len(self.items), dtype=np.float32) if weights is None else weights.astype(np.float32)
        keys = self.rows() * n_items + self.items
        # np.unique keeps the first of equal keys, so reverse the order.
        unique, first = np.unique(keys[::-1], return_index=True)
        rows, columns = np.divmod(unique, n_items)
        offsets = np.zeros(len(self) + 1, dtype=np.int64)
        np.cumsum(np.bincount(rows, minlength=len(self)), out=offsets[1:])
        index = np.int32 if len(unique) < np.iinfo(np.int32).max else np.int64
        return csr_array(
            (values[::-1][first], columns.astype(index), offsets.astype(index)), shape=(len(self), n_items)
        )
