"""`tune`, and what `report --tuning` shows."""

from __future__ import annotations

import re
from typing import Annotated, Any

import typer

from llmseq_cli.backend import Backend
from llmseq_cli.cli.common import (
    Common,
    DatasetOption,
    DeviceOption,
    JsonOption,
    ModelArgument,
    RayAddressOption,
    SeedOption,
    SetOption,
    command,
    listed,
)
from llmseq_cli.cli.console import out, print_facts, print_json, print_table
from llmseq_cli.errors import UsageError
from llmseq_cli.tuning.options import RUNGS

_SHOWN = 10
_LEAST_SHARE = 0.005  # share of importance; settings below it are not shown
_STATES = {"complete": "complete", "pruned": "given up early", "fail": "failed", "running": "not finished"}


def register(app: typer.Typer) -> None:
    kept = "finished trials are kept; the same command with --resume continues"
    command(app, "tune", interrupted=kept)(tune)


def tune(
    common: Common,
    model: ModelArgument,
    dataset: DatasetOption = None,
    trials: Annotated[
        int | None,
        typer.Option("--trials", help="Number of trials of the whole study; default: until --patience ends it.", min=1),
    ] = None,
    timeout: Annotated[
        str | None, typer.Option("--timeout", help="Stop after this long, for example 90s, 30m, 2h.", metavar="TIME")
    ] = None,
    patience: Annotated[
        int, typer.Option("--patience", help="Stop after this many trials without a better one; 0: never.", min=0)
    ] = 100,
    startup: Annotated[int, typer.Option("--startup", help="Number of random trials before TPE begins.", min=1)] = 40,
    search: Annotated[
        list[str] | None,
        typer.Option(
            "--search",
            help="A range or choices instead of the model's own; repeatable.",
            metavar="KEY=LOW..HIGH|A,B",
        ),
    ] = None,
    set: SetOption = None,
    embeddings: Annotated[
        str | None,
        typer.Option(
            "--embeddings", help="Item embeddings to try; see `llmseq embeddings`.", metavar="SOURCE[:MODEL],…"
        ),
    ] = None,
    reduce: Annotated[
        str | None,
        typer.Option("--reduce", help="Reductions to try; default: none, pca and whiten.", metavar="METHOD,…"),
    ] = None,
    dim: Annotated[
        str | None, typer.Option("--dim", help="Dimensions to try; default: 64, 128, 256 and 512.", metavar="D,…")
    ] = None,
    runs: Annotated[
        str | None, typer.Option("--runs", help="Runs to combine in a hybrid, blend or stack.", metavar="RUN,RUN,…")
    ] = None,
    rungs: Annotated[
        str | None,
        typer.Option(
            "--rungs",
            help=f"Epochs of the first fold after which the best half of the trials goes on; none: compare folds only; "
            f"default: {','.join(map(str, RUNGS))} for models that train by epochs.",
            metavar="N,…|none",
        ),
    ] = None,
    study: Annotated[
        str | None, typer.Option("--study", help="Name of the study; default: DATASET-MODEL.", metavar="NAME")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the study, alone or together with other processes.")
    ] = False,
    workers: Annotated[int, typer.Option("--workers", help="Number of trials to run at the same time.", min=1)] = 1,
    backend: Annotated[
        str, typer.Option("--backend", help="Where trials run: loky (processes on this machine) or ray.")
    ] = "loky",
    ray_address: RayAddressOption = None,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    json: JsonOption = False,
) -> None:
    """Search for a model's best settings on the training sessions.

    Runs TPE over temporal folds of the training sessions and maximizes the mean NDCG@20. It never looks at test
    sessions. The first trial uses the defaults. Of a model that trains by epochs, only the best half of the trials
    goes on after 3 and 9 epochs of the first fold, and after every fold (successive halving; see --rungs). Of other
    models, those in the bottom 20 % after a fold are given up, once ten trials are complete. Continue an interrupted
    study with --resume. The same command with --resume in another process, or on another machine with
    the same workspace folder, works on the study at the same time.

    Examples:

        llmseq tune sknn --trials 60 --workers 2

        llmseq tune sasrec --embeddings huggingface,lexical --timeout 2h --set epochs=30

        llmseq tune v-sknn --search k=20..1000 --search idf=true,false

        llmseq train sknn --from-tuning
    """
    from llmseq_cli.settings import parse_assignments
    from llmseq_cli.tuning.options import TuneOptions

    options = TuneOptions(
        model,
        dataset=dataset,
        study=study,
        trials=trials,
        timeout=_seconds(timeout),
        patience=patience,
        startup=startup,
        settings=parse_assignments(set or []),
        search=parse_assignments(search or [], "--search k=50..800"),
        embeddings=listed(embeddings),
        reduce=listed(reduce),
        dims=_numbers(dim, "--dim", "numbers separated by commas, for example --dim 64,128"),
        runs=listed(runs),
        rungs=_rungs(rungs),
        seed=seed,
        device=device,
        backend=Backend(backend, ray_address, workers),
        resume=resume,
    )
    made = common.open().tune(options)
    if json:
        print_json(made)
    else:
        print_study(made)


