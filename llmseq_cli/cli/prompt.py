"""`prompt`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from llmseq_cli.cli.asking import (
    KEPT,
    Asking,
    ContextOption,
    LimitOption,
    TaskWords,
    metric_facts,
    plan_facts,
    print_made,
)
from llmseq_cli.cli.common import Common, DatasetOption, JsonOption, Sending, command
from llmseq_cli.cli.console import print_facts, print_json


def register(app: typer.Typer) -> None:
    command(app, "prompt", interrupted=KEPT)(prompt)


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
    task: TaskWords,
    dataset: DatasetOption = None,
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
    embeddings: Annotated[
        str | None,
        typer.Option(
            "--embeddings",
            help="Item embeddings that map answers to items; default: the newest.",
            metavar="SOURCE[:MODEL]",
        ),
    ] = None,
    context: ContextOption = None,
    asking: Asking,
    sending: Sending,
    constrain: Annotated[
        bool,
        typer.Option("--constrain", help="Local models: only allow titles of the catalog, or options, as answers."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show answers, tokens, cost and time; send nothing.")
    ] = False,
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

    workspace = common.open()
    options = PromptOptions(
        job,
        base_model=base_model,
        dataset=dataset,
        temperature=temperature,
        top_p=top_p,
        samples=samples,
        max_tokens=max_tokens,
        limit=limit,
        embeddings=embeddings,
        context=context,
        constrain=constrain,
        **vars(task),
        **asking.options(),
        **vars(sending),
    )
    if dry_run:
        plan = workspace.plan_prompt(options)
        print_json(plan) if json else print_facts(plan_facts(plan))
        return
    print_made(workspace, workspace.prompt(options), json, _print_run)


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
