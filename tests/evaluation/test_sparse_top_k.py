"""Top-k of sparse scores against sorting every row in plain Python."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.evaluation import sparse_top_k as module
from llmseq_cli.evaluation.ranking import NO_ITEM
from llmseq_cli.evaluation.sparse_top_k import blocks, largest_per_row, nth_largest, sort_keys, sparse_top_k


def by_sorting(scores: csr_array, k: int, exclude: Sessions | None) -> tuple[list[list[int]], list[list[float]]]:
    items, values = [], []
    for row in range(scores.shape[0]):
        stored = slice(scores.indptr[row], scores.indptr[row + 1])
        left_out = set() if exclude is None else set(exclude[row].tolist())
        entries = [
            (-value, item)
            for item, value in zip(scores.indices[stored].tolist(), scores.data[stored].tolist(), strict=True)
            if item not in left_out and value != 0 and value == value and value != -np.inf
        ]
        best = sorted(entries)[:k]
        items.append([item for _, item in best] + [NO_ITEM] * (k - len(best)))
        values.append([-value for value, _ in best] + [-np.inf] * (k - len(best)))
    return items, values


def random_scores(seed: int, n: int, n_items: int, density: float, levels: int) -> csr_array:
    """Rows of very different length, entries in any order; few levels make many ties."""
    random = np.random.default_rng(seed)
    rows = []
    for _ in range(n):
        length = random.binomial(n_items, min(1.0, density * random.choice([0, 0.2, 1, 3])))
        rows.append(random.permutation(n_items)[:length])
    data = random.integers(-levels // 4, levels, sum(map(len, rows))) / np.float32(7)
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    indices = np.concatenate([*rows, np.empty(0, dtype=np.int64)]).astype(np.int32)
    return csr_array((data.astype(np.float32), indices, offsets), shape=(n, n_items))


def random_sessions(seed: int, n: int, n_items: int) -> Sessions:
    random = np.random.default_rng(seed)
    return Sessions.from_lists([random.integers(0, n_items, random.integers(0, 6)) for _ in range(n)])


@pytest.mark.parametrize("density", [0.02, 0.2, 0.9])
@pytest.mark.parametrize("levels", [3, 40, 1_000_000])
@pytest.mark.parametrize("k", [1, 5, 37])
def test_lists_are_those_of_a_full_sort(density: float, levels: int, k: int) -> None:
    scores = random_scores(levels + k, 60, 400, density, levels)
    for exclude in (None, random_sessions(k, 60, 400)):
        items, values = by_sorting(scores, k, exclude)
        found = sparse_top_k(scores, k, exclude=exclude)
        assert found.items.tolist() == items
        np.testing.assert_array_equal(found.scores, np.array(values, dtype=np.float32))
        assert found.items.dtype == np.int32
        assert found.scores.dtype == np.float32


@pytest.mark.parametrize("density", [0.05, 0.9])
def test_neither_blocks_nor_tables_nor_other_rows_change_a_list(
    density: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores, exclude = random_scores(3, 50, 300, density, 9), random_sessions(4, 50, 300)
    whole = sparse_top_k(scores, 10, exclude=exclude)
    monkeypatch.setattr(module, "_BLOCK_CELLS", 900)
    monkeypatch.setattr(module, "_TABLE_CELLS", 50)
    in_blocks = sparse_top_k(scores, 10, exclude=exclude)
    np.testing.assert_array_equal(in_blocks.items, whole.items)
    np.testing.assert_array_equal(in_blocks.scores, whole.scores)
    for row in (0, 7, 49):
        alone = sparse_top_k(scores[[row]], 10, exclude=exclude.slice(row, row + 1))
        np.testing.assert_array_equal(alone.items[0], whole.items[row])


def test_dense_and_sparse_ways_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, exclude = random_scores(5, 40, 300, 0.2, 12), random_sessions(6, 40, 300)
    lists = []
    for share in (0.0, 2.0):
        monkeypatch.setattr(module, "_DENSE", share)
        lists.append(sparse_top_k(scores, 15, exclude=exclude))
    np.testing.assert_array_equal(lists[0].items, lists[1].items)
    np.testing.assert_array_equal(lists[0].scores, lists[1].scores)


def test_what_is_stored_as_zero_minus_infinity_or_nan_is_not_recommended() -> None:
    scores = csr_array((np.array([0, -np.inf, np.nan, -2, -1], dtype=np.float32), np.arange(5), [0, 5]), shape=(1, 30))
    assert sparse_top_k(scores, 4).items.tolist() == [[4, 3, NO_ITEM, NO_ITEM]]


def test_scores_are_left_as_they_are() -> None:
    scores = random_scores(8, 10, 50, 0.3, 5)
    before = scores.data.copy()
    sparse_top_k(scores, 3, exclude=random_sessions(8, 10, 50))
    np.testing.assert_array_equal(scores.data, before)


def test_lists_longer_than_the_catalog_and_empty_matrices() -> None:
    scores = csr_array((np.array([1.0, 3.0], dtype=np.float32), [2, 0], [0, 2, 2]), shape=(2, 3))
    assert sparse_top_k(scores, 5).items.tolist() == [[0, 2, -1, -1, -1], [-1] * 5]
    assert sparse_top_k(csr_array((0, 3), dtype=np.float32), 5).items.shape == (0, 5)
    assert sparse_top_k(csr_array((2, 3), dtype=np.float32), 2).items.tolist() == [[-1, -1], [-1, -1]]


def test_keys_order_like_pairs() -> None:
    values = np.array([-np.inf, -2.5, -0.0, 1e-30, 0.5, 0.5, 3e38, np.inf], dtype=np.float32)
    second = np.array([7, 9, 0, 4, 0, 2**32 - 1, 1, 0])
    assert (np.diff(sort_keys(values, second)) > 0).all()


@pytest.mark.parametrize("k", [1, 4, 300])
def test_selection_in_rows_of_any_length(k: int) -> None:
    random = np.random.default_rng(k)
    lengths = random.choice([0, 1, 3, 4, 5, 90, 700], 40)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    keys = random.permutation(lengths.sum()) - 1000
    chosen = largest_per_row(keys, offsets, k)
    bounds = nth_largest(keys.astype(np.float32), offsets, k, -np.inf, loose=True)
    for row, length in enumerate(lengths):
        entries = slice(offsets[row], offsets[row + 1])
        best = sorted(keys[entries].tolist())[-k:]
        assert sorted(keys[entries][chosen[entries]].tolist()) == best
        assert bounds[row] == -np.inf if length <= k else bounds[row] <= best[0]


def test_blocks_cover_all_rows_once_and_keep_to_the_limit() -> None:
    costs = np.array([3, 0, 4, 9, 0, 1, 1, 20, 0])
    cut = list(blocks(costs, 8))
    assert [row for part in cut for row in range(part.start, part.stop)] == list(range(len(costs)))
    assert all(costs[part].sum() <= 8 or part.stop - part.start == 1 for part in cut)
    assert list(blocks(np.empty(0), 8)) == []
