"""Stack: its trees are scikit-learn's, its features can be worked out by hand, it learns on the training side alone."""

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from support.base_models_on_paper import base_model, catalog, on_paper

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.embeddings.item_embeddings import ItemEmbeddings
from llmseq_cli.errors import LlmseqError, UsageError
from llmseq_cli.evaluation.ranking import NO_ITEM, Ranking
from llmseq_cli.models.boosted_trees import BoostedTrees
from llmseq_cli.models.item_traits import ItemTraits
from llmseq_cli.models.listed_items import ItemKnowledge, ListedItems
from llmseq_cli.models.recommender import FitContext
from llmseq_cli.models.saved_arrays import DamagedError
from llmseq_cli.models.stack import Stack, trait_words

N_ITEMS = 50


def grown(features, answers, **settings):
    settings = {"max_iter": 12, "min_samples_leaf": 5, "early_stopping": False, "random_state": 0} | settings
    return HistGradientBoostingClassifier(**settings).fit(features, answers)


@pytest.mark.parametrize("seed", range(4))
def test_trees_score_bit_for_bit_as_scikit_learn(seed):
    random = np.random.default_rng(seed)
    features = random.normal(size=(400, 5)).astype(np.float32)
    features[:, 1] = np.round(features[:, 1])
    features[random.random(features.shape) < 0.3] = np.nan
    features[:, 4] = np.where(random.random(400) < 0.5, np.nan, 7)
    answers = (np.nan_to_num(features[:, 0]) > 0) ^ np.isnan(features[:, 4]) ^ (random.random(400) < 0.1)
    model = grown(features, answers, max_leaf_nodes=[2, 15, 30, 64][seed], min_samples_leaf=2)
    asked = np.concatenate([features, random.normal(size=(100, 5)).astype(np.float32) * 5, np.full((1, 5), np.nan)])
    trees = BoostedTrees.of(model)
    np.testing.assert_array_equal(trees.scores(asked), model.decision_function(asked))
    again = BoostedTrees.restored(trees.arrays(), 5)
    np.testing.assert_array_equal(again.scores(asked), trees.scores(asked))
    assert trees.scores(asked[:0]).shape == (0,)


def test_trees_of_nothing_to_tell_apart():
    model = grown(np.zeros((40, 2)), np.arange(40) % 4 == 0)
    trees = BoostedTrees.of(model)
    np.testing.assert_array_equal(trees.scores(np.zeros((3, 2))), model.decision_function(np.zeros((3, 2))))


@pytest.mark.parametrize(
    ("name", "place", "value"),
    [
        ("kept", 0, 0),
        ("feature", 0, 9),
        ("feature", 0, -1),
        ("offsets", 1, 10**6),
        ("values", (0, 0), np.nan),
        ("threshold", 0, np.inf),
    ],
)
def test_damaged_trees_are_told(name, place, value):
    features = np.random.default_rng(0).normal(size=(200, 3))
    arrays = BoostedTrees.of(grown(features, features[:, 0] > 0)).arrays()
    arrays[f"trees_{name}"][place] = value
    with pytest.raises(DamagedError):
        BoostedTrees.restored(arrays, 3)


def ranking(items, scores):
    return Ranking(np.array(items, dtype=np.int32), np.array(scores, dtype=np.float32))


def test_features_by_hand():
    histories = Sessions.from_lists([[2], [0, 1]])
    one = ranking([[4, 2, 0], [1, 3, 4]], [[6, 5, 2], [9, 4, 1]])
    other = ranking([[4, NO_ITEM, NO_ITEM], [2, 3, NO_ITEM]], [[2, -np.inf, -np.inf], [8, 4, -np.inf]])
    listed = ListedItems.of([one, other], histories, 5, ItemKnowledge())
    assert listed.rows.tolist() == [0, 0, 1, 1, 1]
    assert listed.items.tolist() == [0, 4, 2, 3, 4], "items of the histories, 2 and 1, are left out"
    nan = np.nan
    gain = listed.features[:, [0, 4]]
    np.testing.assert_allclose(gain[:, 0], [0, 4 / np.std([6, 2]), nan, 3 / np.std([4, 1]), 0], rtol=1e-6)
    np.testing.assert_array_equal(listed.features[:, 1], [2, 1, nan, 1, 2], "ranks among what is not in the history")
    np.testing.assert_array_equal(listed.features[:, 2], [2, 6, nan, 4, 1])
    np.testing.assert_array_equal(listed.features[:, 3], [-4, 0, nan, 0, -3])
    np.testing.assert_array_equal(listed.features[:, 5:8], [[nan] * 3, [1, 2, 0], [1, 8, 0], [2, 4, -4], [nan] * 3])
    np.testing.assert_array_equal(listed.features[:, 8], [0.5, 1, 0.5, 1, 0.5])
    np.testing.assert_array_equal(listed.features[:, 9], [1, 1, 2, 2, 2])
    with_history = ListedItems.of([one, other], histories, 5, ItemKnowledge(), exclude_history=False)
    others = ~((with_history.items == 2) & (with_history.rows == 0)) & (with_history.items != 1)
    np.testing.assert_array_equal(with_history.features[others], listed.features)


