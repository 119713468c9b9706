"""`tune`, and what `report --tuning` shows."""

from __future__ import annotations

import re
from typing import Annotated, Any

import typer

from llmseq_cli.cli.common import Common, DatasetOption, JsonOption, RayAddressOption, SeedOption, SetOption, command
from llmseq_cli.cli.console import out, print_facts, print_json, print_table
from llmseq_cli.errors import InterruptedByUserError, UsageError

_SHOWN = 10
_LEAST_SHARE = 0.005  # of what matters: less is not shown
_STATES = {"complete": "complete", "pruned": "given up early", "fail": "failed", "running": "not finished"}


def register(app: typer.Typer) -> None:
    command(app, "tune")(tune)


def tune(
    common: Common,
    model: Annotated[str, typer.Argument(help="Which model, see `llmseq models`.", metavar="MODEL")],
    dataset: DatasetOption = None,
    trials: Annotated[
        int | None, typer.Option("--trials", help="Trials of the whole study; else until --patience ends it.", min=1)
    ] = None,
    timeout: Annotated[
        str | None, typer.Option("--timeout", help="End after so long, for example 90s, 30m, 2h.", metavar="TIME")
    ] = None,
    patience: Annotated[
        int, typer.Option("--patience", help="End after so many trials without a better one; 0: never.", min=0)
    ] = 100,
    startup: Annotated[int, typer.Option("--startup", help="Random trials first, then TPE.", min=1)] = 40,
    search: Annotated[
        list[str] | None,
        typer.Option("--search", help="A range or choices of one's own; may be repeated.", metavar="KEY=LOW..HIGH|A,B"),
    ] = None,
    set: SetOption = None,
    embeddings: Annotated[
        str | None,
        typer.Option(
            "--embeddings", help="Which item embeddings are tried; see `llmseq embeddings`.", metavar="SOURCE[:MODEL],…"
        ),
    ] = None,
    reduce: Annotated[
        str | None,
        typer.Option("--reduce", help="Which reductions are tried; else none, pca and whiten.", metavar="METHOD,…"),
    ] = None,
    dim: Annotated[
        str | None, typer.Option("--dim", help="Which dimensions; else 64 to 512 in doubles.", metavar="D,…")
    ] = None,
    runs: Annotated[
        str | None, typer.Option("--runs", help="What a hybrid or blend is made of.", metavar="RUN,RUN,…")
    ] = None,
    study: Annotated[str | None, typer.Option("--study", help="Its name; else DATASET-MODEL.", metavar="NAME")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the study, alone or beside others that work on it.")
    ] = False,
    jobs: Annotated[int, typer.Option("--jobs", help="Trials at a time.", min=1)] = 1,
    backend: Annotated[str, typer.Option("--backend", help="Who runs them: loky (processes here) or ray.")] = "loky",
    ray_address: RayAddressOption = None,
    seed: SeedOption = 0,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.")] = "auto",
    json: JsonOption = False,
) -> None:
    """Search for a model's best settings on the training side.

    TPE over the temporal folds of the training sessions, by mean NDCG@20; test sessions are not looked at. After ten
    trials, those in the bottom 20 % are given up early. The first trial takes the defaults. Interrupted or killed, a
    study goes on with --resume; the same command in another process or on another machine, with the same workspace
    folder, works beside it.

    Examples:

        llmseq tune sknn --trials 60 --jobs 2

        llmseq tune sasrec --embeddings huggingface,lexical --timeout 2h --set epochs=30

        llmseq tune v-sknn --search k=20..1000 --search idf=true,false

        llmseq train sknn --from-tuning
    """
    from llmseq_cli.settings import parse_assignments

    made = _tuned(
        common,
        model,
        dataset=dataset,
        study=study,
        trials=trials,
        timeout=_seconds(timeout),
        patience=patience,
        startup=startup,
        settings=parse_assignments(set or []),
        search=parse_assignments(search or [], "--search k=50..800"),
        embeddings=_listed(embeddings),
        reduce=_listed(reduce),
        dims=_numbers(dim),
        runs=_listed(runs),
        seed=seed,
        device=device,
        jobs=jobs,
        backend=backend,
        ray_address=ray_address,
        resume=resume,
    )
    if json:
        print_json(made)
    else:
        print_study(made)


def _tuned(common: Common, model: str, **options: Any) -> dict[str, Any]:
    try:
        return common.open().tune(model, **options)
    except KeyboardInterrupt:
        hint = "what is done is kept: the same command with --resume goes on"
        raise InterruptedByUserError("interrupted", hint) from None


def _listed(words: str | None) -> list[str]:
    return [one.strip() for one in (words or "").split(",") if one.strip()]


def _numbers(words: str | None) -> list[int]:
    try:
        return [int(one) for one in _listed(words)]
    except ValueError:
        raise UsageError(f"--dim is '{words}'", "numbers with commas between, for example --dim 64,128") from None


def _seconds(words: str | None) -> float | None:
    """7200 of "2h"."""
    if words is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)", words.strip())
    if not found:
        raise UsageError(f"--timeout is '{words}'", "for example 90s, 30m or 2h")
    return float(found.group(1)) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[found.group(2)]


def print_study(made: dict[str, Any]) -> None:
    """The best trials, what matters, and what to type next."""
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
    """A column a setting where there is room, else the settings in words."""
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
    """A value as --set takes it; nothing for what the trial did not draw."""
    value = one["settings"].get(name, one.get(name))
    if value is None:
        return "–"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.4g}" if isinstance(value, float) else str(value)
