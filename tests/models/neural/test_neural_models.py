"""What all neural models must do, on sessions with a planted pattern."""

import numpy as np
import pytest
import torch
from support.planted import LEARNING, MODELS, N_ITEMS, catalog, embeddings, fitted, fitted_once, hit_rate, sessions

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.embeddings.item_embeddings import ItemEmbeddings
from llmseq_cli.errors import LlmseqError, UsageError
from llmseq_cli.models.neural import loop, memory
from llmseq_cli.models.neural.held_out import hold_out
from llmseq_cli.models.recommender import FitContext, Recommender
from llmseq_cli.models.registry import model_class

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


@pytest.mark.parametrize("name", MODELS)
def test_learns_a_planted_pattern(name):
    model, figures = fitted(name, LEARNING | {"refit": True})
    assert hit_rate(model) > 0.95
    assert figures["validation_ndcg"] > 0.9
    assert figures["trained_positions"] > 0
    assert model.curve[-1]["loss"] < model.curve[0]["loss"]


@pytest.mark.parametrize("loss", ["sampled", "gbce"])
def test_sampled_losses_learn_it_too(loss):
    assert hit_rate(fitted("sasrec", LEARNING | {"loss": loss, "negatives": 20})[0]) > 0.95


@pytest.mark.parametrize("name", MODELS)
def test_the_papers_projection_head(name):
    model, _ = fitted(name, LEARNING | {"head": "projection", "dropout": 0.0})
    assert hit_rate(model) > 0.9


@pytest.mark.parametrize("name", ["sasrec", "bert4rec"])
@pytest.mark.parametrize("init", ["pool", "zero", "random"])
def test_inits(name, init):
    assert hit_rate(fitted(name, LEARNING | {"init": init, "layers": 2})[0]) > 0.9


def test_an_untrained_network_recommends_what_is_like_the_session():
    """init=pool: the scores before training are those of the last item's vector and the harmonic mean together."""
    settings = {"epochs": 1, "learning_rate": 0.0, "dim": None, "ema_decay": 0.0, "refit": False}
    model, _ = fitted("sasrec", settings, embeddings=embeddings())
    history = [3, 9, 20]
    ranking = model.recommend(Sessions.from_lists([history]), N_ITEMS)
    vectors = embeddings().vectors
    weights = np.array([1 / 3, 1 / 2, 1]) / (1 + 1 / 2 + 1 / 3)
    wanted = vectors @ (vectors[20] + weights @ vectors[history])
    found = np.zeros(N_ITEMS)
    found[ranking.items[0][ranking.items[0] >= 0]] = ranking.scores[0][ranking.items[0] >= 0]
    others = np.setdiff1d(np.arange(N_ITEMS), history)
    assert np.corrcoef(found[others], wanted[others])[0, 1] > 0.95


@pytest.mark.parametrize("kind", ["trained", "text+free", "adapter", "adapter+free"])
def test_embeddings_enter(kind):
    settings = LEARNING | {"item_vectors": kind} | ({"dim": 24} if kind.startswith("adapter") else {"dim": None})
    model, _ = fitted("sasrec", settings, embeddings=embeddings())
    assert hit_rate(model) > 0.9
    assert type(model).label(embeddings()) == "LLM2SASRec"
    text = model.arrays().get("network.item_vectors.text")
    # What is frozen is still what was given.
    assert text is None if kind == "trained" else np.allclose(text, embeddings().vectors)


def test_embeddings_are_where_training_starts():
    model, _ = fitted("sasrec", {"epochs": 1, "learning_rate": 0.0, "dim": None, "scale": 3.0}, embeddings=embeddings())
    assert np.allclose(model.arrays()["network.item_vectors.vectors"], 3 * embeddings().vectors, atol=1e-6)


def test_a_dimension_that_the_embeddings_do_not_have():
    with pytest.raises(UsageError, match="the embeddings have 32"):
        fitted("sasrec", {"dim": 16}, embeddings=embeddings())


@pytest.mark.parametrize("name", ["sasrec", "bert4rec"])
def test_heads_must_share_the_dimensions(name):
    with pytest.raises(UsageError, match="cannot be divided among 3 heads"):
        fitted(name, {"heads": 3, "dim": 32})


