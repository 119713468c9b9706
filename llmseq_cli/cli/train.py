"""`train`, `recommend`, `score`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmseq_cli.cli.common import (
    BackendOption,
    Common,
    DatasetOption,
    JobsOption,
    JsonOption,
    RayAddressOption,
    SeedOption,
    SetOption,
    command,
)
from llmseq_cli.cli.console import out, print_facts, print_json, print_table
from llmseq_cli.cli.leaderboard import print_leaderboard, print_spread
from llmseq_cli.errors import UsageError

ReduceOption = Annotated[
    str | None,
    typer.Option(
        "--reduce",
        help="none, pca, whiten (or whiten@POWER), lda, autoencoder or random; dense ones are whitened by default.",
        metavar="METHOD",
    ),
]
DimOption = Annotated[
    int | None, typer.Option("--dim", help="Dimensions that --reduce leaves; without it all, or 512.", min=1)
]
RunsOption = Annotated[
    str | None,
    typer.Option(
        "--runs", help="What a hybrid or blend is made of: runs, or models (their best).", metavar="RUN,RUN,…"
    ),
]

RunDatasetOption = Annotated[
    str | None, typer.Option("--dataset", help="Look among the runs on this dataset; else on all.", metavar="NAME")
]


def register(app: typer.Typer) -> None:
    command(app, "train")(train)
    command(app, "recommend")(recommend)
    command(app, "score")(score)


def train(
    common: Common,
    model: Annotated[str, typer.Argument(help="Which model, see `llmseq models`.", metavar="MODEL")],
    dataset: DatasetOption = None,
    embeddings: Annotated[
        str | None,
        typer.Option("--embeddings", help="Item embeddings, see `llmseq embeddings`.", metavar="SOURCE[:MODEL]"),
    ] = None,
    reduce: ReduceOption = None,
    dim: DimOption = None,
    permute: Annotated[
        bool,
        typer.Option(
            "--permute", help="As a control, deal the vectors out among the items at random: does meaning help at all?"
        ),
    ] = False,
    runs: RunsOption = None,
    set: SetOption = None,
    seed: SeedOption = 0,
    seeds: Annotated[int, typer.Option("--seeds", help="Train this often, with seeds counting up.", min=1)] = 1,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.")] = "auto",
    backend: Annotated[
        str | None,
        typer.Option(
            "--backend", help="ray: workers of a Ray cluster train together; else this process.", metavar="ray"
        ),
    ] = None,
    ray_address: RayAddressOption = None,
    workers: Annotated[
        int | None, typer.Option("--workers", help="On Ray: how many; else one a GPU, or one a machine.", min=1)
    ] = None,
    depth: Annotated[
        int, typer.Option("--depth", help="Items kept of each list; metrics at any k up to it.", min=1, max=1000)
    ] = 100,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where the same training was interrupted; skip what is finished.")
    ] = False,
    from_tuning: Annotated[
        bool, typer.Option("--from-tuning", help="With the settings and embeddings of the best trial.")
    ] = False,
    study: Annotated[
        str | None, typer.Option("--study", help="With --from-tuning: of this study alone.", metavar="NAME")
    ] = None,
    log: Annotated[
        str | None,
        typer.Option("--log", help="mlflow: log the runs there, to $MLFLOW_TRACKING_URI or ./mlruns.", metavar="WHERE"),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Train a model, score the test sessions and keep the run.

    Examples:

        llmseq train v-sknn --set k=320 --set sample_size=1530

        llmseq train llmseqsim --embeddings lexical --permute

        llmseq train sknn-emb --embeddings openai --reduce pca --dim 256

        llmseq train sasrec --embeddings huggingface --seeds 3 --set epochs=30

        llmseq train blend --runs llmseqsim,v-sknn,sasrec

        llmseq train sknn --from-tuning

        llmseq train sasrec --backend ray --ray-address 10.0.0.1:6379 --workers 4
    """
    from llmseq_cli.settings import parse_assignments

    _check_log(log)
    if study and not from_tuning:
        raise UsageError("--study without --from-tuning", "say both, or neither")
    workspace = common.open()
    made = workspace.train(
        model,
        dataset=dataset,
        embeddings=embeddings,
        reduce=reduce,
        dim=dim,
        permute=permute,
        settings=parse_assignments(set or []),
        seed=seed,
        seeds=seeds,
        device=device,
        depth=depth,
        resume=resume,
        runs=[name.strip() for name in (runs or "").split(",") if name.strip()],
        from_tuning=study or from_tuning,
        backend=backend,
        ray_address=ray_address,
        workers=workers,
    )
    if log:
        from llmseq_cli.reporting.mlflow_log import usual_address

        workspace.export(made, "mlflow", usual_address())
        if not json:
            common.progress().message(f"logged to MLflow at {usual_address()}")
    rows = workspace.report(models=made, cutoffs=(min(10, depth), min(20, depth)), sort=f"ndcg@{min(20, depth)}")
    if json:
        print_json(rows)
    else:
        print_leaderboard(rows)
        print_spread(rows)


