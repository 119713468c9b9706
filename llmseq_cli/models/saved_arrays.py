"""Check saved arrays before use: numbers out of bounds can crash compiled code or, worse, go unnoticed.

Errors are DamagedError, which `Recommender.load` turns into an error that names the folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from llmseq_cli.data.sessions import Sessions

_MOST_COLUMNS = 1 << 16


class DamagedError(Exception):
    """Invalid saved arrays; the message says what is wrong."""


def array(
    arrays: Mapping[str, np.ndarray], name: str, kind: str, shape: tuple[int | None, ...], low: float | None = None
) -> np.ndarray:
    """The array of this name. kind: numpy's, "i", "f" or both. shape: None for any length. low: lower bound of its
    numbers.

    All numbers must be finite.
    """
    if name not in arrays:
        raise DamagedError(f"'{name}' is missing")
    found = arrays[name]
    fits = len(found.shape) == len(shape) and all(
        wanted in (None, n) for n, wanted in zip(found.shape, shape, strict=True)
    )
    if found.dtype.kind not in kind or not fits:
        raise DamagedError(f"'{name}' is {found.dtype} of shape {found.shape}")
    if found.dtype.kind == "f" and not np.isfinite(found).all():
        raise DamagedError(f"'{name}' has numbers that are not finite")
    if low is not None and found.size and found.min() < low:
        raise DamagedError(f"'{name}' has numbers below {low:g}")
    return found


def places(arrays: Mapping[str, np.ndarray], name: str, n: int, length: int | None = None) -> np.ndarray:
    """An array of integers from 0 to n − 1."""
    found = array(arrays, name, "i", (length,), low=0)
    if found.size and found.max() >= n:
        raise DamagedError(f"'{name}' contains {found.max()}, and there are {n}")
    return found


def offsets(arrays: Mapping[str, np.ndarray], name: str, n: int, end: int) -> np.ndarray:
    """An array of n + 1 non-decreasing integers from 0 to `end`."""
    found = array(arrays, name, "i", (n + 1,))
    if found[0] != 0 or found[-1] != end or (np.diff(found) < 0).any():
        raise DamagedError(f"'{name}' does not run from 0 to {end}")
    return found


def sessions(arrays: Mapping[str, np.ndarray], n_items: int) -> Sessions:
    """Sessions saved as items, offsets and ids."""
    items, ids = places(arrays, "items", n_items), array(arrays, "ids", "i", (None,))
    return Sessions(items, offsets(arrays, "offsets", len(ids), len(items)), ids)


def order(arrays: Mapping[str, np.ndarray], n: int) -> np.ndarray:
    """An order of n sessions: each of their numbers once."""
    found = places(arrays, "order", n, n)
    if n and (np.bincount(found, minlength=n) != 1).any():
        raise DamagedError("'order' contains a session twice")
    return found


def mask(arrays: Mapping[str, np.ndarray], name: str, n: int) -> np.ndarray:
    """bool[n]."""
    return array(arrays, name, "b", (n,))


def vectors(arrays: Mapping[str, np.ndarray], n_items: int) -> Any:
    """Vectors of all items, saved dense, or sparse as data, indices, indptr and shape."""
    if "vectors" in arrays:
        return array(arrays, "vectors", "f", (n_items, None))
    from scipy.sparse import csr_array

    n, width = array(arrays, "shape", "i", (2,), low=0).tolist()
    if n != n_items:
        raise DamagedError(f"there are vectors of {n} items, not of {n_items}")
    data = array(arrays, "data", "f", (None,))
    # Every column comes from an item; far more columns than that would allocate unused memory.
    if width > _MOST_COLUMNS + 16 * len(data):
        raise DamagedError(f"there are {width} columns for {len(data)} numbers")
    indices = places(arrays, "indices", width, len(data))
    return csr_array((data, indices, offsets(arrays, "indptr", n, len(data))), shape=(n, width))
