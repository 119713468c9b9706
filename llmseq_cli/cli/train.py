"""`train`, `recommend`, `score`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmseq_cli.cli.common import (
    Common,
    DatasetOption,
    DeviceOption,
    JsonOption,
    Machines,
    ModelArgument,
    RunArgument,
    SafeCellsOption,
    SeedOption,
    SetOption,
    command,
    listed,
    safe_cells_for,
)
from llmseq_cli.cli.console import out, print_facts, print_json, print_table
from llmseq_cli.cli.leaderboard import print_leaderboard, print_spread
from llmseq_cli.errors import UsageError

ReduceOption = Annotated[
    str | None,
    typer.Option(
        "--reduce",
        help="none, pca, whiten (or whiten@POWER), lda, autoencoder or random; default for dense embeddings: whiten.",
        metavar="METHOD",
    ),
]
DimOption = Annotated[
    int | None, typer.Option("--dim", help="Dimensions; default: all if whitened, else at most 512.", min=1)
]
LengthsOption = Annotated[
    str,
    typer.Option(
        "--lengths", help="Lengths of reduced vectors: unit, or keep (as the reduction leaves them).", metavar="WORD"
    ),
]
RunsOption = Annotated[
    str | None,
    typer.Option(
        "--runs",
        help="Runs, or models (their best by validation, or newest), that a hybrid, blend or stack combines.",
        metavar="RUN,RUN,…",
    ),
]

RunDatasetOption = Annotated[
    str | None, typer.Option("--dataset", help="Only look for runs on this dataset.", metavar="NAME")
]
FallbackOption = Annotated[
    str | None,
    typer.Option(
        "--fallback",
        help="Run that recommends for sessions where RUN has nothing, such as those without a known item.",
        metavar="RUN",
    ),
]


def register(app: typer.Typer) -> None:
    command(app, "train")(train)
    command(app, "recommend")(recommend)
    command(app, "score")(score)


def train(
    common: Common,
    *,
    model: ModelArgument,
    dataset: DatasetOption = None,
    embeddings: Annotated[
        str | None,
        typer.Option("--embeddings", help="Item embeddings, see `llmseq embeddings`.", metavar="SOURCE[:MODEL]"),
    ] = None,
    reduce: ReduceOption = None,
    dim: DimOption = None,
    lengths: LengthsOption = "unit",
    permute: Annotated[
        bool,
        typer.Option("--permute", help="Shuffle the vectors across items, to test whether their meaning matters."),
    ] = False,
    runs: RunsOption = None,
    set: SetOption = None,
    seed: SeedOption = 0,
    seeds: Annotated[int, typer.Option("--seeds", help="Number of seeds to train, starting at --seed.", min=1)] = 1,
    device: DeviceOption = "auto",
    on: Machines,
    list_length: Annotated[
        int,
        typer.Option(
            "--list-length",
            help="Recommendations to store per session; the largest k that reports can show.",
            min=1,
            max=1000,
        ),
    ] = 100,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an interrupted training; skip what is finished.")
    ] = False,
    from_tuning: Annotated[
        bool, typer.Option("--from-tuning", help="Use the settings and embeddings of the best trial.")
    ] = False,
    study: Annotated[
        str | None, typer.Option("--study", help="With --from-tuning: only trials of this study.", metavar="NAME")
    ] = None,
    warm: Annotated[
        str | None,
        typer.Option(
            "--warm",
            help="Start from this run's weights, settings and embeddings; a run on another dataset must know items "
            "only "
            "by their texts (item_vectors=adapter).",
            metavar="RUN",
        ),
    ] = None,
    log: Annotated[
        str | None,
        typer.Option("--log", help="mlflow: also log the runs to $MLFLOW_TRACKING_URI or ./mlruns.", metavar="WHERE"),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Train a model, score the test sessions and store the run.

    Examples:

        llmseq train v-sknn --set k=320 --set sample_size=1530

        llmseq train llmseqsim --embeddings lexical --permute

        llmseq train sknn-emb --embeddings openai --reduce pca --dim 256

        llmseq train sasrec --embeddings huggingface --seeds 3 --set epochs=30

        llmseq train blend --runs llmseqsim,v-sknn,sasrec

        llmseq train stack --runs llmseqsim,v-sknn,sasrec

        llmseq train sknn --from-tuning

        llmseq train sasrec --warm sasrec-3

        llmseq train sasrec --backend ray --ray-address 10.0.0.1:6379 --workers 4
    """
    from llmseq_cli.settings import parse_assignments
    from llmseq_cli.training.options import TrainOptions

    _check_log(log)
    if study and not from_tuning:
        raise UsageError("--study without --from-tuning", "give both, or neither")
    workspace = common.open()
    made = workspace.train(
        TrainOptions(
            model,
            dataset=dataset,
            embeddings=embeddings,
            reduce=reduce,
            dim=dim,
            lengths=lengths,
            permute=permute,
            settings=parse_assignments(set or []),
            seed=seed,
            seeds=seeds,
            device=device,
            list_length=list_length,
            resume=resume,
            runs=listed(runs),
            from_tuning=study or from_tuning,
            warm=warm,
            backend=on.chosen(),
        )
    )
    if log:
        from llmseq_cli.reporting.mlflow_log import usual_address

        workspace.export(made, "mlflow", usual_address())
        if not json:
            common.progress().message(f"logged to MLflow at {usual_address()}")
    rows = workspace.report(
        models=made, cutoffs=(min(10, list_length), min(20, list_length)), sort=f"ndcg@{min(20, list_length)}"
    )
    if json:
        print_json(rows)
    else:
        print_leaderboard(rows)
        print_spread(rows)


