"""LLMSeqSim&Sequential, LLMSeqSim&Popularity and EmbeddingEnsemble on cases small enough to work out by hand."""

import numpy as np
import pytest
from scipy.sparse import csr_array
from support.base_models_on_paper import context, llmseqsim, on_paper

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.errors import UsageError
from llmseq_cli.evaluation.ranking import NO_ITEM
from llmseq_cli.models.base_models import first_kept, popularity_cutoff
from llmseq_cli.models.embedding_ensemble import EmbeddingEnsemble
from llmseq_cli.models.hybrid_popularity import HybridPopularity
from llmseq_cli.models.hybrid_sequential import HybridSequential

# Items on a half circle, so that nearest means next: item i at i · 20 degrees.
ANGLES = np.deg2rad(20 * np.arange(8))
CIRCLE = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1).astype(np.float32)
# Item i is in 8 − i sessions: 8, 7, …, 1.
TRAIN = Sessions.from_lists([list(range(8 - n)) for n in range(8)])


def made(cls, *base_models, **settings):
    model = cls(cls.Settings(**settings), 8)
    model.fit(TRAIN, context(*base_models))
    return model


def sim(run="llmseqsim-1", vectors=CIRCLE):
    return llmseqsim(run, vectors, TRAIN)


def test_the_cutoff_is_a_quantile_of_items_that_occur():
    assert popularity_cutoff(np.array([0, 0, 1, 2, 3]), 0.5) == 2
    assert popularity_cutoff(np.array([1, 2, 3, 4]), 0.5) == 2.5
    assert popularity_cutoff(np.zeros(3, dtype=int), 0.5) == 0


def test_the_last_item_decides_who_answers():
    sequence = on_paper("sasrec-2", [8, 7, 6, 5, 4, 3, 2, 1])
    hybrid = made(HybridSequential, sim(), sequence, cutoff=0.5)  # popularity 1 … 8: the median is 4.5
    histories = Sessions.from_lists([[7, 3], [0, 4], [7], [], [4, 0]])
    ranking = hybrid.recommend(histories, 3)
    assert ranking.items[0].tolist() == [0, 1, 2]  # item 3 is in 5 sessions: popular
    similar = sim().model.recommend(histories, 3)
    for place in (1, 2):  # items 4 and 7 are in 4 and 1
        np.testing.assert_array_equal(ranking.items[place], similar.items[place])
        np.testing.assert_array_equal(ranking.scores[place], similar.scores[place])
    assert ranking.items[3].tolist() == [0, 1, 2], "without an item there is no unpopular one"
    assert ranking.items[4].tolist() == [1, 2, 3]
    assert hybrid.recommend(histories, 3, exclude_history=False).items[4].tolist() == [0, 1, 2]


@pytest.mark.parametrize(("cutoff", "answers"), [(0.0, "sequence"), (1.0, "both")])
def test_the_ends_of_the_cutoff(cutoff, answers):
    hybrid = made(HybridSequential, sim(), on_paper("sasrec-2", np.arange(8.0)), cutoff=cutoff)
    [popular, unpopular] = hybrid.recommend(Sessions.from_lists([[0], [6]]), 1).items[:, 0]
    assert popular == 7
    assert unpopular == (7 if answers == "sequence" else 5)


