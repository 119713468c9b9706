"""Times that somebody gives with a session."""

from __future__ import annotations

from datetime import datetime

import pytest

from llmseq_cli.data.moments import moments
from llmseq_cli.errors import UsageError

DAY = 1_714_521_600  # 2024-05-01


@pytest.mark.parametrize(
    "given",
    [DAY, float(DAY), f"{DAY}", DAY * 1000, f"{DAY}e6", DAY * 10**9, "2024-05-01", "20240501", " 2024-05-01T00:00Z ",
     "2024-05-01T02:00:00+02:00", datetime(2024, 5, 1)],
)  # fmt: skip
def test_one_moment_in_many_forms(given):
    assert moments([given], 1).tolist() == [DAY * 10**6]


def test_fractions_and_times_before_1970():
    assert moments(["1969-12-31T23:59:59.5", -0.25, "1970-01-01T00:00:00.000001"], 3).tolist() == [
        -500_000,
        -250_000,
        1,
    ]
    assert moments([], 0).tolist() == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["soon"], "'soon' is no time"),
        (["nan"], "'nan' is no time"),
        ([float("inf")], "'inf' is no time"),
        (["2024-13-01"], "is no time"),
        ([1e30], "is no time"),
        (["2024-05-02", "2024-05-01"], "2024-05-02 is followed by 2024-05-01"),
    ],
)
def test_what_is_no_time_is_refused(given, said):
    with pytest.raises(UsageError, match=said):
        moments(given, len(given))


def test_a_time_for_each_item():
    with pytest.raises(UsageError, match="1 time for 2 items"):
        moments(["2024-05-01"], 2)
