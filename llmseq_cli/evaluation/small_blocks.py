"""A few histories need not cost a whole block: small blocks, where they give the bits of the usual ones.

The sums of a matrix product depend on its shape: for one or two rows libraries take other kernels than for hundreds,
and some processors' kernels differ again. So a small block is used only after the process has computed some numbers in
both shapes and found them equal, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

import numpy as np

ROWS = 8  # of a small block
MOST_HISTORIES = 64  # that are computed in small blocks; more fill a usual one well enough


class SmallBlocks:
    """What was found out of small blocks, by the shape of what is computed."""

    def __init__(self) -> None:
        self._same: dict[Hashable, bool] = {}

    def size(self, n: int, usual: int, shape: Hashable, compute: Callable[[int], np.ndarray]) -> int:
        """Rows of the blocks in which n histories are to be computed: ROWS or `usual`.

        compute: the first so many rows of the same numbers, computed in one block. It is called once with
        both sizes for every shape.
        """
        if n > MOST_HISTORIES or usual <= ROWS:
            return usual
        if shape not in self._same:
            self._same[shape] = np.array_equal(compute(usual)[:ROWS], compute(ROWS))
        return ROWS if self._same[shape] else usual


def some_rows(n: int, dim: int) -> np.ndarray:
    """float32[n, dim] to compare blocks by: the first rows of more are the rows of fewer."""
    return np.random.default_rng(0).standard_normal((n, dim), dtype=np.float32)
