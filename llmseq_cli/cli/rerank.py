"""`rerank`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from llmseq_cli.cli.asking import KEPT, Asking, ContextOption, LimitOption, metric_facts, plan_facts, print_made
from llmseq_cli.cli.common import Common, JsonOption, RunArgument, Sending, command
from llmseq_cli.cli.console import print_facts, print_json
from llmseq_cli.cli.train import RunDatasetOption


def register(app: typer.Typer) -> None:
    command(app, "rerank", interrupted=KEPT)(rerank)


def rerank(
    common: Common,
    *,
    run: RunArgument,
    model: Annotated[
        str,
        typer.Option(
            "--model", help="Model to ask: an id that the provider knows, or a fine-tuning job.", metavar="ID"
        ),
    ],
    dataset: RunDatasetOption = None,
    top: Annotated[int, typer.Option("--top", help="Number of items of each list to reorder.", min=2)] = 20,
    method: Annotated[
        str,
        typer.Option(
            "--method",
            help="listwise: order all candidates in one answer. pairwise: compare two at a time in a tournament. "
            "pointwise-yes, pointwise-title: by the probability of Yes, or of the title, as the answer.",
            metavar="METHOD",
        ),
    ] = "listwise",
    window: Annotated[int, typer.Option("--window", help="Listwise: number of candidates in a question.", min=2)] = 20,
    step: Annotated[
        int,
        typer.Option("--step", help="Listwise, --top above --window: how far the window moves up each time.", min=1),
    ] = 10,
    shuffles: Annotated[
        int,
        typer.Option(
            "--shuffles",
            help="Listwise: number of random orders to show candidates in; ranks are averaged. 0: the run's order.",
            min=0,
        ),
    ] = 1,
    rounds: Annotated[
        int | None,
        typer.Option("--rounds", help="Pairwise: number of rounds; default: enough to single out the best.", min=1),
    ] = None,
    validation: Annotated[
        bool,
        typer.Option(
            "--validation", help="Also re-rank lists for validation sessions, so that a blend can learn weights."
        ),
    ] = False,
    limit: LimitOption = None,
    template: Annotated[
        str | None, typer.Option("--template", help="TOML file with the wording of prompts.", metavar="FILE")
    ] = None,
    temperature: Annotated[float, typer.Option("--temperature", help="Temperature of the answers.", min=0)] = 0.0,
    max_tokens: Annotated[
        int | None,
        typer.Option("--max-tokens", help="Largest number of tokens in an answer; default: by method.", min=1),
    ] = None,
    context: ContextOption = None,
    asking: Asking,
    sending: Sending,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show requests, tokens, cost and time; send nothing.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Let a language model reorder the top items of a run, and store the result as a run.

    The model sees the first --top items of every test session's list in a random order; items below keep the run's
    order. Candidates that an answer leaves out follow those that it names; invented and repeated answers are dropped;
    all of this is counted. The new run can be reported, exported and blended like any other. Answers are stored as they
    arrive: if you run the command again after an interruption, it asks only for what is missing.

    Examples:

        llmseq rerank v-sknn --model gpt-6-luna --dry-run

        llmseq rerank v-sknn --model gpt-6-luna --limit 500 --max-cost 5

        llmseq rerank v-sknn --model rank-1 --shuffles 3

        llmseq rerank sasrec --model llama3.2 --top 50 --base-url http://localhost:11434/v1

        llmseq rerank sasrec --model Qwen/Qwen3-0.6B --provider local --method pointwise-title
    """
    from llmseq_cli.prompting.rerank.options import RerankOptions

    workspace = common.open()
    options = RerankOptions(
        run,
        model=model,
        dataset=dataset,
        top=top,
        method=method,
        window=window,
        step=step,
        shuffles=shuffles,
        rounds=rounds,
        validation=validation,
        limit=limit,
        template=template,
        temperature=temperature,
        max_tokens=max_tokens,
        context=context,
        **asking.options(),
        **vars(sending),
    )
    if dry_run:
        plan = workspace.plan_rerank(options)
        print_json(plan) if json else print_facts([("run", plan["run"]), *plan_facts(plan)])
        return
    print_made(workspace, workspace.rerank(options), json, _print_run)


def _print_run(row: dict[str, Any], figures: dict[str, Any]) -> None:
    print_facts(
        [
            ("run", row["run"]),
            ("model", f"{row['label']}: {row['settings']['model']}"),
            ("sessions", row["sessions"]),
            *metric_facts(row),
            ("answers", answers_in_words(figures)),
            *_position_facts(row, figures),
            ("tokens", f"{figures['prompt_tokens']:,} asked, {figures['completion_tokens']:,} answered"),
            ("US dollars", figures["cost_usd"]),
        ]
    )


def _position_facts(row: dict[str, Any], figures: dict[str, Any]) -> list[tuple[str, Any]]:
    """How often the candidate shown first is named first, a sign of position bias."""
    if row["settings"]["method"] != "listwise" or not figures.get("answers"):
        return []
    share = figures["first_shown_named_first"] / figures["answers"]
    chance = 1 / min(row["settings"]["window"], row["settings"]["top"])
    return [("shown first, named first", f"{share:.0%} of answers; about {chance:.0%} by chance")]


def answers_in_words(figures: dict[str, Any]) -> str:
    """The number of answers, and what had to be repaired."""
    counts = {
        "repaired": figures.get("repaired_answers"),
        "candidates left out": figures.get("left_out"),
        "invented": figures.get("invented"),
        "named twice": figures.get("repeated"),
        "comparisons undecided": figures.get("undecided_comparisons"),
        "empty": figures.get("empty_answers"),
        "refused": figures.get("refused_answers"),
    }
    told = [f"{count:,} {what}" for what, count in counts.items() if count]
    return f"{figures.get('answers', 0):,}" + (f"; {', '.join(told)}" if told else "")
