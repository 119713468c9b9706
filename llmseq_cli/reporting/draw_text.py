"""Draw plots with characters, for the terminal."""

from __future__ import annotations

import math
from string import ascii_lowercase, ascii_uppercase

import numpy as np

from llmseq_cli.errors import NotInstalledError
from llmseq_cli.reporting.plot import Plot, Series, in_words, log_ticks

_ROWS = 20
_TICKS = 5
_COLORS = ("blue+", "orange", "green+", "magenta", "cyan+", "yellow", "default")


def draw_text(plot: Plot, width: int, *, color: bool) -> str:
    """The plot in this many columns, with a legend below. Raises LlmseqError without plotext."""
    try:
        import plotext
    except ImportError as error:
        raise NotInstalledError("plots in the terminal need plotext", "plots") from error
    plotext.clear_figure()
    plotext.theme("clear")
    plotext.plot_size(width, _ROWS)
    plotext.title(plot.title)
    plotext.xlabel(plot.x_label)
    plotext.ylabel(plot.y_label)
    letters = ascii_lowercase + ascii_uppercase
    alone = len(plot.series) == 1
    xs = [float(one) for series in plot.series for one in series.x]
    ys = [float(one) for series in plot.series for one in series.y]
    low = _lowest(plot, ys)
    [floor] = _scaled(np.array([low]), plot.y_log)
    for number, series in enumerate(plot.series):
        # plotext's logarithmic axes only label exponents, so we label the numbers.
        x, y = _scaled(series.x, plot.x_log), _scaled(series.y, plot.y_log)
        color_of = _COLORS[number % len(_COLORS)]
        if plot.style == "bars":
            # Bars are filled down to 0, so 0 must be the lowest position.
            plotext.plot(*_outline(series, x, [one - floor for one in y]), marker="hd", color=color_of, fillx=True)
            continue
        draw = plotext.scatter if plot.style == "points" else plotext.plot
        draw(x, y, marker="braille" if alone else letters[number % len(letters)], color=color_of)
    if plot.ticks:
        plotext.xticks(list(range(len(plot.ticks))), list(plot.ticks))
    else:
        whole = 1.0 if all(one.is_integer() for one in xs) else 0.0
        plotext.xticks(*(_decades(min(xs), max(xs)) if plot.x_log else _round_numbers(min(xs), max(xs), whole)))
    shift = floor if plot.style == "bars" else 0.0
    [top] = _scaled(np.array([max(ys)]), plot.y_log)
    plotext.ylim(floor - shift, top - shift)
    places, words = _decades(low, max(ys)) if plot.y_log else _round_numbers(low, max(ys))
    plotext.yticks([place - shift for place in places], words)
    text: str = plotext.build()
    key = [] if alone else [f"{letters[place % len(letters)]} {one.name}" for place, one in enumerate(plot.series)]
    if not color:
        text = plotext.uncolorize(text)
    return text + "\n" + "".join(f"{line}\n" for line in wrap_key(key, width))


def wrap_key(key: list[str], width: int) -> list[str]:
    """The entries of a legend, in lines of this many columns."""
    lines: list[str] = []
    for one in key:
        if lines and len(lines[-1]) + len(one) + 3 <= width:
            lines[-1] += "   " + one
        else:
            lines.append(one)
    return lines


def _scaled(values: np.ndarray, log: bool) -> list[float]:
    return [math.log10(max(float(one), 1e-9)) if log else float(one) for one in values]


def _lowest(plot: Plot, ys: list[float]) -> float:
    """The start of the y axis; even the bar of the lowest value must be visible."""
    if plot.y_log:
        return min(ys) / 2 if plot.style == "bars" else min(ys)
    return 0.0 if min(ys) >= 0 and plot.from_zero else min(ys)


def _outline(series: Series, x: list[float], y: list[float]) -> tuple[list[float], list[float]]:
    """The corners of bars whose tops are at the given points; it is 0 between bars."""
    width = series.bar_width()
    corners: list[tuple[float, float]] = []
    for one, top in zip(x, y, strict=True):
        if corners and one - width / 2 > corners[-1][0] + width / 4:
            corners += [(corners[-1][0], 0.0), (one - width / 2, 0.0)]
        corners += [(one - width / 2, top), (one + width / 2, top)]
    return [one for one, _ in corners], [top for _, top in corners]


def _decades(low: float, high: float) -> tuple[list[float], list[str]]:
    """Positions and labels of round numbers on a logarithmic axis."""
    numbers = log_ticks(max(low, 1e-9), high)
    return [math.log10(one) for one in numbers], [in_words(one) for one in numbers]


def _round_numbers(low: float, high: float, least: float = 0.0) -> tuple[list[float], list[str]]:
    """A few round numbers between the two, at least `least` apart, and their labels."""
    step = 10.0 ** math.floor(math.log10(max(high - low, 1e-9) / _TICKS))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= _TICKS)
    step = max(step, least)
    places = [one * step for one in range(math.ceil(low / step), math.floor(high / step) + 1)]
    return places, [in_words(one) for one in places]
