"""Times of a session as a network's input: gaps between interactions as vectors, ages as a bias of attention.

Both are grouped into steps of equal ratio. Parameters of a step start at zero, so a network with times starts like one
without. Training hides the times of one session in ten, so that sessions without times, such as typed ones, can be
read.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.errors import UsageError

TIMES = ("none", "input", "bias", "both")

_STEPS = 72  # each step is a third longer than the previous one; the last starts at a hundred years
_UNKNOWN = 0
_HIDDEN = 0.1
_MICROSECONDS = 1e6


def check_times(sessions: Sessions) -> None:
    """Raises UsageError if the sessions' times only give their order."""
    times = sessions.times
    if times is None:
        raise UsageError("the training sessions have no times", "leave out time")
    gaps = np.diff(times)[np.diff(sessions.rows()) == 0]
    if not len(gaps) or (gaps == gaps[0]).all():
        raise UsageError("the dataset's times only give the order of the interactions", "leave out time")


class SessionTimes(nn.Module):
    """use: "input" adds a vector to every item for the gap since the previous item, "bias" adds a number to attention
    logits for the age of an item relative to the query, "both" does both, "none" neither. heads: of the attention, each
    with its own numbers.
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
        """(x plus the vectors of the gaps, the bias float32[n, heads, length, length] or None).

        x: float32[n, length, dim]. times: int64[n, length], microseconds, or None if unknown.
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