def _check_log(log: str | None) -> None:
    """Check --log before training starts."""
    from llmseq_cli.reporting.mlflow_log import check_installed

    if log is None:
        return
    if log != "mlflow":
        raise UsageError(f"cannot log runs to '{log}'", "--log mlflow")
    check_installed()


def recommend(
    common: Common,
    run: Annotated[
        str,
        typer.Argument(
            help="A run, a model (its best run by validation, or its newest), latest, or a bundle (a path with a /).",
            metavar="RUN|FOLDER/",
        ),
    ],
    items: Annotated[
        list[str] | None, typer.Argument(help="Ids or titles, oldest first.", metavar="ITEM...", show_default=False)
    ] = None,
    dataset: RunDatasetOption = None,
    fallback: FallbackOption = None,
    k: Annotated[int, typer.Option("-k", help="How many items.", min=1)] = 20,
    times: Annotated[
        str | None,
        typer.Option(
            "--times",
            help="When the items were used, for networks trained with --set time=…: a date or time for each item, or "
            "seconds since 1970. Other models ignore them.",
            metavar="TIME,…",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Recommend the next items for a session given on the command line.

    A network that reads times (--set time=both) and gets none treats the gaps between items as unknown.

    Examples:

        llmseq recommend latest B0001 B0007

        llmseq recommend llmseqsim "spaghetti no. 5" -k 5

        llmseq recommend most-popular

        llmseq recommend sasrec B0001 B0007 --times 2024-05-01,2024-05-09T18:30
    """
    moments = None if times is None else [one.strip() for one in times.split(",") if one.strip()]
    rows = common.open().recommend(run, items or [], k=k, times=moments, dataset=dataset, fallback=fallback)
    if json:
        print_json(rows)
        return
    if not rows:
        hint = "" if fallback else " --fallback most-popular uses another run."
        out.print(f"The run has nothing to recommend for this session.{hint}")
        return
    print_table(["rank", "item", "score", "title"], [[r["rank"], r["item"], r["score"], r["title"]] for r in rows])


def score(
    common: Common,
    *,
    run: RunArgument,
    sessions: Annotated[
        str, typer.Option("--sessions", help="Table with a session and an item column (and a time).", metavar="FILE")
    ],
    to: Annotated[Path, typer.Option("--out", help="File to write: .parquet, .csv or .jsonl.", metavar="FILE")],
    dataset: RunDatasetOption = None,
    k: Annotated[int, typer.Option("-k", help="Number of recommendations per session.", min=1)] = 20,
    fallback: FallbackOption = None,
    on: Machines,
    safe_cells: SafeCellsOption = None,
    json: JsonOption = False,
) -> None:
    """Recommend for all sessions in a file.

    Sessions are read, scored and written in blocks, so the file may be larger than memory. With --backend ray, the
    workers of a cluster score the blocks; the lists are the same.

    Examples:

        llmseq score v-sknn --sessions today.csv --out recommendations.parquet

        llmseq score sasrec --sessions all.csv --out lists.parquet --fallback most-popular

        llmseq score sasrec --sessions all.csv --out lists.parquet --backend ray
    """
    from llmseq_cli.training.options import ScoreOptions

    options = ScoreOptions(
        run,
        sessions,
        to,
        k=k,
        dataset=dataset,
        fallback=fallback,
        backend=on.chosen(),
        safe_cells=safe_cells_for(to.suffix.removeprefix("."), safe_cells),
    )
    done = common.open().score(options)
    if json:
        print_json(done)
        return
    print_facts(
        [
            ("sessions", done["sessions"]),
            *([("from the fallback", done["sessions_from_fallback"])] if fallback else []),
            ("without recommendations", done["sessions_without_recommendations"]),
            ("items not in the catalog", done["unknown_items"]),
            ("written to", done["out"]),
        ]
    )
