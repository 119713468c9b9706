"""Figures drawn with characters, for the terminal."""

from __future__ import annotations

import math
from string import ascii_lowercase, ascii_uppercase

import numpy as np

from llmseq_cli.errors import LlmseqError
from llmseq_cli.reporting.figures import Figure

_ROWS = 20
_TICKS = 5
_COLORS = ("blue+", "orange", "green+", "magenta", "cyan+", "yellow", "default")


def draw_text(figure: Figure, width: int, *, color: bool) -> str:
    """The figure in so many columns, below it which letter is which series. Raises LlmseqError without plotext."""
    try:
        import plotext
    except ImportError as error:
        raise LlmseqError("plots in the terminal need plotext", "pip install 'llmseq[plots]'") from error
    plotext.clear_figure()
    plotext.theme("clear")
    plotext.plot_size(width, _ROWS)
    plotext.title(figure.title)
    plotext.xlabel(figure.x_label)
    plotext.ylabel(figure.y_label)
    letters = ascii_lowercase + ascii_uppercase
    alone = len(figure.series) == 1
    for number, series in enumerate(figure.series):
        # plotext's own logarithmic axes mark exponents only: the numbers are given as words here.
        x, y = _scaled(series.x, figure.x_log), _scaled(series.y, figure.y_log)
        draw = plotext.scatter if figure.style == "points" else plotext.plot
        draw(x, y, marker="braille" if alone else letters[number % len(letters)], color=_COLORS[number % len(_COLORS)])
    xs = [float(one) for series in figure.series for one in series.x]
    ys = [float(one) for series in figure.series for one in series.y]
    if figure.ticks:
        plotext.xticks(list(range(len(figure.ticks))), list(figure.ticks))
    else:
        plotext.xticks(*(_decades(xs) if figure.x_log else _round_numbers(min(xs), max(xs))))
    low = 0.0 if min(ys) >= 0 else min(ys)
    if not figure.y_log:
        plotext.ylim(low, max(ys))
    plotext.yticks(*(_decades(ys) if figure.y_log else _round_numbers(low, max(ys))))
    text = plotext.build()
    key = [] if alone else [f"{letters[place % len(letters)]} {one.name}" for place, one in enumerate(figure.series)]
    return (text if color else plotext.uncolorize(text)) + "\n" + "".join(f"{line}\n" for line in wrap_key(key, width))


def wrap_key(key: list[str], width: int) -> list[str]:
    """The entries of a key in lines of so many columns."""
    lines: list[str] = []
    for one in key:
        if lines and len(lines[-1]) + len(one) + 3 <= width:
            lines[-1] += "   " + one
        else:
            lines.append(one)
    return lines


def _scaled(values: np.ndarray, log: bool) -> list[float]:
    return [math.log10(max(float(one), 1e-9)) if log else float(one) for one in values]


def _decades(values: list[float]) -> tuple[list[float], list[str]]:
    """Places and words of the powers of ten within the values, on a logarithmic axis."""
    low, high = math.floor(math.log10(max(min(values), 1e-9))), math.ceil(math.log10(max(values)))
    powers = list(range(low, high + 1))
    return [float(one) for one in powers], [f"{10.0**one:,.10g}" for one in powers]


def _round_numbers(low: float, high: float) -> tuple[list[float], list[str]]:
    """A handful of round numbers between the two, with the words for them."""
    step = 10.0 ** math.floor(math.log10(max(high - low, 1e-9) / _TICKS))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= _TICKS)
    places = [one * step for one in range(math.ceil(low / step), math.floor(high / step) + 1)]
    return places, [f"{one:,.10g}" for one in places]
