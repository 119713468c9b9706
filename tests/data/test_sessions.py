from dataclasses import replace

import numpy as np
import pytest

from llmseq_cli.data.sessions import Sessions


@pytest.fixture
def sessions() -> Sessions:
    return Sessions.from_lists([[3, 1, 2], [4], [], [1, 1, 0, 5]])


def test_lengths_and_items(sessions):
    assert len(sessions) == 4
    assert sessions.lengths.tolist() == [3, 1, 0, 4]
    assert sessions[3].tolist() == [1, 1, 0, 5]
    assert sessions.items.dtype == np.int32
    assert sessions.offsets.dtype == np.int64


def test_rows_and_positions_count_per_session(sessions):
    assert sessions.rows().tolist() == [0, 0, 0, 1, 3, 3, 3, 3]
    assert sessions.positions_from_end().tolist() == [3, 2, 1, 1, 4, 3, 2, 1]


def test_last_keeps_the_most_recent_items(sessions):
    cut = sessions.last(2)
    assert [cut[s].tolist() for s in range(4)] == [[1, 2], [4], [], [0, 5]]


def test_take_reorders_and_keeps_ids(sessions):
    taken = sessions.take(np.array([3, 0]))
    assert [taken[s].tolist() for s in range(2)] == [[1, 1, 0, 5], [3, 1, 2]]
    assert taken.ids.tolist() == [3, 0]


def test_slice_is_take_of_a_range(sessions):
    part = sessions.slice(1, 4)
    same = sessions.take(np.array([1, 2, 3]))
    assert part.items.tolist() == same.items.tolist()
    assert part.offsets.tolist() == same.offsets.tolist()


def test_prompts_and_targets_split_off_the_last_item():
    sessions = Sessions.from_lists([[3, 1, 2], [4, 5]])
    assert sessions.targets().tolist() == [2, 5]
    histories = sessions.histories()
    assert [histories[s].tolist() for s in range(2)] == [[3, 1], [4]]


def test_to_csr_keeps_the_weight_of_the_last_occurrence(sessions):
    matrix = sessions.to_csr(6, weights=np.arange(1, 9)).toarray()
    assert matrix[3].tolist() == [7, 6, 0, 0, 0, 8]
    assert matrix[0].tolist() == [0, 2, 3, 1, 0, 0]
    assert matrix[2].sum() == 0


def test_no_sessions_at_all():
    empty = Sessions.from_lists([])
    assert len(empty) == 0
    assert len(empty.histories()) == 0
    assert empty.to_csr(3).shape == (0, 3)


def test_times_stay_with_their_items():
    sessions = replace(Sessions.from_lists([[4, 5, 6], [7], [8, 9]]), times=np.arange(10, 16))
    parts = {
        "histories": (sessions.histories(), [10, 11, 14]),
        "last": (sessions.last(2), [11, 12, 13, 14, 15]),
        "take": (sessions.take(np.array([2, 0])), [14, 15, 10, 11, 12]),
        "slice": (sessions.slice(1, 3), [13, 14, 15]),
        "only": (sessions.only(np.arange(10) % 2 == 0), [10, 12, 14]),
        "where": (sessions.where(sessions.items > 6), [13, 14, 15]),
    }
    for part, times in parts.values():
        assert part.times.tolist() == times
        assert len(part.times) == len(part.items) == part.offsets[-1]
