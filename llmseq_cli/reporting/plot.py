"""`Plot`: the content of a plot; `draw_files` draws it as PNG or SVG, `draw_text` in the terminal."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Series:
    """Points with one name: x, y float[n]; low, high: ends of their 95 % intervals, or None."""

    name: str
    x: np.ndarray
    y: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None

    def bar_width(self) -> float:
        """The width of a histogram's bars: the smallest distance between two of them."""
        return float(np.diff(self.x).min()) if len(self.x) > 1 else 1.0

    def to_dict(self) -> dict[str, Any]:
        made = {"name": self.name, "x": self.x.tolist(), "y": self.y.tolist()}
        if self.low is not None and self.high is not None:
            made |= {"low": self.low.tolist(), "high": self.high.tolist()}
        return made


@dataclass(frozen=True)
class Plot:
    """Series over one pair of axes.

    style: "line", "bars" (a histogram) or "points" (named one by one). ticks: labels at x = 0, 1, 2, …, if x is not
    numeric. caption: one or two sentences with units and counts. from_zero: y starts at 0.
    """

    kind: str
    title: str
    caption: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    style: str = "line"
    x_log: bool = False
    y_log: bool = False
    ticks: tuple[str, ...] | None = None
    from_zero: bool = True

    def to_dict(self) -> dict[str, Any]:
        """As a dict for JSON."""
        return {
            "kind": self.kind,
            "title": self.title,
            "caption": self.caption,
            "x": self.x_label,
            "y": self.y_label,
            "ticks": list(self.ticks) if self.ticks else None,
            "series": [one.to_dict() for one in self.series],
        }


def log_ticks(low: float, high: float) -> list[float]:
    """Labels of a logarithmic axis: powers of ten and, if these are few, twice and five times them."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)

    def within(factors: tuple[int, ...]) -> list[float]:
        return [factor * 10.0**power for power in powers for factor in factors if low <= factor * 10.0**power <= high]

    tens = within((1,))
    return tens if len(tens) > 2 else within((1, 2, 5)) or [float(f"{low:.2g}")]


def in_words(number: float) -> str:
    """A number formatted for an axis: 1,000, 0.05."""
    return f"{number:,.10g}"
