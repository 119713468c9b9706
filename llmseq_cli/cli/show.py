"""`show`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from llmseq_cli.cli.common import Common, DatasetOption, JsonOption, RunArgument, SeedOption, command
from llmseq_cli.cli.console import out, print_facts, print_json, print_table
from llmseq_cli.cli.sessions import print_session

_BARS = "▁▂▃▄▅▆▇█"
_MOST_BARS = 60
_TIMES = ("train_seconds", "score_seconds", "peak_memory_mb")


def register(app: typer.Typer) -> None:
    command(app, "show")(show)


def show(
    common: Common,
    run: RunArgument,
    dataset: DatasetOption = None,
    sessions: Annotated[int, typer.Option("--sessions", help="How many sessions to show.", min=0)] = 10,
    k: Annotated[int, typer.Option("-k", help="How many recommendations for each.", min=1)] = 5,
    sampled: Annotated[
        int | None,
        typer.Option(
            "--sampled",
            help="Also rank each target among this many sampled items; not comparable with the leaderboard.",
            min=1,
            metavar="N",
        ),
    ] = None,
    drawn: Annotated[
        str, typer.Option("--drawn", help="With --sampled: how to sample, uniform or popular.", metavar="WORD")
    ] = "uniform",
    seed: SeedOption = 0,
    json: JsonOption = False,
) -> None:
    """Show a run: settings, versions, times, training curve, and sessions with its recommendations.

    Sessions are drawn at random; use another --seed to see others.

    Examples:

        llmseq show latest --sessions 3

        llmseq show sasrec --sampled 100 --drawn popular
    """
    workspace = common.open()
    about = workspace.show(run, dataset=dataset, sessions=sessions, k=k, seed=seed)
    if sampled is not None:
        about["sampled"] = workspace.sampled_metrics(about["run"], sampled, drawn=drawn, seed=seed)
    if json:
        print_json(about)
        return
    _print_head(about)
    _print_metrics(about["metrics"])
    if sampled is not None:
        out.print(f"{_among(about['sampled'])}; not comparable with figures over the whole catalog:")
        _print_metrics(about["sampled"]["metrics"])
    _print_curve(about["curve"])
    for one in about["samples"]:
        out.print()
        print_session(one, [about["run"]])


def _among(sampled: dict[str, Any]) -> str:
    fewest, most = sampled["fewest"], sampled["most"]
    number = f"{most}" if fewest == most else f"{fewest} to {most}"
    less = "" if fewest == sampled["negatives"] else f", as there are no {sampled['negatives']} to draw"
    return f"among {number} {sampled['drawn']} items each{less}"


def _print_head(about: dict[str, Any]) -> None:
    figures, environment = about["figures"], about["environment"]
    of_all = "" if about["sessions"] == about["dataset_sessions"] else f" of {about['dataset_sessions']:,}"
    facts: list[tuple[str, Any]] = [
        ("run", f"{about['run']} ({about['label']})"),
        (
            "dataset",
            f"{about['dataset']}, {about['sessions']:,}{of_all} sessions scored, lists of {about['list_length']}",
        ),
        ("made", f"{about['started_at']:%Y-%m-%d %H:%M} UTC, seed {about['seed']}"),
        ("settings", _words(about["settings"])),
    ]
    if about["embeddings"]:
        facts.append(("embeddings", _words(about["embeddings"])))
    times = [f"trained in {_seconds(figures['train_seconds'])}"] if figures.get("train_seconds") is not None else []
    if figures.get("score_seconds") is not None:
        times.append(f"scored in {_seconds(figures['score_seconds'])}")
    if figures.get("peak_memory_mb"):
        times.append(f"at most {figures['peak_memory_mb']:,.0f} MB")
    rest = {key: value for key, value in figures.items() if key not in _TIMES}
    versions = " ".join(f"{name} {number}" for name, number in environment.get("versions", {}).items())
    machine = [environment.get("platform"), environment.get("processor"), f"{environment.get('cores')} cores"]
    if environment.get("backend") == "ray":
        machine.append(f"{environment['workers']} workers on Ray")
    facts += [
        ("took", ", ".join(times)),
        ("figures", _words(rest)),
        ("device", ", ".join([str(environment.get("device")), *[str(part) for part in machine if part]])),
        ("versions", versions),
    ]
    print_facts([fact for fact in facts if fact[1]])


def _print_metrics(metrics: dict[str, float]) -> None:
    from llmseq_cli.reporting.names import METRIC_NAMES
    from llmseq_cli.reporting.table import digits

    cutoffs = sorted({int(key.partition("@")[2]) for key in metrics})
    known = {key.partition("@")[0] for key in metrics}
    headings = {name: heading for name, heading in METRIC_NAMES.items() if name in known}
    rows = [[f"@{k}", *(digits(name, metrics.get(f"{name}@{k}")) for name in headings)] for k in cutoffs]
    out.print()
    print_table(["", *headings.values()], rows, right=list(headings.values()))


def _print_curve(curve: list[dict[str, Any]]) -> None:
    """Print loss and validation NDCG by epoch, as bars."""
    curves = []
    for name, key in (("loss", "loss"), ("validation NDCG", "ndcg")):
        values = [epoch[key] for epoch in curve if epoch.get(key) is not None]
        if len(values) > 1:
            best = max(values) if key == "ndcg" else min(values)
            epoch = next(one["epoch"] for one in curve if one.get(key) == best)
            curves.append(
                (name, f"{spark(values)}  {values[0]:.4g} → {values[-1]:.4g}, best {best:.4g} in epoch {epoch}")
            )
    if curves:
        out.print()
        print_facts(curves)


def spark(values: list[float]) -> str:
    """Numbers as a line of bars, from ▁ (lowest) to █ (highest); if there are too many, some are left out."""
    step = -(-len(values) // _MOST_BARS)
    shown = [*values[::step]]
    low, span = min(shown), (max(shown) - min(shown)) or 1
    return "".join(_BARS[round((value - low) / span * (len(_BARS) - 1))] for value in shown)


def _words(tree: dict[str, Any]) -> str:
    return ", ".join(f"{name}={_plain(value)}" for name, value in tree.items() if value is not None)


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, dict):
        return "{" + _words(value) + "}"
    return str(value)


def _seconds(seconds: float) -> str:
    if seconds >= 120:
        return f"{seconds / 60:.1f} min"
    return f"{seconds:.1f} s" if seconds >= 0.1 else f"{1000 * seconds:.1f} ms"
