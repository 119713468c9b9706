"""layout=paper: the networks of the paper's program; and what it calls an epoch of BERT4Rec."""

from collections import Counter

import numpy as np
import pytest
import torch
from support.planted import N_ITEMS, embeddings, fitted, hit_rate, sessions

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.errors import UsageError
from llmseq_cli.models.neural.batches import Batch, Windows, next_item
from llmseq_cli.models.neural.held_out import hold_out
from llmseq_cli.models.neural.paper_layout import PaperGRU, PaperTransformer
from llmseq_cli.models.registry import model_class

PAPER = {"layout": "paper", "validation": "random", "ema_decay": 0.0, "refit": False, "last_weight": 1}
DIM, LENGTH = 12, 6


def model(name, n_items=N_ITEMS, **settings):
    cls = model_class(name)
    return cls(cls.Settings(**(PAPER | settings)), n_items)


def transformer(*, masked, **more):
    torch.manual_seed(1)
    about = {"layers": 2, "heads": 2, "ffn_width": 24, "activation": "gelu", "dropout": 0.0, "embedding_dropout": 0.0}
    return PaperTransformer(DIM, length=LENGTH, norm_first=not masked, masked=masked, **(about | more)).eval()


@pytest.mark.parametrize(
    ("name", "more"),
    [("sasrec", {}), ("gru4rec", {"hidden": 32}), ("bert4rec", {"copies": 3, "last_only": 1, "mask": 0.5})],
)
def test_they_learn(name, more):
    assert hit_rate(fitted(name, PAPER | {"epochs": 15, "patience": 0} | more)[0]) > 0.8


@pytest.mark.parametrize("masked", [False, True])
def test_sessions_are_those_filled_up_in_front_with_the_mask(masked):
    """A short session is the same as one of the full length that begins with masks."""
    network = transformer(masked=masked)
    vectors = torch.randn(1, 3, DIM)
    said = network.last(vectors, torch.tensor([3]))
    missing = LENGTH - 3 - masked
    padded = torch.cat([network.mask.expand(1, missing, DIM), vectors], dim=1)
    torch.testing.assert_close(network.last(padded, torch.tensor([LENGTH - masked])), said)
    with torch.no_grad():
        network.mask.normal_()
    assert not torch.allclose(network.last(vectors, torch.tensor([3])), said), "padding is attended to"


