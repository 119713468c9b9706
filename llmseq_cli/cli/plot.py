"""`plot`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmseq_cli.cli.common import Common, DatasetOption, JsonOption, command
from llmseq_cli.cli.console import out, print_json

if TYPE_CHECKING:
    from llmseq_cli.reporting.figures import Figure


def register(app: typer.Typer) -> None:
    command(app, "plot")(plot)


def plot(
    common: Common,
    kind: Annotated[str, typer.Argument(help="What to plot, see below.", metavar="KIND")],
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            help="Runs, numbers or models; else, of the best models, the run that is best on test sessions.",
            metavar="[RUN...]",
        ),
    ] = None,
    dataset: DatasetOption = None,
    to: Annotated[
        Path | None, typer.Option("--out", help="A .png or .svg file; else the terminal.", metavar="FILE")
    ] = None,
    k: Annotated[int, typer.Option("-k", help="Length of the lists that count.", min=1)] = 20,
    embeddings: Annotated[
        str, typer.Option("--embeddings", help="Those that diversity is measured by.", metavar="SOURCE[:MODEL]")
    ] = "lexical",
    positions: Annotated[
        int, typer.Option("--positions", help="How many items from the end hits-by-position goes.", min=1)
    ] = 5,
    json: JsonOption = False,
) -> None:
    """Plot a dataset or its runs, in the terminal or as PNG or SVG.

    Of a dataset: popularity, lengths (the paper's Figure 11), diversity (within sessions, by embeddings; Figure 12).

    Of runs: hits-by-popularity (of the prompt's last item; Figure 9), hits-by-position (of the item taken as last;
    Figure 10; scores again), hits-by-length, training (curves), coverage and time (against accuracy).

    Examples:

        llmseq plot popularity

        llmseq plot hits-by-popularity llmseqsim v-sknn --out figure9.svg

        llmseq plot time --out time.png
    """
    from llmseq_cli.reporting.make_figure import FigureWishes

    if to is not None:
        from llmseq_cli.reporting.plots import check_suffix

        check_suffix(to.suffix)
    options = FigureWishes(tuple(runs or ()), dataset, k, embeddings, positions)
    figure = common.open().figure(kind, options)
    if json:
        print_json(figure.to_dict())
    if to is not None:
        write_plot([figure], to)
    elif not json:
        print_plot(figure)


def print_plot(figure: Figure) -> None:
    from llmseq_cli.reporting.text_plots import draw_text

    text = draw_text(figure, min(out.width, 120), color=out.is_terminal and not out.no_color)
    out.file.write(text)
    out.print(figure.caption, highlight=False)


def write_plot(figures: list[Figure], to: Path) -> None:
    from llmseq_cli.cli.output import write_bytes
    from llmseq_cli.reporting.plots import draw

    write_bytes(draw(figures, to.suffix), to)
