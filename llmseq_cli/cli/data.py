"""`ingest`, `download`, `datasets`, `describe`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from llmseq_cli.cli.common import Common, DatasetArgument, JsonOption, SplitOption, command, dataset_address
from llmseq_cli.cli.console import out, print_facts, print_json, print_table
from llmseq_cli.cli.plot import write_plot
from llmseq_cli.cli.reading import PathsArgument, Reading
from llmseq_cli.cli.split import SplitWords
from llmseq_cli.errors import UsageError
from llmseq_cli.files import check_output
from llmseq_cli.settings import LARGEST_SEED

_UNSEEN = {
    "drop": "dropped: test sessions contain only items of training",
    "keep": "kept: test sessions may contain, and end in, items that training never saw",
}


_REPEATS = {
    "exclude": "excluded: lists contain no item of their history",
    "allow": "allowed: lists may contain items of their history",
}


def register(app: typer.Typer) -> None:
    command(app, "ingest")(ingest)
    command(app, "download")(download)
    command(app, "datasets")(datasets)
    command(app, "describe")(describe)


def ingest(
    common: Common,
    *,
    paths: PathsArgument,
    name: Annotated[str, typer.Option("--name", help="Name for the dataset.", metavar="NAME")],
    reading: Reading,
    session_gap: Annotated[
        str | None,
        typer.Option(
            "--session-gap", help="Cut users into sessions after a pause of this length: 30m, 2h, 1d.", metavar="TIME"
        ),
    ] = None,
    k_core: Annotated[
        int | None,
        typer.Option(
            "--k-core",
            help="Remove sessions and items with fewer interactions, until nothing changes.  [default: 5; with files "
            "0]",
        ),
    ] = None,
    min_session: Annotated[
        int | None, typer.Option("--min-session", help="Drop sessions shorter than this.  [default: 2; with files 1]")
    ] = None,
    deduplicate: Annotated[
        bool,
        typer.Option("--deduplicate", help="Keep only a user's first interaction with each item."),
    ] = False,
    anonymise: Annotated[
        bool,
        typer.Option(
            "--anonymise",
            help="Replace titles and categories with neutral ones and drop other attributes, to separate what a "
            "language model takes from text from what it remembers.",
        ),
    ] = False,
    tie_break: Annotated[
        str, typer.Option("--tie-break", help="Order of interactions at the same time: random, input or item.")
    ] = "random",
    splits: Annotated[
        list[str] | None,
        typer.Option(
            "--split",
            help="sessions, leave-one-out, global-time, users or files; several with commas.  [default: sessions]",
            metavar="KIND,…",
        ),
    ] = None,
    rule: SplitWords,
    seed: Annotated[
        int, typer.Option("--seed", help="Seed of the random tie-break and splits.", min=0, max=LARGEST_SEED)
    ] = 0,
    replace: Annotated[bool, typer.Option("--replace", help="Replace the dataset of this name and its runs.")] = False,
    json: JsonOption = False,
) -> None:
    """Read interactions and item metadata into a dataset, all or nothing.

    Reads CSV, TSV, JSON, Parquet, and the files of Amazon, Steam, MovieLens and RecBole. Format, columns and times are
    guessed and shown; --format, --map and --time-format override the guess. Rows that cannot be read are set aside with
    file, line and reason. With --unseen-items keep, ground truths may be items that training never saw (cold start).

    Examples:

        llmseq ingest data/beauty --name beauty

        llmseq ingest clicks.csv.gz --items products.csv --name shop --map user=visitor,time=ts --k-core 0

        llmseq ingest log.csv --name visits --map user=visitor,item=page --session-gap 30m --where "country = 'DE'"

        llmseq ingest data/beauty --name beauty-cold --unseen-items keep

        llmseq ingest data/beauty --name beauty --split sessions,leave-one-out,global-time
    """
    from llmseq_cli.data.ingest import Protocol
    from llmseq_cli.data.options import IngestOptions

    protocol = Protocol(
        k_core=k_core,
        min_session=min_session,
        deduplicate=deduplicate,
        anonymise=anonymise,
        tie_break=tie_break,
        seed=seed,
        **vars(rule),
        splits=tuple(word for words in splits or ["sessions"] for word in words.split(",") if word),
    )
    options = IngestOptions(
        paths,
        name,
        **reading.fields(),
        session_gap=session_gap,
        protocol=protocol,
        replace=replace,
    )
    done = common.open().ingest(options)
    if json:
        print_json(done)
        return
    print_facts(_ingested(done), title=f"Dataset {name}")


def _times(facts: dict[str, Any]) -> str:
    """First and last time of a dataset; numbers that only count are not dates."""
    first, last = (str(facts[key]).replace("T", " ").partition(".")[0] for key in ("first_time", "last_time"))
    return "none, the interactions are numbered" if _are_counters(first, last) else f"{first} to {last}"


def _are_counters(first: str, last: str) -> bool:
    return first >= "1970" and last < "1973"


def _n(number: int, one: str, several: str = "") -> str:
    return f"{number:,} {one if number == 1 else several or one + 's'}"


def _items(facts: dict[str, Any]) -> str:
    return (
        f"{facts['items']:,} in {_n(facts['classes'], 'class', 'classes')}, {facts['untitled_items']:,} without a title"
    )


def _train(facts: dict[str, Any]) -> str:
    return f"{_n(facts['train_sessions'], 'session')}, {_n(facts['train_items'], 'item')}"


def _test(facts: dict[str, Any]) -> str:
    return f"{_n(facts['test_sessions'], 'session')}, {_n(facts['evaluated_sessions'], 'item')} to predict"


def _about_split(one: dict[str, Any]) -> str:
    trained = _n(one["train_interactions"], "interaction")
    return f"{trained} to train on, {one['evaluated_sessions']:,} to predict"


def _ingested(done: dict[str, Any]) -> list[tuple[str, Any]]:
    removed = [
        _n(done[key], one, several)
        for key, one, several in [
            ("rejected", "bad row set aside", "bad rows set aside"),
            ("left_out", "row left out by the filters", "rows left out by the filters"),
            ("duplicate_rows_removed", "duplicate row", "duplicate rows"),
            ("duplicates_removed", "repeat of an item", "repeats of an item"),
            *[("below_core_removed", *["below the k-core or in sessions that are too short"] * 2)],
        ]
        if done[key]
    ]
    rows = done["read"] + done["rejected"] + done["left_out"] + done["duplicate_rows_removed"]
    extra = [("runs removed", done["runs_removed"])] if done["runs_removed"] else []
    return [
        ("interactions", f"{done['interactions']:,} of {_n(rows, 'row')} read"),
        ("times", _times(done)),
        ("left out", "; ".join(removed) or "nothing"),
        ("sessions", f"{done['sessions']:,}, on average {done['average_length']:.1f} interactions"),
        ("items", _items(done)),
        ("train", _train(done)),
        ("test", _test(done)),
        *((name, _about_split(one)) for name, one in list(done["splits"].items())[1:]),
        ("tied endings", f"{done['ties_at_end']:.1%} of the sessions end in equal times"),
        *extra,
    ]


def download(
    common: Common,
    name: Annotated[str | None, typer.Argument(help="Dataset to download; without it, list all.")] = None,
    to: Annotated[Path, typer.Option("--out", help="Folder to download to.", metavar="DIR")] = Path("data"),
    base_url: Annotated[
        str | None, typer.Option("--base-url", help="Mirror to download the files from.", metavar="URL")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Download a public dataset by name; an interrupted download continues where it stopped.

    Examples:

        llmseq download

        llmseq download beauty --out data/beauty
    """
    from llmseq_cli.data.downloads.public_datasets import PUBLIC_DATASETS, download_dataset

    if name is None:
        rows = [
            {"name": key, "format": one.format, "files": len(one.files), "page": one.page}
            for key, one in PUBLIC_DATASETS.items()
        ]
        if json:
            print_json(rows)
        else:
            print_table(["name", "format", "files", "page"], [list(row.values()) for row in rows], whole=["name"])
        return
    done = download_dataset(name, to, common.progress(), base_url)
    if json:
        print_json({"name": name, "paths": [str(p) for p in done.paths], "format": done.format, "page": done.page})
        return
    for path in done.paths:
        out.print(str(path), soft_wrap=True)
    words = " ".join(str(path) for path in done.paths)
    common.progress().message(
        f"next: llmseq ingest {words} --format {done.format} --name {name} --k-core {done.k_core}"
    )


