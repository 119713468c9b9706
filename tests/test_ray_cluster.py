"""Tasks on Ray without Ray: what is said of backends, and how many blocks are under way."""

from __future__ import annotations

import pytest

from llmseq_cli import EmbedOptions, ScoreOptions, TrainOptions, TuneOptions
from llmseq_cli.backend import Backend
from llmseq_cli.errors import UsageError
from llmseq_cli.ray_cluster import RayTasks


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
    assert Backend("ray", "auto", 2).on_ray
    assert not Backend().on_ray
    assert not Backend("loky", workers=2).on_ray
    with pytest.raises(UsageError, match="there is no backend 'spark'") as raised:
        Backend("spark")
    assert raised.value.hint == "--backend loky or --backend ray (`loky` for tuning only)"
    with pytest.raises(UsageError, match="--ray-address without Ray"):
        Backend("loky", "auto")
    with pytest.raises(UsageError, match="--workers is 0"):
        Backend("ray", workers=0)


@pytest.mark.parametrize("options", [lambda backend: TrainOptions("sasrec", backend=backend),
                                     lambda backend: ScoreOptions("latest", "a.csv", "b.csv", backend=backend),
                                     lambda backend: EmbedOptions("huggingface", backend=backend)])  # fmt: skip
def test_only_tuning_has_workers_without_ray(options):
    with pytest.raises(UsageError, match="--workers without Ray"):
        options(Backend(workers=2))
    with pytest.raises(UsageError, match="only tuning has the backend 'loky'"):
        options(Backend("loky"))
    assert options(Backend("ray", workers=2)).backend.workers == 2
    assert TuneOptions("sknn", backend=Backend("loky", workers=2)).workers == 2
