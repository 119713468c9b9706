import numpy as np
import pytest
import torch
from torch.nn import functional

from llmseq_cli.models.neural import losses
from llmseq_cli.models.neural.losses import gbce_loss, sampled_softmax_loss, softmax_loss

N_ITEMS, DIM, N = 300, 16, 50


def some(scale: float = 1.0, seed: int = 0):
    random = torch.Generator().manual_seed(seed)
    hidden = scale * torch.randn(N, DIM, generator=random)
    items = torch.randn(N_ITEMS, DIM, generator=random)
    targets = torch.randint(N_ITEMS, (N,), generator=random)
    return hidden.requires_grad_(), items.requires_grad_(), targets


def gradients(loss, hidden, items):
    return torch.autograd.grad(loss, [hidden, items])


# With a scale of 30 logits reach hundreds: without a shift their exponentials would overflow.
@pytest.mark.parametrize("scale", [0.1, 1, 30])
@pytest.mark.parametrize("chunk", [1, 7, 50, 128])
def test_the_chunked_softmax_is_cross_entropy(monkeypatch, scale, chunk):
    monkeypatch.setattr(losses.softmax_kernel, "kernel", lambda precision: None)
    hidden, items, targets = some(scale)
    expected = functional.cross_entropy(hidden @ items.T, targets)
    loss = softmax_loss(hidden, items, targets, chunk)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    for ours, plain in zip(gradients(loss, hidden, items), gradients(expected, hidden, items), strict=True):
        assert torch.linalg.norm(ours - plain) < 1e-4 * torch.linalg.norm(plain)


@pytest.mark.parametrize("compiled", [True, False])
def test_bfloat16_comes_close(monkeypatch, compiled):
    if not compiled:
        monkeypatch.setattr(losses.softmax_kernel, "kernel", lambda precision: None)
    hidden, items, targets = some()
    expected = functional.cross_entropy(hidden @ items.T, targets)
    loss = softmax_loss(hidden, items, targets, 32, torch.bfloat16)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-2)
    for ours, plain in zip(gradients(loss, hidden, items), gradients(expected, hidden, items), strict=True):
        assert torch.linalg.norm(ours - plain) / torch.linalg.norm(plain) < 0.02


@pytest.mark.parametrize("way", ["kernel", "targets", "items"])
def test_a_target_that_counts_three_times_is_there_three_times(monkeypatch, way):
    if way != "kernel":
        monkeypatch.setattr(losses.softmax_kernel, "kernel", lambda precision: None)
    monkeypatch.setattr(losses, "LARGE_CATALOG", N_ITEMS - 1 if way == "items" else N_ITEMS)
    hidden, items, targets = some()
    counts = torch.arange(N) % 3 + 1
    often = torch.arange(N).repeat_interleave(counts)
    wanted = softmax_loss(hidden[often], items, targets[often], 32)
    ours = softmax_loss(hidden, items, targets, 32, counts=counts)
    assert ours.item() == pytest.approx(wanted.item(), rel=1e-5)
    for one, other in zip(gradients(ours, hidden, items), gradients(wanted, hidden, items), strict=True):
        assert torch.linalg.norm(one - other) < 1e-5 * torch.linalg.norm(other)


def test_gradients_scale_with_what_follows():
    hidden, items, targets = some()
    whole = gradients(softmax_loss(hidden, items, targets), hidden, items)
    half = gradients(softmax_loss(hidden, items, targets) / 2, hidden, items)
    assert torch.allclose(whole[0], 2 * half[0])
    assert torch.allclose(whole[1], 2 * half[1])


