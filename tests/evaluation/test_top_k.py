import numpy as np
import pytest

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.evaluation.ranking import NO_ITEM
from llmseq_cli.evaluation.top_k import block_size, rank_in_blocks, top_k, without_noise


def naive(scores: np.ndarray, k: int, excluded: list[list[int]], candidates: np.ndarray) -> list[list[int]]:
    lists = []
    for row, history in zip(scores, excluded, strict=True):
        allowed = [i for i in range(len(row)) if candidates[i] and i not in history and row[i] > -np.inf]
        best = sorted(allowed, key=lambda item: (-row[item], item))[:k]
        lists.append(best + [NO_ITEM] * (k - len(best)))
    return lists


# Catalogs that are sorted whole, partitioned, and looked through by groups (with and without items left over).
@pytest.mark.parametrize("n_items", [3, 50, 640, 2560, 2573])
@pytest.mark.parametrize("levels", [2, 40, 10**6])
def test_equals_a_full_sort_whatever_ties(n_items, levels):
    random = np.random.default_rng(n_items + levels)
    scores = random.integers(0, levels, size=(60, n_items)).astype(np.float32) - levels // 2
    histories = [random.integers(0, n_items, size=random.integers(0, 6)).tolist() for _ in range(60)]
    candidates = random.random(n_items) < 0.8
    expected = naive(scores, 10, histories, candidates)
    ranking = top_k(scores.copy(), 10, exclude=Sessions.from_lists(histories), candidates=candidates)
    assert ranking.items.tolist() == expected
    assert ranking.items.dtype == np.int32
    listed = ranking.items != NO_ITEM
    rows = np.broadcast_to(np.arange(60)[:, None], listed.shape)
    assert np.array_equal(ranking.scores[listed], scores[rows[listed], ranking.items[listed]])
    assert np.isneginf(ranking.scores[~listed]).all()


@pytest.mark.parametrize("n_items", [30, 3000])
def test_equal_scores_are_listed_by_id(n_items):
    ranking = top_k(np.zeros((2, n_items), dtype=np.float32), 5)
    assert ranking.items.tolist() == [[0, 1, 2, 3, 4]] * 2


@pytest.mark.parametrize("n_items", [30, 3000])
def test_fewer_items_than_k(n_items):
    scores = np.full((3, n_items), -np.inf, dtype=np.float32)
    scores[0, [7, 3]] = 1.0
    scores[1, 29] = -5.0
    ranking = top_k(scores, 4)
    assert ranking.items.tolist() == [[3, 7, -1, -1], [29, -1, -1, -1], [-1, -1, -1, -1]]
    assert top_k(np.ones((1, 2), dtype=np.float32), 4).items.tolist() == [[0, 1, -1, -1]]


@pytest.mark.parametrize("n_items", [30, 3000])
def test_scores_that_are_no_numbers_are_not_recommended(n_items):
    scores = np.zeros((1, n_items), dtype=np.float32)
    scores[0, 0] = np.nan
    scores[0, 9] = 1
    assert top_k(scores, 3).items.tolist() == [[9, 1, 2]]


def test_no_rows():
    ranking = top_k(np.empty((0, 3000), dtype=np.float32), 5)
    assert ranking.items.shape == ranking.scores.shape == (0, 5)


def test_noise_becomes_a_tie_and_real_differences_stay():
    scores = np.array([[0.3, np.nextafter(np.float32(0.3), np.float32(1)), 0.3001, -0.3, 0, -np.inf]], dtype=np.float32)
    rounded = without_noise(scores.copy())
    assert rounded[0, 0] == rounded[0, 1] < rounded[0, 2]
    assert rounded[0, 3] == -rounded[0, 0]
    assert rounded[0, 4] == 0
    assert np.isneginf(rounded[0, 5])
    assert np.allclose(rounded[0, :4], scores[0, :4], rtol=2**-18)
    random = np.random.default_rng(0).normal(size=(9, 99)).astype(np.float32)
    assert (np.diff(without_noise(np.sort(random, axis=1)), axis=1) >= 0).all()


def test_blocks_have_one_shape_and_bounded_memory():
    assert block_size(12_000) == 256
    assert block_size(1_000_000) * 1_000_000 <= 2**26
    assert block_size(0) >= 1


def test_every_block_is_scored_in_the_same_shape():
    size = block_size(50)
    histories = Sessions.from_lists([[p % 50, (p * 7) % 50] for p in range(size + 3)])
    shapes = []

    def score(block: Sessions) -> np.ndarray:
        shapes.append((len(block), int((block.lengths > 0).sum())))
        counts = np.zeros((len(block), 50), dtype=np.float32)
        counts[block.rows(), (block.items + 1) % 50] += 1
        return counts

    ranking = rank_in_blocks(histories, score, 3, 50, exclude_history=True)
    assert shapes == [(size, size), (size, 3)]
    assert len(ranking) == size + 3
    assert ranking.items[size, 0] == min((size % 50 + 1) % 50, (size * 7 % 50 + 1) % 50)
    assert not any(set(histories[p].tolist()) & set(ranking.items[p].tolist()) for p in range(len(histories)))


def test_noise_of_a_product_does_not_decide_the_order():
    noise = np.random.default_rng(6).uniform(-3e-7, 3e-7, size=50).astype(np.float32)
    histories = Sessions.from_lists([[]])
    ranking = rank_in_blocks(
        histories, lambda block: np.tile(np.float32(0.7) + noise, (len(block), 1)), 50, 50, exclude_history=True
    )
    assert ranking.items[0].tolist() == list(range(50))


def test_no_prompts():
    ranking = rank_in_blocks(
        Sessions.from_lists([]), lambda block: pytest.fail("nothing to score"), 4, 50, exclude_history=True
    )
    assert ranking.items.shape == (0, 4)
