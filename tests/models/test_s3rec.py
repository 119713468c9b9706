"""S3-Rec's pre-training; what it shares with the other neural models is tested in neural/."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch

from llmseq_cli.data.catalog import Catalog
from llmseq_cli.data.sessions import Sessions
from llmseq_cli.embeddings.item_embeddings import ItemEmbeddings
from llmseq_cli.errors import InterruptedByUserError, UsageError
from llmseq_cli.models.neural.losses import softmax_loss
from llmseq_cli.models.neural.pretraining import (
    TASKS,
    Attributes,
    Pretraining,
    drawn_softmax_loss,
    mask_items_and_segment,
)
from llmseq_cli.models.recommender import FitContext
from llmseq_cli.models.s3rec import S3Rec, S3RecSettings

N_ITEMS, DIM = 40, 32
PAPER = {"aap": 0.2, "mip": 1.0, "map": 1.0, "sp": 0.5}
SMALL = {"dim": DIM, "batch_size": 32, "dropout": 0.1, "learning_rate": 0.005, "threads": 1, "layers": 1}
SHORT = SMALL | {"epochs": 2, "pretrain_epochs": 3, "refit": False}


def following(item):
    return (item + 7) % N_ITEMS


def sessions(n: int = 120, seed: int = 0) -> Sessions:
    """Each item is followed by one certain other."""
    random = np.random.default_rng(seed)
    firsts, lengths = random.integers(N_ITEMS, size=n), random.integers(2, 10, size=n)
    return Sessions.from_lists(
        [[(first + 7 * step) % N_ITEMS for step in range(m)] for first, m in zip(firsts, lengths, strict=True)]
    )


def catalog(classes: bool = True) -> Catalog:
    names = np.array([f"i{item}" for item in range(N_ITEMS)], dtype=object)
    known = np.array([f"{'even' if item % 2 == 0 else 'odd'}_{item % 5}" for item in range(N_ITEMS)], dtype=object)
    known[3] = ""
    given = known if classes else np.full(N_ITEMS, "", dtype=object)
    return Catalog(names, names, given, np.ones(N_ITEMS, dtype=np.int64), np.ones(N_ITEMS, dtype=bool))


def fitted(settings: dict | None = None, classes: bool = True, **context) -> tuple[S3Rec, dict]:
    model = S3Rec(S3RecSettings(**(SHORT | (settings or {}))), N_ITEMS)
    figures = model.fit(sessions(), FitContext(catalog(classes), **context))
    return model, figures


def same(one: S3Rec, other: S3Rec) -> bool:
    return all(np.array_equal(array, other.arrays()[key]) for key, array in one.arrays().items())


class Told:
    """Progress that keeps what is said, and acts at a step and where a bar's name begins so."""

    def __init__(self, step: int = 0, act=None, bar: str = "") -> None:
        self.left, self.act, self.bar = step, act, bar
        self.messages: list[str] = []
        self.bars: list[str] = []

    @contextmanager
    def task(self, description, total=None, unit=""):
        self.bars.append(description)
        yield self

    def advance(self, amount=1):
        if self.act and self.bars[-1].startswith(self.bar):
            self.left -= 1
            if self.left == 0:
                self.act()

    def describe(self, text):
        pass

    def message(self, text):
        self.messages.append(text)


class KilledError(Exception):
    pass


def kill():
    raise KilledError


def pretraining(model: S3Rec, weights: dict | None = None, attributes: Attributes | None = None) -> Pretraining:
    """Of a fitted model's network, without dropout."""
    torch.manual_seed(0)
    model.network.eval()
    return Pretraining(
        model.network, model.network.encoder.both_ways, weights or PAPER, attributes, softmax_loss
    ).eval()


def test_learns_a_planted_pattern():
    told = Told()
    model, figures = fitted(SMALL | {"epochs": 15, "pretrain_epochs": 10, "refit": True}, progress=told)
    histories = sessions(100, seed=9)
    first = model.recommend(histories, 1).items[:, 0]
    assert (first == following(histories.targets())).mean() > 0.95
    assert figures["pretrain_epochs"] == 10
    assert figures["pretrain_seconds"] > 0
    # The refit is pre-trained, too: on all sessions, those held out before among them.
    assert [bar.split(" 1")[0] for bar in told.bars] == [
        "Pre-training epoch",
        "Epoch",
        "Pre-training refit epoch",
        "Refit epoch",
    ]


