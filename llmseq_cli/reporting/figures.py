"""`Figure`: what a plot shows, before anybody draws it: `plots` as PNG or SVG, `text_plots` in the terminal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Series:
    """Points of one name: x, y float[n]; low, high: ends of their 95 % intervals, None where there are none."""

    name: str
    x: np.ndarray
    y: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None

    def to_dict(self) -> dict[str, Any]:
        made = {"name": self.name, "x": self.x.tolist(), "y": self.y.tolist()}
        if self.low is not None and self.high is not None:
            made |= {"low": self.low.tolist(), "high": self.high.tolist()}
        return made


@dataclass(frozen=True)
class Figure:
    """Series over one pair of axes.

    style: "line" or "points" (named one by one). ticks: words at x = 0, 1, 2, …, where x is no number.
    caption: what is to be seen, in one or two sentences with units and counts.
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

    def to_dict(self) -> dict[str, Any]:
        """As JSON prints it."""
        return {
            "kind": self.kind,
            "title": self.title,
            "caption": self.caption,
            "x": self.x_label,
            "y": self.y_label,
            "ticks": list(self.ticks) if self.ticks else None,
            "series": [one.to_dict() for one in self.series],
        }