def test_features_of_items_by_hand():
    train = Sessions.from_lists([[0, 1], [0, 3], [2, 4], [0, 2]])
    vectors = np.array([[2, 0], [0, 3], [1, 1], [0, 0], [-1, 0]], dtype=np.float32)
    histories = Sessions.from_lists([[0, 1], [4]])
    lists = [ranking([[2, 3], [0, 2]], [[2, 1], [2, 1]])]
    known = ItemKnowledge.of(("popularity", "age", "text"), train, 5, vectors)
    listed = ListedItems.of(lists, histories, 5, known)
    assert listed.items.tolist() == [2, 3, 0, 2]
    traits = ItemTraits.of(train, 5).values[:, listed.items].T
    np.testing.assert_array_equal(listed.features[:, 6:10], traits, "age (newness), then three popularities")
    half, nan = np.sqrt(0.5), np.nan
    likeness = [[half, half, nan], [0, 0, nan], [-1, nan, nan], [-half, nan, nan]]
    np.testing.assert_allclose(listed.features[:, 10:], likeness, rtol=1e-6)
    for words, width in (((), 0), (("age",), 1), (("popularity",), 3), (("text",), 3), (("age", "text"), 4)):
        some = ItemKnowledge.of(words, train, 5, vectors)
        assert some.n_columns == width
        assert ListedItems.of(lists, histories, 5, some).features.shape == (4, 6 + width)


def context(*base_models, embeddings=None, validation=None):
    return FitContext(catalog(N_ITEMS), embeddings, base_models=base_models, validation=validation)


def stack(*base_models, train, embeddings=None, validation=None, **settings):
    settings = {"trees": 20, "list_length": 20, "learning_rate": 0.2} | settings
    model = Stack(Stack.Settings(**settings), N_ITEMS)
    figures = model.fit(train, context(*base_models, embeddings=embeddings, validation=validation))
    return model, figures


def knowing(known, seed):
    """A base model that gives the next item (last item + 1) a high score for these last items, else noise."""
    scores = np.random.default_rng(seed).random((N_ITEMS, N_ITEMS))
    scores[known, (known + 1) % N_ITEMS] = 3
    return scores


def halves():
    """One base model that knows what follows the even items, one that knows what follows the odd ones."""
    places = np.arange(N_ITEMS)
    return on_paper("even-1", knowing(places[::2], 1)), on_paper("odd-2", knowing(places[1::2], 2))


def successions(n=2000):
    starts = np.random.default_rng(9).integers(0, N_ITEMS, size=n)
    return Sessions.from_lists([[start, (start + 1) % N_ITEMS] for start in starts])


def each_item():
    return Sessions.from_lists([[start] for start in range(N_ITEMS)])


def test_trees_learn_whom_to_believe():
    model, figures = stack(*halves(), train=successions())
    found = model.recommend(each_item(), 1).items[:, 0]
    assert (found == (np.arange(N_ITEMS) + 1) % N_ITEMS).mean() > 0.95
    assert figures["validation_ndcg"] > 0.9
    assert figures["validation_sessions"] == 400
    assert figures["learnt_sessions"] <= 400


def test_the_same_again_and_after_saving(tmp_path):
    model, figures = stack(*halves(), train=successions())
    again, same = stack(*halves(), train=successions())
    assert same == figures
    wanted = model.recommend(each_item(), 30)
    np.testing.assert_array_equal(again.recommend(each_item(), 30).scores, wanted.scores)
    restored = Stack(model.settings, N_ITEMS)
    restored.base_models = model.base_models
    restored.restore_arrays(model.arrays())
    np.testing.assert_array_equal(restored.recommend(each_item(), 30).items, wanted.items)
    np.testing.assert_array_equal(restored.recommend(each_item(), 30).scores, wanted.scores)