def test_unpopular_items_are_not_recommended():
    hybrid = made(HybridPopularity, sim(), cutoff=0.5)
    ranking = hybrid.recommend(Sessions.from_lists([[7], [2]]), 5)
    assert ranking.items[0].tolist() == [3, 2, 1, 0, NO_ITEM]
    assert ranking.items[1].tolist() == [1, 3, 0, NO_ITEM, NO_ITEM]
    assert ranking.scores[1, 0] == pytest.approx(np.cos(np.deg2rad(20)), rel=1e-4)
    assert sim().model.recommend(Sessions.from_lists([[7]]), 1).items[0, 0] == 6, (
        "the base model itself stays as it was"
    )


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize(
    ("diversity", "listed"),
    [
        (1.0, [1, 2, 3, 4, 5, 6, 7]),
        (0.9, [1, 3, 5, 7]),  # neighbours (cos 20° = .94) are too similar, next but one (.77) not
        (0.7, [1, 4, 7]),
        (0.0, [1, 6]),  # more than 90 degrees apart: 100 is, 80 is not
    ],
)
def test_items_alike_are_left_out(diversity, listed, sparse):
    vectors = csr_array(CIRCLE) if sparse else CIRCLE
    hybrid = made(HybridPopularity, sim(vectors=vectors), cutoff=0.0, diversity=diversity)
    histories = Sessions.from_lists([[0], [0, 1], [0]])
    longest = hybrid.recommend(histories, 8)
    assert longest.items[0].tolist() == listed + [NO_ITEM] * (8 - len(listed))
    np.testing.assert_array_equal(longest.items[0], longest.items[2])
    for k in (1, 2):  # looks deeper where few of the first items are kept
        short = hybrid.recommend(histories, k)
        np.testing.assert_array_equal(short.items, longest.items[:, :k])
        np.testing.assert_array_equal(short.scores, longest.scores[:, :k])


def test_lists_are_filled_up_from_further_down():
    # Twenty items like the history's and like each other, then others: only one of the twenty is listed.
    alike = np.tile([1.0, 0.0, 0.0], (21, 1)) + np.linspace(0, 0.01, 21)[:, None] * [0, 1, 0]
    others = np.array([[0.5, 1, 0], [0.4, 0, 1], [0.1, -1, 0]])
    vectors = np.concatenate([alike, others]).astype(np.float32)
    train = Sessions.from_lists([[item] for item in range(24)])
    hybrid = HybridPopularity(HybridPopularity.Settings(cutoff=0.0, diversity=0.9), 24)
    hybrid.fit(train, context(llmseqsim("llmseqsim-1", vectors, train)))
    assert hybrid.recommend(Sessions.from_lists([[0]]), 4).items.tolist() == [[1, 21, 22, 23]]


def test_the_first_runs_best_items_come_first():
    first, second = sim(), sim("llmseqsim-2", CIRCLE[::-1] * [1, 2])
    histories = Sessions.from_lists([[0], [5]])
    one, other = (m.model.recommend(histories, 8).items for m in (first, second))
    for threshold in (0, 1, 3, 8):
        merged = made(EmbeddingEnsemble, first, second, threshold=threshold).recommend(histories, 5)
        for row in range(2):
            head = [item for item in one[row][:threshold] if item != NO_ITEM]
            wanted = (head + [item for item in other[row] if item not in head])[:5]
            assert merged.items[row].tolist() == wanted
            np.testing.assert_allclose(merged.scores[row], [1, 1 / 2, 1 / 3, 1 / 4, 1 / 5])


def test_the_first_runs_surest_items_come_first():
    first, second = sim(), sim("llmseqsim-2", np.roll(CIRCLE, 3, axis=0))
    histories = Sessions.from_lists([[2], [7]])
    merged = made(EmbeddingEnsemble, first, second, method="confidence", threshold=0.9).recommend(histories, 7)
    other = second.model.recommend(histories, 8).items
    assert merged.items[0].tolist() == ([1, 3] + [item for item in other[0] if item not in (1, 3)])[:7]
    assert merged.items[1].tolist() == ([6] + [item for item in other[1] if item != 6])[:7]


def test_lists_end_where_both_runs_end():
    vectors = CIRCLE.copy()
    vectors[5:] = 0
    merged = made(EmbeddingEnsemble, sim(vectors=vectors), sim("llmseqsim-2", vectors)).recommend(
        Sessions.from_lists([[0], []]), 10
    )
    assert merged.items[0].tolist() == [1, 2, 3, 4] + [NO_ITEM] * 6
    assert (merged.scores[0, 4:] == -np.inf).all()
    assert (merged.items[1] == NO_ITEM).all()
    assert merged.items.shape == (2, 10)


