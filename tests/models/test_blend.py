"""Blend: gains, sums and learnt weights on cases small enough to work out by hand."""

import numpy as np
import pytest
from support.base_models_on_paper import MISSING, base_model, context, on_paper

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.errors import LlmseqError, UsageError
from llmseq_cli.evaluation.ranking import NO_ITEM, Ranking
from llmseq_cli.models.blend import Blend, parse_weights
from llmseq_cli.models.blend_weights import Candidates, learnt_weights, mean_ndcg
from llmseq_cli.models.gains import gains, is_in_history
from llmseq_cli.models.item_traits import TRAITS, ItemTraits
from llmseq_cli.models.list_combiner import latest_held_out

ANY = Sessions.from_lists([[0, 1], [1, 2]])


def blend(*base_models, n_items=5, train=ANY, **settings):
    model = Blend(Blend.Settings(**settings), n_items)
    figures = model.fit(train, context(*base_models))
    return model, figures


def ranking(items, scores):
    return Ranking(np.array(items, dtype=np.int32), np.array(scores, dtype=np.float32))


def test_z_scores_count_from_the_lowest_of_a_list():
    full = ranking([[4, 2, 0]], [[5, 3, 1]])
    nothing = np.zeros((1, 3), dtype=bool)
    deviation = np.std([5, 3, 1])
    np.testing.assert_allclose(gains(full, nothing, "zscore"), [[4 / deviation, 2 / deviation, 0]])


def test_a_list_that_ends_early_counts_from_zero():
    short = ranking([[4, 2, NO_ITEM, NO_ITEM]], [[6, 2, -np.inf, -np.inf]])
    nothing = np.zeros((1, 4), dtype=bool)
    deviation = np.std([6, 2, 0, 0])
    np.testing.assert_allclose(gains(short, nothing, "zscore"), [[6 / deviation, 2 / deviation, 0, 0]])
    below = ranking([[4, 2, NO_ITEM, NO_ITEM]], [[-1, -3, -np.inf, -np.inf]])
    np.testing.assert_allclose(gains(below, nothing, "zscore"), [[2, 0, 0, 0]])


def test_prompt_items_change_nothing_for_the_others():
    with_prompt = ranking([[7, 4, 2, 0]], [[100, 5, 3, 1]])
    own = np.array([[True, False, False, False]])
    for method in ("zscore", "rrf"):
        without = gains(ranking([[4, 2, 0]], [[5, 3, 1]]), np.zeros((1, 3), dtype=bool), method)
        np.testing.assert_allclose(gains(with_prompt, own, method)[:, 1:], without)


def test_ranks_become_gains():
    lists = ranking([[4, 2, NO_ITEM]], [[9, 1, -np.inf]])
    nothing = np.zeros((1, 3), dtype=bool)
    np.testing.assert_allclose(gains(lists, nothing, "rrf", 60), [[1 / 61, 1 / 62, 0]])
    np.testing.assert_allclose(gains(lists, nothing, "weighted-rank"), [[1, 2 / 3, 0]])


def test_lists_without_any_difference_or_any_item():
    same = ranking([[1, 2]], [[3, 3]])
    empty = ranking([[NO_ITEM, NO_ITEM]], [[-np.inf, -np.inf]])
    for lists in (same, empty):
        assert gains(lists, np.zeros((1, 2), dtype=bool), "zscore").tolist() == [[0, 0]]


def test_items_of_the_prompt_are_told_apart():
    lists = ranking([[1, 2, NO_ITEM], [2, 1, 0]], np.zeros((2, 3)))
    histories = Sessions.from_lists([[2, 4], [0]])
    assert is_in_history(lists, histories, 5).tolist() == [[False, True, False], [False, False, True]]