def datasets(common: Common, json: JsonOption = False) -> None:
    """List the datasets of the workspace.

    Example:

        llmseq datasets
    """
    rows = common.open().datasets()
    if json:
        print_json(rows)
        return
    columns = ["name", "sessions", "items", "interactions"]
    titles = ["dataset", "sessions", "items", "interactions", "first", "last", "splits"]
    shown = [[*(row[column] for column in columns), *_days(row), len(row["splits"])] for row in rows]
    print_table(titles, shown, whole=["first", "last"])


def _days(row: dict[str, Any]) -> list[str]:
    days = [str(row[key])[:10] for key in ("first_time", "last_time")]
    return ["–", "–"] if _are_counters(*days) else days


def describe(
    common: Common,
    name: DatasetArgument = None,
    dataset: Annotated[str | None, typer.Option("--dataset", hidden=True)] = None,
    split: SplitOption = None,
    audit: Annotated[
        bool, typer.Option("--audit", help="List problems in the data that would distort an evaluation.")
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", help="Also draw popularity and lengths to a .png or .svg file.", metavar="FILE"),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Show statistics of a dataset, its split, session lengths and popularity.

    Examples:

        llmseq describe beauty

        llmseq describe beauty --audit

        llmseq describe beauty --plot beauty.svg
    """
    if plot is not None:
        from llmseq_cli.reporting.draw_files import check_suffix

        check_suffix(plot.suffix)
        check_output(plot)
    if name and dataset and name != dataset:
        raise UsageError(f"'{name}' and --dataset {dataset} name two datasets", "name one: llmseq describe NAME")
    workspace = common.open()
    dataset, name = dataset_address(name or dataset, split), None
    if plot is not None:
        from llmseq_cli.reporting.options import PlotOptions

        shown = PlotOptions(dataset=name or dataset)
        write_plot([workspace.plot(kind, shown) for kind in ("popularity", "lengths")], plot)
    if audit:
        findings = workspace.audit(name or dataset)
        if json:
            print_json(findings)
        else:
            _print_audit(findings)
        return
    facts = workspace.describe(name or dataset)
    if json:
        print_json(facts)
    else:
        _print_description(facts)


def _print_audit(findings: list[dict[str, Any]]) -> None:
    rows = []
    for one in findings:
        share = f"{one['affected'] / one['total']:.1%}" if one["total"] else "–"
        rows.append([one["affected"], share, one["finding"], one["consequence"]])
    print_table(["count", "share", "what", "what it means"], rows, right=["share"])


def _print_description(facts: dict[str, Any]) -> None:
    protocol = facts["protocol"]
    print_facts(
        [
            ("sessions", facts["sessions"]),
            ("items", f"{facts['items']:,}, {facts['untitled_items']:,} without a title"),
            ("classes", facts["classes"]),
            ("interactions", facts["interactions"]),
            ("times", _times(facts)),
            ("average length", f"{facts['average_length']:.1f}"),
            ("density", f"{facts['density']:.3%}"),
            ("protocol", f"{protocol['k_core']}-core, sessions of at least {protocol['min_session']}"),
            ("tie-break", f"{facts['tie_break']}, seed {protocol['seed']}"),
            ("tied endings", f"{facts['ties_at_end']:.1%}"),
            ("train", _train(facts)),
            ("test", _test(facts)),
            ("unseen items", _UNSEEN[protocol["unseen_items"]]),
            ("repeats", _REPEATS[protocol["repeats"]]),
            *((f"split {one['split']}", one["rule"]) for one in facts["splits"]),
            ("rejected rows", facts["rejected"]),
        ],
        title=f"Dataset {facts['name']}",
    )
    out.print()
    most = max(row["sessions"] for row in facts["lengths"])
    bars = [[row["length"], row["sessions"], "█" * round(40 * row["sessions"] / most)] for row in facts["lengths"]]
    print_table(["length", "sessions", ""], bars)
    out.print()
    print_table(
        ["tenth of the catalog", "popularity", "share of interactions", ""],
        [
            [row["tenth"], f"{row['least']:,}–{row['most']:,}", f"{row['share']:.1%}", "█" * round(40 * row["share"])]
            for row in facts["popularity"]
        ],
        right=["popularity", "share of interactions"],
    )