def test_attributes_are_the_keywords_of_the_class():
    attributes = Attributes.of(np.array(["b_a", "", "c", "a_b_a", "_c_"], dtype=object))
    assert attributes.names == ["a", "b", "c"]
    has = attributes.of_class[attributes.class_of]
    assert has.tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 1], [1, 1, 0], [0, 0, 1]]
    # Two in four of the items whose keywords are known have each.
    assert np.allclose(attributes.log_odds(), 0)
    assert Attributes.of(np.array(["", ""])).names == []


def test_the_most_frequent_keywords_are_kept():
    classes = np.array(["a_b", "a_b", "c_d", "d", "e", "d"], dtype=object)
    attributes = Attributes.of(classes, most=3)
    assert attributes.names == ["a", "b", "d"]
    assert attributes.of_class[attributes.class_of].tolist() == [
        [1, 1, 0], [1, 1, 0], [0, 0, 1], [0, 0, 1], [0, 0, 0], [0, 0, 1]
    ]  # fmt: skip


def test_what_is_masked_and_taken_out():
    lengths = np.array([2, 3, 9, 9] * 50)
    items = np.random.default_rng(0).integers(1, N_ITEMS, size=(200, 9))
    items[np.arange(9) >= lengths[:, None]] = 0
    batch = mask_items_and_segment(items, lengths, np.random.default_rng(1), 0.3, "cpu")
    rows, steps = np.divmod(batch.places.numpy(), 9)
    assert np.array_equal(batch.targets.numpy(), items[rows, steps])
    assert (steps < lengths[rows]).all()
    masked = np.bincount(rows, minlength=200)
    assert masked.min() == 1
    assert masked[lengths == 9].mean() / 9 == pytest.approx(0.3, abs=0.05)
    segment = batch.segment.numpy()
    sizes, ends = segment.sum(axis=1), 9 - segment[:, ::-1].argmax(axis=1)
    assert (sizes >= 1).all()
    assert (sizes <= lengths // 2).all()
    assert (ends <= lengths).all()
    assert np.array_equal(ends - segment.argmax(axis=1), sizes)  # in a row
    assert set(sizes[lengths == 9].tolist()) == {1, 2, 3, 4}
    assert set(ends[lengths == 9].tolist()) == set(range(1, 10))


def test_pretraining_learns_every_task():
    """Each loss on fresh masks, after pre-training and before."""
    attributes = Attributes.of(catalog().classes)
    model, _ = fitted({"epochs": 1, "pretrain_epochs": 0, "learning_rate": 0.0, "patience": 0})
    task = pretraining(model, attributes=attributes)
    items = np.stack([(start + 7 * np.arange(8)) % N_ITEMS for start in range(N_ITEMS)])

    def losses(seed: int) -> dict[str, torch.Tensor]:
        batch = mask_items_and_segment(items, np.full(N_ITEMS, 8), np.random.default_rng(seed), 0.2, "cpu")
        return task.losses(batch)

    before = {name: float(loss.detach()) for name, loss in losses(99).items()}
    optimizer = torch.optim.Adam(task.parameters(), lr=0.005)
    for step in range(80):
        optimizer.zero_grad()
        sum(losses(step).values()).backward()
        optimizer.step()
    after = {name: float(loss.detach()) for name, loss in losses(99).items()}
    assert set(before) == set(TASKS)
    assert all(after[name] < 0.6 * before[name] for name in TASKS), (before, after)
    # The two attributes that are nearest to an item are its own.
    with torch.no_grad():
        logits = task.critics["aap"](model.network.item_vectors()) @ task.attributes.T + task.frequency
    has = attributes.of_class[attributes.class_of]
    nearest = np.argsort(-logits.numpy(), axis=1)[:, :2]
    known = has.any(axis=1)
    assert np.take_along_axis(has, nearest, axis=1)[known].all()


def test_items_without_keywords_tell_nothing():
    attributes = Attributes.of(catalog().classes)
    model, _ = fitted({"pretrain_epochs": 0})
    task = pretraining(model, attributes=attributes)
    views = torch.randn(2, DIM, requires_grad=True)
    loss = task._attribute_loss(views, torch.tensor([3, 4]))
    loss.backward()
    assert not views.grad[0].any()
    assert views.grad[1].any()
    alone = task._attribute_loss(views[1:], torch.tensor([4]))
    assert loss.item() == pytest.approx(alone.item(), rel=1e-6)
    assert task._attribute_loss(views, torch.tensor([3, 3])).item() == 0


def test_attribute_loss_against_loops():
    attributes = Attributes.of(catalog().classes)
    model, _ = fitted({"pretrain_epochs": 0})
    task = pretraining(model, attributes=attributes)
    views, rows = torch.randn(3, DIM), [0, 7, 11]
    logits = (views @ task.attributes.T + task.frequency).detach().double().numpy()
    expected = 0.0
    for row, item in enumerate(rows):
        words = catalog().classes[item].split("_")
        for place, name in enumerate(attributes.names):
            expected += np.log1p(np.exp(-logits[row, place] if name in words else logits[row, place]))
    assert task._attribute_loss(views, torch.tensor(rows)).item() == pytest.approx(expected / 3, rel=1e-5)


def shifted(items: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Other items where `places` is true."""
    return torch.where(places, (items + 17) % N_ITEMS, items)


def test_masked_items_cannot_be_seen():
    """MIP and MAP do not change with the items under the masks, whose targets stay, or with the filling."""
    model, _ = fitted()
    task = pretraining(model, {"aap": 0, "mip": 1, "map": 1, "sp": 0}, Attributes.of(catalog().classes))
    items, lengths = np.random.default_rng(0).integers(N_ITEMS, size=(6, 8)), np.array([8, 8, 8, 5, 3, 2])
    batch = mask_items_and_segment(items, lengths, np.random.default_rng(5), 0.3, "cpu")
    inside = torch.arange(8) < batch.lengths[:, None]
    masked = torch.zeros(48, dtype=torch.bool).index_fill(0, batch.places, True).view(6, 8)

    def losses(other: torch.Tensor) -> tuple[float, float]:
        told = task.losses(replace(batch, items=other))
        return told["mip"].item(), told["map"].item()

    before = losses(batch.items)
    assert losses(shifted(batch.items, masked | ~inside)) == pytest.approx(before, rel=1e-6)
    # The test can fail: what may be seen does change the losses.
    for changed in zip(losses(shifted(batch.items, inside & ~masked)), before, strict=True):
        assert abs(changed[0] - changed[1]) > 1e-4


def test_a_context_sees_around_its_segment_and_the_segment_only_itself():
    model, _ = fitted()
    task = pretraining(model)
    items, lengths = torch.arange(6 * 8).view(6, 8) % N_ITEMS, torch.full((6,), 8)
    segment = torch.zeros(6, 8, dtype=torch.bool)
    segment[:, 3:6] = True

    def said(items: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return task._encode(model.network.item_vectors()[items], hidden, lengths)

    for hidden in (segment, ~segment):
        before = said(items, hidden)
        assert torch.allclose(said(shifted(items, hidden), hidden), before, atol=1e-6)
        # Every place sees every item that is not hidden, before and behind itself.
        for step in torch.nonzero(~hidden[0])[:, 0]:
            only = torch.arange(8) == step
            assert ((said(shifted(items, only.expand(6, 8)), hidden) - before).abs().amax(dim=2) > 1e-6).all()


def test_segments_are_told_from_those_of_other_sessions():
    model, _ = fitted()
    task = pretraining(model, {"aap": 0, "mip": 0, "map": 0, "sp": 1})
    items = np.stack([(start + 7 * np.arange(8)) % N_ITEMS for start in range(12)])
    batch = mask_items_and_segment(items, np.full(12, 8), np.random.default_rng(5), 0.2, "cpu")
    vectors = model.network.item_vectors()[batch.items]
    expected = 0.0
    for session in range(12):
        context = task._encode(vectors, batch.segment, batch.lengths)[session, 7]
        told = task._encode(vectors, ~batch.segment, batch.lengths)[:, 7]
        scores = (context @ task.critics["sp"].weight.T @ told.T / DIM**0.5).detach().double().numpy()
        expected += np.log(np.exp(scores - scores[session]).sum())
    assert task(batch).item() == pytest.approx(expected / 12, rel=1e-4)


def test_same_seed_same_result_and_saved_lists(tmp_path):
    one, other = fitted(seed=3)[0], fitted(seed=3)[0]
    assert same(one, other)
    assert not same(one, fitted(seed=4)[0])
    one.save(tmp_path)
    histories = sessions(50, seed=9)
    lists, again = one.recommend(histories, 10), S3Rec.load(tmp_path).recommend(histories, 10)
    assert np.array_equal(lists.items, again.items)
    assert np.array_equal(lists.scores, again.scores)
    assert not [name for name in one.arrays() if "attributes" in name or "critics" in name]


@pytest.mark.parametrize(
    ("bar", "step"), [("Pre-training epoch", 6), ("Epoch", 6), ("Pre-training refit", 6), ("Refit", 3)]
)
def test_killed_anywhere_and_resumed_gives_the_same_weights(bar, step, tmp_path):
    """4 steps an epoch; the first call is that of the bar."""
    settings = {"refit": True, "patience": 1}
    whole, figures = fitted(settings)
    with pytest.raises(KilledError):
        fitted(settings, checkpoints=tmp_path, progress=Told(step, kill, bar))
    resumed, again = fitted(settings, checkpoints=tmp_path, resume=True)
    assert same(whole, resumed)
    assert [entry["loss"] for entry in whole.curve] == [entry["loss"] for entry in resumed.curve]
    assert again["trained_positions"] == figures["trained_positions"]


def test_ctrl_c_in_pretraining(tmp_path):
    whole, _ = fitted()
    stop = Told(6, lambda: signal.raise_signal(signal.SIGINT), "Pre-training")
    with pytest.raises(InterruptedByUserError, match="stopped in pre-training epoch 2, step"):
        fitted(checkpoints=tmp_path, progress=stop)
    told = Told()
    resumed, _ = fitted(checkpoints=tmp_path, resume=True, progress=told)
    assert same(whole, resumed)
    assert told.messages[0].startswith("continuing after pre-training epoch 1, step")


def test_a_training_before_is_forgotten(tmp_path):
    """What an earlier training left is no part of one that is begun anew, killed, and gone on with."""
    fitted(checkpoints=tmp_path)
    with pytest.raises(KilledError):
        fitted({"epochs": 1}, checkpoints=tmp_path, progress=Told(6, kill, "Pre-training"))
    _, figures = fitted({"epochs": 1}, checkpoints=tmp_path, resume=True)
    assert figures["epochs"] == 1


def test_without_attributes():
    told = Told()
    model, _ = fitted({"refit": True}, classes=False, progress=told)
    assert told.messages == ["items have no classes: pre-training without the tasks about attributes"]
    # It was pre-trained all the same.
    assert not same(model, fitted({"pretrain_epochs": 0, "refit": True}, classes=False)[0])
    assert pretraining(model).weights == {"mip": 1.0, "sp": 0.5}
    for nothing in ({"mip": 0.0, "sp": 0.0}, {"max_length": 1}):
        with pytest.raises(UsageError, match="nothing to pre-train on"):
            fitted(nothing, classes=False)


def test_every_task_can_be_left_out():
    everything, _ = fitted()
    for task in TASKS:
        assert not same(everything, fitted({task: 0.0})[0])


@pytest.mark.parametrize("loss", ["sampled", "gbce"])
def test_with_drawn_negatives(loss):
    settings = {"loss": loss, "negatives": 10}
    one = fitted(settings)[0]
    assert same(one, fitted(settings)[0])
    assert not same(one, fitted(settings | {"negatives": 11, "epochs": 1})[0])


def test_many_drawn_negatives_are_the_whole_catalog():
    torch.manual_seed(0)
    hidden, items, targets = torch.randn(20, DIM) / 4, torch.randn(N_ITEMS, DIM), torch.randint(N_ITEMS, (20,))
    loss = drawn_softmax_loss(hidden, items, targets, 200_000)
    assert loss.item() == pytest.approx(softmax_loss(hidden, items, targets).item(), abs=0.02)


def test_starts_from_embeddings():
    vectors = np.random.default_rng(7).normal(size=(N_ITEMS, 24)).astype(np.float32)
    given = ItemEmbeddings(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), "test", "m", "{title}")
    assert S3Rec.label(given) == "LLM2S3-Rec"
    model, _ = fitted({"dim": None, "learning_rate": 0.0}, embeddings=given)
    assert np.allclose(model.arrays()["network.item_vectors.vectors"], given.vectors, atol=1e-6)
    adapted, _ = fitted({"item_vectors": "adapter"}, embeddings=given)
    assert np.allclose(adapted.arrays()["network.item_vectors.text"], given.vectors, atol=1e-6)
