"""Batches cut from flat arrays: windows of sessions, sorted by length within pools, no Python per session."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from llmseq_cli.data.sessions import Sessions

_POOL = 16  # batches whose sessions are sorted by length together: hardly any padding, and still well mixed


@dataclass(frozen=True)
class Batch:
    """Sessions of one step on the device.

    items: int64[n, length], rows of the item vectors, filled up at the end with row 0.
    lengths: int64[n]. places: int64[m], where in the flattened items a loss is taken; one that stands there several
    times counts so often. targets: int64[m], rows. positions: how many different places there are.

    times: int64[n, length], microseconds of the interactions, or None if the network does not read them.

    Of a share of a batch (see `share`): whole is that batch, which positions counts, too; sessions int64[n], which of
    its sessions these are; weight, the share of its targets.
    """

    items: Tensor
    lengths: Tensor
    places: Tensor
    targets: Tensor
    positions: int
    times: Tensor | None = field(default=None, kw_only=True)
    whole: Batch | None = field(default=None, kw_only=True)
    sessions: Tensor | None = field(default=None, kw_only=True)
    weight: float = field(default=1.0, kw_only=True)

    def distinct(self) -> tuple[Self, Tensor | None]:
        """The batch with every place once, and how often each stood there, int64[m]; None: all of them once."""
        places, of, counts = torch.unique(self.places, return_inverse=True, return_counts=True)
        if len(places) == len(self.places):
            return self, None
        targets = self.targets.new_empty(len(places))
        targets[of] = self.targets
        return replace(self, places=places, targets=targets), counts

    def share(self, rank: int, size: int) -> Self:
        """Every size-th session, from that of the rank on, so that shares are about as long as each other.

        A rank for which there is no session gets the first one with weight 0, so that it has something to compute.
        """
        n, length = self.items.shape
        sessions = torch.arange(rank if rank < n else 0, n if rank < n else 1, size, device=self.items.device)
        number = torch.full((n,), -1, device=sessions.device)
        number[sessions] = torch.arange(len(sessions), device=sessions.device)
        row = number[self.places // length]
        mine = row >= 0
        targets = self.targets[mine]
        return replace(
            self,
            items=self.items[sessions],
            lengths=self.lengths[sessions],
            places=row[mine] * length + self.places[mine] % length,
            targets=targets,
            times=None if self.times is None else self.times[sessions],
            whole=self,
            sessions=sessions,
            weight=len(targets) / len(self.targets) if rank < n else 0.0,
        )


class Windows:
    """Windows of at most `size` items, for cutting batches.

    sessions: their items are rows of the item vectors. A session gives its last `size` items; with `every` the items
    before them give windows, too, which share one item with the next, so that every item but a session's first is a
    target once. Windows with fewer than `least` items are left out. recency: share of the sessions, the most recent
    ones, after which the chance of a window to be drawn is halved, and halved again after as many; None: every window
    once an epoch. copies: how many times an epoch goes over the windows, all mixed; batches name copy c of window w as
    w + c · n.
    """

    def __init__(
        self,
        sessions: Sessions,
        size: int,
        least: int,
        *,
        every: bool = False,
        recency: float | None = None,
        copies: int = 1,
    ) -> None:
        self.copies = copies
        self.items = np.append(sessions.items.astype(np.int64), 0)  # the place of all that is filled up
        self.times = None if sessions.times is None else np.append(sessions.times, 0)
        ends, lengths = sessions.offsets[1:], sessions.lengths
        rows = np.arange(len(sessions))
        if every:
            step = max(1, size - 1)
            counts = np.maximum(1, -(-(lengths - 1) // step))
            rows = np.repeat(rows, counts)
            number = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
            ends, lengths = ends[rows] - number * step, lengths[rows] - number * step
        lengths = np.minimum(lengths, size)
        kept = lengths >= least
        self.starts = (ends - lengths)[kept]
        self.lengths = lengths[kept]
        self.chances = None if recency is None else _chances(sessions.ids[rows[kept]], recency)

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def per_epoch(self) -> int:
        """Windows that an epoch goes over, every copy counted."""
        return len(self) * self.copies

    def items_in(self, windows: np.ndarray) -> int:
        return int(self.lengths[windows % len(self)].sum())

    def batches(self, batch_size: int, random: np.random.Generator) -> list[np.ndarray]:
        """The windows of every step of an epoch, in the order of the steps."""
        if self.chances is None:
            order = random.permutation(self.per_epoch)
        else:
            order = random.choice(len(self), self.per_epoch, p=self.chances)
            if self.copies > 1:
                order += len(self) * random.permutation(np.repeat(np.arange(self.copies), len(self)))
        batches = []
        for start in range(0, len(order), batch_size * _POOL):
            pool = order[start : start + batch_size * _POOL]
            pool = pool[np.argsort(self.lengths[pool % len(self)], kind="stable")]
            batches += [pool[i : i + batch_size] for i in range(0, len(pool), batch_size)]
        return [batches[i] for i in random.permutation(len(batches))]

    def cut(self, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(items int64[n, longest], lengths int64[n]), filled up at the end with row 0."""
        places, lengths = self._places(windows)
        return self.items[places], lengths

    def times_of(self, windows: np.ndarray) -> np.ndarray | None:
        """int64[n, longest] of the same items, filled up with 0; None if the sessions have no times."""
        return None if self.times is None else self.times[self._places(windows)[0]]

    def _places(self, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        windows = windows % len(self) if len(self) else windows
        lengths = self.lengths[windows]
        steps = np.arange(lengths.max(initial=1))
        inside = steps < lengths[:, None]
        return np.where(inside, self.starts[windows][:, None] + steps, -1), lengths


def _chances(ids: np.ndarray, recency: float) -> np.ndarray:
    """Chance of every window to be drawn; ids: of their sessions, larger is more recent."""
    age = len(ids) - 1 - np.argsort(np.argsort(ids, kind="stable"), kind="stable")
    chances = 0.5 ** (age / (recency * len(ids)))
    shares: np.ndarray = chances / chances.sum()
    return shares


def next_item(items: np.ndarray, lengths: np.ndarray, device: str, last_weight: int = 1) -> Batch:
    """Every item but the last predicts the one after it. lengths: at least 2. last_weight: how often the prediction of
    a window's last item counts."""
    inside = np.arange(items.shape[1] - 1) < lengths[:, None] - 1
    last = np.arange(len(items)) * inside.shape[1] + lengths - 2
    places = np.concatenate([np.flatnonzero(inside), np.tile(last, last_weight - 1)])
    return on_device(items[:, :-1], lengths - 1, places, items[:, 1:].ravel()[places], device)


def on_device(items: np.ndarray, lengths: np.ndarray, places: np.ndarray, targets: np.ndarray, device: str) -> Batch:
    """A batch of arrays, see `Batch`."""
    on = [torch.from_numpy(np.ascontiguousarray(array)).to(device) for array in (items, lengths, places, targets)]
    return Batch(on[0], on[1], on[2], on[3], len(np.unique(places)))


def with_times(batch: Batch, times: np.ndarray | None) -> Batch:
    """The batch with the times of its windows, see `Windows.times_of`."""
    if times is None:
        return batch
    read = torch.from_numpy(np.ascontiguousarray(times[:, : batch.items.shape[1]]))
    return replace(batch, times=read.to(batch.items.device))


@dataclass(frozen=True)
class HistoryBlock:
    """Histories that are encoded together.

    places: int64[n], of the histories. items: int64[rows, length], lengths: int64[rows], times: int64[rows, length] or
    None; the first n rows are those of the histories.
    """

    places: np.ndarray
    items: np.ndarray
    lengths: np.ndarray
    times: np.ndarray | None


def history_blocks(histories: Sessions, size: int, rows_of: Callable[[int], int], step: int) -> Iterator[HistoryBlock]:
    """All histories, cut to their last `size` items.

    Histories of like length come together, padded to a multiple of `step` items and rows_of(length) histories, so that
    the shape in which a history is computed depends on its own length alone, not on the histories that it comes with.
    """
    windows = Windows(histories, size, 0)
    steps = np.maximum(-(-windows.lengths // step), 1)
    order = np.argsort(steps, kind="stable")
    for start in np.flatnonzero(np.diff(steps[order], prepend=0)):
        group = order[start : start + int((steps == steps[order[start]]).sum())]
        length = min(int(steps[group[0]]) * step, size)
        rows = rows_of(length)
        for i in range(0, len(group), rows):
            places = group[i : i + rows]
            items, lengths = np.zeros((rows, length), dtype=np.int64), np.zeros(rows, dtype=np.int64)
            cut, lengths[: len(places)] = windows.cut(places)
            items[: len(places), : cut.shape[1]] = cut[:, :length]
            times = windows.times_of(places)
            if times is not None:
                times = np.pad(times, ((0, rows - len(places)), (0, length - times.shape[1])))
            yield HistoryBlock(places, items, lengths, times)