def test_items_unseen_in_training_by_their_text():
    train = Sessions.from_lists([[a, (a + 1) % 30, (a + 2) % 30] for a in range(30)] * 3)
    vectors = embeddings().vectors.copy()
    vectors[35] = 0  # has no text
    given = ItemEmbeddings(vectors, "test", "m", "{title}")

    def listed(**settings) -> set:
        settings = {"epochs": 2, "dim": None, "item_vectors": "adapter"} | settings
        model, _ = fitted("sasrec", settings, train=train, embeddings=given)
        return set(model.recommend(sessions(5), N_ITEMS, exclude_history=False).items.ravel().tolist()) - {-1}

    model, _ = fitted("sasrec", {"epochs": 1, "dim": None, "cold_items": True}, train=train, embeddings=given)
    assert len(model.item_ids) == 39
    items, lengths = np.array([[1, 2, 3]]), np.array([3])
    assert len(model.network(model.make_batch(items, lengths, np.random.default_rng(0)))[1]) == 30
    assert listed() == set(range(30))
    assert listed(cold_items=True) == set(range(N_ITEMS)) - {35}
    with pytest.raises(UsageError, match="without their text"):
        fitted("sasrec", {"cold_items": True})


@pytest.mark.parametrize("name", MODELS)
def test_the_future_and_the_masked_cannot_be_seen(name):
    """What the network says where a loss is taken does not change with the item that is to be said, or later ones."""
    model, _ = fitted_once(name, epochs=1, dropout=0.0)
    random = np.random.default_rng(0)
    items = random.integers(N_ITEMS, size=(6, 8))
    lengths = np.full(6, 8)

    def said(items):
        batch = model.make_batch(items, lengths, np.random.default_rng(5))
        with torch.no_grad():
            return batch, model.network(batch)[0]

    batch, before = said(items)
    width = batch.items.shape[1]
    for m, place in enumerate(batch.places.tolist()):
        row, step = divmod(place, width)
        changed = items.copy()
        if name == "bert4rec":
            changed[row, step] = (items[row, step] + 17) % N_ITEMS
        else:  # the target stands one later
            changed[row, step + 1 :] = (items[row, step + 1 :] + 17) % N_ITEMS
        assert torch.allclose(said(changed)[1][m], before[m], atol=1e-6)
    # The test can fail: what may be seen does change the outcome.
    changed = items.copy()
    changed[:, 0] = (changed[:, 0] + 17) % N_ITEMS
    assert not torch.allclose(said(changed)[1], before, atol=1e-3)


@pytest.mark.parametrize("name", MODELS)
def test_padding_and_company_never_change_scores(name):
    model, _ = fitted_once(name, epochs=2)
    histories = sessions(150, seed=4).histories()
    whole = model.recommend(histories, 10)
    for start, stop in ((0, 1), (3, 40), (149, 150)):
        part = model.recommend(histories.slice(start, stop), 10)
        assert np.array_equal(part.items, whole.items[start:stop])
        assert np.array_equal(part.scores, whole.scores[start:stop])


@pytest.mark.parametrize("name", MODELS)
def test_padding_never_changes_what_is_encoded(name):
    model, _ = fitted_once(name, epochs=2)
    random = np.random.default_rng(3)
    short = torch.from_numpy(random.integers(N_ITEMS, size=(5, 4)))
    lengths = torch.tensor([4, 3, 1, 4, 2])
    long = torch.cat([short, torch.from_numpy(random.integers(N_ITEMS, size=(5, 9)))], dim=1)
    with torch.no_grad():
        one, other = (model.network.encode(items, lengths, model.network.item_vectors()) for items in (short, long))
    assert torch.allclose(one, other, atol=1e-5)


class SameInEveryRow:
    """Random numbers that depend on the place in a session alone."""

    def random(self, shape):
        numbers = np.array([0.9, 0.2, 0.7, 0.1, 0.6, 0.3, 0.8, 0.5])
        return np.full(shape, 0.5) if isinstance(shape, int) else np.tile(numbers[: shape[1]], (shape[0], 1))