def test_a_weighted_sum_of_reciprocal_ranks():
    one = on_paper("a-1", [5, 4, 3, 2, MISSING])
    other = on_paper("b-2", [MISSING, 1, 2, 3, 4])
    model, figures = blend(one, other, method="rrf", weights="3,1", rrf_k=0)
    made = model.recommend(Sessions.from_lists([[]]), 5)
    sums = np.array([3 / 1, 3 / 2 + 1 / 4, 3 / 3 + 1 / 3, 3 / 4 + 1 / 2, 1]) / 4
    order = np.argsort(-sums)
    assert made.items[0].tolist() == order.tolist()
    np.testing.assert_allclose(made.scores[0], sums[order], rtol=1e-6)
    assert figures["weights"] == {"a-1": 0.75, "b-2": 0.25}


def test_prompt_items_only_where_they_are_wanted():
    model, _ = blend(on_paper("a-1", [5, 4, 3, 2, 1]), on_paper("b-2", [1, 2, 3, 4, 9]), weights="1,1")
    histories = Sessions.from_lists([[4], [0, 4], [3]])
    wanted = model.recommend(histories, 5, exclude_history=False)
    without = model.recommend(histories, 5)
    for row in range(3):
        rest = [item for item in wanted.items[row] if item not in histories[row]]
        assert without.items[row][: len(rest)].tolist() == rest
        assert (without.items[row][len(rest) :] == NO_ITEM).all()


def test_a_shorter_list_is_the_start_of_a_longer_one():
    random = np.random.default_rng(3)
    base_models = [on_paper(f"m-{n}", random.normal(size=(30, 30))) for n in range(3)]
    model, _ = blend(*base_models, n_items=30, weights="1,2,3", list_length=7)
    histories = Sessions.from_lists([[n] for n in range(30)])
    longest = model.recommend(histories, 40)
    assert ((longest.items != NO_ITEM).sum(axis=1) <= 3 * 7).all()
    for k in (1, 5, 20):
        short = model.recommend(histories, k)
        np.testing.assert_array_equal(short.items, longest.items[:, :k])
        np.testing.assert_array_equal(short.scores, longest.scores[:, :k])
    alone = model.recommend(histories.slice(3, 4), 5)
    np.testing.assert_array_equal(alone.items[0], longest.items[3, :5])


def test_a_member_without_weight_has_no_say():
    model, _ = blend(on_paper("a-1", [1, 2, 3, 4, 5]), on_paper("b-2", [5, 1, 1, 1, 1]), weights="1,0", list_length=3)
    made = model.recommend(Sessions.from_lists([[]]), 5)
    assert made.items[0].tolist() == [4, 3, 2, NO_ITEM, NO_ITEM]


def test_no_prompts_no_lists():
    model, _ = blend(on_paper("a-1", np.arange(5)), on_paper("b-2", np.arange(5)), weights="1,1")
    assert model.recommend(Sessions.from_lists([]), 3).items.shape == (0, 3)


def test_the_latest_sessions_are_held_out():
    lists = [[n % 7, (n + 1) % 7] for n in range(97)] + [[8, 0, 9, 1], [0], [9, 3]]
    train = Sessions.from_lists(lists)
    mixed = train.take(np.random.default_rng(0).permutation(100))
    for sessions in (train, mixed):
        earlier, held_out = latest_held_out(sessions, 10)
        assert sorted(earlier.ids) == list(range(80))
        assert held_out.ids.tolist() == [*range(80, 98)], "the last two lose their items or have one"
        assert held_out[17].tolist() == [0, 1], "items that the earlier ones lack are taken out"
        kept = latest_held_out(sessions, 10, keep_unseen=True)[1]
        assert [session.tolist() for session in kept][17:] == [[8, 0, 9, 1], [9, 3]], "or kept, as in the test part"
    many = Sessions.from_lists([[0, 1]] * 60_000)
    assert len(latest_held_out(many, 2)[1]) == 5000


def test_too_few_sessions_to_learn_from():
    with pytest.raises(LlmseqError, match="too few training sessions"):
        blend(on_paper("a-1", np.arange(5)), on_paper("b-2", np.arange(5)))


