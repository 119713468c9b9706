"""`plot`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmseq_cli.cli.common import Common, DatasetOption, JsonOption, command
from llmseq_cli.cli.console import out, print_json
from llmseq_cli.files import check_output

if TYPE_CHECKING:
    from llmseq_cli.reporting.plot import Plot


def register(app: typer.Typer) -> None:
    command(app, "plot")(plot)


def plot(
    common: Common,
    kind: Annotated[str, typer.Argument(help="Kind of plot (see below).", metavar="KIND")],
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            help="Runs, by name, number or model (default: the best models, each with its best run by test).",
            metavar="[RUN...]",
        ),
    ] = None,
    dataset: DatasetOption = None,
    to: Annotated[
        Path | None,
        typer.Option("--out", help="Write a .png or .svg file.", metavar="FILE"),
    ] = None,
    k: Annotated[int, typer.Option("-k", help="Length of the lists to evaluate.", min=1)] = 20,
    embeddings: Annotated[
        str, typer.Option("--embeddings", help="Embeddings to measure diversity with.", metavar="SOURCE[:MODEL]")
    ] = "lexical",
    positions: Annotated[
        int, typer.Option("--positions", help="For hits-by-position: how many items to go back from the end.", min=1)
    ] = 5,
    json: JsonOption = False,
) -> None:
    """Plot a dataset or its runs, in the terminal or as PNG or SVG.

    For a dataset: popularity and lengths (the paper's Figure 11), diversity (within sessions, by embeddings; Figure
    12).

    For runs: hits-by-popularity (of the history's last item; Figure 9), hits-by-position (of the item taken as last;
    Figure 10; this scores again), hits-by-length, training (curves), coverage and time (against accuracy).

    Examples:

        llmseq plot popularity

        llmseq plot hits-by-popularity llmseqsim v-sknn --out figure9.svg

        llmseq plot time --out time.png
    """
    from llmseq_cli.reporting.options import PlotOptions

    if to is not None:
        from llmseq_cli.reporting.draw_files import check_suffix

        check_suffix(to.suffix)
        check_output(to)
    options = PlotOptions(tuple(runs or ()), dataset, k, embeddings, positions)
    made = common.open().plot(kind, options)
    if json:
        print_json(made.to_dict())
    if to is not None:
        write_plot([made], to)
    elif not json:
        print_plot(made)


def print_plot(plot: Plot) -> None:
    from llmseq_cli.reporting.draw_text import draw_text

    text = draw_text(plot, min(out.width, 120), color=out.is_terminal and not out.no_color)
    out.file.write(text)
    out.print(plot.caption, highlight=False)


def write_plot(plots: list[Plot], to: Path) -> None:
    from llmseq_cli.cli.output import write_bytes
    from llmseq_cli.reporting.draw_files import draw

    write_bytes(draw(plots, to.suffix), to)
