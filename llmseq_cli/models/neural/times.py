"""The times of a session as a network reads them: gaps between interactions as input, their ages as a bias.

Both are sorted into steps of equal ratio. What is learnt for a step starts at zero, so that a network with times starts
as one without. Training hides the times of one session in ten: a session without times, typed in say, is read as that.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.errors import UsageError

TIMES = ("none", "input", "bias", "both")

_STEPS = 72  # a step is a third longer than the one before: the last begins at a hundred years
_UNKNOWN = 0
_HIDDEN = 0.1
_MICROSECONDS = 1e6


def check_times(sessions: Sessions) -> None:
    """Raises UsageError where the sessions' times tell nothing beyond their order."""
    times = sessions.times
    if times is None:
        raise UsageError("the training sessions come without times", "leave time out")
    gaps = np.diff(times)[np.diff(sessions.rows()) == 0]
    if not len(gaps) or (gaps == gaps[0]).all():
        raise UsageError("the dataset's times tell nothing but the order of the interactions", "leave time out")


class SessionTimes(nn.Module):
    """use: "input" adds a vector to every item by the gap since the item before it, "bias" a number to the logits of
    attention by how much older an item is than the one that looks at it, "both" does both, "none" nothing.
    heads: of the attention, each with numbers of its own.
    """

    gaps: nn.Parameter | None
    ages: nn.Parameter | None

    def __init__(self, use: str, dim: int, heads: int) -> None:
        super().__init__()
        self.register_parameter("gaps", None)
        self.register_parameter("ages", None)
        if use in ("input", "both"):
            self.gaps = nn.Parameter(torch.zeros(_STEPS, dim))
        if use in ("bias", "both"):
            self.ages = nn.Parameter(torch.zeros(_STEPS, heads))

    def forward(self, x: Tensor, times: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """(x with what the gaps add, the bias float32[n, heads, length, length] or None).

        x: float32[n, length, dim]. times: int64[n, length], microseconds, or None where they are not known.
        """
        if times is None or (self.gaps is None and self.ages is None):
            return x, None
        known = torch.ones(len(times), dtype=torch.int64, device=times.device)
        if self.training:
            known = (torch.rand(len(times), device=times.device) >= _HIDDEN).long()
        if self.gaps is not None:
            steps = functional.pad(_step(times.diff(dim=1)), (1, 0), value=_UNKNOWN)
            x = x + functional.embedding(steps * known[:, None], self.gaps, padding_idx=_UNKNOWN)
        if self.ages is None:
            return x, None
        steps = _step((times[:, :, None] - times[:, None]).abs()) * known[:, None, None]
        return x, functional.embedding(steps, self.ages, padding_idx=_UNKNOWN).permute(0, 3, 1, 2)


def _step(gaps: Tensor) -> Tensor:
    """int64: 1 for gaps below a second, 2, 3, … for longer ones. gaps: microseconds."""
    seconds = gaps.clamp(min=0).float() / _MICROSECONDS
    return (torch.log1p(seconds) / 0.3).long().clamp(max=_STEPS - 2) + 1