def brute_force_ranks(lists, weights, histories, targets, n_items):
    """Target ranks of the weighted sum of z-scores, item by item; 0 where it is not found."""
    totals = np.zeros((len(histories), n_items), dtype=np.float32)
    for weight, one in zip(weights, lists, strict=True):
        said = gains(one, is_in_history(one, histories, n_items), "zscore")
        for row in range(len(histories)):
            for item, gain in zip(one.items[row], said[row], strict=True):
                if item != NO_ITEM:
                    totals[row, item] += weight * gain
    ranks = []
    for row, target in enumerate(targets):
        totals[row, histories[row]] = -np.inf
        better = totals[row] > totals[row, target]
        tied = (totals[row] == totals[row, target]) & (np.arange(n_items) < target)
        ranks.append(int((better | tied).sum()) + 1 if totals[row, target] > 0 else 0)
    return np.array(ranks)


def test_ranks_of_targets_are_those_of_the_sums():
    random = np.random.default_rng(4)
    n_items, n = 60, 200
    histories = Sessions.from_lists([random.integers(0, n_items, size=3) for _ in range(n)])
    targets = np.array([random.choice(np.setdiff1d(np.arange(n_items), histories[row])) for row in range(n)])
    lists = [
        on_paper("m", random.normal(size=(n_items, n_items))).model.recommend(histories, 20, exclude_history=False)
        for _ in range(3)
    ]
    pairs = [(one, gains(one, is_in_history(one, histories, n_items), "zscore")) for one in lists]
    table = Candidates.of(pairs, histories, targets, n_items)
    for weights in ([1, 1, 1], [0.2, 0, 3], [0, 0, 1]):
        ranks = brute_force_ranks(lists, weights, histories, targets, n_items)
        found = ranks[(ranks > 0) & (ranks <= 20)]
        assert mean_ndcg(table, np.array(weights, dtype=float), n) == pytest.approx(np.sum(1 / np.log2(found + 1)) / n)


def knowing(share, seed, n_items=50):
    """A base model that gives the next item (last item + 1) a high score for a share of the last items, else noise."""
    random = np.random.default_rng(seed)
    scores = random.random((n_items, n_items))
    known = np.flatnonzero(random.random(n_items) < share)
    scores[known, (known + 1) % n_items] = 3
    return scores


def successions(n=400, n_items=50):
    starts = np.random.default_rng(9).integers(0, n_items, size=n)
    return Sessions.from_lists([[start, (start + 1) % n_items] for start in starts])


def test_weights_are_learnt_where_they_help():
    base_models = [
        on_paper("good-1", knowing(0.6, 1)),
        on_paper("noise-2", knowing(0, 2)),
        on_paper("fair-3", knowing(0.4, 3)),
    ]
    model, figures = blend(*base_models, n_items=50, train=successions())
    weights = figures["weights"]
    assert sum(weights.values()) == pytest.approx(1, abs=1e-3)
    assert weights["noise-2"] < min(weights["good-1"], weights["fair-3"])
    assert figures["validation_ndcg"] >= max(figures["validation_ndcg_alone"].values())
    assert figures["validation_sessions"] == 80
    again, same = blend(*base_models, n_items=50, train=successions())
    assert same == figures
    np.testing.assert_array_equal(again.weights, model.weights)


def test_only_refitted_members_and_earlier_sessions_are_asked_for_weights():
    train = successions()
    seen = []

    def asked(one):
        def refitted_lists(sessions, histories, k):
            seen.append((sessions.ids.max(), histories.ids.min()))
            return one.model.recommend(histories, k, exclude_history=False)

        return type(one)(one.run, one.model, refitted_lists)

    blend(asked(on_paper("a-1", knowing(0.5, 1))), asked(on_paper("b-2", knowing(0.5, 2))), n_items=50, train=train)
    assert seen == [(319, 320), (319, 320)]


