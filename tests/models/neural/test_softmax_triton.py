"""The fused softmax by Triton's interpreter; that it compiles for GPUs; and on a GPU, if there is one."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from argparse import Namespace
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from llmseq_cli.models.neural import losses

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
TRITON = tuple(map(int, version("triton").split(".")[:2])) if importlib.util.find_spec("triton") else (0, 0)
old = pytest.mark.skipif(TRITON < (3, 7), reason="the interpreter of old Tritons does not know today's numpy")

CASES = {
    "fewer than a tile": (5, 40, 8, 1, "float32", 1),
    "one of everything": (1, 2, 1, 1, "float32", 1),
    "ragged, in shares": (33, 129, 48, 1, "float32", 3),
    "more shares than tiles": (40, 70, 16, 1, "float32", 9),
    "long vectors, in parts": (35, 66, 150, 1, "float32", 2),
    "logits in the hundreds": (40, 70, 64, 100, "float32", 2),
    "bfloat16": (70, 150, 48, 1, "bfloat16", 2),
    "bfloat16, long vectors": (66, 65, 130, 1, "bfloat16", None),
}


@pytest.fixture(scope="module")
def interpreted():
    script = Path(__file__).parents[2] / "support" / "triton_cases.py"
    done = subprocess.run(
        [sys.executable, str(script), json.dumps(list(CASES.values()))],
        env=os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@old
@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradients_are_those_of_float64(interpreted, name):
    loss, *gradients = interpreted["errors"][list(CASES).index(name)]
    precise = CASES[name][4] == "float32"
    assert loss < (1e-6 if precise else 1e-3)
    assert max(gradients) < (5e-5 if precise else 1e-2)


@old
def test_the_kernel_is_tried_before_it_is_trusted(interpreted):
    assert interpreted["works"] == [True, True]
    from llmseq_cli.models.neural import softmax_triton

    assert not softmax_triton.works(torch.device("cpu"), 24, torch.float32)  # there is no kernel without interpreter


@old
@pytest.mark.parametrize(("kind", "architecture"), [("bf16", 90), ("fp32", 80)])
def test_it_compiles_for_gpus(kind, architecture):
    from triton import compile
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from llmseq_cli.models.neural import softmax_triton as fused

    blocks = fused._blocks(64, {"bf16": torch.bfloat16, "fp32": torch.float32}[kind])
    options = {name: blocks.pop(name) for name in ("num_warps", "num_stages")}
    for kernel in (fused._log_sums, fused._grad_hidden, fused._grad_items):
        names = [name for name in kernel.arg_names if name not in blocks]
        types = dict.fromkeys(names, "i32") | dict.fromkeys(blocks, "constexpr")
        types |= dict.fromkeys(("h", "e"), f"*{kind}")
        types |= {name: "*fp32" for name in ("out", "log_sums", "weights") if name in names}
        aligned = {(place,): [["tt.divisibility", 16]] for place, name in enumerate(names) if types[name] != "i32"}
        made = compile(
            ASTSource(kernel, types, blocks, aligned), target=GPUTarget("cuda", architecture, 32), options=options
        )
        assert made.metadata.shared <= 48 * 1024
        products = "wgmma" if architecture == 90 else "mma.sync"
        assert (products in made.asm["ptx"]) == (kind == "bf16")


def test_the_benchmark_runs_without_a_gpu(monkeypatch, capsys):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    import bench_gpu

    bench_gpu.run(Namespace(dry_gpu=True))
    printed = capsys.readouterr().out
    assert "figures mean nothing" in printed
    assert [line.split()[0] for line in printed.splitlines() if line.startswith("  ")] == ["fused", "plain"] * 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("n", "n_items", "dim"), [(900, 11_957, 64), (77, 1_001, 50), (300, 5_000, 200)])
def test_on_cuda(n, n_items, dim, precision):
    from llmseq_cli.models.neural import softmax_triton

    assert softmax_triton.works(torch.device("cuda", 0), dim, precision)
    numbers = torch.Generator("cuda").manual_seed(0)
    hidden, items = (torch.randn(rows, dim, generator=numbers, device="cuda") / dim**0.25 for rows in (n, n_items))
    targets = torch.randint(n_items, (n,), generator=numbers, device="cuda")
    found = []
    for kind in (torch.float32, torch.float32, torch.float64):
        leaves = [each.to(kind).requires_grad_() for each in (hidden, items)]
        exact = kind is torch.float64
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        loss = (
            functional.cross_entropy(leaves[0] @ leaves[1].T, targets)
            if exact
            else losses.softmax_loss(*leaves, targets, precision=precision)
        )
        loss.backward()
        if not exact and n == 900:
            assert torch.cuda.max_memory_allocated() - before < n * n_items * 4  # the logits are never there
        found.append([loss.detach(), *(each.grad for each in leaves)])
    for once, again, exact in zip(*found, strict=True):
        assert torch.equal(once, again)
        assert (once - exact).abs().max() < (1e-5 if precision is torch.float32 else 2e-2) * exact.abs().max()
