"""Small blocks are used where they give the bits of the usual ones, and nowhere else."""

from __future__ import annotations

import numpy as np

from llmseq_cli.evaluation.small_blocks import MOST_HISTORIES, ROWS, SmallBlocks, some_rows


def test_a_small_block_where_the_bits_are_the_same():
    asked = []

    def compute(rows: int) -> np.ndarray:
        asked.append(rows)
        return some_rows(rows, 3)

    blocks = SmallBlocks()
    assert [blocks.size(n, 256, "a", compute) for n in (1, MOST_HISTORIES, MOST_HISTORIES + 1)] == [ROWS, ROWS, 256]
    assert asked == [256, ROWS], "compared once"
    assert blocks.size(1, ROWS, "b", compute) == ROWS
    assert len(asked) == 2


def test_the_usual_block_where_one_bit_differs():
    def compute(rows: int) -> np.ndarray:
        values = some_rows(rows, 3)
        values[-1 if rows == ROWS else 0, 0] = np.nextafter(values[0, 0], np.float32(9))
        return values

    assert SmallBlocks().size(1, 256, "a", compute) == 256
