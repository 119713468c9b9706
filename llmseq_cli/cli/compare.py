"""`compare`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from llmseq_cli.cli.common import Common, DatasetOption, JsonOption, RunArgument, TestOption, command
from llmseq_cli.cli.console import out, print_facts, print_json, print_table
from llmseq_cli.cli.sessions import print_session


def register(app: typer.Typer) -> None:
    command(app, "compare")(compare)


def compare(
    common: Common,
    first: RunArgument,
    second: RunArgument,
    dataset: DatasetOption = None,
    k: Annotated[int, typer.Option("-k", help="Length of the lists to compare.", min=1)] = 20,
    sessions: Annotated[
        int, typer.Option("--sessions", help="Number of sessions to show that only one run gets right.", min=0)
    ] = 3,
    test: TestOption = "t",
    json: JsonOption = False,
) -> None:
    """Compare two runs: metrics with significance, sessions that only one gets right, overlap of their lists.

    The comparison uses the sessions that both runs have scored. Coverage and novelty describe all lists of a run and
    are not tested; p-values use Holm's correction.

    Example:

        llmseq compare sasrec llmseqsim --sessions 5
    """
    found = common.open().compare(first, second, dataset=dataset, k=k, sessions=sessions, test=test)
    if json:
        print_json(found)
        return
    one, two = found["runs"]
    _print_metrics(found)
    if len(set(found["sessions_of_each"])) > 1:
        each = " and ".join(f"{count:,}" for count in found["sessions_of_each"])
        out.print(f"scored on {each} sessions; compared on the {found['sessions']:,} that both have", style="dim")
    counts, shared = found["found"], found["overlap"]
    out.print()
    print_facts(
        [
            (f"found by both among {k}", f"{counts['both']:,} of {found['sessions']:,} sessions"),
            (f"only by {one}", f"{counts['only_first']:,}"),
            (f"only by {two}", f"{counts['only_second']:,}"),
            ("by neither", f"{counts['neither']:,}"),
            ("items in common", f"{shared['common']:.1%} of the lists (Jaccard {shared['jaccard']:.3f})"),
            ("rank-biased overlap", f"{shared['rank_biased']:.3f} (p 0.9)"),
            ("same first item", f"{shared['same_first']:.1%} of the sessions"),
            ("items both ever recommend", f"{shared['catalog']:.1%} of those that either does"),
        ]
    )
    _print_differences(found)
    for name, key in ((one, "only_first"), (two, "only_second")):
        for number, session in enumerate(found[key]):
            out.print()
            if not number:
                out.print(f"only {name} finds:", style="underline")
            print_session(session, found["runs"])


def _print_metrics(found: dict[str, Any]) -> None:
    from llmseq_cli.reporting.names import heading
    from llmseq_cli.reporting.table import digits

    rows, marks = [], {}
    for number, entry in enumerate(found["metrics"]):
        key = entry["metric"]
        places = 3 if key.startswith("novelty") else 4
        away = f"{entry['difference']:+.{places}f}"
        half = f"±{(entry['interval'][1] - entry['interval'][0]) / 2:.{places}f}" if "interval" in entry else ""
        p = "" if "p" not in entry else f"{entry['p_holm']:.4f}" if entry["p_holm"] >= 1e-4 else "< 0.0001"
        rows.append([heading(key), digits(key, entry["first"]), digits(key, entry["second"]), away, half, p])
        if entry.get("significant"):
            marks[number, 2 if entry["difference"] > 0 else 1] = "bold"
    one, two = found["runs"]
    columns = ["metric", one, two, "difference", "95 %", "p (Holm)"]
    print_table(columns, rows, title=found["dataset"], marks=marks, right=columns[1:])


def _print_differences(found: dict[str, Any]) -> None:
    rows = [[name, *(_plain(value) for value in values)] for name, values in found["differs"].items()]
    if rows:
        out.print()
        print_table(["differs", *found["runs"]], rows)


def _plain(value: Any) -> str:
    return "–" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
