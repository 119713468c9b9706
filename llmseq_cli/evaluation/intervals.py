"""Intervals for shares: Wilson's score interval, and Newcombe's for the difference of two, which builds on it."""

from __future__ import annotations

import math
from statistics import NormalDist

_CONFIDENCE = 0.95


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Score interval of a share (Wilson 1927); also valid for shares near 0 and 1 (Brown, Cai and DasGupta 2001)."""
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + _CONFIDENCE) / 2)
    share, factor = hits / n, 1 + z * z / n
    center = (share + z * z / (2 * n)) / factor
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / factor
    low, high = max(0.0, center - half), min(1.0, center + half)
    return (0.0 if hits == 0 else low), (1.0 if hits == n else high)


def difference(hits: int, n: int, control_hits: int, control_n: int) -> tuple[float, float]:
    """Interval of hits / n − control_hits / control_n (Newcombe 1998, method 10)."""
    if not n or not control_n:
        return -1.0, 1.0
    share, control = hits / n, control_hits / control_n
    (low, high), (control_low, control_high) = wilson(hits, n), wilson(control_hits, control_n)
    apart = share - control
    below = math.hypot(share - low, control_high - control)
    above = math.hypot(high - share, control - control_low)
    return apart - below, apart + above
