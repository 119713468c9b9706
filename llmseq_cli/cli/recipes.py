"""`run` and `reproduce`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmseq_cli.cli.common import Common, DeviceOption, JsonOption, OutOption, ReportFormatOption, command, listed
from llmseq_cli.cli.console import out, print_json, print_table
from llmseq_cli.errors import LlmseqError, UsageError
from llmseq_cli.files import check_output, write_whole

if TYPE_CHECKING:
    from llmseq_cli.recipes.recipe import Recipe
    from llmseq_cli.recipes.run_recipe import Done, RecipeRun

_PAPERS = ("beauty", "steam", "delivery-hero", "beauty-leave-one-out", "toys-leave-one-out")


@dataclass(frozen=True)
class Execution:
    """How to execute a recipe, and where to write its leaderboard."""

    dataset: Annotated[
        str | None, typer.Option("--dataset", help="The dataset's name here; default: the recipe's.", metavar="NAME")
    ] = None
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data", help="Files or a folder to ingest if the dataset is not in the workspace.", metavar="PATH"
        ),
    ] = None
    embeddings: Annotated[
        str | None,
        typer.Option(
            "--embeddings",
            help="Item embeddings to use; free ones are made if missing. Default: the best stored ones, or lexical.",
            metavar="SOURCE[:MODEL]",
        ),
    ] = None
    bert: Annotated[
        str | None,
        typer.Option(
            "--bert",
            help="BERT embeddings for steps that need them; local ones are made if missing. Default: stored ones.",
            metavar="SOURCE[:MODEL]",
        ),
    ] = None
    models: Annotated[
        str | None, typer.Option("--models", help="Only these steps, and the steps they need.", metavar="NAME,NAME…")
    ] = None
    seeds: Annotated[
        int | None, typer.Option("--seeds", help="Number of seeds for each step that has several.", min=1, metavar="N")
    ] = None
    device: DeviceOption = "auto"
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the steps and do nothing.")] = False
    format: ReportFormatOption = "table"
    to: OutOption = None
    json: JsonOption = False


def register(app: typer.Typer) -> None:
    command(app, "run")(run)
    command(app, "reproduce")(reproduce)


def run(
    common: Common,
    *,
    recipe: Annotated[
        str | None, typer.Argument(help="A TOML file, or the name of a built-in recipe.", metavar="RECIPE")
    ] = None,
    listing: Annotated[bool, typer.Option("--list", help="List the built-in recipes.")] = False,
    copy: Annotated[
        Path | None, typer.Option("--copy", help="Copy the recipe to this file, to edit it.", metavar="FILE")
    ] = None,
    how: Execution,
) -> None:
    """Run a recipe: ingest, embed, train, and show the leaderboard of its runs.

    Existing results are kept: after an interruption, the same command continues where it stopped. If a step fails, the
    others still run.

    Examples:

        llmseq run --list

        llmseq run best-beauty --data data/beauty

        llmseq run best-beauty --copy mine.toml
    """
    from llmseq_cli.recipes.recipe import find_file, load_recipe, shipped

    if listing or recipe is None:
        if recipe is None and not listing:
            raise UsageError("no recipe is given", "`llmseq run --list` shows the built-in ones")
        rows = shipped()
        if how.json:
            print_json([{"recipe": name, "title": title} for name, title in rows.items()])
        else:
            print_table(["recipe", "what it is"], [[name, title] for name, title in rows.items()], whole=["recipe"])
        return
    if copy is not None:
        _copy(find_file(recipe), copy)
        return
    _execute(common, load_recipe(recipe), how)


def reproduce(
    common: Common,
    name: Annotated[str, typer.Argument(help=f"{', '.join(_PAPERS[:-1])} or {_PAPERS[-1]}.", metavar="NAME")],
    how: Execution,
) -> None:
    """Reproduce a published table and show the published figures beside ours.

    beauty, steam and delivery-hero use the paper's settings, the two leave-one-out recipes ours.

    Rows that need a paid model or an LLM are left out; the best stored item embeddings are used. After an interruption,
    the same command continues where it stopped. `llmseq run NAME --copy FILE` writes the recipe to a file.

    Examples:

        llmseq reproduce beauty --dry-run

        llmseq reproduce beauty --models sknn,v-sknn,llmseqsim --embeddings lexical
    """
    from llmseq_cli.errors import did_you_mean
    from llmseq_cli.recipes.recipe import load_recipe

    if name not in _PAPERS:
        raise UsageError(f"there is no published table of '{name}'", did_you_mean(name, list(_PAPERS)))
    _execute(common, load_recipe(name), how)


def _copy(file: Path, to: Path) -> None:
    if to.exists():
        raise LlmseqError(f"{to} exists already", "name another file, or remove it")
    check_output(to)
    write_whole(to, file.read_bytes())
    out.print(str(to), soft_wrap=True)


def _execute(common: Common, recipe: Recipe, how: Execution) -> None:
    from llmseq_cli.recipes.run_recipe import RecipeRun, RunOptions
    from llmseq_cli.reporting.formats import check_format

    format = "json" if how.json else how.format
    check_format(format)
    check_output(how.to)
    options = RunOptions(
        how.dataset,
        tuple(how.data or ()),
        how.embeddings,
        listed(how.models) or None,
        how.seeds,
        how.device,
        how.bert,
    )
    work = RecipeRun(common.open(), recipe, options)
    if how.dry_run:
        _print_plan(work, format)
        return
    done = work.run()
    if done.all_runs:
        _print_runs(work, done, format, how.to)
    if done.failed:
        for name, reason in (done.failed_embeds | done.failed).items():
            work.progress.warn(f"{name}: {reason}")
        raise LlmseqError(
            f"{len(done.failed)} of {len(work.steps)} steps failed", "run it again to continue with these"
        )


def _print_plan(work: RecipeRun, format: str) -> None:
    rows = work.plan()
    if format == "json":
        print_json(rows)
        return
    shown = [[row[key] if row[key] is not None else "–" for key in row] for row in rows]
    print_table(["step", "what", "with", "seeds", "minutes"], shown, whole=["what"])
    known = sum(row["minutes"] or 0 for row in rows)
    out.print(f"about {known:.0f} minutes on one core, less what is done already", soft_wrap=True)


def _print_runs(work: RecipeRun, done: Done, format: str, to: Path | None) -> None:
    from llmseq_cli.cli.output import write_output
    from llmseq_cli.cli.report import show
    from llmseq_cli.reporting.formats import write_report
    from llmseq_cli.reporting.options import ReportOptions

    options = ReportOptions(models=done.all_runs, group=format not in ("json", "csv"), paper=work.recipe.paper)
    made = work.workspace.leaderboard(done.dataset, options)
    if format == "table":
        show(made, to)
    else:
        write_output(write_report(made, format), to)
