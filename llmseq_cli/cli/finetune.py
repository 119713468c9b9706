"""`finetune`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from llmseq_cli.cli.asking import TaskWords
from llmseq_cli.cli.common import (
    BaseUrlOption,
    Common,
    DatasetOption,
    JsonOption,
    PricesOption,
    SeedOption,
    YesOption,
    command,
    retirement_facts,
)
from llmseq_cli.cli.console import out, print_facts, print_json
from llmseq_cli.errors import UsageError

GOES_ON = "a submitted job continues at its provider; run the same command again, or `llmseq jobs wait`"


def register(app: typer.Typer) -> None:
    command(app, "finetune", interrupted=GOES_ON)(finetune)


def finetune(
    common: Common,
    *,
    task: TaskWords,
    dataset: DatasetOption = None,
    provider: Annotated[
        str | None,
        typer.Option(
            "--provider",
            help="Where to train: local (this machine, the default), vertex, together, fireworks, azure, or openai "
            "(also "
            "any server that --base-url names).",
            metavar="NAME",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            help="Model to start from; any id the provider knows. For local: an id of the Hugging Face hub, a folder, "
            "or scratch (a small model that knows only titles).",
            metavar="ID",
        ),
    ] = None,
    embeddings: Annotated[
        str | None,
        typer.Option(
            "--embeddings",
            help="Item embeddings to cluster for classify; default: the newest.",
            metavar="SOURCE[:MODEL]",
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", help="Number of training examples, drawn at random; default: all.", min=1)
    ] = None,
    validation: Annotated[
        int | None,
        typer.Option(
            "--validation", help="Largest number of validation examples; default: the provider's limit.", min=0
        ),
    ] = None,
    context: Annotated[
        int | None,
        typer.Option("--context", help="Largest number of tokens in an example; default: the provider's limit.", min=1),
    ] = None,
    suffix: Annotated[
        str | None, typer.Option("--suffix", help="Text to add to the name of the fine-tuned model.", metavar="TEXT")
    ] = None,
    set: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="epochs, batch_size, learning_rate_multiplier; for local models epochs, learning_rate, rank, alpha, "
            "dropout, four_bit and more; repeatable.",
            metavar="KEY=VALUE",
        ),
    ] = None,
    show: Annotated[
        int | None,
        typer.Option(
            "--show", help="Print the first N examples and how their answers are parsed; send nothing.", min=1
        ),
    ] = None,
    prepare_only: Annotated[
        bool, typer.Option("--prepare-only", help="Write the training files and send nothing.")
    ] = False,
    export_only: Annotated[
        bool,
        typer.Option("--export-only", help="Write a folder (files, configuration) for another trainer; send nothing."),
    ] = False,
    format: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="With --export-only: trl (the default; TRL and Unsloth), axolotl, alpaca, openai or vertex.",
            metavar="FORMAT",
        ),
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option("--out", help="With --export-only: the folder; default: ./TASK-FORMAT.", metavar="DIR"),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show examples, tokens, epochs, cost and time; send nothing.")
    ] = False,
    max_cost: Annotated[
        float | None, typer.Option("--max-cost", help="Do not start if it may cost more than this (USD).", min=0)
    ] = None,
    prices: PricesOption = None,
    again: Annotated[bool, typer.Option("--again", help="Submit the same job again; you pay again.")] = False,
    yes: YesOption = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the job has finished.")] = False,
    base_url: BaseUrlOption = None,
    seed: SeedOption = 0,
    json: JsonOption = False,
) -> None:
    """Fine-tune a language model to recommend (LLMSeqPrompt).

    Writes examples from the training sessions, then trains on this machine, or uploads them and submits a job. Every
    step is recorded, so no job is lost: see `llmseq jobs`. The same files are never submitted twice. Models that will
    be shut down soon are refused. Keys come from environment variables: OPENAI_API_KEY, TOGETHER_API_KEY, …

    A template is a TOML file with `user` and, to change them, `system`, `item`, `option`, `answer` and `separator`.
    `user` contains {session}, and optionally {options} and {k}; the others describe one item with {title} and {number}.

    Examples:

        llmseq finetune --task genitem --show 3

        llmseq finetune --task rank --candidates llmseqsim --dry-run

        llmseq finetune --model Qwen/Qwen3-0.6B --limit 2000

        llmseq finetune --export-only --format axolotl --model Qwen/Qwen3-0.6B

        llmseq finetune --provider vertex --set bucket=gs://my-bucket --max-cost 20 --wait
    """
    from llmseq_cli.finetuning.options import FinetuneOptions
    from llmseq_cli.settings import parse_assignments

    options = FinetuneOptions(
        **{**vars(task), "task": task.task or "genitem"},
        dataset=dataset,
        provider=provider,
        model=model,
        embeddings=embeddings,
        limit=limit,
        validation=validation,
        context=context,
        suffix=suffix,
        settings=parse_assignments(set or [], "--set epochs=3"),
        seed=seed,
        prepare_only=prepare_only,
        max_cost=max_cost,
        prices=prices,
        again=again,
        yes=yes,
        wait=wait,
        base_url=base_url,
    )
    workspace = common.open()
    if not export_only and (format or to):
        raise UsageError("--format and --out need --export-only", "add it, or leave them out")
    if export_only:
        form = format or "trl"
        exported = workspace.export_examples(options, form, to or Path(f"{options.task}-{form}"))
        print_json(exported) if json else _print_exported(exported)
    elif show is not None:
        examples = workspace.show_examples(options, show)
        print_json(examples) if json else _print_examples(examples)
    elif dry_run:
        plan = workspace.plan_finetune(options)
        print_json(plan) if json else _print_plan(plan)
    else:
        job = workspace.finetune(options)
        print_json(job) if json else print_job(job)


def _print_examples(examples: list[dict[str, Any]]) -> None:
    from rich.text import Text

    for number, example in enumerate(examples, 1):
        out.print(Text(f"Example {number}, at most about {example['tokens']:,} tokens", style="bold"))
        for role in ("system", "user", "completion", "rejected"):
            if example.get(role):
                out.print(Text(f"[{role}]", style="dim"))
                out.print(Text(example[role]))
        out.print(Text("[read as]", style="dim"))
        for item in example["parsed"]:
            out.print(Text(f"{item['item'] or 'no item of the answer'}  {item['title']}"))
        out.print()


def _print_exported(exported: dict[str, Any]) -> None:
    print_facts(
        [
            ("folder", exported["folder"]),
            ("base model", exported["base_model"]),
            *_example_facts(exported),
            ("files", ", ".join(exported["files"])),
            ("next", f"see {exported['folder']}/README.md"),
        ]
    )


def _print_plan(plan: dict[str, Any]) -> None:
    cost = plan["cost_usd"]
    facts = [
        ("model", f"{plan['provider']}:{plan['base_model']}"),
        ("examples", f"{plan['training_examples']:,}, and {plan['validation_examples']:,} to validate with"),
        *left_out_facts(plan["left_out"]),
        ("tokens", f"at most about {plan['training_tokens']:,}, {plan['epochs']} epochs"),
        ("US dollars", "no price known; see --prices" if cost is None else f"at most about {cost:,.2f}"),
        ("minutes", None if plan["minutes"] is None else f"about {plan['minutes']:,.0f}"),
        *retirement_facts(plan["retirement"]),
        *([("last jobs taken", plan["tuning_end"])] if plan["tuning_end"] else []),
    ]
    print_facts(facts if not plan["candidates"] else [("candidates", plan["candidates"]), *facts])


def left_out_facts(left_out: dict[str, int]) -> list[tuple[str, Any]]:
    return [("left out", "; ".join(f"{count:,} {reason}" for reason, count in left_out.items()))] if left_out else []


def _example_facts(job: dict[str, Any]) -> list[tuple[str, Any]]:
    """How many examples a job has; empty for an imported job that does not say."""
    if "training_examples" not in job:
        return []
    to_validate = f"{job.get('validation_examples', 0):,} to validate with"
    return [
        ("examples", f"{job['training_examples']:,}, and {to_validate}"),
        *left_out_facts(job.get("left_out", {})),
    ]


def print_job(job: dict[str, Any]) -> None:
    """Print a job as names and values, and what to do next."""
    expected, cost = job.get("expected_usd"), job["cost_usd"]
    dollars = f"{cost:,.2f}" if cost is not None else f"at most about {expected:,.2f}" if expected is not None else None
    next_step = {
        "prepared": "llmseq finetune with the same options submits it",
        "queued": f"llmseq jobs wait {job['job']}",
        "running": f"llmseq jobs wait {job['job']}",
        "succeeded": f"llmseq prompt {job['job']}",
        "failed": f"llmseq jobs show {job['job']}",
    }
    facts: list[tuple[str, Any]] = [
        ("job", job["job"]),
        ("dataset", job["dataset"]),
        ("status", job["status"]),
        ("base model", f"{job['provider']}:{job['base_model']}"),
        ("model", job["model"]),
        ("remote id", job["remote_id"]),
        *_example_facts(job),
        ("US dollars", dollars),
        ("files", job["folder"]),
    ]
    print_facts([*facts, ("next", next_step[job["status"]])] if job["status"] in next_step else facts)