def _check_log(log: str | None) -> None:
    """Rather before the training than after it."""
    from llmseq_cli.reporting.mlflow_log import check_installed

    if log is None:
        return
    if log != "mlflow":
        raise UsageError(f"runs are not logged to '{log}'", "--log mlflow")
    check_installed()


def recommend(
    common: Common,
    run: Annotated[str, typer.Argument(help="A run, a model's name (its best run) or latest.", metavar="RUN")],
    items: Annotated[list[str], typer.Argument(help="Ids or titles, oldest first.", metavar="ITEM...")],
    dataset: RunDatasetOption = None,
    k: Annotated[int, typer.Option("-k", help="How many items.", min=1)] = 20,
    json: JsonOption = False,
) -> None:
    """Recommend the next items for a session typed in.

    Examples:

        llmseq recommend latest B0001 B0007

        llmseq recommend llmseqsim "spaghetti no. 5" -k 5
    """
    rows = common.open().recommend(run, items, k=k, dataset=dataset)
    if json:
        print_json(rows)
        return
    if not rows:
        out.print("The run has nothing to recommend for this session.")
        return
    print_table(["rank", "item", "score", "title"], [[r["rank"], r["item"], r["score"], r["title"]] for r in rows])


def score(
    common: Common,
    run: Annotated[str, typer.Argument(help="A run, a model's name (its best run) or latest.", metavar="RUN")],
    sessions: Annotated[
        str, typer.Option("--sessions", help="Table with a session and an item column (and a time).", metavar="FILE")
    ],
    to: Annotated[Path, typer.Option("--out", help="Where to write: .parquet, .csv or .jsonl.", metavar="FILE")],
    dataset: RunDatasetOption = None,
    k: Annotated[int, typer.Option("-k", help="How many items a session.", min=1)] = 20,
    backend: BackendOption = None,
    ray_address: RayAddressOption = None,
    jobs: JobsOption = None,
    json: JsonOption = False,
) -> None:
    """Recommend for all sessions of a file.

    Sessions are read, scored and written in blocks, so that a file may be larger than memory. With --backend ray the
    workers of a cluster score the blocks; the lists are the same.

    Examples:

        llmseq score v-sknn --sessions today.csv --out recommendations.parquet

        llmseq score sasrec --sessions all.csv --out lists.parquet --backend ray
    """
    done = common.open().score(
        run, sessions, to, k=k, dataset=dataset, backend=backend, ray_address=ray_address, jobs=jobs
    )
    if json:
        print_json(done)
        return
    print_facts(
        [
            ("sessions", done["sessions"]),
            ("without recommendations", done["sessions_without_recommendations"]),
            ("items not in the catalog", done["unknown_items"]),
            ("written to", done["out"]),
        ]
    )
