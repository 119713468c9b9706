"""The neighbour models against plain loops, planted patterns and the real Beauty dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import session_knn_reference
from support.beauty_split import load_beauty, measure, needs_beauty

from llmseq_cli.data.catalog import Catalog
from llmseq_cli.data.sessions import Sessions
from llmseq_cli.errors import UsageError
from llmseq_cli.evaluation.ranking import NO_ITEM, Ranking
from llmseq_cli.models import session_knn
from llmseq_cli.models.recommender import FitContext, Recommender
from llmseq_cli.models.session_knn import SFSKNN, SKNN, SSKNN, VSKNN
from llmseq_cli.settings import parse_settings

MODELS = [SKNN, VSKNN, SSKNN, SFSKNN]
N_ITEMS = 40


def catalog(n_items: int = N_ITEMS) -> Catalog:
    names = np.array([f"i{item}" for item in range(n_items)], dtype=object)
    return Catalog(names, names, names, np.ones(n_items, dtype=np.int64), np.ones(n_items, dtype=bool))


def fitted(kind: type[Recommender], train: Sessions, seed: int = 0, n_items: int = N_ITEMS, **given: Any) -> Any:
    model = kind(parse_settings(kind.Settings, given, kind.name), n_items)
    model.fit(train, FitContext(catalog(n_items), seed=seed))
    return model


def random_lists(seed: int, n: int, shortest: int, longest: int, n_items: int) -> list[list[int]]:
    """Sessions that repeat items, few of which are very popular."""
    random = np.random.default_rng(seed)
    lengths = random.integers(shortest, longest + 1, n)
    return [np.minimum(random.geometric(0.07, length) - 1, n_items - 1).tolist() for length in lengths]


def prompts_of_all_kinds(seed: int = 9) -> list[list[int]]:
    """Empty, of items that never occur in training (37 … 39), of one item, with repetitions, long."""
    some = random_lists(seed, 40, 0, 12, N_ITEMS)
    return [*some, [], [38], [37, 38, 39], [39, 1, 38], [1, 38], [2, 3, 2, 3, 2], list(range(N_ITEMS))]


def assert_equal(first: Ranking, second: Ranking) -> None:
    np.testing.assert_array_equal(first.items, second.items)
    np.testing.assert_array_equal(first.scores, second.scores)


SETTINGS: list[tuple[type[Recommender], dict[str, Any]]] = [
    *((kind, {}) for kind in MODELS),
    *((kind, {"k": 5, "sample_size": 11}) for kind in MODELS),
    *((SKNN, {"k": 7, "sample_size": 15, "sampling": how}) for how in ("recent", "random")),
    *((SKNN, {"k": 6, "sample_size": "all", "similarity": name}) for name in session_knn.SIMILARITIES),
    *((VSKNN, {"k": 8, "sample_size": 20, "decay": name}) for name in session_knn.DECAYS),
    *((VSKNN, {"k": 8, "similarity": name, "idf": True}) for name in session_knn.SIMILARITIES),
    *((SSKNN, {"k": 9, "sequential": name}) for name in session_knn.DECAYS),
    *((SFSKNN, {"k": 9, "sample_size": 25, "filter": name}) for name in ("training", "neighbor")),
    (SFSKNN, {"filter": "neighbor", "idf": True, "decay": "harmonic", "sequential": "scaling-linear"}),
    (SFSKNN, {"filter": "training", "idf": True, "similarity": "dot", "sampling": "random", "sample_size": 10}),
    (SKNN, {"k": 1, "sample_size": 1}),
]


@pytest.mark.parametrize(("kind", "given"), SETTINGS, ids=lambda value: getattr(value, "name", str(value)))
@pytest.mark.parametrize("exclude", [True, False])
def test_lists_are_those_of_plain_loops(kind: type[Recommender], given: dict[str, Any], exclude: bool) -> None:
    train = random_lists(3, 70, 1, 9, N_ITEMS - 3)
    model = fitted(kind, Sessions.from_lists(train), **given)
    histories = prompts_of_all_kinds()
    found = model.recommend(Sessions.from_lists(histories), 10, exclude_history=exclude)
    for row, history in enumerate(histories):
        expected = session_knn_reference.recommend(train, model.order.tolist(), history, 10, model.settings, exclude)
        missing = 10 - len(expected)
        assert found.items[row].tolist() == [item for item, _ in expected] + [NO_ITEM] * missing
        np.testing.assert_allclose(found.scores[row], [score for _, score in expected] + [-np.inf] * missing, rtol=1e-6)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("sampling", ["recent", "random"])
def test_batches_order_and_company_change_nothing(
    kind: type[Recommender], sampling: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fitted(kind, Sessions.from_lists(random_lists(1, 90, 2, 9, 37)), k=7, sample_size=20, sampling=sampling)
    histories = Sessions.from_lists(prompts_of_all_kinds())
    whole = model.recommend(histories, 12)
    shuffled = np.random.default_rng(0).permutation(len(histories))
    mixed = model.recommend(histories.take(shuffled), 12)
    assert_equal(mixed, Ranking(whole.items[shuffled], whole.scores[shuffled]))
    for row in range(len(histories)):
        assert_equal(
            model.recommend(histories.slice(row, row + 1), 12), Ranking(whole.items[[row]], whole.scores[[row]])
        )
    monkeypatch.setattr(session_knn, "_BLOCK_ENTRIES", 100)
    assert_equal(model.recommend(histories, 12), whole)


@pytest.mark.parametrize("kind", MODELS)
def test_saved_models_recommend_the_same(kind: type[Recommender], tmp_path: Path) -> None:
    train = Sessions.from_lists(random_lists(2, 60, 2, 9, 37))
    model = fitted(kind, train, seed=5, k=6, sample_size=9, sampling="random", idf=True)
    model.save(tmp_path)
    histories = Sessions.from_lists(prompts_of_all_kinds())
    assert_equal(kind.load(tmp_path).recommend(histories, 8), model.recommend(histories, 8))


def test_seed_decides_a_random_sample_and_nothing_else() -> None:
    train, histories = Sessions.from_lists(random_lists(4, 80, 2, 9, 37)), Sessions.from_lists(prompts_of_all_kinds())

    def lists(seed: int, **given: Any) -> np.ndarray:
        return fitted(SKNN, train, seed, k=5, **given).recommend(histories, 8).items

    np.testing.assert_array_equal(
        lists(1, sampling="random", sample_size=6), lists(1, sampling="random", sample_size=6)
    )
    assert (lists(1, sampling="random", sample_size=6) != lists(2, sampling="random", sample_size=6)).any()
    np.testing.assert_array_equal(lists(1, sample_size=6), lists(2, sample_size=6))
    np.testing.assert_array_equal(lists(1, sampling="random", sample_size="all"), lists(2, sample_size=80))


def test_a_larger_id_is_a_more_recent_session_in_whatever_order_they_come() -> None:
    lists = random_lists(6, 50, 2, 8, 37)
    histories = Sessions.from_lists(prompts_of_all_kinds())
    in_order = Sessions.from_lists(lists)
    ids = in_order.ids * 10 + 1000
    mixed = Sessions(in_order.items, in_order.offsets, ids).take(np.random.default_rng(1).permutation(50))
    assert_equal(
        fitted(SKNN, mixed, k=4, sample_size=9).recommend(histories, 8),
        fitted(SKNN, in_order, k=4, sample_size=9).recommend(histories, 8),
    )


def test_of_equally_similar_sessions_the_more_recent_one_counts_in_either_sampling() -> None:
    train = Sessions.from_lists([[0, 5], [0, 6], [0, 7]])
    for seed in range(6):
        for sampling in ("recent", "random"):
            model = fitted(SKNN, train, seed, k=1, sampling=sampling)
            assert model.recommend(Sessions.from_lists([[0]]), 3).items.tolist() == [[7, NO_ITEM, NO_ITEM]]


def test_equal_scores_go_by_item_id() -> None:
    train = Sessions.from_lists([[0, 9, 4], [0, 2, 11]])
    assert fitted(SKNN, train).recommend(Sessions.from_lists([[0]]), 5).items.tolist() == [[2, 4, 9, 11, NO_ITEM]]


@pytest.mark.parametrize("kind", MODELS)
def test_a_planted_pattern_is_found(kind: type[Recommender]) -> None:
    """Item 3j + 2 always follows 3j, 3j + 1; every session is also noise of other groups' first items."""
    random = np.random.default_rng(0)
    groups = random.integers(0, 10, 300)
    train = [[int(random.integers(0, 10)) * 3, 3 * j, 3 * j + 1, 3 * j + 2] for j in groups]
    histories = Sessions.from_lists([[3 * j, 3 * j + 1] for j in range(10)])
    found = fitted(kind, Sessions.from_lists(train)).recommend(histories, 1)
    assert found.items[:, 0].tolist() == [3 * j + 2 for j in range(10)]


