"""Tasks on Ray without Ray: what is said of backends, and how many blocks are under way."""

from __future__ import annotations

import pytest

from llmseq_cli.errors import UsageError
from llmseq_cli.ray_cluster import RayTasks, check_backend, wants_ray


class Counting(RayTasks):
    """Jobs are done when their results are asked for."""

    def __init__(self):
        self.under_way = self.most = 0

    def submit(self, function, *values, device="cpu"):
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        return function(*values)

    def result(self, job):
        self.under_way -= 1
        return job


def test_results_come_in_order_and_do_not_pile_up():
    taken = []

    def calls():
        for number in range(20):
            taken.append(number)
            yield (number,)

    tasks = Counting()
    squares = tasks.in_order(lambda number: number**2, calls(), 3)
    assert next(squares) == 0
    assert taken == [0, 1, 2, 3], "no more is read than is under way"
    assert list(squares) == [number**2 for number in range(1, 20)]
    assert (tasks.most, tasks.under_way) == (3, 0)


def test_backends():
    assert wants_ray("ray", "auto")
    assert not wants_ray(None, None)
    assert not wants_ray("loky", None, ("loky",))
    with pytest.raises(UsageError, match="there is no backend 'spark'") as raised:
        wants_ray("spark", None, ("loky",))
    assert raised.value.hint == "--backend loky or --backend ray"
    with pytest.raises(UsageError, match="--ray-address without Ray"):
        wants_ray("loky", "auto", ("loky",))
    with pytest.raises(UsageError, match="--jobs without Ray"):
        check_backend(None, None, 2)
    check_backend("ray", None, 2)