@pytest.mark.parametrize("name", MODELS)
def test_batches_filled_up_give_the_same_loss(name):
    """The mean loss of a batch is that of its sessions, however far they are filled up."""
    from llmseq_cli.models.neural.losses import softmax_loss

    model, _ = fitted_once(name, epochs=1, dropout=0.0)
    random = np.random.default_rng(3)
    lists = [random.integers(N_ITEMS, size=n) for n in (8, 3, 5)]
    items, lengths = np.zeros((3, 8), dtype=np.int64), np.array([8, 3, 5])
    for row, one in enumerate(lists):
        items[row, : len(one)] = one

    def loss(items, lengths) -> tuple[float, int]:
        batch = model.make_batch(items, lengths, SameInEveryRow())
        with torch.no_grad():
            hidden, vectors = model.network(batch)
            return float(softmax_loss(hidden, vectors, batch.targets)) * len(batch.targets), len(batch.targets)

    together = loss(items, lengths)
    alone = [loss(items[row : row + 1, :n], np.array([n])) for row, n in enumerate(lengths)]
    assert together[1] == sum(n for _, n in alone)
    assert together[0] == pytest.approx(sum(total for total, _ in alone), rel=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_same_seed_same_weights(name):
    first, second, other = (
        fitted(name, {"epochs": 2}, train=sessions(60), seed=seed)[0].arrays() for seed in (1, 1, 2)
    )
    assert all(np.array_equal(first[key], second[key]) for key in first)
    assert any(not np.array_equal(first[key], other[key]) for key in first)


def test_training_leaves_the_random_state_of_torch_and_its_threads_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    threads = torch.get_num_threads()
    fitted("sasrec", {"epochs": 1, "threads": 1})
    assert torch.equal(torch.rand(2), expected)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("name", MODELS)
def test_saved_and_loaded(name, tmp_path):
    model, _ = fitted(name, {"epochs": 2, "head": "projection"}, train=sessions(60))
    model.save(tmp_path)
    loaded: Recommender = model_class(name).load(tmp_path)
    histories = sessions(20, seed=2).histories()
    one, other = model.recommend(histories, 7), loaded.recommend(histories, 7)
    assert np.array_equal(one.items, other.items)
    assert np.array_equal(one.scores, other.scores)
    assert (tmp_path / "curve.json").read_text().count('"loss"') == 2


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine", "plateau"])
def test_schedules_train(schedule):
    assert hit_rate(fitted("sasrec", LEARNING | {"schedule": schedule, "grad_clip": 5.0})[0]) > 0.9


def test_the_best_weights_come_back():
    """A rate that makes training worse after its best epoch: the model is that of the best epoch."""
    settings = {"learning_rate": 0.05, "patience": 3, "refit": False}
    model, figures = fitted("sasrec", settings | {"epochs": 12})
    curve = [entry["ndcg"] for entry in model.curve]
    assert figures["best_epoch"] == int(np.argmax(curve)) + 1
    assert figures["epochs"] - figures["best_epoch"] <= 3
    again, _ = fitted("sasrec", settings | {"epochs": figures["best_epoch"]})
    assert all(np.array_equal(array, again.arrays()[key]) for key, array in model.arrays().items())


def test_refitted_on_all_sessions_for_as_many_epochs_as_were_best():
    search, figures = fitted("sasrec", {"epochs": 4})
    whole, _ = fitted("sasrec", {"epochs": figures["best_epoch"], "patience": 0})
    assert figures["refit_epochs"] == figures["best_epoch"]
    assert all(np.array_equal(array, whole.arrays()[key]) for key, array in search.arrays().items())
    kept, _ = search._split(sessions(), FitContext(None, seed=0))
    trained_on = figures["epochs"] * (kept.lengths - 1).sum() + figures["refit_epochs"] * (sessions().lengths - 1).sum()
    assert figures["trained_positions"] == trained_on


def test_without_patience_all_sessions_are_trained_on_for_all_epochs():
    _, figures = fitted("sasrec", {"epochs": 3, "patience": 0})
    assert figures["epochs"] == 3
    assert "validation_ndcg" not in figures
    assert figures["trained_positions"] == 3 * (sessions().lengths - 1).sum()


@pytest.mark.parametrize("validation", ["temporal", "random"])
def test_what_is_held_out(validation):
    settings = model_class("sasrec").Settings(validation=validation)
    kept, held_out = hold_out(sessions(), settings, seed=0)
    assert len(held_out) == 30
    assert sorted([*kept.ids, *held_out.ids]) == list(range(300))
    assert (held_out.ids.min() > kept.ids.max()) == (validation == "temporal")


def test_a_loss_that_is_no_number_is_an_error(monkeypatch):
    def lost(hidden, *rest):
        return (hidden * torch.nan).sum()

    monkeypatch.setattr(loop, "softmax_loss", lost)
    with pytest.raises(LlmseqError, match="no longer a number") as raised:
        fitted("gru4rec", {"epochs": 1})
    assert "learning_rate" in raised.value.hint


def test_sessions_without_anything_to_predict():
    with pytest.raises(UsageError, match="two items"):
        fitted("sasrec", train=Sessions.from_lists([[1], [2]]))


def test_memory_is_forecast(monkeypatch):
    small = memory.forecast(12_000, 64, 800_000, 2560, "softmax", 0, "cpu")
    assert small.chunk == 128
    big = memory.forecast(1_000_000, 64, 64_000_000, 2560, "softmax", 0, "cpu")
    assert big.chunk * 1_000_000 * 4 <= 2**28
    assert 2**30 < big.bytes < 4 * 2**30
    monkeypatch.setattr(memory, "_free", lambda device: 10**9)
    with pytest.raises(LlmseqError) as raised:
        memory.forecast(1_000_000, 64, 64_000_000, 2560, "softmax", 0, "cpu")
    assert "loss=sampled" in raised.value.hint


def test_compiled_where_it_works_and_as_it_is_where_not(monkeypatch):
    messages = []

    class Told:
        from llmseq_cli.progress import SilentProgress

        task = SilentProgress.task
        message = messages.append
        warn = messages.append

    def broken(network, dynamic):
        def call(batch):
            raise RuntimeError("no compiler")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    plain, compiled = (
        fitted("sasrec", {"epochs": 1, "compile": wanted, "refit": False}, progress=Told())[0].arrays()
        for wanted in (False, True)
    )
    assert messages == ["torch.compile failed, training without it: RuntimeError"]
    assert all(np.array_equal(plain[key], compiled[key]) for key in plain)


@needs_cuda
@pytest.mark.parametrize("name", MODELS)
def test_on_cuda(name):
    model, _ = fitted(name, {"epochs": 40}, device="cuda")
    assert hit_rate(model) > 0.95
    histories = sessions(50, seed=2).histories()
    ranking = model.recommend(histories, 10)
    loaded = model_class(name)(model.settings, N_ITEMS)
    loaded.restore_arrays(model.arrays())
    on_cpu = loaded.recommend(histories, 10)
    assert (ranking.items == on_cpu.items).mean() > 0.98
    again, _ = fitted(name, {"epochs": 2}, device="cuda")
    same, _ = fitted(name, {"epochs": 2}, device="cuda")
    assert all(np.array_equal(array, same.arrays()[key]) for key, array in again.arrays().items())


def test_selection_in_torch_keeps_the_tie_rule():
    """The selection for other devices, run on the CPU: the same lists as numpy's, ties and all."""
    from llmseq_cli.models.neural.scoring import _rank_on_device, rank_sessions

    random = np.random.default_rng(0)
    output = torch.from_numpy(random.integers(-2, 3, size=(90, 4)).astype(np.float32))
    hidden = torch.from_numpy(random.integers(-2, 3, size=(33, 4)).astype(np.float32))
    candidates = random.random(90) < 0.8
    histories = Sessions.from_lists([random.integers(90, size=random.integers(0, 6)) for _ in range(33)])
    for k in (1, 10, 100):
        for exclude in (True, False):
            one = rank_sessions(hidden, output, candidates, histories, k, exclude_history=exclude)
            other = _rank_on_device(hidden.clone(), output, candidates, histories, k, exclude)
            assert np.array_equal(one.items, other.items)
            assert np.array_equal(one.scores, other.scores)


def test_sparse_vectors_need_a_reduction():
    from scipy.sparse import csr_array

    given = ItemEmbeddings(csr_array(embeddings().vectors), "test", "m", "{title}")
    cls = model_class("sasrec")
    with pytest.raises(UsageError, match="dense"):
        cls(cls.Settings(), N_ITEMS).fit(sessions(), FitContext(catalog(), given))


def masked_places(settings, lengths, seed=0):
    """bool[n, length]: where a batch of BERT4Rec is masked, and where a session has an item."""
    model, _ = fitted("bert4rec", {"epochs": 1} | settings, train=sessions(40))
    items = np.tile(np.arange(max(lengths)), (len(lengths), 1))
    batch = model.make_batch(items, np.array(lengths), np.random.default_rng(seed))
    masked = np.zeros(items.size, dtype=bool)
    masked[batch.places.numpy()] = True
    return masked.reshape(items.shape), np.arange(items.shape[1]) < np.array(lengths)[:, None]


def test_bert4rec_masks_the_last_item_as_in_use_and_others_at_random():
    masked, inside = masked_places({"mask": 0.3}, [8] * 400)
    assert not (masked & ~inside).any()
    assert masked[:, -1].all()
    assert 0.25 < masked[:, 1:-1].mean() < 0.4
    masked, _ = masked_places({"mask": 0.3, "mask_last": 0.0}, [8] * 400)
    assert 0.25 < masked[:, -1].mean() < 0.4
    masked, _ = masked_places({"mask": 0.01, "mask_last": 0.0}, [8] * 400)
    assert masked.any(axis=1).all()  # every session teaches something


def test_bert4rec_keeps_something_to_see_where_masks_are_not():
    masked, inside = masked_places({"mask": 1.0, "attend_masks": False}, [2, 5, 8] * 20)
    assert (masked.sum(axis=1) == inside.sum(axis=1) - 1).all()
    masked, inside = masked_places({"mask": 1.0, "attend_masks": True}, [2, 5, 8] * 20)
    assert (masked == inside).all()


@pytest.mark.parametrize("attend", [True, False])
def test_bert4rec_in_training_sees_what_it_sees_in_use(attend):
    """What it says of a masked last item is what it recommends after the others; other masks matter where attended."""
    from llmseq_cli.models.neural.batches import on_device

    model, _ = fitted("bert4rec", {"epochs": 1, "dropout": 0.0, "attend_masks": attend})
    network, vectors = model.network, model.network.item_vectors()
    items = np.array([[3, 1, 4, 2, 5]])
    lengths = np.array([5])

    def at_the_end(places):
        batch = on_device(items, lengths, np.array(places), items.reshape(-1)[places], "cpu")
        with torch.no_grad():
            hidden, _ = network(batch)
        return hidden[-1]

    with torch.no_grad():
        in_use = network.encode(torch.from_numpy(items[:, :4]), torch.tensor([4]), vectors)[0]
        fewer = network.encode(torch.tensor([[1, 4, 2]]), torch.tensor([3]), vectors)[0]
    assert torch.allclose(at_the_end([4]), in_use, atol=1e-5)
    assert torch.allclose(at_the_end([0, 4]), fewer, atol=1e-5) != attend


@pytest.mark.parametrize("norm_first", [True, False])
def test_bert4rec_computes_the_places_that_count_as_it_computes_all(norm_first):
    from llmseq_cli.models.bert4rec import BERT4RecEncoder, BERT4RecSettings
    from llmseq_cli.models.neural.batches import on_device
    from llmseq_cli.models.neural.network import Encoder

    torch.manual_seed(0)
    encoder = BERT4RecEncoder(8, BERT4RecSettings(layers=2, norm_first=norm_first, init="random")).eval()
    items, lengths = np.arange(12).reshape(3, 4), np.array([4, 2, 3])
    batch = on_device(items, lengths, np.array([1, 3, 4, 10]), np.array([1, 3, 4, 10]), "cpu")
    vectors = torch.randn(3, 4, 8, requires_grad=True)
    ours, all_of_them = encoder.at_places(vectors, batch), Encoder.at_places(encoder, vectors, batch)
    torch.testing.assert_close(ours, all_of_them)
    mixed = torch.randn(4, 8)
    of_ours, of_all = (torch.autograd.grad((hidden * mixed).sum(), vectors)[0] for hidden in (ours, all_of_them))
    torch.testing.assert_close(of_ours, of_all)