def test_equal_members_keep_equal_weights():
    same = knowing(0.5, 1)
    _, figures = blend(on_paper("a-1", same), on_paper("b-2", same), n_items=50, train=successions())
    assert figures["weights"] == {"a-1": 0.5, "b-2": 0.5}


def test_nothing_to_learn_from_leaves_equal_weights():
    empty = ranking(np.full((3, 2), NO_ITEM), np.full((3, 2), -np.inf))
    histories, targets = Sessions.from_lists([[0], [1], [2]]), np.array([1, 2, 0])
    table = Candidates.of([(empty, np.zeros((3, 2)))] * 2, histories, targets, 3)
    found = learnt_weights(table, 3)
    assert (found.weights.tolist(), found.ndcg, found.alone) == ([0.5, 0.5], 0, [0, 0])


def test_what_training_tells_of_items():
    train = Sessions.from_lists([[0, 1]] * 60 + [[0, 2]] * 30 + [[2, 3]] * 10)
    traits = ItemTraits.of(train.take(np.random.default_rng(0).permutation(100)), 5)
    later = np.array([0.995, 0.995, 0.395, 0.095, 0])
    np.testing.assert_allclose(traits.values[0], np.log(1.002 / (later + 0.002)), rtol=1e-5)
    counts = [[0, 0, 5, 5, 0], [10, 0, 20, 10, 0], [90, 60, 40, 10, 0]]
    np.testing.assert_allclose(traits.values[1:], np.log1p(counts), rtol=1e-6)
    rows = traits.of_items(np.array([3, 0]), np.array([2.0, 5.0]))
    assert rows.shape == (len(TRAITS), 2)
    np.testing.assert_allclose(rows[-1], traits.values[0, [3, 0]] * [2, 5], rtol=1e-6)


def fresh_successions(n_items=50):
    """Sessions that go on to the newer of two items that no base model can tell apart: x, then x + 1 or x + 26."""
    random = np.random.default_rng(5)
    starts = random.integers(0, 25, size=600)
    return Sessions.from_lists([[s, s + 25 if n >= 300 + s * 5 else (s + 1) % 25] for n, s in enumerate(starts)])


def undecided(seed, n_items=50):
    scores = np.random.default_rng(seed).random((n_items, n_items)) / 10
    for start in range(25):
        scores[start, [(start + 1) % 25, start + 25]] += 3
    return scores


def test_newness_is_learnt_where_new_items_follow():
    base_models = on_paper("a-1", undecided(1)), on_paper("b-2", undecided(2))
    plain, without = blend(*base_models, n_items=50, train=fresh_successions())
    fresh, figures = blend(*base_models, n_items=50, train=fresh_successions(), item_traits=True)
    assert figures["validation_ndcg"] > without["validation_ndcg"] + 0.1
    assert list(figures["trait_weights"]) == list(TRAITS)
    assert sum(figures["weights"].values()) == pytest.approx(1, abs=1e-3)
    histories = Sessions.from_lists([[start] for start in range(25)])
    newer = np.arange(25, 50)
    assert (fresh.recommend(histories, 1).items[:, 0] == newer).mean() > 0.9
    assert (plain.recommend(histories, 1).items[:, 0] == newer).mean() < 0.8


def test_lists_are_in_the_order_that_was_learnt_from():
    base_models = [on_paper(f"m-{n}", undecided(n)) for n in range(3)]
    train = fresh_successions()
    model, _ = blend(*base_models, n_items=50, train=train, item_traits=True, list_length=12)
    histories = Sessions.from_lists([[start, start + 20] for start in range(25)])
    lists = [one.model.recommend(histories, 12, exclude_history=False) for one in base_models]
    pairs = [(one, gains(one, is_in_history(one, histories, 50), "zscore")) for one in lists]
    made = model.recommend(histories, 50)
    for place in (0, 5, 11):
        targets = made.items[:, place].astype(np.int64)
        table = Candidates.of(pairs, histories, targets, 50, ItemTraits.of(train, 50))
        ranks = table.target_ranks(np.concatenate([model.weights, model.trait_weights]))
        assert ranks.tolist() == [place + 1] * 25


