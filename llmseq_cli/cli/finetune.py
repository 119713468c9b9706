"""`finetune`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from llmseq_cli.cli.common import Common, DatasetOption, JsonOption, SeedOption, command
from llmseq_cli.cli.console import out, print_facts, print_json

TaskOption = Annotated[
    str | None,
    typer.Option(
        "--task",
        help="genitem: name the next item. genlist: name k items. classify: choose among 200 items that stand for "
        "the catalog. rank: order a model's candidates.",
        metavar="TASK",
    ),
]
BaseUrlOption = Annotated[
    str | None,
    typer.Option("--base-url", help="Server that speaks OpenAI's protocol; else $OPENAI_BASE_URL.", metavar="URL"),
]
PricesOption = Annotated[
    str | None, typer.Option("--prices", help="TOML file of prices; else $LLMSEQ_PRICES.", metavar="FILE")
]
CandidatesOption = Annotated[
    str | None,
    typer.Option("--candidates", help="Run whose lists genlist and rank use; else the best llmseqsim.", metavar="RUN"),
]
TemplateOption = Annotated[
    str | None,
    typer.Option("--template", help="TOML file of wording, or one that ships: tallrec.", metavar="FILE"),
]
ProviderOption = Annotated[
    str, typer.Option("--provider", help="Who fine-tunes and answers: openai, vertex, or local: this machine.")
]


GOES_ON = "what was submitted goes on at its provider; the same command, or `llmseq jobs wait`, finds it again"


def register(app: typer.Typer) -> None:
    command(app, "finetune", interrupted=GOES_ON)(finetune)


def finetune(
    common: Common,
    task: TaskOption = None,
    dataset: DatasetOption = None,
    provider: ProviderOption = "openai",
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            help="Model to start from; any id of the provider's. Of local: an id of the Hugging Face hub, a folder, or "
            "scratch, a small model that knows nothing but titles.",
            metavar="ID",
        ),
    ] = None,
    candidates: CandidatesOption = None,
    embeddings: Annotated[
        str | None,
        typer.Option(
            "--embeddings", help="Item embeddings that classify clusters; else the newest.", metavar="SOURCE[:MODEL]"
        ),
    ] = None,
    template: TemplateOption = None,
    k: Annotated[int, typer.Option("-k", help="Items in an answer that lists them.", min=1, max=100)] = 20,
    clusters: Annotated[int, typer.Option("--clusters", help="Categories of classify.", min=2)] = 200,
    limit: Annotated[
        int | None, typer.Option("--limit", help="Examples to train on, drawn at random; else all.", min=1)
    ] = None,
    validation: Annotated[
        int | None,
        typer.Option("--validation", help="Most examples to validate with; else what the provider takes.", min=0),
    ] = None,
    context: Annotated[
        int | None, typer.Option("--context", help="Tokens of the longest example; else the provider's.", min=1)
    ] = None,
    suffix: Annotated[
        str | None, typer.Option("--suffix", help="Goes into the fine-tuned model's name.", metavar="TEXT")
    ] = None,
    set: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="epochs, batch_size, learning_rate_multiplier; of local models epochs, learning_rate, rank, alpha, "
            "dropout, four_bit and more; may be repeated.",
            metavar="KEY=VALUE",
        ),
    ] = None,
    show: Annotated[
        int | None, typer.Option("--show", help="Only print the first N examples, and what is read of them.", min=1)
    ] = None,
    prepare_only: Annotated[
        bool, typer.Option("--prepare-only", help="Write the training files and send nothing.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say how many examples, tokens, epochs, dollars and minutes.")
    ] = False,
    max_cost: Annotated[
        float | None, typer.Option("--max-cost", help="Send nothing that may cost more US dollars.", min=0)
    ] = None,
    prices: PricesOption = None,
    again: Annotated[
        bool, typer.Option("--again", help="Submit once more what was submitted before; it is paid for again.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the job is over.")] = False,
    base_url: BaseUrlOption = None,
    seed: SeedOption = 0,
    json: JsonOption = False,
) -> None:
    """Fine-tune a language model to recommend (LLMSeqPrompt).

    Writes examples of the training sessions, uploads and submits them, and notes each step, so that a job is found
    again whatever happens: `llmseq jobs`. The same files are never submitted twice. The key for openai comes from the
    environment, OPENAI_API_KEY.

    A template is a TOML file with `user` and, where they should differ, `system`, `item`, `option`, `answer` and
    `separator`. `user` holds {session} and may hold {options} and {k}; the others word one item by {title} and
    {number}.

    Examples:

        llmseq finetune --task genitem --show 3

        llmseq finetune --task rank --candidates llmseqsim --dry-run

        llmseq finetune --task genitem --limit 2000 --max-cost 20 --wait

        llmseq finetune --provider local --model Qwen/Qwen3-0.6B
    """
    from llmseq_cli.settings import parse_assignments

    made = common.open().finetune(
        task or "genitem",
        dataset=dataset,
        provider=provider,
        model=model,
        candidates=candidates,
        embeddings=embeddings,
        template=template,
        k=k,
        clusters=clusters,
        limit=limit,
        validation=validation,
        context=context,
        suffix=suffix,
        settings=parse_assignments(set or [], "--set epochs=3"),
        seed=seed,
        show=show,
        prepare_only=prepare_only,
        dry_run=dry_run,
        max_cost=max_cost,
        prices=prices,
        again=again,
        wait=wait,
        base_url=base_url,
    )
    if json:
        print_json(made)
    elif isinstance(made, list):
        _print_examples(made)
    elif dry_run:
        _print_plan(made)
    else:
        print_job(made)


def _print_examples(examples: list[dict[str, Any]]) -> None:
    from rich.text import Text

    for number, example in enumerate(examples, 1):
        out.print(Text(f"Example {number}, at most about {example['tokens']:,} tokens", style="bold"))
        for role in ("system", "user", "completion"):
            if example[role]:
                out.print(Text(f"[{role}]", style="dim"))
                out.print(Text(example[role]))
        out.print(Text("[read as]", style="dim"))
        for item in example["parsed"]:
            out.print(Text(f"{item['item'] or 'no item of the answer'}  {item['title']}"))
        out.print()


def _print_plan(plan: dict[str, Any]) -> None:
    cost = plan["cost_usd"]
    facts = [
        ("model", f"{plan['provider']}:{plan['base_model']}"),
        ("examples", f"{plan['training_examples']:,}, and {plan['validation_examples']:,} to validate with"),
        *left_out_facts(plan["left_out"]),
        ("tokens", f"at most about {plan['training_tokens']:,}, {plan['epochs']} epochs"),
        ("US dollars", "no price known; see --prices" if cost is None else f"at most about {cost:,.2f}"),
        ("minutes", None if plan["minutes"] is None else f"about {plan['minutes']:,.0f}"),
    ]
    print_facts(facts if not plan["candidates"] else [("candidates", plan["candidates"]), *facts])


def left_out_facts(left_out: dict[str, int]) -> list[tuple[str, Any]]:
    return [("left out", "; ".join(f"{count:,} {reason}" for reason, count in left_out.items()))] if left_out else []


def print_job(job: dict[str, Any]) -> None:
    """A job as names and values, and what may be done next."""
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
        ("examples", f"{job['training_examples']:,}, and {job['validation_examples']:,} to validate with"),
        *left_out_facts(job["left_out"]),
        ("US dollars", dollars),
        ("files", job["folder"]),
    ]
    print_facts([*facts, ("next", next_step[job["status"]])] if job["status"] in next_step else facts)
