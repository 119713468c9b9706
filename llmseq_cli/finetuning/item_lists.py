"""Small operations on lists of items, int32[n_sessions, k] padded with NO_ITEM on the right."""

from __future__ import annotations

import numpy as np

from llmseq_cli.data.catalog import Catalog
from llmseq_cli.evaluation.ranking import NO_ITEM


def keyed_order(seed: int, sessions: np.ndarray, items: np.ndarray) -> np.ndarray:
    """A random number uint64 for each pair of session and item (broadcast together): it depends only on these and the
    seed, so an order based on it does not change with the number of sessions or blocks. SplitMix64 (Steele et al.
    2014).
    """
    mixed = np.full(np.broadcast_shapes(sessions.shape, items.shape), seed % 2**63, dtype=np.uint64)
    for part in (sessions, items):
        mixed = _mix(mixed + part.astype(np.int64).astype(np.uint64))
    return mixed


def _mix(numbers: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        z = numbers + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def title_groups(catalog: Catalog) -> np.ndarray:
    """int32[n_items]: equal for items whose titles are equal, −1 for items without a title."""
    places: dict[str, int] = {}
    return np.array(
        [places.setdefault(title, len(places)) if title else -1 for title in catalog.titles], dtype=np.int32
    )


def compact(items: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """Each list's items to keep (bool, same shape), moved to the left in order."""
    order = np.argsort(~keep, axis=1, kind="stable")
    return np.where(np.take_along_axis(keep, order, 1), np.take_along_axis(items, order, 1), NO_ITEM).astype(np.int32)


def tidy(items: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """The lists without untitled items and without items whose title occurs earlier in the list."""
    group = np.where(items >= 0, groups[items], -1)
    seen = np.zeros(items.shape, dtype=bool)
    for place in range(1, items.shape[1]):
        seen[:, place] = (group[:, :place] == group[:, place, None]).any(axis=1)
    return compact(items, (group >= 0) & ~seen)


def with_truth_on_top(items: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The lists with the session's target moved or inserted at the top; the length stays the same."""
    combined = np.concatenate([targets[:, None].astype(np.int32), items], axis=1)
    keep = combined >= 0
    keep[:, 1:] &= items != targets[:, None]
    return compact(combined, keep)[:, : items.shape[1]]


def shuffled(items: np.ndarray, sessions: np.ndarray, seed: int) -> np.ndarray:
    """Each list in a random order that depends on the seed, the session (its id) and the items, not on their order."""
    keys = keyed_order(seed, sessions[:, None], items)
    keys[items < 0] = np.iinfo(np.uint64).max
    return np.take_along_axis(items, np.argsort(keys, axis=1, kind="stable"), 1)
