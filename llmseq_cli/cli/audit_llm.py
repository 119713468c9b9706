"""`audit-llm`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from llmseq_cli.cli.asking import KEPT, Asking, cost_facts
from llmseq_cli.cli.common import Common, DatasetOption, JsonOption, Sending, command, listed
from llmseq_cli.cli.console import out, print_facts, print_json, print_table

_WORDS = {
    "title": "titles from their beginning",
    "id": "titles by the item's id",
    "session": "next items by the session's id",
    "history": "next items by the history",
}


def register(app: typer.Typer) -> None:
    command(app, "audit-llm", interrupted=KEPT)(audit_llm)


def audit_llm(
    common: Common,
    *,
    model: Annotated[
        str | None,
        typer.Argument(
            help="Model to ask: an id that the provider knows, or a fine-tuning job. Without it, list what was found "
            "so far.",
            metavar="[MODEL]",
        ),
    ] = None,
    dataset: DatasetOption = None,
    probes: Annotated[
        str,
        typer.Option(
            "--probes",
            help="What to ask for. title: a title from its beginning. id: a title by the item's id. session: the next "
            "item by the session's id. history: the next item by the items before it.",
            metavar="PROBE,…",
        ),
    ] = "title,id,session,history",
    sample: Annotated[
        int, typer.Option("--sample", help="Number of questions per probe, drawn at random.", min=1)
    ] = 200,
    called: Annotated[
        str | None,
        typer.Option(
            "--called", help="Name by which the model may know the dataset; default: its name here.", metavar="NAME"
        ),
    ] = None,
    temperature: Annotated[float, typer.Option("--temperature", help="Temperature of the answers.", min=0)] = 0.0,
    max_tokens: Annotated[
        int | None,
        typer.Option(
            "--max-tokens", help="Largest number of tokens in an answer; default: from the length of titles.", min=1
        ),
    ] = None,
    asking: Asking,
    sending: Sending,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show requests, tokens, cost and time; send nothing.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Test whether a language model has memorised a dataset.

    Public datasets are in the training data of large language models. The probes ask for things that only memory can
    answer, and compare the share of right answers with a control in which memory cannot help: the same answers compared
    with other items, or histories in another order. If the 95 % interval of the difference lies above 0, the model
    recites, and reports mark its runs with †. Answers are stored as they arrive.

    Examples:

        llmseq audit-llm gpt-6-luna --called "Amazon Beauty" --dry-run

        llmseq audit-llm gpt-6-luna --called "Amazon Beauty" --max-cost 1

        llmseq audit-llm
    """
    from llmseq_cli.prompting.memory.options import AuditOptions

    workspace = common.open()
    if model is None:
        found = workspace.llm_audits(dataset)
        print_json(found) if json else _print_list(found)
        return
    options = AuditOptions(
        model,
        dataset=dataset,
        probes=listed(probes),
        sample=sample,
        called=called,
        temperature=temperature,
        max_tokens=max_tokens,
        **asking.options(),
        **vars(sending),
    )
    if dry_run:
        plan = workspace.plan_audit_llm(options)
        print_json(plan) if json else _print_plan(plan)
        return
    done = workspace.audit_llm(options)
    print_json(done) if json else _print_findings(done)


def _print_plan(plan: dict[str, Any]) -> None:
    probes = ", ".join(f"{name} {count:,}" for name, count in plan["probes"].items())
    print_facts([("model", plan["model"]), ("questions", probes), *cost_facts(plan)])


def _print_findings(done: dict[str, Any]) -> None:
    rows = [
        [
            one["probe"],
            one["asked"],
            _share(one["share"], one["interval"]),
            _share(one["control_share"], one["control_interval"]),
            _share(one["excess"], one["excess_interval"]),
            "yes" if one["recites"] else "no",
        ]
        for one in done["findings"]
    ]
    print_table(["probe", "asked", "right %", "control %", "above control", "recites"], rows)
    for one in done["findings"]:
        out.print(f"{one['probe']}: {_WORDS[one['probe']]}", style="dim")
    marked = [one for one in done["findings"] if one["marks"]]
    if marked:
        out.print(f"{done['model']} recites this dataset: reports mark its runs with †.")
        out.print("Compare it on a twin with neutral titles: llmseq ingest … --anonymise", style="dim")
    elif any(one["recites"] for one in done["findings"]):
        out.print("It knows titles, but not this dataset's ids, sessions or histories: no run is marked.")
    else:
        out.print("It recites no more than chance explains.")
    if done["kept"]:
        out.print("Reports keep using an earlier audit that had more questions.")
    out.print("Intervals: 95 %, Wilson's for shares, Newcombe's for differences.", style="dim")


def _share(share: float, interval: list[float]) -> str:
    return f"{100 * share:.1f} [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"


def _print_list(found: list[dict[str, Any]]) -> None:
    if not found:
        out.print("No model has been audited yet: run `llmseq audit-llm MODEL`.")
        return
    rows = [
        [
            one["dataset"],
            one["model"],
            one["probe"],
            one["asked"],
            f"{100 * one['share']:.1f}",
            f"{100 * one['control_share']:.1f}",
            f"[{100 * one['excess_low']:.1f}, {100 * one['excess_high']:.1f}]",
            "yes" if one["recites"] else "no",
        ]
        for one in found
    ]
    print_table(["dataset", "model", "probe", "asked", "right %", "control %", "above", "recites"], rows)
