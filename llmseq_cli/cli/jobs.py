"""`jobs`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from llmseq_cli.cli.common import BaseUrlOption, Common, DatasetOption, JsonOption, PricesOption, command
from llmseq_cli.cli.console import out, print_facts, print_json, print_table, show
from llmseq_cli.cli.finetune import GOES_ON, print_job
from llmseq_cli.errors import UsageError


def register(app: typer.Typer) -> None:
    command(app, "jobs", interrupted=GOES_ON)(jobs)


_HEADINGS = {"base_model": "base model", "cost_usd": "US$", "created_at": "built"}


def _print_jobs(rows: list[dict[str, Any]]) -> None:
    """Print one line per job. Narrow terminals leave out dataset and fine-tuned model, which `show` prints."""
    every = ["job", "dataset", "status", "base_model", "model", "cost_usd", "created_at"]
    few = [column for column in every if column not in ("dataset", "model")]
    widths = [max(len(show(row[column])) for row in rows) + 2 for column in every]
    columns = every if sum(widths) <= out.width else few
    print_table(
        [_HEADINGS.get(column, column) for column in columns],
        [[row[column] for column in columns] for row in rows],
        whole=["job", "status", "built"],
    )


def _folder(word: str) -> Path:
    if word == "latest":
        raise UsageError("no folder to import is given", "llmseq jobs import FOLDER")
    return Path(word).expanduser()


def jobs(
    common: Common,
    action: Annotated[
        str, typer.Argument(help="list, show, wait, cancel, download or import.", metavar="[ACTION]")
    ] = "list",
    job: Annotated[
        str, typer.Argument(help="A job, or latest; with import: a folder with a model.", metavar="[JOB|FOLDER]")
    ] = "latest",
    dataset: DatasetOption = None,
    to: Annotated[
        Path | None, typer.Option("--out", help="Folder to download to; default: the job's own.", metavar="DIR")
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Do not ask the provider.")] = False,
    task: Annotated[
        str | None,
        typer.Option(
            "--task",
            help="With import: the task the model was trained for; default: from the export's llmseq.json.",
            metavar="TASK",
        ),
    ] = None,
    base_model: Annotated[
        str | None,
        typer.Option(
            "--base-model",
            help="With import: the model an adapter was trained on; default: as the adapter says.",
            metavar="ID",
        ),
    ] = None,
    prices: PricesOption = None,
    base_url: BaseUrlOption = None,
    json: JsonOption = False,
) -> None:
    """List fine-tuning jobs; show one, wait for it, cancel it, download its results, or import a model.

    Asks the provider about jobs that have not finished, and finds jobs whose submission was interrupted.

    import adds a model that was trained elsewhere as a job: a PEFT adapter or a whole model, in safetensors. Its files
    are copied; nothing in the folder is executed. Ask it with `llmseq prompt JOB`, here, or with --base-url on a server
    that serves it under the job's name.

    Examples:

        llmseq jobs

        llmseq jobs wait latest

        llmseq jobs download genitem-1 --out results

        llmseq jobs import genitem-trl/adapter
    """
    workspace = common.open()
    if action == "list":
        rows = workspace.jobs(dataset, refresh=not offline, base_url=base_url, prices=prices)
        if json:
            print_json(rows)
        elif not rows:
            out.print("No job yet; `llmseq finetune --task genitem` starts one.")
        else:
            _print_jobs(rows)
        return
    if action == "import":
        imported = workspace.import_model(_folder(job), task, dataset=dataset, base_model=base_model)
        print_json(imported) if json else print_job(imported)
        return
    if task or base_model:
        raise UsageError("--task and --base-model are for `llmseq jobs import`", "leave them out")
    made = workspace.job(job, action, dataset=dataset, out=to, refresh=not offline, base_url=base_url, prices=prices)
    if json:
        print_json(made)
        return
    print_job(made)
    if action == "download":
        print_facts([("downloaded", file) for file in made["downloaded"]])
    if action == "show":
        out.print()
        print_table(
            ["at", "status", "message"],
            [[step["happened_at"], step["status"], step["message"]] for step in made["events"]],
        )
