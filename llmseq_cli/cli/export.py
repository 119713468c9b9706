"""`export`."""

from __future__ import annotations

from typing import Annotated

import typer

from llmseq_cli.cli.common import Common, DatasetOption, JsonOption, SafeCellsOption, command, safe_cells_for
from llmseq_cli.cli.console import print_facts, print_json


def register(app: typer.Typer) -> None:
    command(app, "export")(export)


def export(
    common: Common,
    to: Annotated[
        str,
        typer.Option("--out", help="A file for parquet, csv and json, a folder for other formats.", metavar="FILE|DIR"),
    ],
    runs: Annotated[
        list[str] | None,
        typer.Argument(help="Runs, models (their best by validation, or newest) or latest.", metavar="RUN..."),
    ] = None,
    format: Annotated[
        str,
        typer.Option(
            "--format",
            help="parquet, csv, json, trec, recbole, mlflow, bundle, lancedb, pgvector or qdrant.",
            metavar="FORMAT",
        ),
    ] = "parquet",
    dataset: DatasetOption = None,
    k: Annotated[
        int | None, typer.Option("-k", help="Export only the first K items of each list.", show_default=False)
    ] = None,
    safe_cells: SafeCellsOption = None,
    json: JsonOption = False,
) -> None:
    """Export runs for other programs.

    parquet, csv and json contain the recommendations: run, session, rank, item, score, title, is_ground_truth. trec is
    a folder of run files and qrels for trec_eval and similar tools; its scores are derived from the ranks, because
    these tools sort by score alone. recbole is the runs' dataset (or --dataset) as atomic files, whole and split.
    mlflow logs settings, metrics and training curves to a folder or tracking server; runs already logged are skipped.
    bundle is one run as a folder that recommends without a workspace: model, items, vectors, checksums, a README, and
    for networks an ONNX graph. lancedb, pgvector and qdrant contain the item vectors of a run for these vector stores,
    in a folder with a README that says how to load and query them.

    Examples:

        llmseq export v-sknn latest --format trec --out trec

        llmseq export sasrec-7 -k 20 --out recommendations.parquet

        llmseq export latest --format mlflow --out http://localhost:5000

        llmseq export sasrec --format bundle --out sasrec-bundle

        llmseq export sasrec --format lancedb --out items.lancedb
    """
    done = common.open().export(
        runs or [], format, to, dataset=dataset, k=k, safe_cells=safe_cells_for(format, safe_cells)
    )
    if json:
        print_json(done)
        return
    facts = [("runs", ", ".join(done["runs"])), ("written to", "\n".join(done["files"]))]
    if done.get("known"):
        facts.insert(1, ("there already", ", ".join(done["known"])))
    if done.get("onnx"):
        facts.append(("no model.onnx", done["onnx"]))
    print_facts([fact for fact in facts if fact[1]])
