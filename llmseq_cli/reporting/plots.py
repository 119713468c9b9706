"""Figures drawn by matplotlib, as PNG or SVG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from llmseq_cli.errors import LlmseqError, UsageError
from llmseq_cli.reporting.figures import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUFFIXES = (".png", ".svg")

# Okabe & Ito, "Color universal design" (2008): told apart by colour-blind readers; yellow left out, too pale on white.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_INCHES = (6.4, 4.0)


def check_suffix(suffix: str) -> None:
    """Raises UsageError for a file that is neither PNG nor SVG."""
    if suffix.lower() not in SUFFIXES:
        raise UsageError(f"plots are not written as '{suffix}'", f"end the file in {' or '.join(SUFFIXES)}")


def draw(figures: Sequence[Figure], suffix: str) -> bytes:
    """The figures side by side as the bytes of a PNG or SVG file. Raises LlmseqError without matplotlib."""
    check_suffix(suffix)
    try:
        import matplotlib
    except ImportError as error:
        raise LlmseqError("plots need matplotlib", "pip install 'llmseq[plots]'") from error
    matplotlib.use("agg")
    # Text in SVG stays text, and the same figure gives the same file.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "llmseq", "font.size": 9}):
        from matplotlib.figure import Figure as Canvas

        canvas = Canvas(figsize=(_INCHES[0] * len(figures), _INCHES[1] + 0.4), layout="constrained")
        axes = canvas.subplots(1, len(figures), squeeze=False)[0]
        for one, ax in zip(figures, axes, strict=True):
            _draw_one(one, ax)
        file = io.BytesIO()
        metadata = {"Date": None} if suffix.lower() == ".svg" else {"Software": None}
        canvas.savefig(file, format=suffix.lower()[1:], dpi=150, metadata=metadata)
    return file.getvalue()


def _draw_one(figure: Figure, ax: Axes) -> None:
    from textwrap import fill

    ax.set_title(figure.title, loc="left", fontweight="bold")
    ax.set_xlabel(f"{figure.x_label}\n{fill(figure.caption, 85)}")
    ax.set_ylabel(figure.y_label)
    if figure.x_log:
        ax.set_xscale("log")
    if figure.y_log:
        ax.set_yscale("log")
    if figure.ticks:
        ax.set_xticks(range(len(figure.ticks)), figure.ticks)
    for number, series in enumerate(figure.series):
        style: dict[str, Any] = {"color": COLORS[number % len(COLORS)], "marker": MARKERS[number % len(MARKERS)]}
        if figure.style == "points":
            ax.plot(series.x, series.y, linestyle="none", **style)
            ax.annotate(series.name, (series.x[0], series.y[0]), xytext=(4, 3), textcoords="offset points", fontsize=7)
            continue
        if len(series.x) > 40:
            style["marker"] = None
        # A little apart, so that intervals of several series do not hide one another.
        x = series.x + (0.06 * (number - (len(figure.series) - 1) / 2) if figure.ticks else 0)
        ax.plot(x, series.y, label=series.name, markersize=4, linewidth=1.4, **style)
        if series.low is not None and series.high is not None:
            ax.vlines(x, series.low, series.high, colors=style["color"], linewidth=1, alpha=0.6)
    ax.grid(visible=True, color="#dddddd", linewidth=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    if not figure.y_log and all(np.min(one.y) >= 0 for one in figure.series):
        ax.set_ylim(bottom=0)
    if figure.style != "points" and len(figure.series) > 1:
        ax.legend(frameon=False, fontsize=8)
