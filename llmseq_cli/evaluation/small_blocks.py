"""Small blocks for a few histories, used only if they give exactly the same bits as blocks of the usual size.

The sums of a matrix product depend on its shape: for one or two rows, libraries use other kernels than for hundreds,
and kernels also differ between processors. So a small block is used only after the process has computed sample numbers
in both shapes and found them equal, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

import numpy as np

ROWS = 8  # in a small block
MOST_HISTORIES = 64  # to compute in small blocks; more of them fill a usual block well enough


class SmallBlocks:
    """Remembers, by shape of the computation, whether small blocks may be used."""

    def __init__(self) -> None:
        self._same: dict[Hashable, bool] = {}

    def size(self, n: int, usual: int, shape: Hashable, compute: Callable[[int], np.ndarray]) -> int:
        """The number of rows per block for n histories: ROWS or `usual`.

        compute: returns the first rows of fixed sample numbers, computed in one block of the given size. It is called
        once with both sizes for every shape.
        """
        if n > MOST_HISTORIES or usual <= ROWS:
            return usual
        if shape not in self._same:
            self._same[shape] = np.array_equal(compute(usual)[:ROWS], compute(ROWS))
        return ROWS if self._same[shape] else usual


def some_rows(n: int, dim: int) -> np.ndarray:
    """float32[n, dim] sample numbers to compare blocks; a larger n only appends rows."""
    return np.random.default_rng(0).standard_normal((n, dim), dtype=np.float32)