def test_recency_of_what_is_shared_decides_with_decay_and_with_sequential_weights() -> None:
    train = Sessions.from_lists([[1, 10], [2, 20]] * 3)
    history = Sessions.from_lists([[1, 2], [2, 1]])
    for kind in (VSKNN, SSKNN):
        assert fitted(kind, train).recommend(history, 1).items.ravel().tolist() == [20, 10]


def test_filters_of_sf_sknn() -> None:
    """4 is in a neighbour but has followed 1 only in a session that is not sampled; 3 has never followed 1."""
    train, history = Sessions.from_lists([[1, 4], [1, 2, 3, 4], [5, 1, 2]]), Sessions.from_lists([[5, 1]])
    by_training = fitted(SFSKNN, train, sample_size=2).recommend(history, 3)
    assert by_training.items.tolist() == [[2, 4, NO_ITEM]]
    by_neighbor = fitted(SFSKNN, train, sample_size=2, filter="neighbor").recommend(history, 3)
    assert by_neighbor.items.tolist() == [[2, NO_ITEM, NO_ITEM]]


@pytest.mark.parametrize("kind", MODELS)
def test_items_that_are_nowhere_in_training_neither_help_nor_hurt(kind: type[Recommender]) -> None:
    model = fitted(kind, Sessions.from_lists(random_lists(2, 60, 2, 9, 37)))
    with_unseen = model.recommend(Sessions.from_lists([[38, 3, 39, 1, 38], [38], []]), 5)
    assert_equal(with_unseen, model.recommend(Sessions.from_lists([[3, 1], [], []]), 5))
    assert (with_unseen.items[1:] == NO_ITEM).all()
    assert not np.isin(model.recommend(Sessions.from_lists([[3, 1]]), N_ITEMS).items, [37, 38, 39]).any()