def test_lists_keep_what_every_recommender_promises():
    model, _ = stack(*halves(), train=successions(), list_length=7)
    histories = Sessions.from_lists([[n, (n + 1) % N_ITEMS] for n in range(N_ITEMS)] + [[]])
    longest = model.recommend(histories, N_ITEMS + 5)
    assert ((longest.items != NO_ITEM).sum(axis=1) <= 2 * 7).all()
    for row, items in enumerate(longest.items):
        listed = items[items != NO_ITEM].tolist()
        assert len(set(listed)) == len(listed)
        assert not set(listed) & set(histories[row].tolist())
    short = model.recommend(histories, 3)
    np.testing.assert_array_equal(short.items, longest.items[:, :3])
    alone = model.recommend(histories.slice(4, 5), 3)
    np.testing.assert_array_equal(alone.scores[0], short.scores[4])
    with_history = model.recommend(histories, N_ITEMS, exclude_history=False)
    for row in range(len(histories)):
        rest = [item for item in with_history.items[row] if item not in histories[row] and item != NO_ITEM]
        assert longest.items[row][: len(rest)].tolist() == rest
    assert model.recommend(Sessions.from_lists([]), 3).items.shape == (0, 3)


def asked(one, seen):
    def refitted_lists(sessions, histories, k):
        seen.append((sessions.ids.max(), histories.ids.min(), len(histories)))
        return one.model.recommend(histories, k, exclude_history=False)

    return type(one)(one.run, one.model, refitted_lists)


def test_it_learns_from_held_out_sessions_or_the_splits_own_cases():
    seen = []
    stack(*(asked(one, seen) for one in halves()), train=successions())
    assert seen == [(1599, 1600, 400)] * 2
    seen.clear()
    validation = successions(300)
    stack(*(asked(one, seen) for one in halves()), train=successions(), validation=validation)
    assert seen == [(1999, 0, 300)] * 2


def alternatives(newer):
    """Sessions that go on to x + 1 or to x + 25, which no base model can tell apart: early ones to the first, later
    ones to the second."""
    starts = np.random.default_rng(5).integers(0, 25, size=2000)
    return Sessions.from_lists([[s, s + 25 if newer(n, s) else (s + 1) % 25] for n, s in enumerate(starts)])


def undecided(seed):
    scores = np.random.default_rng(seed).random((N_ITEMS, N_ITEMS)) / 10
    for start in range(25):
        scores[start, [(start + 1) % 25, start + 25]] += 3
    return on_paper(f"undecided-{seed}", scores)


def test_age_helps_where_new_items_follow():
    train = alternatives(lambda n, s: n >= 1000 + s * 20)
    base_models = undecided(1), undecided(2)
    _, without = stack(*base_models, train=train)
    model, figures = stack(*base_models, train=train, item_traits="popularity, age")
    assert figures["validation_ndcg"] > max(0.99, without["validation_ndcg"])
    histories = Sessions.from_lists([[start] for start in range(25)])
    assert (model.recommend(histories, 1).items[:, 0] >= 25).mean() > 0.9


def test_text_helps_where_the_next_item_is_like_the_last():
    train = alternatives(lambda n, s: True)
    vectors = np.random.default_rng(3).normal(size=(N_ITEMS, 30)).astype(np.float32)
    vectors[25:] = vectors[:25]
    embeddings = ItemEmbeddings(vectors, "test", "test", "{title}")
    base_models = undecided(1), undecided(2)
    model, figures = stack(*base_models, train=train, embeddings=embeddings, item_traits="text")
    assert figures["validation_ndcg"] > 0.95
    assert model.recommend(Sessions.from_lists([[3]]), 1).items[0, 0] == 28
    assert set(model.knowledge.arrays()) == {"item_vectors"}


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("none", ()),
        ("all", ("popularity", "age", "text")),
        ("text", ("text",)),
        ("age, popularity", ("popularity", "age")),
    ],
)
def test_words_for_traits(words, meant):
    assert trait_words(words) == meant


@pytest.mark.parametrize("words", ["", "newness", "all,age", "none,text", "age,,text"])
def test_words_that_mean_no_trait(words):
    with pytest.raises(UsageError, match="item_traits cannot be"):
        Stack.Settings(item_traits=words)


def test_embeddings_and_text_belong_together():
    with pytest.raises(UsageError, match="without item embeddings"):
        stack(*halves(), train=successions(), item_traits="all")
    embeddings = ItemEmbeddings(np.ones((N_ITEMS, 2), dtype=np.float32), "test", "test", "{title}")
    with pytest.raises(UsageError, match="only to compare texts"):
        stack(*halves(), train=successions(), embeddings=embeddings)


def test_nothing_to_learn_from():
    never = np.tile(np.where(np.arange(N_ITEMS) < 3, 1.0, -np.inf), (N_ITEMS, 1))
    far = Sessions.from_lists([[10, 20]] * 100)
    with pytest.raises(LlmseqError, match="no list contains the ground truth"):
        stack(on_paper("a-1", never), on_paper("b-2", never), train=far)
    with pytest.raises(LlmseqError, match="too few training sessions"):
        stack(*halves(), train=Sessions.from_lists([[0, 1], [1, 2]]))
    with pytest.raises(UsageError, match="takes 2 runs or more, not 1"):
        stack(base_model("a-1", halves()[0].model), train=successions())