def test_sampled_softmax_against_loops():
    hidden, items, targets = some()
    random = np.random.default_rng(1)
    q = random.dirichlet(np.ones(N_ITEMS))
    drawn = random.choice(N_ITEMS, 40, p=q)
    loss = sampled_softmax_loss(
        hidden, items, targets, torch.from_numpy(drawn), torch.from_numpy(np.log(40 * q[drawn]).astype(np.float32))
    )
    z = (hidden @ items.T).detach().double().numpy()
    expected = 0.0
    for row, target in enumerate(targets.tolist()):
        total = np.exp(z[row, target]) + sum(np.exp(z[row, j]) / (40 * q[j]) for j in drawn if j != target)
        expected -= np.log(np.exp(z[row, target]) / total)
    assert loss.item() == pytest.approx(expected / N, rel=1e-4)


def test_sampled_softmax_of_many_draws_is_the_softmax():
    hidden, items, targets = some(0.3)
    random = np.random.default_rng(2)
    q = 0.5 / N_ITEMS + 0.5 * random.dirichlet(np.ones(N_ITEMS))
    m = 200_000
    drawn = random.choice(N_ITEMS, m, p=q)
    expected = torch.from_numpy(np.log(m * q[drawn]).astype(np.float32))
    loss = sampled_softmax_loss(hidden, items, targets, torch.from_numpy(drawn), expected)
    assert loss.item() == pytest.approx(functional.cross_entropy(hidden @ items.T, targets).item(), abs=0.01)


@pytest.mark.parametrize("calibration", [0, 0.75, 1])
def test_gbce_against_loops(calibration):
    hidden, items, targets = some()
    drawn = np.random.default_rng(3).integers(N_ITEMS, size=30)
    loss = gbce_loss(hidden, items, targets, torch.from_numpy(drawn), calibration)
    z = (hidden @ items.T).detach().double().numpy()
    share = 30 / (N_ITEMS - 1)
    beta = share * (calibration * (1 - 1 / share) + 1 / share)
    assert (beta == pytest.approx(1)) if calibration == 0 else (beta < 1)
    expected = 0.0
    for row, target in enumerate(targets.tolist()):
        expected += beta * np.log1p(np.exp(-z[row, target]))
        expected += sum(np.log1p(np.exp(z[row, j])) for j in drawn if j != target)
    assert loss.item() == pytest.approx(expected / N, rel=1e-4)


@pytest.mark.parametrize("groups", [1, 7, 50])
@pytest.mark.parametrize("loss", ["weighted", "unweighted", "gbce"])
def test_groups_of_targets_with_negatives_of_their_own(loss, groups):
    hidden, items, targets = some()
    random = torch.Generator().manual_seed(1)
    negatives = torch.randint(N_ITEMS, (groups, 12), generator=random)
    expected = torch.randn(groups, 12, generator=random)

    def compute(rows, drawn, weights):
        if loss == "gbce":
            return gbce_loss(hidden[rows], items, targets[rows], drawn)
        return sampled_softmax_loss(hidden[rows], items, targets[rows], drawn, weights if loss == "weighted" else None)

    found = compute(slice(None), negatives, expected)
    size = -(-N // groups)
    parts = [compute(slice(g * size, (g + 1) * size), negatives[g], expected[g]) for g in range(groups)]
    parts = [part for part in parts if torch.isfinite(part)]
    sizes = [len(targets[g * size : (g + 1) * size]) for g in range(groups)]
    wanted = sum(size * part for size, part in zip(sizes, parts, strict=False)) / N
    assert found.item() == pytest.approx(wanted.item(), rel=1e-5)
    for ours, plain in zip(gradients(found, hidden, items), gradients(wanted, hidden, items), strict=True):
        assert torch.linalg.norm(ours - plain) < 1e-4 * torch.linalg.norm(plain)


def test_without_weights_the_target_stands_against_what_was_drawn():
    hidden, items, targets = some()
    negatives = (targets + 1) % N_ITEMS
    loss = sampled_softmax_loss(hidden[:1], items, targets[:1], negatives)
    others = negatives[negatives != targets[0]]
    logits = hidden[:1] @ items[torch.cat([targets[:1], others])].T
    wanted = functional.cross_entropy(logits, torch.zeros(1, dtype=torch.long))
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-5)
