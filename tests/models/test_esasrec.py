import numpy as np
import pytest
import torch
from support.planted import LEARNING, embeddings, fitted, hit_rate

from llmseq_cli.errors import UsageError
from llmseq_cli.models.esasrec import LiGRBlock
from llmseq_cli.models.neural.transformer import Block


def test_learns_a_planted_pattern():
    assert hit_rate(fitted("esasrec", LEARNING | {"epochs": 4, "patience": 0, "negatives": 20})[0]) > 0.95


def blocks() -> tuple[LiGRBlock, Block]:
    """A gated block, and a plain one with the same weights."""
    torch.manual_seed(0)
    gated = LiGRBlock(8, 2, 12, dropout=0.0)
    plain = Block(8, 2, 12, "swiglu", 0.0, norm_first=True)
    plain.load_state_dict({name: value for name, value in gated.state_dict().items() if not name.startswith("gates")})
    return gated, plain


@torch.no_grad()
def test_a_block_with_open_gates_is_a_plain_one_and_with_closed_gates_none():
    gated, plain = blocks()
    x = torch.randn(3, 5, 8)
    for gate in gated.gates:
        gate.weight.zero_()
        gate.bias.fill_(100.0)
    torch.testing.assert_close(gated(x, None, None), plain(x, None, None))
    for gate in gated.gates:
        gate.bias.fill_(-100.0)
    torch.testing.assert_close(gated(x, None, None), x)


@torch.no_grad()
def test_a_gate_sees_what_comes_in():
    gated, _ = blocks()
    x = torch.randn(1, 1, 8)
    first = x + torch.sigmoid(gated.gates[0](x)) * gated.attention(gated.norms[0](x), None, None)
    gate, up = gated.feed_forward.inward(gated.norms[1](first)).chunk(2, dim=-1)
    wanted = first + torch.sigmoid(gated.gates[1](first)) * gated.feed_forward.outward(gate * torch.sigmoid(gate) * up)
    torch.testing.assert_close(gated(x, None, None), wanted)


@torch.no_grad()
def test_only_the_place_that_asks():
    gated, _ = blocks()
    x, at = torch.randn(3, 5, 8), torch.tensor([4, 0, 2])
    seen = torch.ones(5, 5, dtype=torch.bool).tril()
    whole = gated(x, seen, None)[torch.arange(3), at]
    torch.testing.assert_close(gated(x, seen[at][:, None, None], at)[:, 0], whole)


def test_starts_from_text():
    model, _ = fitted("esasrec", {"epochs": 1, "learning_rate": 0.0, "dim": None}, embeddings=embeddings())
    assert model.label(embeddings()) == "LLM2eSASRec"
    assert np.allclose(model.arrays()["network.item_vectors.vectors"], embeddings().vectors, atol=1e-6)


def test_has_no_layout_of_the_papers():
    with pytest.raises(UsageError, match="no layout"):
        fitted("esasrec", {"layout": "paper"})
