from dataclasses import replace

import numpy as np
import pytest
from support.beauty_split import load_beauty, measure, needs_beauty

from llmseq_cli.data.catalog import Catalog
from llmseq_cli.data.sessions import Sessions
from llmseq_cli.errors import LlmseqError, UsageError
from llmseq_cli.models import popularity
from llmseq_cli.models.popularity import MostPopular, MostPopularSettings
from llmseq_cli.models.recommender import FitContext

TRAIN = Sessions.from_lists([[0, 1, 2], [2, 1], [2, 4], [4, 1]])  # counts 1 3 3 0 2 0


def catalog(n: int) -> Catalog:
    names = np.array([f"i{item}" for item in range(n)], dtype=object)
    return Catalog(names, names, np.full(n, "", dtype=object), np.ones(n, dtype=np.int64), np.ones(n, dtype=bool))


def fitted(train: Sessions = TRAIN, n_items: int = 6) -> MostPopular:
    model = MostPopular(MostPopularSettings(), n_items)
    assert model.fit(train, FitContext(catalog(n_items))) == {}
    return model


def test_most_popular_first_ties_by_id_prompt_left_out():
    ranking = fitted().recommend(Sessions.from_lists([[3], [1], [], [4, 2, 1, 2]]), 3)
    assert ranking.items.tolist() == [[1, 2, 4], [2, 4, 0], [1, 2, 4], [0, -1, -1]]
    assert ranking.scores[1].tolist() == [3, 2, 1]
    assert np.isneginf(ranking.scores[3, 1:]).all()


def test_prompt_can_stay_in():
    ranking = fitted().recommend(Sessions.from_lists([[1, 2]]), 2, exclude_history=False)
    assert ranking.items.tolist() == [[1, 2]]


def test_items_that_were_never_seen_are_not_recommended():
    assert fitted().recommend(Sessions.from_lists([[0]]), 10).items.tolist() == [[1, 2, 4] + [-1] * 7]


def test_no_prompts():
    assert fitted().recommend(Sessions.from_lists([]), 4).items.shape == (0, 4)


def test_equals_a_full_sort_in_blocks_of_any_size(monkeypatch):
    random = np.random.default_rng(2)
    lists = [random.integers(0, 40, size=random.integers(1, 30)) for _ in range(70)]
    model = fitted(Sessions.from_lists(lists), 40)
    histories = Sessions.from_lists(lists[::2])
    whole = model.recommend(histories, 7)
    monkeypatch.setattr(popularity, "_BLOCK_NUMBERS", 100)
    assert np.array_equal(model.recommend(histories, 7).items, whole.items)
    order = sorted(range(40), key=lambda item: (-model.counts[item], item))
    for row, history in zip(whole.items.tolist(), lists[::2], strict=True):
        assert row == [item for item in order if item not in history and model.counts[item]][:7]


def test_saved_and_loaded(tmp_path):
    model, histories = fitted(), Sessions.from_lists([[1], [0]])
    model.save(tmp_path)
    loaded = MostPopular.load(tmp_path)
    assert loaded.recommend(histories, 4).items.tolist() == model.recommend(histories, 4).items.tolist()


@needs_beauty
@pytest.mark.beauty
def test_beauty_figures():
    data = load_beauty()
    model = MostPopular(MostPopularSettings(), len(data.catalog))
    model.fit(data.train, FitContext(data.catalog))
    figures = measure(data, model.recommend(data.test.histories(), 20))
    assert {name: round(value, 5) for name, value in figures.items()} == {
        "ndcg": 0.00612,
        "hr": 0.01566,
        "mrr": 0.00352,
        "coverage": 0.00231,
        "serendipity": 0.00134,
        "novelty": 9.41395,
    }


DAY = 86_400_000_000
TIMED = Sessions(TRAIN.items, TRAIN.offsets, TRAIN.ids, (20_000 + np.array([0, 1, 9, 5, 8, 9, 10, 2, 10])) * DAY)
# items:                                                                     0  1  2  2  1  2  4   4  1


@pytest.mark.parametrize(
    ("settings", "counts"),
    [
        ({"window": "2d"}, [0, 1, 2, 0, 1]),
        ({"window": "48h"}, [0, 1, 2, 0, 1]),
        ({"window": "1w"}, [0, 2, 3, 0, 1]),
        ({"last": 3}, [0, 1, 1, 0, 1]),
        ({"window": "1d", "last": 1}, [0, 1, 0, 0, 0]),
        ({"half_life": "1d"}, [2**-10, 2**-9 + 2**-2 + 1, 0.5 + 2**-5 + 0.5, 0, 1 + 2**-8]),
    ],
    ids=str,
)
def test_popularity_of_the_last_days(settings, counts):
    assert MostPopular.needs_times(MostPopularSettings(**settings))
    model = MostPopular(MostPopularSettings(**settings), 5)
    model.fit(TIMED, FitContext(catalog(5)))
    np.testing.assert_allclose(model.counts, counts)
    best = model.recommend(Sessions.from_lists([[]]), 5).items[0]
    assert best[best >= 0].tolist() == [i for i in np.argsort(-np.array(counts), kind="stable") if counts[i] > 0]


def test_times_that_are_none_are_refused():
    for wrong in ({"window": "soon"}, {"half_life": "0d"}, {"window": "7"}):
        with pytest.raises(UsageError, match="cannot be"):
            MostPopularSettings(**wrong)
    with pytest.raises(LlmseqError, match="have no times"):
        MostPopular(MostPopularSettings(window="7d"), 6).fit(TRAIN, FitContext(catalog(6)))
    numbered = replace(TRAIN, times=np.arange(9) * 1_000_000)
    for given in ({"window": "7d"}, {"half_life": "7d"}):
        with pytest.raises(UsageError, match="its interactions are numbered"):
            MostPopular(MostPopularSettings(**given), 5).fit(numbered, FitContext(catalog(5)))
    assert (
        MostPopular(MostPopularSettings(last=2), 5).fit(numbered, FitContext(catalog(5)))["counted_interactions"] == 2
    )
