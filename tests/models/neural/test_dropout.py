import pytest
import torch

from llmseq_cli.models.neural.dropout import dropout


@pytest.mark.parametrize("share", [0.01, 0.4, 0.95])
def test_the_share_is_dropped_and_the_mean_stays(share):
    torch.manual_seed(0)
    x = torch.ones(1000, 1000, requires_grad=True)
    y = dropout(x, share, True)
    assert (y == 0).float().mean().item() == pytest.approx(share, abs=0.002)
    assert y.mean().item() == pytest.approx(1, rel=0.02)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())
    assert not torch.equal(dropout(x, share, True), y)


def test_numbers_are_dropped_independently():
    torch.manual_seed(0)
    y = (dropout(torch.ones(400, 401), 0.5, True) == 0).float()
    for other in (y.roll(1, 1), y.roll(4, 1), y.roll(1, 0)):
        assert (y * other).mean().item() == pytest.approx(0.25, abs=0.01)


def test_nothing_is_dropped_without_training_or_share():
    x = torch.rand(3, 5)
    assert dropout(x, 0.5, False) is x
    assert dropout(x, 0.0, True) is x
