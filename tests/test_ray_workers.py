"""How a cluster's processors are divided among the workers that train together, and how their progress gets home."""

from __future__ import annotations

from contextlib import contextmanager

import pytest

from llmseq_cli.errors import UsageError
from llmseq_cli.training.ray_training import _device, _divided
from llmseq_cli.training.remote_progress import Mouthpiece, Relay

BIG, SMALL, WITH_GPUS, NO_CPU = {"CPU": 8.0}, {"CPU": 2.0}, {"CPU": 8.0, "GPU": 2.0}, {"object_store_memory": 1.0}


@pytest.mark.parametrize(
    ("nodes", "wanted", "device", "expected"),
    [
        ([BIG], None, "cpu", (1, 8)),
        ([BIG], 2, "cpu", (2, 4)),
        ([BIG], 3, "cpu", (3, 2)),
        ([BIG, SMALL], None, "cpu", (2, 4)),
        ([BIG, SMALL, NO_CPU], None, "cpu", (2, 4)),
        ([BIG, SMALL], 10, "cpu", (10, 1)),
        ([BIG, WITH_GPUS, WITH_GPUS], None, "cuda", (4, 4)),
    ],
)
def test_all_processors_take_part(nodes, wanted, device, expected):
    assert _divided(nodes, wanted, device) == expected


@pytest.mark.parametrize(
    ("nodes", "wanted", "device", "said"),
    [
        ([BIG, SMALL], 11, "cpu", "has 10 CPUs for 11 workers"),
        ([WITH_GPUS], 3, "cuda", "has 2 GPUs for 3 workers"),
        ([NO_CPU], None, "cpu", "has 0 CPUs"),
    ],
)
def test_more_workers_than_there_is_room_for(nodes, wanted, device, said):
    with pytest.raises(UsageError, match=said):
        _divided(nodes, wanted, device)


def test_the_device_is_the_clusters():
    assert [_device("auto", [BIG], None), _device("auto", [BIG, WITH_GPUS], 2)] == ["cpu", "cuda"]
    assert _device("auto", [BIG, WITH_GPUS], 3) == "cpu"
    assert _device("cpu", [WITH_GPUS], None) == "cpu"
    with pytest.raises(UsageError, match="has no GPU"):
        _device("cuda", [BIG], None)
    with pytest.raises(UsageError, match="mps"):
        _device("mps", [BIG], None)


class Notes:
    """A progress that writes down what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    @contextmanager
    def task(self, description, total=None, unit=""):
        self.lines.append(f"open {description} {total} {unit}")
        yield self
        self.lines.append("close")

    def advance(self, amount=1):
        self.lines.append(f"advance {amount:g}")

    def describe(self, text):
        self.lines.append(text)

    def message(self, text):
        self.lines.append(text)

    def warn(self, text):
        self.lines.append(f"! {text}")


def test_progress_is_told_in_order_and_a_lost_bar_is_closed():
    notes, sent = Notes(), []
    mouthpiece = Mouthpiece(lambda events: sent.append(list(events)))
    mouthpiece.message("hello")
    with mouthpiece.task("Epoch 1", 10, "items") as task:
        for _ in range(4):
            task.advance(2)
        task.describe("Epoch 2")
    mouthpiece.task("Epoch 3", 10, "items").__enter__()
    with Relay(notes) as relay:
        for events in [*sent, [("restart",), ("warn", "again")], [("advance", 3)]]:
            relay.tell(events)
    assert [line for line in notes.lines if not line.startswith("advance")] == [
        *("hello", "open Epoch 1 10 items", "Epoch 2", "close", "open Epoch 3 10 items", "close", "! again")
    ]
    assert sum(float(line.split()[1]) for line in notes.lines if line.startswith("advance")) == 8