@pytest.mark.parametrize("kind", MODELS)
def test_one_training_session_more_places_than_items_and_no_prompts(kind: type[Recommender]) -> None:
    model = fitted(kind, Sessions.from_lists([[4, 2, 4, 7]]), k=500, sample_size="all")
    found = model.recommend(Sessions.from_lists([[4]]), 3 * N_ITEMS)
    assert found.items.shape == (1, 3 * N_ITEMS)
    assert found.items[0, :3].tolist() == [2, 7, NO_ITEM]
    assert found.items.dtype == np.int32
    assert found.scores.dtype == np.float32
    empty = model.recommend(Sessions.from_lists([]), 5)
    assert empty.items.shape == empty.scores.shape == (0, 5)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("train", [[], [[1], [2]]])
def test_no_training_session_or_only_single_items_leave_nothing_to_recommend(
    kind: type[Recommender], train: list[list[int]]
) -> None:
    for given in [{}, {"filter": "neighbor"}] if kind is SFSKNN else [{}]:
        found = fitted(kind, Sessions.from_lists(train), **given).recommend(Sessions.from_lists([[1, 2], []]), 4)
        assert (found.items == NO_ITEM).all()


def test_sessions_longer_than_the_ages_that_are_told_apart() -> None:
    """All of the history's 3,000 items stand for themselves; the oldest are one age."""
    n = 3000
    train = Sessions.from_lists([[0, 3000], [n - 1, 3001], [n - 1000, 3002]])
    model = fitted(SSKNN, train, n_items=3010)
    history = np.arange(n)
    # Only items of training count, so all three are within the last three places.
    assert model.recommend(Sessions.from_lists([history]), 3).items.tolist() == [[3001, 3002, 3000]]
    everything = Sessions.from_lists([history, [0, 3000], [n - 1, 3001], [n - 1000, 3002]])
    model = fitted(SSKNN, everything, n_items=3010)
    scores = model.recommend(Sessions.from_lists([history]), 3)
    assert scores.items.tolist() == [[3001, 3002, 3000]]
    ages = np.array([1, 1000, 1020])
    np.testing.assert_allclose(scores.scores[0], (n - ages + 1) / n / np.sqrt(2 * n), rtol=1e-6)


def test_settings_as_they_are_typed() -> None:
    settings = parse_settings(SKNN.Settings, {"sample_size": "all", "k": "200", "decay": "div"}, "sknn")
    assert (settings.sample_size, settings.k) == ("all", 200)
    assert parse_settings(SKNN.Settings, {"sample_size": "750"}, "sknn").sample_size == 750
    for wrong in ({"sample_size": "some"}, {"sample_size": "0"}, {"similarity": "manhattan"}, {"decay": "slow"}):
        with pytest.raises(UsageError):
            parse_settings(SKNN.Settings, wrong, "sknn")


@pytest.mark.parametrize(
    ("alias", "name"),
    [("same", "none"), ("linear", "constant-linear"), ("div", "scaling-linear"), ("quadratic", "scaling-quadratic")],
)
def test_names_of_session_rec_mean_the_same(alias: str, name: str) -> None:
    train, histories = Sessions.from_lists(random_lists(7, 60, 2, 9, 37)), Sessions.from_lists(prompts_of_all_kinds())
    for kind, key in ((VSKNN, "decay"), (SSKNN, "sequential")):
        first = fitted(kind, train, k=9, **{key: alias}).recommend(histories, 6)
        assert_equal(first, fitted(kind, train, k=9, **{key: name}).recommend(histories, 6))


@pytest.mark.beauty
@needs_beauty
@pytest.mark.parametrize(
    ("kind", "given", "ndcg", "hr"),
    [
        (SKNN, {}, 0.0372, 0.0837),
        (SKNN, {"sample_size": "all"}, 0.0372, 0.0837),
        (VSKNN, {}, 0.0403, 0.0848),
        (VSKNN, {"similarity": "cosine"}, 0.0436, 0.0920),
        (SSKNN, {}, 0.0397, 0.0875),
        (SFSKNN, {}, 0.0316, 0.0524),
    ],
)
def test_quality_on_beauty(kind: type[Recommender], given: dict[str, Any], ndcg: float, hr: float) -> None:
    beauty = load_beauty()
    model = kind(parse_settings(kind.Settings, given, kind.name), len(beauty.catalog))
    model.fit(beauty.train, FitContext(beauty.catalog))
    found = measure(beauty, model.recommend(beauty.test.histories(), 20))
    assert found["ndcg"] == pytest.approx(ndcg, abs=0.0003)
    assert found["hr"] == pytest.approx(hr, abs=0.0006)
