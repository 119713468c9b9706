"""Plots of the HTML report, as SVG in the colors of the page."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from llmseq_cli.errors import LlmseqError
from llmseq_cli.progress import SilentProgress
from llmseq_cli.reporting.make_plot import make_plot
from llmseq_cli.reporting.options import PlotOptions

if TYPE_CHECKING:
    from markupsafe import Markup

    from llmseq_cli.store.connection import Store

_KINDS = ("hits-by-popularity", "hits-by-length", "coverage", "time", "popularity", "lengths", "training")
_COLORS = {
    "stroke: #ffffff": "stroke: var(--back)",
    "fill: #ffffff": "fill: none",
    "#000000": "currentColor",
    "#dddddd": "var(--line)",
}
"""Maps a drawing's colors to those of the page, light or dark."""


@dataclass(frozen=True)
class DrawnPlot:
    """drawing: SVG; matplotlib has escaped all text in it."""

    title: str
    caption: str
    drawing: Markup


def draw_plots(store: Store | None, datasets: Iterable[str]) -> dict[str, list[DrawnPlot]] | None:
    """The possible plots by dataset; None if matplotlib is not installed."""
    if store is None:
        return {}
    if find_spec("matplotlib") is None:
        return None
    drawn = {
        dataset: [plot for kind in _KINDS if (plot := _draw(store, dataset, kind)) is not None] for dataset in datasets
    }
    return {dataset: plots for dataset, plots in drawn.items() if plots}


def _draw(store: Store, dataset: str, kind: str) -> DrawnPlot | None:
    from markupsafe import Markup

    from llmseq_cli.reporting.draw_files import draw

    try:
        plot = make_plot(store, kind, PlotOptions(dataset=dataset), SilentProgress())
    except LlmseqError:
        return None  # for example no run has a curve, or lists are too short
    svg = draw([plot], ".svg", words=False).decode("utf-8")
    # Ids are only unique within a drawing; a prefix allows several drawings on a page.
    prefix = re.sub(r"[^a-z0-9]+", "-", f"{dataset}-{kind}".lower())
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", svg[svg.index("<svg") :])
    for color, of_page in _COLORS.items():
        svg = svg.replace(color, of_page)
    return DrawnPlot(plot.title, plot.caption, Markup(svg))
