import numpy as np
import pytest

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.models.neural.batches import Windows, history_blocks, next_item


def sessions(n: int = 200, seed: int = 0) -> Sessions:
    random = np.random.default_rng(seed)
    return Sessions.from_lists([random.integers(1, 50, size=random.integers(0, 30)) for _ in range(n)])


def test_every_window_once_an_epoch_in_batches_of_like_length():
    windows = Windows(sessions(), 21, 2)
    batches = windows.batches(8, np.random.default_rng(1))
    assert sorted(np.concatenate(batches)) == list(range(len(windows)))
    assert max(len(batch) for batch in batches) == 8
    slots = sum(len(batch) * windows.lengths[batch].max() for batch in batches)
    assert slots < 1.25 * windows.lengths.sum()
    again = windows.batches(8, np.random.default_rng(1))
    assert all(np.array_equal(one, other) for one, other in zip(batches, again, strict=True))


def test_windows_hold_the_last_items_and_leave_short_sessions_out():
    given = sessions()
    windows = Windows(given, 21, 2)
    kept = [session for session in range(len(given)) if len(given[session]) >= 2]
    items, lengths = windows.cut(np.arange(len(windows)))
    assert len(windows) == len(kept)
    for row, session in enumerate(kept):
        expected = given[session][-21:]
        assert lengths[row] == len(expected)
        assert np.array_equal(items[row, : lengths[row]], expected)
        assert not items[row, lengths[row] :].any()


def test_every_item_predicts_the_next():
    given = sessions()
    windows = Windows(given, 21, 2)
    items, lengths = windows.cut(np.arange(30))
    batch = next_item(items, lengths, "cpu")
    rows, steps = np.divmod(batch.places.numpy(), batch.items.shape[1])
    assert len(batch.targets) == (lengths - 1).sum()
    assert np.array_equal(batch.targets.numpy(), items[rows, steps + 1])
    assert np.array_equal(batch.items.numpy()[rows, steps], items[rows, steps])


def test_the_last_item_counts_more_often_but_is_one_position():
    given = sessions()
    windows = Windows(given, 21, 2)
    items, lengths = windows.cut(np.arange(30))
    once, often = next_item(items, lengths, "cpu"), next_item(items, lengths, "cpu", 4)
    assert once.positions == often.positions == (lengths - 1).sum()
    assert len(often.targets) == len(once.targets) + 3 * 30
    ends = items[np.arange(30), lengths - 1]
    assert sorted(often.targets.tolist()) == sorted([*once.targets.tolist(), *np.repeat(ends, 3).tolist()])
    rows, steps = np.divmod(often.places.numpy(), often.items.shape[1])
    assert np.array_equal(often.targets.numpy(), items[rows, steps + 1])
    batch, counts = often.distinct()
    assert np.array_equal(batch.places, once.places)
    assert np.array_equal(batch.targets, once.targets)
    assert counts.sum() == len(often.targets)
    assert np.array_equal(counts == 4, np.isin(batch.places, often.places[len(once.places) :]))
    assert once.distinct()[1] is None


@pytest.mark.parametrize("size", [20, 3])
def test_a_prompt_is_computed_in_a_shape_of_its_own_length(size):
    given = sessions()
    shapes = {}
    for block in history_blocks(given, size, lambda length: 16, 4):
        places, items, lengths = block.places, block.items, block.lengths
        assert len(items) == 16
        for row, place in enumerate(places):
            expected = given[place][-size:]
            assert lengths[row] == len(expected)
            assert np.array_equal(items[row, : lengths[row]], expected)
            shapes[int(place)] = items.shape[1]
    assert sorted(shapes) == list(range(len(given)))
    alone = given.take(np.array([5]))
    assert [block.items.shape[1] for block in history_blocks(alone, size, lambda length: 16, 4)] == [shapes[5]]


def test_long_sessions_give_windows_in_which_every_item_is_a_target_once():
    given = sessions()
    windows = Windows(given, 6, 2, every=True)
    items, lengths = windows.cut(np.arange(len(windows)))
    targets = sorted(item for row, n in zip(items, lengths, strict=True) for item in row[1:n])
    assert targets == sorted(item for session in range(len(given)) for item in given[session][1:])
    assert lengths.max() == 6
    # The most recent window of a session is what the other way of cutting gives.
    last = Windows(given, 6, 2)
    assert {tuple(items[row, :n]) for row, n in enumerate(lengths)} >= {
        tuple(one[:n]) for one, n in zip(*last.cut(np.arange(len(last))), strict=True)
    }


def test_recent_sessions_are_drawn_more_often():
    given = Sessions.from_lists([[session, session + 1] for session in range(1000)])
    windows = Windows(given, 6, 2, recency=0.25)
    drawn = np.concatenate([np.concatenate(windows.batches(50, np.random.default_rng(seed))) for seed in range(40)])
    assert len(drawn) == 40 * 1000
    quarters = np.bincount(windows.items[windows.starts[drawn]] // 250, minlength=4)
    assert quarters[:-1] / quarters[1:] == pytest.approx([0.5, 0.5, 0.5], abs=0.05)
