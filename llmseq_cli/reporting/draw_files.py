"""Draw plots with matplotlib, as PNG or SVG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from llmseq_cli.errors import NotInstalledError, UsageError
from llmseq_cli.reporting.plot import Plot, in_words, log_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUFFIXES = (".png", ".svg")

# Okabe & Ito, "Color universal design" (2008): distinguishable for colour-blind readers; without yellow, which is too
# pale on white.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_INCHES = (6.4, 4.0)
_NAME_SIZE = 7


def check_suffix(suffix: str) -> None:
    """Raises UsageError for a file that is neither PNG nor SVG."""
    if suffix.lower() not in SUFFIXES:
        raise UsageError(
            f"plots cannot be written as '{suffix}'", f"use a file name that ends in {' or '.join(SUFFIXES)}"
        )


def draw(plots: Sequence[Plot], suffix: str, *, words: bool = True) -> bytes:
    """Draw plots side by side; return the bytes of a PNG or SVG file. Raises LlmseqError without matplotlib.

    words: add titles and captions, for stand-alone pictures.
    """
    check_suffix(suffix)
    try:
        import matplotlib
    except ImportError as error:
        raise NotInstalledError("plots need matplotlib", "plots") from error
    matplotlib.use("agg")
    # Keep text in SVG as text, and make files reproducible.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "llmseq", "font.size": 9}):
        from matplotlib.figure import Figure as Canvas

        canvas = Canvas(figsize=(_INCHES[0] * len(plots), _INCHES[1] + 0.4), layout="constrained")
        axes = canvas.subplots(1, len(plots), squeeze=False)[0]
        for one, ax in zip(plots, axes, strict=True):
            _draw_one(one, ax)
            if words:
                _say(one, ax)
        file = io.BytesIO()
        metadata = {"Date": None} if suffix.lower() == ".svg" else {"Software": None}
        canvas.savefig(file, format=suffix.lower()[1:], dpi=150, metadata=metadata)
    return file.getvalue()


def _say(plot: Plot, ax: Axes) -> None:
    from textwrap import fill

    ax.set_title(plot.title, loc="left", fontweight="bold")
    ax.set_xlabel(f"{plot.x_label}\n{fill(plot.caption, 85)}")


def _draw_one(plot: Plot, ax: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    ax.set_xlabel(plot.x_label)
    ax.set_ylabel(plot.y_label)
    if plot.ticks:
        ax.set_xticks(range(len(plot.ticks)), plot.ticks)
    elif all((one.x == np.floor(one.x)).all() for one in plot.series):
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    for number, series in enumerate(plot.series):
        style: dict[str, Any] = {"color": COLORS[number % len(COLORS)], "marker": MARKERS[number % len(MARKERS)]}
        if plot.style == "points":
            ax.plot(series.x, series.y, linestyle="none", **style)
            continue
        if plot.style == "bars":
            ax.bar(series.x, series.y, width=series.bar_width(), color=style["color"], edgecolor="white", linewidth=0.3)
            continue
        if len(series.x) > 40:
            style["marker"] = None
        # Shift series slightly, so that their intervals do not hide each other.
        x = series.x + (0.06 * (number - (len(plot.series) - 1) / 2) if plot.ticks else 0)
        ax.plot(x, series.y, label=series.name, markersize=4, linewidth=1.4, **style)
        if series.low is not None and series.high is not None:
            ax.vlines(x, series.low, series.high, colors=style["color"], linewidth=1, alpha=0.6)
    ax.grid(visible=True, color="#dddddd", linewidth=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    if not plot.y_log and plot.from_zero and all(np.min(one.y) >= 0 for one in plot.series):
        ax.set_ylim(bottom=0)
    _scale(plot, ax)
    if plot.style == "points":
        _name_points(plot, ax)
    elif len(plot.series) > 1:
        if plot.ticks:
            # Leave room for names above the intervals.
            ax.set_ylim(top=ax.get_ylim()[1] * (1.08 + 0.045 * len(plot.series)))
        ax.legend(frameon=False, fontsize=8, ncols=2 if len(plot.series) > 2 else 1)


def _scale(plot: Plot, ax: Axes) -> None:
    """Set up logarithmic axes, with plain numbers."""
    for log, axis, scale, values in (
        (plot.x_log, ax.xaxis, ax.set_xscale, [one.x for one in plot.series]),
        (plot.y_log, ax.yaxis, ax.set_yscale, [one.y for one in plot.series]),
    ):
        if log:
            scale("log")
            low, high = min(one.min() for one in values), max(one.max() for one in values)
            ticks = log_ticks(low, high)
            axis.set_ticks(ticks, [in_words(tick) for tick in ticks])
            axis.set_minor_formatter("")
    if plot.style == "bars" and plot.y_log:
        ax.set_ylim(bottom=min(one.y.min() for one in plot.series) / 2)


def _name_points(plot: Plot, ax: Axes) -> None:
    """Write names next to their points, where there is room and they hide no other name or point."""
    to_inches = ax.transScale + ax.transLimits
    wide, high = _INCHES[0] * 0.88 * 72, _INCHES[1] * 0.8 * 72  # approximate size of the axes, in points
    places = [to_inches.transform((one.x[0], one.y[0])) * (wide, high) for one in plot.series]
    taken = [(x - 4, y - 4, x + 4, y + 4) for x, y in places]
    for series, (x, y) in zip(plot.series, places, strict=True):
        length = 0.62 * _NAME_SIZE * len(series.name)
        aligned = [("left", 5.0)] if x + length + 5 < wide else []
        aligned += [("right", -5.0 - length)] if x > length + 5 or not aligned else []
        spots = [(align, left, up) for up in (3.0, -9.0, 11.0, -17.0, 19.0, -25.0) for align, left in aligned]
        boxes = [(x + left, y + up, x + left + length, y + up + _NAME_SIZE) for _, left, up in spots]
        chosen = min(range(len(spots)), key=lambda place: (sum(_touch(boxes[place], one) for one in taken), place))
        taken.append(boxes[chosen])
        align, _, up = spots[chosen]
        made = ax.annotate(
            series.name,
            (series.x[0], series.y[0]),
            xytext=(5 if align == "left" else -5, up),
            textcoords="offset points",
            ha=align,
            fontsize=_NAME_SIZE,
            arrowprops={"arrowstyle": "-", "color": "#888888", "linewidth": 0.6} if abs(up) > 9 else None,
        )
        made.set_in_layout(False)


def _touch(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """Whether two boxes (left, bottom, right, top) overlap."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
