"""The full softmax compiled from C: what it computes, and when torch computes instead."""

from __future__ import annotations

import os
import stat
import subprocess
import sys

import pytest
import torch
from torch.nn import functional

from llmseq_cli.models.neural import losses, softmax_kernel
from llmseq_cli.models.neural.losses import softmax_loss

KERNEL = softmax_kernel.kernel()
LOW = KERNEL is not None and KERNEL.bfloat16
PRECISIONS = [torch.float32, pytest.param(torch.bfloat16, marks=pytest.mark.skipif(not LOW, reason="no bfloat16"))]
needs_kernel = pytest.mark.skipif(KERNEL is None, reason="no C compiler")


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """As a new process would find it, with an empty cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    softmax_kernel._made.cache_clear()
    yield tmp_path / "cache" / "llmseq" / "kernels"
    softmax_kernel._made.cache_clear()


def some(n, n_items, dim, length=1.0, seed=0):
    """length: of the hidden vectors, about; those of the items are about 1 long."""
    random = torch.Generator().manual_seed(seed)
    hidden = length * functional.normalize(torch.randn(n, dim, generator=random), dim=1)
    items = torch.randn(n_items, dim, generator=random) / dim**0.5
    return hidden, items, torch.randint(n_items, (n,), generator=random)


def weights_of(n, seed=0):
    """Shares of the targets: not all alike."""
    weights = torch.randint(1, 4, (n,), generator=torch.Generator().manual_seed(seed)).float()
    return weights / weights.sum()


def exact(hidden, items, targets, weights):
    """(loss, both gradients) in float64."""
    hidden, items = hidden.double().requires_grad_(), items.double().requires_grad_()
    loss = functional.cross_entropy(hidden @ items.T, targets, reduction="none") @ weights.double()
    return loss.detach(), *torch.autograd.grad(loss, [hidden, items])


def apart(ours, wanted):
    return float(torch.linalg.norm(ours - wanted) / torch.linalg.norm(wanted))


# Numbers of positions, items and dimensions on both sides of whole vectors and blocks; more than one chunk; logits so
# large that exp would overflow, and such that bfloat16's own rounding of the inputs moves them.
@needs_kernel
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(
    ("n", "n_items", "dim", "length"),
    [
        (1, 2, 1, 1),
        (2, 63, 3, 4),
        (17, 64, 16, 8),
        (33, 65, 31, 8),
        (64, 130, 48, 8),
        (300, 201, 64, 8),
        (130, 500, 65, 8),
        (40, 500, 100, 30),
        (40, 500, 16, 100),
        (20, 300, 64, 1000),
    ],
)
def test_loss_and_gradients_are_those_of_float64(precision, n, n_items, dim, length):
    hidden, items, targets = some(n, n_items, dim, length)
    weights = weights_of(len(hidden))
    loss, *wanted = exact(hidden, items, targets, weights)
    ours, *grads = KERNEL.softmax(hidden, items, targets, weights, precision == torch.bfloat16, 1)
    low = precision == torch.bfloat16
    # A logit is off by as much as rounding moves the vectors: by less than 2⁻⁸ of its size, and few add up.
    assert ours == pytest.approx(float(loss), rel=1e-6, abs=2e-3 * length if low else 1e-5)
    for grad, right in zip(grads, wanted, strict=True):
        assert apart(grad, right) < (max(0.01, 4e-3 * length) if low else 1e-5)


@needs_kernel
@pytest.mark.skipif(not LOW, reason="no bfloat16")
def test_bfloat16_is_as_close_as_torch_in_bfloat16(monkeypatch):
    hidden, items, targets = some(256, 2000, 64, 8)
    weights = weights_of(len(hidden))
    _, *wanted = exact(hidden, items, targets, weights)
    _, *grads = KERNEL.softmax(hidden, items, targets, weights, True, 1)
    parts = losses._by_targets(hidden, items, targets, weights, 128, torch.bfloat16)[1:]
    for ours, torchs, right in zip(grads, parts, wanted, strict=True):
        assert apart(ours, right) < 0.002
        assert apart(ours, right) < apart(torchs, right)


@needs_kernel
@pytest.mark.parametrize("precision", PRECISIONS)
def test_bits_depend_neither_on_threads_nor_on_what_is_kept(precision):
    hidden, items, targets = some(300, 333, 48, 8)
    weights = weights_of(300)
    first = KERNEL.softmax(hidden, items, targets, weights, precision == torch.bfloat16, 1)
    for threads in (2, 3, 50):
        for kept in (2**26, 2**17, 0):
            other = KERNEL.softmax(hidden, items, targets, weights, precision == torch.bfloat16, threads, kept)
            assert other[0] == first[0]
            assert torch.equal(other[1], first[1])
            assert torch.equal(other[2], first[2])


@needs_kernel
@pytest.mark.parametrize("precision", PRECISIONS)
def test_all_logits_far_below_what_they_could_be(precision):
    """Their bound is 100 and they are about -100: shifted by the bound, every exponential would be 0."""
    hidden = torch.zeros(5, 16)
    hidden[:, 0] = 100
    items = 0.05 * torch.randn(90, 16, generator=torch.Generator().manual_seed(0))
    items[:, 0] = -1
    hidden[:, 1:] = 10 * torch.randn(5, 15, generator=torch.Generator().manual_seed(1))
    targets = torch.arange(5)
    weights = weights_of(len(hidden))
    loss, *wanted = exact(hidden, items, targets, weights)
    ours, *grads = KERNEL.softmax(hidden, items, targets, weights, precision == torch.bfloat16, 1)
    low = precision == torch.bfloat16
    assert ours == pytest.approx(float(loss), rel=0.01 if low else 1e-5)
    for grad, right in zip(grads, wanted, strict=True):
        assert apart(grad, right) < (0.02 if low else 1e-4)


@needs_kernel
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("where", ["hidden", "items"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_is_seen(precision, where, value):
    hidden, items, targets = some(20, 100, 16)
    (hidden if where == "hidden" else items)[7, 3] = value
    loss = softmax_loss(hidden.requires_grad_(), items.requires_grad_(), targets, 128, precision)
    assert not torch.isfinite(loss)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_vectors_that_lie_apart_in_memory(precision):
    hidden, items, targets = some(20, 100, 16, 4)
    wide = torch.zeros(100, 32)
    wide[:, ::2] = items
    before = softmax_loss(hidden, items, targets, 128, precision)
    after = softmax_loss(hidden.T.contiguous().T, wide[:, ::2], targets.repeat_interleave(2)[::2], 128, precision)
    assert after == before


@needs_kernel
def test_a_target_that_is_no_item():
    hidden, items, targets = some(20, 100, 16)
    targets[3] = 100
    with pytest.raises(IndexError, match="a target is no row of the items"):
        softmax_loss(hidden, items, targets)


@needs_kernel
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_process_computes_with_threads_of_its_own():
    hidden, items, targets = some(100, 200, 16)
    weights = weights_of(100)
    wanted = KERNEL.softmax(hidden, items, targets, weights, False, 2)[0]
    child = os.fork()
    if not child:
        os._exit(0 if KERNEL.softmax(hidden, items, targets, weights, False, 2)[0] == wanted else 1)
    assert os.waitpid(child, 0)[1] == 0


# The third way of `losses`, for large catalogs without a kernel.
@pytest.mark.parametrize("length", [1, 100])
def test_blocks_of_items(monkeypatch, length):
    hidden, items, targets = some(20, 1000, 16, length)
    weights = weights_of(len(hidden))
    loss, *wanted = exact(hidden, items, targets, weights)
    monkeypatch.setattr(losses, "_BLOCK", 1)
    ours, *grads = losses._by_items(hidden, items, targets, weights, 0, torch.float32)
    assert float(ours) == pytest.approx(float(loss), rel=1e-5)
    for grad, right in zip(grads, wanted, strict=True):
        assert apart(grad, right) < 1e-4
    low, *grads = losses._by_items(hidden, items, targets, weights, 0, torch.bfloat16)
    assert float(low) == pytest.approx(float(loss), abs=0.01 * length)


def test_a_large_catalog_without_a_kernel_is_computed_in_blocks(monkeypatch):
    hidden, items, targets = some(20, 300, 16, 4)
    monkeypatch.setattr(softmax_kernel, "kernel", lambda precision: None)
    monkeypatch.setattr(losses, "LARGE_CATALOG", 299)
    monkeypatch.setattr(losses, "_by_targets", None)
    loss = softmax_loss(hidden, items, targets)
    assert float(loss) == pytest.approx(float(exact(hidden, items, targets, torch.full((20,), 1 / 20))[0]), rel=1e-5)


@needs_kernel
def test_it_is_compiled_once_for_the_user_alone(fresh, monkeypatch):
    assert softmax_kernel.about() == "torch (kernel not compiled yet)"
    assert softmax_kernel.kernel() is not None
    assert softmax_kernel.about().startswith("compiled with ")
    [file] = fresh.iterdir()
    assert stat.S_IMODE(fresh.stat().st_mode) == 0o700
    softmax_kernel._made.cache_clear()
    monkeypatch.setattr(softmax_kernel, "_compile", None)
    assert softmax_kernel.kernel() is not None
    assert [file] == list(fresh.iterdir())


def test_what_is_said_of_it_needs_no_torch():
    """Runs without a network keep it with what they were made with."""
    code = "import sys; from llmseq_cli.models.neural import softmax_kernel; softmax_kernel.about(); "
    code += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("LLMSEQ_KERNEL", "0", "torch (LLMSEQ_KERNEL is off)"),
        ("CC", "no-such-compiler", "torch (no C compiler: no-such-compiler)"),
        ("CC", "false", "torch (false does not run)"),
        ("CC", "echo", "torch (echo failed: no reason given)"),
    ],
)
def test_torch_computes_where_there_is_no_compiler(fresh, monkeypatch, variable, value, said):
    monkeypatch.setenv(variable, value)
    assert softmax_kernel.about(compile_it=True) == said
    assert softmax_kernel.kernel() is None
    hidden, items, targets = some(20, 100, 16)
    loss = softmax_loss(hidden, items, targets)
    assert float(loss) == pytest.approx(float(exact(hidden, items, targets, torch.full((20,), 1 / 20))[0]), rel=1e-5)


def test_no_code_is_taken_from_a_folder_that_others_can_write_to(fresh):
    fresh.mkdir(parents=True)
    fresh.chmod(0o777)
    assert softmax_kernel.about(compile_it=True) == f"torch (others can write to {fresh})"
    assert list(fresh.iterdir()) == []
