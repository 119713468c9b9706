"""`prompt`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmseq_cli.cli.common import (
    BaseUrlOption,
    Common,
    DatasetOption,
    JsonOption,
    SeedOption,
    Sending,
    command,
    retirement_facts,
)
from llmseq_cli.cli.console import print_facts, print_json
from llmseq_cli.cli.finetune import CandidatesOption, ProviderOption, TaskOption, TemplateOption
from llmseq_cli.reporting.names import METRIC_NAMES

if TYPE_CHECKING:
    from llmseq_cli.workspace import Workspace

LimitOption = Annotated[
    int | None, typer.Option("--limit", help="Number of sessions to ask about, drawn at random; default: all.", min=1)
]
ContextOption = Annotated[
    int | None,
    typer.Option("--context", help="Context length of the model in tokens; default: the provider's limit.", min=1),
]
ProviderSetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="A setting of the provider, for example device=cpu; repeatable.", metavar="KEY=VALUE"),
]


def register(app: typer.Typer) -> None:
    kept = "the answers so far are stored; run the same command again to ask for the rest"
    command(app, "prompt", interrupted=kept)(prompt)


def prompt(
    common: Common,
    *,
    job: Annotated[
        str | None, typer.Argument(help="Fine-tuning job whose model to ask, or latest.", metavar="[JOB]")
    ] = None,
    base_model: Annotated[
        str | None,
        typer.Option(
            "--base-model", help="Ask this model; with JOB, the same prompts as the job's model.", metavar="ID"
        ),
    ] = None,
    task: TaskOption = None,
    dataset: DatasetOption = None,
    provider: ProviderOption = "openai",
    temperature: Annotated[
        float | None,
        typer.Option(
            "--temperature",
            help="Default: 0.25 for genitem and genlist (1 for local models except scratch), otherwise 0.",
            min=0,
        ),
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option(
            "--top-p",
            help="Nucleus sampling. Default: 1 (0.25 for genitem and genlist with local models except scratch).",
            min=0.0001,
            max=1,
        ),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(
            "--samples", help="Number of answers per session; default: 20 for genitem, otherwise 1.", min=1, max=1000
        ),
    ] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(
            "--max-tokens", help="Largest number of tokens in an answer; default: from the length of titles.", min=1
        ),
    ] = None,
    limit: LimitOption = None,
    candidates: CandidatesOption = None,
    template: TemplateOption = None,
    k: Annotated[int, typer.Option("-k", help="Number of items in a list answer.", min=1, max=100)] = 20,
    clusters: Annotated[int, typer.Option("--clusters", help="Number of categories for classify.", min=2)] = 200,
    embeddings: Annotated[
        str | None,
        typer.Option(
            "--embeddings",
            help="Item embeddings that map answers to items; default: the newest.",
            metavar="SOURCE[:MODEL]",
        ),
    ] = None,
    context: ContextOption = None,
    sending: Sending,
    constrain: Annotated[
        bool,
        typer.Option("--constrain", help="Local models: only allow titles of the catalog, or options, as answers."),
    ] = False,
    set: ProviderSetOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show answers, tokens, cost and time; send nothing.")
    ] = False,
    base_url: BaseUrlOption = None,
    seed: SeedOption = 0,
    json: JsonOption = False,
) -> None:
    """Ask a language model for the next items of the test sessions, and store the run (LLMSeqPrompt).

    Every answer is stored as it arrives: if you run the command again after an interruption, it asks only for what is
    missing. Answers are mapped to items by exact title, then by normalised title, then by the nearest embedding; see
    the views runs (figures) and answers. --base-url takes any server that speaks OpenAI's protocol.

    Examples:

        llmseq prompt genitem-1

        llmseq prompt genitem-1 --base-model gpt-6-luna --limit 500 --max-cost 5

        llmseq prompt --base-model llama3.2 --task rank --base-url http://localhost:11434/v1

        llmseq prompt latest --constrain
    """
    from llmseq_cli.prompting.options import PromptOptions
    from llmseq_cli.settings import parse_assignments

    workspace = common.open()
    options = PromptOptions(
        job,
        base_model=base_model,
        task=task,
        dataset=dataset,
        provider=provider,
        temperature=temperature,
        top_p=top_p,
        samples=samples,
        max_tokens=max_tokens,
        limit=limit,
        candidates=candidates,
        template=template,
        k=k,
        clusters=clusters,
        embeddings=embeddings,
        context=context,
        **vars(sending),
        constrain=constrain,
        settings=parse_assignments(set or [], "--set device=cpu"),
        base_url=base_url,
        seed=seed,
    )
    if dry_run:
        plan = workspace.plan_prompt(options)
        print_json(plan) if json else print_facts(plan_facts(plan))
        return
    print_made(workspace, workspace.prompt(options), json, _print_run)


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


def _print_run(row: dict[str, Any], figures: dict[str, Any]) -> None:
    rate, similarity = figures["hallucination_rate"], figures["hallucination_similarity"]
    failed = f"{figures['parse_failures']:,} not readable, {figures['empty_answers']:,} empty"
    print_facts(
        [
            ("run", row["run"]),
            ("model", f"{row['label']}: {row['settings']['model']}"),
            ("sessions", row["sessions"]),
            *metric_facts(row),
            ("answers", f"{figures['answers']:,}; {failed}"),
            ("unique recommendations", figures["unique_recommendations"]),
            ("hallucinations", None if rate is None else f"{rate:.2%}"),
            ("their similarity", None if similarity is None else f"{similarity:.3f}"),
            ("tokens", f"{figures['prompt_tokens']:,} asked, {figures['completion_tokens']:,} answered"),
            ("US dollars", figures["cost_usd"]),
        ]
    )
