import numpy as np
import pytest
import torch
from support.planted import LEARNING, fitted, hit_rate

from llmseq_cli.errors import UsageError
from llmseq_cli.models.hstu import HSTULayer


def test_learns_a_planted_pattern():
    assert hit_rate(fitted("hstu", LEARNING | {"epochs": 4, "patience": 0})[0]) > 0.95


def silu(x):
    return x / (1 + np.exp(-x))


def norm(x, layer):
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + layer.eps)
    return x * layer.weight.numpy() + layer.bias.numpy()


@torch.no_grad()
def test_a_layer_against_loops():
    torch.manual_seed(0)
    heads, dim, longest = 2, 6, 9
    layer = HSTULayer(dim, heads, longest, dropout=0.0)
    layer.by_distance.normal_()
    x, bias = torch.randn(2, 4, dim), torch.randn(2, heads, 4, 4)
    found = layer(x, bias).numpy()
    u, q, k, v = np.split(
        silu(norm(x.numpy(), layer.norm) @ layer.inward.weight.numpy().T + layer.inward.bias.numpy()), 4, axis=-1
    )
    width = dim // heads
    for session in range(2):
        for place in range(4):
            total = np.zeros(dim)
            for head in range(heads):
                own = slice(head * width, (head + 1) * width)
                for earlier in range(place + 1):
                    logit = q[session, place, own] @ k[session, earlier, own]
                    logit += layer.by_distance[head, place - earlier].item()
                    logit += bias[session, head, place, earlier].item()
                    total[own] += silu(logit) / longest * v[session, earlier, own]
            said = (norm(total, layer.sum_norm) * u[session, place]) @ layer.outward.weight.numpy().T
            np.testing.assert_allclose(found[session, place], x[session, place].numpy() + said, rtol=1e-3, atol=1e-5)


def test_what_cannot_be():
    with pytest.raises(UsageError, match="no layout"):
        fitted("hstu", {"layout": "paper"})
    with pytest.raises(UsageError, match="cannot be divided among 5 heads"):
        fitted("hstu", {"heads": 5})