def test_traits_are_kept_with_the_model():
    base_models = on_paper("a-1", undecided(1)), on_paper("b-2", undecided(2))
    model, _ = blend(*base_models, n_items=50, train=fresh_successions(), item_traits=True)
    again = Blend(model.settings, 50)
    again.base_models = model.base_models
    again.restore_arrays(model.arrays())
    histories = Sessions.from_lists([[3], [4, 29], [49]])
    np.testing.assert_array_equal(again.recommend(histories, 20).scores, model.recommend(histories, 20).scores)


def test_a_blend_of_an_older_version_is_restored():
    model, _ = blend(on_paper("a-1", np.arange(5)), on_paper("b-2", [4, 3, 2, 1, 0]), weights="1,3")
    arrays = model.arrays()
    del arrays["trait_weights"]
    again = Blend(model.settings, 5)
    again.base_models = model.base_models
    again.restore_arrays(arrays)
    histories = Sessions.from_lists([[3]])
    np.testing.assert_array_equal(again.recommend(histories, 4).items, model.recommend(histories, 4).items)


def test_traits_alone_may_be_what_helps():
    """Base models that are always wrong get no weight, and what was learnt of the items stays."""
    wrong = np.random.default_rng(1).random((50, 50))
    for start in range(25):
        wrong[start, [(start + 1) % 25, start + 25]] -= 3
    base_models = on_paper("a-1", wrong), on_paper("b-2", wrong)
    _, figures = blend(*base_models, n_items=50, train=fresh_successions(), item_traits=True)
    assert set(figures["weights"].values()) == {0.0}
    assert figures["trait_weights"]["newness"] > 0
    assert figures["validation_ndcg"] > max(figures["validation_ndcg_alone"].values())


def test_what_the_optimiser_leaves_of_none_blows_nothing_up():
    empty = on_paper("a-1", np.full(50, MISSING)), on_paper("b-2", np.full(50, MISSING))
    _, figures = blend(*empty, n_items=50, train=successions(), item_traits=True)
    assert figures["weights"] == {"a-1": 0.5, "b-2": 0.5}
    assert max(map(abs, figures["trait_weights"].values())) < 100


def test_traits_have_no_weights_that_are_given():
    with pytest.raises(UsageError, match="learnt together"):
        blend(on_paper("a-1", np.arange(5)), on_paper("b-2", np.arange(5)), weights="1,1", item_traits=True)


@pytest.mark.parametrize("method", ["zscore", "rrf", "weighted-rank"])
def test_the_size_of_gains_decides_nothing(method):
    """Reciprocal ranks are small numbers: the ridge must not take them for weak evidence."""
    base_models = on_paper("good-1", knowing(0.6, 1)), on_paper("noise-2", knowing(0, 2))
    _, figures = blend(*base_models, n_items=50, train=successions(), method=method)
    assert figures["weights"]["good-1"] > 0.7


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("1", "2 runs and 1 weights"),
        ("1,x", "not a list of weights"),
        ("", "not a list of weights"),
        ("0,0", "cannot be"),
        ("1,-1", "cannot be"),
        ("1,nan", "cannot be"),
        ("1,inf", "cannot be"),
    ],
)
def test_weights_that_make_no_sense(words, said):
    with pytest.raises(UsageError, match=said):
        parse_weights(words, 2)


def test_weights_are_relative():
    np.testing.assert_allclose(parse_weights("2, 6", 2), [0.25, 0.75])


def test_a_blend_needs_two_runs():
    with pytest.raises(UsageError, match="takes 2 runs or more, not 1"):
        blend(base_model("a-1", on_paper("a-1", np.arange(5)).model), weights="1")