def _rungs(words: str | None) -> tuple[int, ...] | None:
    if words is None:
        return None
    return () if words == "none" else _numbers(words, "--rungs", "epochs separated by commas, for example 3,9")


def _numbers(words: str | None, option: str, hint: str) -> tuple[int, ...]:
    try:
        return tuple(int(one) for one in listed(words))
    except ValueError:
        raise UsageError(f"{option} is '{words}'", hint) from None


def _seconds(words: str | None) -> float | None:
    """Seconds of a duration such as "2h"."""
    if words is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)", words.strip())
    if not found:
        raise UsageError(f"--timeout is '{words}'", "for example 90s, 30m or 2h")
    return float(found.group(1)) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[found.group(2)]


def print_study(made: dict[str, Any]) -> None:
    """Print the best trials, the settings that matter, and what to type next."""
    states = {state: n for state, n in made["states"].items() if n}
    best, trials = made["best"], made["trials"]
    seconds = sum(one["seconds"] or 0 for one in trials)
    facts: list[tuple[str, Any]] = [
        ("study", f"{made['study']}: {made['model']} on {made['dataset']}, {made['folds']} folds"),
        ("trials", ", ".join(f"{n} {_STATES[state]}" for state, n in states.items()) or "none"),
        ("computed", f"{seconds / 60:,.0f} min" if seconds >= 120 else f"{seconds:,.1f} s"),
    ]
    if made["importance"]:
        shares = [f"{name} {share:.0%}" for name, share in made["importance"].items() if share >= _LEAST_SHARE]
        facts.append(("what matters", ", ".join(shares)))
    failed = [one["error"] for one in trials if one["error"]]
    if failed:
        facts.append(("last failure", failed[-1]))
    print_facts([(name, value) for name, value in facts if value])
    if best is None:
        return
    out.print()
    complete = [one for one in trials if one["state"] == "complete"]
    _print_best(sorted(complete, key=lambda one: (-one["value"], one["trial"]))[:_SHOWN], made["searched"])
    named = "" if made["study"] == f"{made['dataset']}-{made['model']}" else f" --study {made['study']}"
    out.print(f"llmseq train {made['model']} --from-tuning{named} trains with the best of them", soft_wrap=True)


def _print_best(trials: list[dict[str, Any]], searched: list[str]) -> None:
    """Print one column per setting if there is room, otherwise all settings in one column."""
    cells = [[_cell(one, name) for name in searched] for one in trials]
    start = [[str(one["trial"]), f"{one['value']:.4f}"] for one in trials]
    columns = ["trial", "NDCG@20", *searched]
    rows = [first + rest for first, rest in zip(start, cells, strict=True)]
    if sum(max(map(len, column)) + 2 for column in zip(columns, *rows, strict=True)) - 2 > out.width:
        columns = ["trial", "NDCG@20", "settings"]
        words = [" ".join(f"{name}={one}" for name, one in zip(searched, cell, strict=True)) for cell in cells]
        rows = [[*first, one] for first, one in zip(start, words, strict=True)]
    print_table(columns, rows, right=["trial", "NDCG@20"], whole=["trial", "NDCG@20"])


def _cell(one: dict[str, Any], name: str) -> str:
    """A value in the form of --set; empty if the trial did not draw the setting."""
    value = one["settings"].get(name, one.get(name))
    if value is None:
        return "–"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.4g}" if isinstance(value, float) else str(value)