@pytest.mark.parametrize("layers", [1, 2])
def test_masks_computed_once_are_masks_computed_everywhere(layers):
    network = transformer(masked=True, layers=layers).double()
    vectors = torch.randn(3, 5, DIM, dtype=torch.float64, requires_grad=True)
    lengths, places = torch.tensor([5, 2, 1]), torch.tensor([0, 3, 6, 10])
    batch = Batch(torch.zeros(3, 5, dtype=torch.int64), lengths, places, places, len(places))
    masked = vectors.reshape(15, DIM).index_copy(0, places, network.mask.expand(4, DIM)).view(3, 5, DIM)
    asking = places // 5 * LENGTH + places % 5 + (LENGTH - lengths)[places // 5]
    plain, found = network._encode(masked, lengths, asking), network.at_places(vectors, batch)
    torch.testing.assert_close(found, plain)
    learnt = [vectors, *network.parameters()]
    for ours, theirs in zip(*(torch.autograd.grad(x.square().sum(), learnt) for x in (found, plain)), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("masked", [False, True])
def test_only_the_places_that_count_are_computed_and_they_are_the_same(masked):
    network = transformer(masked=masked)
    items, lengths = np.arange(1, 11).reshape(2, 5), np.array([5, 3])
    batch = next_item(items, lengths, "cpu")
    vectors = torch.randn(2, 4, DIM)
    torch.testing.assert_close(network.at_places(vectors, batch), network(vectors, batch).flatten(0, 1)[batch.places])


def test_a_causal_network_says_at_every_place_what_it_says_of_the_session_up_to_there():
    network = transformer(masked=False)
    batch = next_item(np.arange(1, 6)[None], np.array([5]), "cpu")
    vectors = torch.randn(1, 4, DIM)
    # The places of a session that goes on are those of the positions before; only the last is the same for both.
    torch.testing.assert_close(network.at_places(vectors, batch)[-1:], network.last(vectors, torch.tensor([4])))


def test_heads_need_not_divide_the_dimensions():
    assert transformer(masked=False, heads=5).last(torch.randn(2, 4, DIM), torch.tensor([4, 2])).shape == (2, DIM)
    with pytest.raises(UsageError, match="cannot be divided among 13 heads"):
        transformer(masked=False, heads=13)


def test_a_gru_starts_from_the_states_of_its_padding():
    torch.manual_seed(2)
    network = PaperGRU(DIM, hidden=7, length=LENGTH, dropout=0.0).eval()
    vectors = torch.randn(2, 4, DIM)
    said = network.last(vectors, torch.tensor([4, 2]))
    for row, length in enumerate((4, 2)):
        padded = torch.cat([network.mask.expand(LENGTH - length, DIM), vectors[row, :length]])
        torch.testing.assert_close(network.gru(padded[None])[0][0, -1], said[row])


def test_initial_values_are_those_of_keras():
    torch.manual_seed(3)
    network = PaperTransformer(
        64, length=20, layers=1, heads=4, ffn_width=256, activation="relu", dropout=0.0, embedding_dropout=0.0,
        norm_first=True, masked=False,
    )  # fmt: skip
    block = network.blocks[0]
    limits = {  # Glorot's √(6 / (fan in + fan out)); attention's kernels are [64, 4, 16] and [4, 16, 64]
        network.positions: 0.05,
        network.mask: 0.05,
        block.inward.weight: (6 / (64 * 4 + 64 * 16)) ** 0.5,
        block.outward.weight: (6 / (4 * 16 + 4 * 64)) ** 0.5,
        block.widen.weight: (6 / (64 + 256)) ** 0.5,
        block.narrow.weight: (6 / (64 + 256)) ** 0.5,
    }
    for weight, limit in limits.items():
        assert 0.8 * limit < float(weight.detach().abs().max()) <= limit
    assert not any(layer.bias.any() for layer in (block.inward, block.outward, block.widen, block.narrow))


def test_items_start_uniform_and_the_head_has_no_norm():
    trained, _ = fitted("gru4rec", PAPER | {"epochs": 1, "learning_rate": 0.0, "weight_decay": 0.0, "hidden": 24})
    vectors = trained.network.item_vectors()
    assert 0.049 < float(vectors.detach().abs().max()) <= 0.05
    assert isinstance(trained.network.head.norm, torch.nn.Identity)
    assert trained.network.head.dense.in_features == 24


def test_bert_reads_one_item_less_to_recommend():
    assert (model("bert4rec").history_length(), model("bert4rec").window()) == (19, 20)
    assert (model("sasrec").history_length(), model("sasrec").window()) == (20, 21)
    assert (model("bert4rec", layout="ours").history_length(), model("bert4rec", layout="ours").window()) == (20, 21)


@pytest.mark.parametrize("name", ["sasrec", "gru4rec", "bert4rec"])
def test_saved_and_loaded_alone_and_together(name, tmp_path):
    made, _ = fitted(name, PAPER | {"epochs": 1, "patience": 0})
    histories = sessions(20, seed=3)
    whole = made.recommend(histories, 5)
    made.save(tmp_path)
    again = model_class(name).load(tmp_path).recommend(histories, 5)
    assert np.array_equal(again.scores, whole.scores)
    assert np.array_equal(made.recommend(histories.slice(4, 5), 5).items, whole.items[4:5])


def test_what_has_no_paper_layout_says_so():
    with pytest.raises(UsageError, match="one recurrent layer"):
        fitted("gru4rec", PAPER | {"layers": 2})
    with pytest.raises(UsageError, match="no layout=paper"):
        fitted("s3rec", PAPER)


# What an epoch of BERT4Rec is.


def test_an_epoch_goes_over_every_copy_once():
    windows = Windows(sessions(50), 21, 2, copies=3)
    drawn = np.concatenate(windows.batches(8, np.random.default_rng(0)))
    assert sorted(drawn) == list(range(3 * len(windows)))
    _, lengths = windows.cut(drawn)
    assert np.array_equal(lengths, windows.lengths[drawn % len(windows)])
    assert windows.items_in(drawn) == 3 * windows.lengths.sum()
    recent = Windows(sessions(50), 21, 2, copies=3, recency=0.5)
    copies = np.concatenate(recent.batches(8, np.random.default_rng(0))) // len(recent)
    assert Counter(copies.tolist()) == {0: len(recent), 1: len(recent), 2: len(recent)}


def test_one_copy_is_what_an_epoch_always_was():
    plain, one = Windows(sessions(50), 21, 2), Windows(sessions(50), 21, 2, copies=1)
    for first, second in zip(*(w.batches(8, np.random.default_rng(5)) for w in (plain, one)), strict=True):
        assert np.array_equal(first, second)


def test_beauty_has_the_steps_that_the_authors_have():
    assert -(-(17_890 - 500) * 11 // 256) == 748


def test_last_only_copies_mask_the_last_item_alone():
    bert = model("bert4rec", copies=10, last_only=1, mask=0.9, mask_last=0.0)
    items, lengths = np.arange(1, 9).reshape(2, 4), np.array([4, 3])
    batch = bert.make_batch(items, lengths, np.random.default_rng(0), np.array([10, 10]))
    assert batch.places.tolist() == [3, 6]
    assert batch.targets.tolist() == [4, 7]
    seen = [
        bert.make_batch(items, lengths, np.random.default_rng(seed), np.array([0, 9])).places.tolist()
        for seed in range(200)
    ]
    assert {tuple(one) for one in seen} > {(0, 1, 2, 3, 4, 5, 6)}, "masked anew every time"
    share = np.mean([len(one) for one in seen]) / 7
    assert 0.85 < share < 0.95
    alone = model("bert4rec", copies=0, last_only=1).make_batch(items, lengths, np.random.default_rng(0))
    assert alone.places.tolist() == [3, 6]


def test_an_epoch_needs_an_example():
    with pytest.raises(UsageError, match="nothing to train on"):
        fitted("bert4rec", {"copies": 0})


def test_copies_make_an_epoch_longer():
    figures = [fitted("bert4rec", {"epochs": 1, "patience": 0, "copies": n, "last_only": n - 1})[1] for n in (1, 2)]
    assert figures[1]["trained_positions"] > 2 * figures[0]["trained_positions"]


# What is held out, and how long vectors are.


def test_no_more_sessions_are_validated_than_asked_for():
    data = Sessions.from_lists([[1, 2, 3]] * 300)
    for asked, held_out in ((10, 10), (30, 30), (500, 30)):
        kept, validation = hold_out(data, model("sasrec", validation_sessions=asked).settings, seed=0)
        assert (len(kept), len(validation)) == (300 - held_out, held_out)


@pytest.mark.parametrize(("lengths", "longest"), [("unit", 1.0), ("keep", 3.0)])
def test_vectors_start_at_the_lengths_that_they_have(lengths, longest):
    from dataclasses import replace

    given = embeddings()
    given = replace(given, vectors=3 * given.vectors, lengths=lengths)
    trained, _ = fitted(
        "sasrec", PAPER | {"epochs": 1, "learning_rate": 0.0, "weight_decay": 0.0, "patience": 0}, embeddings=given
    )
    norms = trained.network.item_vectors().detach().norm(dim=1)
    torch.testing.assert_close(norms, torch.full_like(norms, longest))