def test_no_prompts():
    none = Sessions.from_lists([])
    one, other = sim(), sim("llmseqsim-2")
    assert made(EmbeddingEnsemble, one, other).recommend(none, 4).items.shape == (0, 4)
    assert made(HybridSequential, one, other).recommend(none, 4).items.shape == (0, 4)
    assert made(HybridPopularity, one).recommend(none, 4).items.shape == (0, 4)
    assert made(HybridPopularity, one, diversity=0.5).recommend(none, 4).items.shape == (0, 4)


@pytest.mark.parametrize(
    ("cls", "base_models", "said"),
    [
        (HybridSequential, lambda: [sim()], "takes 2 runs, not 1"),
        (HybridSequential, lambda: [on_paper("sasrec-2", np.arange(8.0)), sim()], "run 1 of hybrid-sequential must be"),
        (HybridPopularity, lambda: [sim(), sim("llmseqsim-2")], "takes 1 run, not 2"),
        (EmbeddingEnsemble, lambda: [sim(), on_paper("sasrec-2", np.arange(8.0))], "run 2 of embedding-ensemble"),
        (EmbeddingEnsemble, lambda: [sim(), sim()], "contains llmseqsim-1 twice"),
    ],
)
def test_members_that_do_not_fit_are_refused(cls, base_models, said):
    with pytest.raises(UsageError, match=said):
        made(cls, *base_models())


def test_what_is_kept_keeps_its_order():
    ranking = sim().model.recommend(Sessions.from_lists([[0]]), 5)
    kept = first_kept(ranking, np.array([[False, True, False, True, True]]), 4)
    assert kept.items.tolist() == [[*ranking.items[0, [1, 3, 4]].tolist(), NO_ITEM]]
    assert kept.scores[0, 3] == -np.inf


def counted_in_all(cls, *base_models, **settings):
    """A hybrid whose catalog counts test sessions, too: there item 7 is the most popular, item 0 the least."""
    from dataclasses import replace

    about = context(*base_models)
    model = cls(cls.Settings(popularity="all", **settings), 8)
    model.fit(TRAIN, replace(about, catalog=replace(about.catalog, popularity=np.arange(1, 9))))
    return model


def test_popularity_may_count_the_test_sessions_too_and_says_so(monkeypatch):
    from llmseq_cli.progress import SilentProgress

    said = []
    monkeypatch.setattr(SilentProgress, "message", lambda self, text: said.append(text))
    histories = Sessions.from_lists([[3]])
    assert set(made(HybridPopularity, sim(), cutoff=0.5).recommend(histories, 8).items[0]) == {0, 1, 2, NO_ITEM}
    assert said == []
    both = counted_in_all(HybridPopularity, sim(), cutoff=0.5)
    assert set(both.recommend(histories, 8).items[0]) == {4, 5, 6, 7, NO_ITEM}
    assert "also counted in the test sessions" in said[0]
    sequence = on_paper("sasrec-2", [8, 7, 6, 5, 4, 3, 2, 1])
    hybrid = counted_in_all(HybridSequential, sim(), sequence, cutoff=0.5)
    assert hybrid.recommend(Sessions.from_lists([[7]]), 3).items[0].tolist() == [0, 1, 2], "the sequential run answers"


def test_only_the_first_items_are_filtered_as_long_as_enough_stay():
    """Item 0's neighbours in order are 1, 2, …, 7; at cutoff 0.5 items 4 to 7 are unpopular."""
    histories = Sessions.from_lists([[0]])

    def listed(k=8, **settings):
        items = made(HybridPopularity, sim(), cutoff=0.5, **settings).recommend(histories, k).items[0]
        return [int(item) for item in items if item != NO_ITEM]

    assert listed(filter_first=6, filter_keep=1) == [1, 2, 3]
    assert listed(filter_first=6, filter_keep=4) == [1, 2, 3, 6], "4 and 5 go, then no more may"
    assert listed(filter_first=6, filter_keep=6) == [1, 2, 3, 4, 5, 6]
    assert listed(filter_first=6, filter_keep=100) == [1, 2, 3, 4, 5, 6]
    assert listed(k=2, filter_first=6, filter_keep=4) == [1, 2]
    with pytest.raises(UsageError, match="do not go together"):
        made(HybridPopularity, sim(), filter_first=6, diversity=0.5)
