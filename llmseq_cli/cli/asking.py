"""What the commands that ask a language model share: options, and plans and runs in words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmseq_cli.cli.common import BaseUrlOption, SeedOption, retirement_facts
from llmseq_cli.cli.console import print_json
from llmseq_cli.reporting.names import METRIC_NAMES
from llmseq_cli.settings import parse_assignments

if TYPE_CHECKING:
    from llmseq_cli.workspace import Workspace

KEPT = "the answers so far are stored; run the same command again to ask for the rest"

LimitOption = Annotated[
    int | None, typer.Option("--limit", help="Number of sessions to ask about, drawn at random; default: all.", min=1)
]
ContextOption = Annotated[
    int | None,
    typer.Option("--context", help="Context length of the model in tokens; default: the provider's limit.", min=1),
]


@dataclass(frozen=True)
class TaskWords:
    """What a language model is asked, as `TaskOptions` has it."""

    task: Annotated[
        str | None,
        typer.Option(
            "--task",
            help="genitem: name the next item. genlist: name k items. classify: choose among 200 categories of "
            "items. rank: order a model's candidates. preference: pairs of the next item and another candidate.",
            metavar="TASK",
        ),
    ] = None
    candidates: Annotated[
        str | None,
        typer.Option(
            "--candidates",
            help="Run whose recommendations genlist, rank and preference use; default: the best llmseqsim.",
            metavar="RUN",
        ),
    ] = None
    template: Annotated[
        str | None,
        typer.Option(
            "--template",
            help="TOML file with the wording of prompts, or the name of a built-in one: tallrec.",
            metavar="FILE",
        ),
    ] = None
    k: Annotated[int, typer.Option("-k", help="Number of items in a list answer.", min=1, max=100)] = 20
    clusters: Annotated[int, typer.Option("--clusters", help="Number of categories for classify.", min=2)] = 200


@dataclass(frozen=True)
class Asking:
    """Where a language model is asked."""

    provider: Annotated[
        str,
        typer.Option(
            "--provider",
            help="Where the model runs: openai, azure, together, fireworks, vertex, or local (this machine).",
            metavar="NAME",
        ),
    ] = "openai"
    base_url: BaseUrlOption = None
    set: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="A setting of the provider, for example device=cpu; repeatable.", metavar="KEY=VALUE"
        ),
    ] = None
    seed: SeedOption = 0

    def options(self) -> dict[str, Any]:
        """These as `AskingOptions` has them."""
        given = dict(vars(self))
        return given | {"settings": parse_assignments(given.pop("set") or [], "--set device=cpu")}


def print_made(
    workspace: Workspace, run: str, json: bool, in_words: Callable[[dict[str, Any], dict[str, Any]], None]
) -> None:
    """Print a run made from a language model's answers, with its figures."""
    figures = workspace.prompting_figures(run)
    [row] = workspace.report(models=[run])
    if json:
        print_json([row | {"figures": figures}])
    else:
        in_words(row, figures)


def plan_facts(plan: dict[str, Any]) -> list[tuple[str, Any]]:
    """What the questions would cost, as names and values."""
    return [
        ("model", plan["model"]),
        ("sessions", f"{plan['sessions']:,}; {plan['cut']:,} cut to the context, {plan['unasked']:,} not asked"),
        *cost_facts(plan),
    ]


def cost_facts(plan: dict[str, Any]) -> list[tuple[str, Any]]:
    cost = plan["cost_usd"]
    return [
        ("requests", plan["requests"]),
        ("answers", plan["answers"]),
        ("tokens", f"at most about {plan['prompt_tokens']:,}, and {plan['completion_tokens']:,} of answers"),
        ("US dollars", "no price known; see --prices" if cost is None else f"about {cost:,.2f}"),
        ("minutes", None if plan["minutes"] is None else round(plan["minutes"], 1)),
        *retirement_facts(plan["retirement"]),
    ]


def metric_facts(row: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(f"{METRIC_NAMES[name]}@{k}", row[f"{name}@{k}"]) for name in METRIC_NAMES for k in (10, 20)]
