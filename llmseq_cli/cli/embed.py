"""`embed`, `embeddings`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from llmseq_cli.cli.common import (
    BaseUrlOption,
    Common,
    DatasetOption,
    JsonOption,
    Machines,
    SeedOption,
    Sending,
    command,
    retirement_facts,
)
from llmseq_cli.cli.console import print_facts, print_json, print_table


def register(app: typer.Typer) -> None:
    command(app, "embed", split=False)(embed)
    command(app, "embeddings", split=False)(embeddings)


def embed(
    common: Common,
    *,
    dataset: DatasetOption = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--source",
            help="lexical (the default): TF-IDF, no network, no key. openai: needs a key or a server. "
            "vertex: Google's models, needs Google Cloud credentials. "
            "huggingface: a model on this machine, from the hub or a folder.",
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="Any model id that the source knows.", metavar="ID")
    ] = None,
    text: Annotated[
        str,
        typer.Option("--text", help="Template for the text of an item, made of its attributes.", metavar="TEMPLATE"),
    ] = "{title}",
    dimensions: Annotated[
        int | None,
        typer.Option(
            "--dimensions", help="Dimensions of a vector; default: the model's; lexical: sparse vectors.", min=1
        ),
    ] = None,
    base_url: BaseUrlOption = None,
    sending: Sending,
    batch: Annotated[
        bool, typer.Option("--batch", help="Use OpenAI's batch service: half the price, done within a day.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Collect finished batches; resend what failed.")] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="With --batch or --resume: wait until all batches are done.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show texts, tokens, requests, cost and time; send nothing.")
    ] = False,
    set: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting of the source, see docs/reference; repeatable.", metavar="KEY=VALUE"),
    ] = None,
    on: Machines,
    seed: SeedOption = 0,
    json: JsonOption = False,
) -> None:
    """Turn item texts into vectors and store them.

    Each text is sent once: vectors are cached as they arrive, so an interrupted command loses nothing. The key for
    openai comes from the environment variable OPENAI_API_KEY.

    Examples:

        llmseq embed --source lexical

        llmseq embed --source openai --text '{title} {brand}' --dry-run

        llmseq embed --source openai --base-url http://localhost:8080/v1 --model BAAI/bge-m3

        llmseq embed --source huggingface --model BAAI/bge-small-en-v1.5

        llmseq embed --source huggingface --backend ray --ray-address 10.0.0.1:6379
    """
    from llmseq_cli.embeddings.options import EmbedOptions
    from llmseq_cli.settings import parse_assignments

    options = EmbedOptions(
        source or ("openai" if batch or resume else "lexical"),
        dataset=dataset,
        model=model,
        text=text,
        dimensions=dimensions,
        base_url=base_url,
        settings=parse_assignments(set or []),
        seed=seed,
        **vars(sending),
        batch=batch,
        resume=resume,
        wait=wait,
        backend=on.chosen(),
    )
    workspace = common.open()
    made = workspace.plan_embed(options) if dry_run else workspace.embed(options)
    if json:
        print_json(made)
    elif dry_run:
        _print_plan(made)
    elif "under_way" in made:
        print_facts([(name.replace("_", " "), value) for name, value in made.items()])
    else:
        _print_made(made)


def _print_plan(plan: dict[str, Any]) -> None:
    facts: list[tuple[str, Any]] = [
        ("embeddings", f"{plan['source']}:{plan['model']}"),
        ("texts", f"{plan['texts']:,} distinct; {plan['items_without_text']:,} items have none"),
        ("cached", plan["cached"]),
        ("cut", plan["cut"]),
        ("refused before", plan["refused"]),
        ("tokens", f"at most about {plan['tokens']:,}"),
    ]
    if plan["minutes"] is not None:  # a local model sends nothing and costs nothing
        cost = plan["cost_usd"]
        facts += [
            ("requests", plan["requests"]),
            ("US dollars", "no price known; see --prices" if cost is None else f"at most about {cost:,.4f}"),
            ("minutes", f"about {plan['minutes']:,.1f}"),
        ]
    print_facts(facts + retirement_facts(plan["retirement"]))


def _print_made(made: dict[str, Any]) -> None:
    kind = "sparse" if made["sparse"] else "dense"
    facts: list[tuple[str, Any]] = [
        ("embeddings", f"{made['source']}:{made['model']} (number {made['number']})"),
        ("texts", f"{made['texts']:,} of '{made['text']}'; {made['items_without_text']:,} items have none"),
        ("dimensions", f"{made['dimensions']:,}, {kind}"),
    ]
    if "distinct_texts" in made:
        cost = "" if made["cost_usd"] is None else f", {made['cost_usd']:,.4f} US dollars"
        sent = f"{made['texts_sent']:,} in {made['requests']:,} requests, {made['tokens']:,} tokens{cost}"
        computed = f"{made['texts_sent']:,}, {made['tokens']:,} tokens"
        facts += [
            ("distinct texts", f"{made['distinct_texts']:,}; {made['cached']:,} from the cache"),
            ("sent", sent) if made["remote"] else ("computed", computed),
        ]
        facts += [("cut", f"{made['cut']:,} texts to the model's limit")] if made["cut"] else []
        facts += [("refused", f"{len(made['refused']):,} texts, see the view refused_texts")] if made["refused"] else []
    print_facts([*facts, ("seconds", round(made["seconds"], 2))])


def embeddings(
    common: Common,
    dataset: DatasetOption = None,
    batches: Annotated[
        bool, typer.Option("--batches", help="List unfinished batches of a batch service (`embed --batch`) instead.")
    ] = False,
    forget: Annotated[
        int | None,
        typer.Option(
            "--forget",
            help="Drop a batch, so that its texts can be sent again. The service may still charge for it.",
            metavar="BATCH",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """List the item embeddings of the workspace.

    Other commands take SOURCE, SOURCE:MODEL or the number for --embeddings.

    Examples:

        llmseq embeddings

        llmseq embeddings --batches

        llmseq embeddings --forget 3
    """
    workspace = common.open()
    if forget is not None:
        forgotten = workspace.forget_batch(forget)
        if json:
            print_json(forgotten)
        else:
            print_facts([("forgotten", f"batch {forget}: {forgotten['texts']:,} texts of {forgotten['dataset']}")])
        return
    rows = workspace.embedding_batches() if batches else workspace.embeddings(dataset)
    if json:
        print_json(rows)
        return
    shown = ["number", "dataset", "source", "model"]
    columns = [*shown, *(["texts", "state", "id", "handed_over"] if batches else ["text", "dimensions", "items"])]
    print_table(columns, [[row[column] for column in columns] for row in rows])
