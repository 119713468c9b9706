"""What every recommender of the registry promises; a new model is tested by being registered.

A model whose training would be long at its defaults gets small settings in FAST, by its name.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

from llmseq_cli.data.catalog import Catalog
from llmseq_cli.data.sessions import Sessions
from llmseq_cli.embeddings.item_embeddings import ItemEmbeddings
from llmseq_cli.evaluation.ranking import NO_ITEM, Ranking
from llmseq_cli.evaluation.small_blocks import MOST_HISTORIES
from llmseq_cli.models.model_parts import put_together, take_apart
from llmseq_cli.models.recommender import FitContext, Recommender
from llmseq_cli.models.registry import model_class, model_names
from llmseq_cli.settings import parse_settings

FAST: dict[str, dict[str, Any]] = {
    "gru4rec": {"dim": 16, "hidden": 16, "epochs": 2},
    "sasrec": {"dim": 16, "epochs": 2},
    "bert4rec": {"dim": 16, "epochs": 2},
    "s3rec": {"dim": 16, "epochs": 2},
    "esasrec": {"dim": 16, "epochs": 1},
    "hstu": {"dim": 16, "epochs": 1},
    "semantic-ids": {"codes": 2, "code_size": 8, "epochs": 1},
}

N_ITEMS = 60
N_SEEN = 50
"""Items from here on never occur in training."""
LONGEST = 9
"""Items of the longest training session."""


def _kinds(name: str) -> list[str]:
    cls = model_class(name)
    if cls.base_models_use == "required":  # tested in test_hybrids.py and test_blend.py
        return []
    without = [] if cls.embeddings_use == "required" else ["without"]
    dense = [] if cls.embeddings_use == "none" else ["dense"]
    sparse = ["sparse"] if dense and not cls.needs_dense else []
    return without + dense + sparse


def _has_unseen(name: str) -> bool:
    return "cold_items" in model_class(name).Settings().to_dict()


CASES = [(name, kind) for name in model_names() for kind in _kinds(name)]
every_model = pytest.mark.parametrize(("name", "kind"), CASES, ids=["-".join(case) for case in CASES])


@cache
def train_sessions() -> Sessions:
    """Sessions of one to nine items from one of five groups of ten; the last five repeat earlier ones."""
    random = np.random.default_rng(5)
    lists = [
        random.choice(10, size=random.integers(1, LONGEST + 1), replace=False) + 10 * random.integers(5)
        for _ in range(120)
    ]
    ones = [[item] for item in range(N_SEEN)]
    return Sessions.from_lists([*ones, *lists, *lists[:5]])


@cache
def histories() -> Sessions:
    """Usual histories, and: empty, longer than any training session, with repeats, with or only of unseen items."""
    random = np.random.default_rng(6)
    usual = [random.integers(0, N_SEEN, size=random.integers(1, 8)) for _ in range(40)]
    long = random.integers(0, N_ITEMS, size=20 * LONGEST)
    return Sessions.from_lists([*usual, [], long, [3, 3, 3], [N_SEEN, 4], [N_SEEN + 1], [N_SEEN, N_SEEN + 2], [7]])


@cache
def fitted(name: str, kind: str) -> Recommender:
    return fit(name, kind)


def fit(name: str, kind: str, seed: int = 3, **settings: Any) -> Recommender:
    random = np.random.default_rng(7)
    vectors = random.normal(size=(N_ITEMS, 16)).astype(np.float32)
    vectors[9] = vectors[2]
    vectors[11] = 0
    names = np.array([f"i{item:02d}" for item in range(N_ITEMS)], dtype=object)
    popularity = train_sessions().counts(N_ITEMS)
    catalog = Catalog(names, names, np.full(N_ITEMS, "", dtype=object), popularity, popularity > 0)
    embeddings = {
        "without": None,
        "dense": ItemEmbeddings(vectors, "test", "test", "{title}"),
        "sparse": ItemEmbeddings(csr_array(np.maximum(vectors, 0)), "test", "test", "{title}"),
    }[kind]
    cls = model_class(name)
    model = cls(parse_settings(cls.Settings, FAST.get(name, {}) | settings, name), N_ITEMS)
    figures = model.fit(train_sessions(), FitContext(catalog, embeddings, seed))
    assert all(np.isfinite(value) for value in figures.values())
    return model


def assert_same(one: Ranking, other: Ranking) -> None:
    np.testing.assert_array_equal(one.items, other.items)
    np.testing.assert_array_equal(one.scores, other.scores)


@every_model
def test_the_shape_of_a_ranking(name, kind):
    ranking = fitted(name, kind).recommend(histories(), 10)
    assert ranking.items.shape == ranking.scores.shape == (len(histories()), 10)
    assert (ranking.items.dtype, ranking.scores.dtype) == (np.int32, np.float32)
    empty = ranking.items == NO_ITEM
    assert (np.diff(empty.astype(int), axis=1) >= 0).all(), "what is missing is missing at the end"
    assert (ranking.scores[empty] == -np.inf).all()
    assert np.isfinite(ranking.scores[~empty]).all()
    assert (ranking.items[:40, 0] != NO_ITEM).all(), "usual histories have an answer"


@every_model
@pytest.mark.parametrize("exclude", [True, False])
def test_no_item_twice_or_unseen_in_training(name, kind, exclude):
    ranking = fitted(name, kind).recommend(histories(), N_ITEMS, exclude_history=exclude)
    for items in ranking.items:
        listed = items[items != NO_ITEM]
        assert len(set(listed)) == len(listed)
        assert ((listed >= 0) & (listed < N_SEEN)).all()


KNOW_TEXT = [(name, kind) for name, kind in CASES if kind != "without" and _has_unseen(name)]


@pytest.mark.parametrize(("name", "kind"), KNOW_TEXT, ids=["-".join(case) for case in KNOW_TEXT])
def test_unseen_items_where_a_model_that_knows_their_text_is_asked_for_them(name, kind):
    lists = fit(name, kind, cold_items=True).recommend(histories(), N_ITEMS, exclude_history=False).items
    assert (lists[:40] >= N_SEEN).any()
    assert {"llmseqsim", "gru4rec", "sasrec", "esasrec", "hstu", "bert4rec", "s3rec", "semantic-ids"} == {
        name for name, _ in KNOW_TEXT
    }


@every_model
def test_prompt_items_only_where_they_are_wanted(name, kind):
    model = fitted(name, kind)
    without = model.recommend(histories(), N_ITEMS).items
    wanted = model.recommend(histories(), N_ITEMS, exclude_history=False).items
    assert all(not set(items) & set(histories()[p]) for p, items in enumerate(without))
    assert any(set(items) & set(histories()[p]) for p, items in enumerate(wanted[:40]))
    for p in range(len(histories())):
        rest = [item for item in wanted[p] if item not in histories()[p] and item != NO_ITEM]
        assert rest == without[p][without[p] != NO_ITEM].tolist(), "the others keep their order"


@every_model
def test_higher_scores_first_and_lower_ids_among_equals(name, kind):
    ranking = fitted(name, kind).recommend(histories(), N_ITEMS, exclude_history=False)
    for items, scores in zip(ranking.items, ranking.scores, strict=True):
        listed = int((items != NO_ITEM).sum())
        assert np.lexsort((items[:listed], -scores[:listed])).tolist() == list(range(listed))


@every_model
def test_a_shorter_list_is_the_start_of_a_longer_one(name, kind):
    model = fitted(name, kind)
    longest = model.recommend(histories(), N_ITEMS)
    for k in (1, 3, 17):
        short = model.recommend(histories(), k)
        assert_same(short, Ranking(longest.items[:, :k], longest.scores[:, :k]))


@every_model
def test_lists_longer_than_the_catalog_end_early(name, kind):
    model = fitted(name, kind)
    catalog = model.recommend(histories(), N_ITEMS)
    longer = model.recommend(histories(), 3 * N_ITEMS)
    assert longer.items.shape == (len(histories()), 3 * N_ITEMS)
    assert_same(Ranking(longer.items[:, :N_ITEMS], longer.scores[:, :N_ITEMS]), catalog)
    assert (longer.items[:, N_ITEMS:] == NO_ITEM).all()


@every_model
def test_company_and_order_of_prompts_change_nothing(name, kind):
    model = fitted(name, kind)
    together = model.recommend(histories(), 10)
    order = np.random.default_rng(8).permutation(len(histories()))
    shuffled = model.recommend(histories().take(order), 10)
    np.testing.assert_array_equal(shuffled.items, together.items[order])
    np.testing.assert_allclose(shuffled.scores, together.scores[order], rtol=1e-5)
    alone = Ranking.concatenate([model.recommend(histories().slice(p, p + 1), 10) for p in range(len(histories()))])
    np.testing.assert_array_equal(alone.items, together.items)
    np.testing.assert_allclose(alone.scores, together.scores, rtol=1e-5)
    crowd = model.recommend(histories().take(np.tile(np.arange(len(histories())), 2)), 10)  # too many for small blocks
    assert len(crowd) > MOST_HISTORIES > len(together)
    assert_same(Ranking(crowd.items[: len(together)], crowd.scores[: len(together)]), together)


@every_model
def test_no_prompts_no_lists(name, kind):
    assert fitted(name, kind).recommend(Sessions.from_lists([]), 10).items.shape == (0, 10)


@every_model
def test_only_prompts_without_an_item(name, kind):
    ranking = fitted(name, kind).recommend(Sessions.from_lists([[], []]), 10)
    assert ranking.items.shape == (2, 10)
    np.testing.assert_array_equal(ranking.items[0], ranking.items[1])


@every_model
def test_same_seed_same_lists(name, kind):
    assert_same(fit(name, kind).recommend(histories(), 10), fitted(name, kind).recommend(histories(), 10))


@every_model
def test_a_loaded_model_answers_as_the_saved_one(name, kind, tmp_path):
    model = fitted(name, kind)
    model.save(tmp_path)
    loaded = model_class(name).load(tmp_path)
    assert (loaded.settings, loaded.n_items) == (model.settings, model.n_items)
    for exclude in (True, False):
        assert_same(
            loaded.recommend(histories(), 10, exclude_history=exclude),
            model.recommend(histories(), 10, exclude_history=exclude),
        )


@every_model
@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
def test_a_model_put_together_from_arrays_that_are_only_read_answers_as_before(name, kind):
    parts = take_apart(fitted(name, kind))
    arrays = {key: array.copy() for key, array in parts.arrays.items()}
    for array in arrays.values():
        array.setflags(write=False)
    together = put_together(replace(parts, arrays=arrays))
    assert_same(together.recommend(histories(), 10), fitted(name, kind).recommend(histories(), 10))


@pytest.mark.parametrize("name", model_names())
def test_settings_come_back_from_json(name):
    cls = model_class(name)
    settings = parse_settings(cls.Settings, FAST.get(name, {}), name)
    stored = json.loads(json.dumps(settings.to_dict(), allow_nan=False))
    assert parse_settings(cls.Settings, stored, name) == settings
    as_typed = {key: str(value) for key, value in stored.items()}
    assert parse_settings(cls.Settings, as_typed, name) == settings


@pytest.mark.parametrize("name", model_names())
def test_a_model_says_what_it_is(name):
    cls = model_class(name)
    assert cls.name == name
    assert cls.title
    assert cls.summary
    assert "\n" not in cls.summary
    assert cls.embeddings_use in ("none", "optional", "required")
    assert all(row["help"] for row in cls.Settings.describe())
