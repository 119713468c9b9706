"""Export runs for other programs: Parquet, CSV, JSON, trec_eval, RecBole; see `mlflow_log` for MLflow, `bundle` for
bundles."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmseq_cli.data.dataset import find_dataset
from llmseq_cli.data.readers.files import identifier, quoted
from llmseq_cli.errors import UsageError, did_you_mean
from llmseq_cli.files import atomic_path, check_output
from llmseq_cli.machine import machine_errors
from llmseq_cli.store.queries import copy_to, query
from llmseq_cli.store.runs import RunInfo, find_run

if TYPE_CHECKING:
    import duckdb

    from llmseq_cli.store.connection import Store

_TABLES = {
    "parquet": "format parquet, compression zstd",
    "csv": "format csv, header",
    "json": "format json, array true",
}
_TREC = "format csv, header false, delimiter ' ', quote '', escape ''"
_RECBOLE = "format csv, header, delimiter '\t', quote '', escape ''"

EXPORTS = ("parquet", "csv", "json", "trec", "recbole", "mlflow", "bundle", "lancedb", "pgvector", "qdrant")

_OF_ONE_RUN = ("bundle", "lancedb", "pgvector", "qdrant")


def export_runs(
    store: Store,
    runs: Sequence[str],
    format: str,
    out: str,
    *,
    dataset: str | None = None,
    k: int | None = None,
    safe_cells: bool = True,
) -> dict[str, Any]:
    """Export recommendations, data or models of runs for other programs; return what was written.

    runs: names or numbers, "latest", or a model's name, see `find_run`. out: a file for parquet, csv and json; a folder
    for trec (one file per run, and qrels) and recbole (atomic files of the runs' dataset); a folder or address of a
    tracking server for mlflow; a new folder for bundle, lancedb, pgvector and qdrant, which take one run. k: only the
    first k items of every list. safe_cells: in CSV, put a ' before text that a spreadsheet would run as a formula.
    Raises UsageError for an unknown format or runs that cannot be combined, LlmseqError if writing fails.
    """
    if format not in EXPORTS:
        raise UsageError(f"there is no format '{format}'", did_you_mean(format, list(EXPORTS)))
    if k is not None and k < 1:
        raise UsageError(f"-k is {k}", "give at least 1")
    if not runs and format != "recbole":
        raise UsageError("no run is given", f"for example llmseq export latest --format {format} --out {out}")
    if format in _OF_ONE_RUN:
        return _export_model(store, runs, format, Path(out), dataset, k)
    if format == "mlflow":
        from llmseq_cli.reporting.mlflow_log import log_runs

        return log_runs(store, runs, out, dataset)
    check_output(Path(out))
    with store.read("exporting") as con:
        con.execute(query("export/macros"))
        found = _distinct([find_run(con, run, dataset, store.progress) for run in runs])
        if format in _TABLES:
            written = _write_table(con, found, format, Path(out), k, safe=safe_cells and format == "csv")
        elif format == "trec":
            written = _write_trec(con, found, Path(out), k)
        else:
            names = {run.dataset for run in found} or {find_dataset(con, dataset).name}
            if len(names) > 1:
                raise UsageError("the runs are on several datasets", "export those of one dataset at a time")
            written = _write_recbole(con, names.pop(), Path(out))
    return {"format": format, "runs": [run.run for run in found], "files": [str(file) for file in written]}


def _export_model(
    store: Store, runs: Sequence[str], format: str, out: Path, dataset: str | None, k: int | None
) -> dict[str, Any]:
    """Export the model or its item vectors, not its lists."""
    from llmseq_cli.bundle.write import write_bundle
    from llmseq_cli.vector_stores.write import write_vectors

    if len(runs) > 1:
        raise UsageError(f"{format} takes one run", "export runs one by one")
    if k is not None:
        raise UsageError(f"-k is for lists, and {format} has none", "leave out -k")
    if format == "bundle":
        done = write_bundle(store, runs[0], out, dataset)
        return {"format": format, "runs": [done["run"]], "files": [str(out)], "onnx": done["onnx"]}
    done = write_vectors(store, runs[0], format, out, dataset)
    more = {name: done[name] for name in ("items", "dimensions", "similarity")}
    return {"format": format, "runs": [done["run"]], "files": [str(out)], **more}


def _distinct(runs: list[RunInfo]) -> list[RunInfo]:
    return list({run.run_id: run for run in runs}.values())


def _write_table(
    con: duckdb.DuckDBPyConnection, runs: list[RunInfo], format: str, out: Path, k: int | None, *, safe: bool
) -> list[Path]:
    given = {"run_ids": [run.run_id for run in runs], "k": k, "safe": safe}
    return [_copy(con, "export/recommendations", given, _TABLES[format], out)]


def _write_trec(con: duckdb.DuckDBPyConnection, runs: list[RunInfo], out: Path, k: int | None) -> list[Path]:
    asked = con.execute(query("report/ranks_of_runs"), {"run_ids": [run.run_id for run in runs]}).fetchnumpy()
    sessions = {run.run_id: set(asked["case_id"][asked["run_id"] == run.run_id]) for run in runs}
    if len({run.dataset for run in runs}) > 1 or len({frozenset(one) for one in sessions.values()}) > 1:
        raise UsageError("the runs were not scored on the same sessions", "export them one by one: qrels would not fit")
    _make_folder(out)
    files = [_copy(con, "export/trec_qrels", {"run_id": runs[0].run_id}, _TREC, out / "qrels")]
    files += [
        _copy(con, "export/trec_run", {"run_id": run.run_id, "k": k}, _TREC, out / f"{run.run}.run") for run in runs
    ]
    return files


def _write_recbole(con: duckdb.DuckDBPyConnection, dataset: str, out: Path) -> list[Path]:
    _make_folder(out)
    files, name = [], dataset.replace("/", "-")
    parts: list[tuple[str | None, str]] = [(None, "inter"), ("train", "train.inter"), ("test", "test.inter")]
    if find_dataset(con, dataset).statistics["validation_sessions"]:
        parts.insert(2, ("valid", "valid.inter"))
    for part, ending in parts:
        given = {"dataset": dataset, "part": part}
        files.append(_copy(con, "export/recbole_inter", given, _RECBOLE, out / f"{name}.{ending}"))
    attributes = _attribute_columns(con, dataset)
    items = _copy(con, "export/recbole_item", {"dataset": dataset}, _RECBOLE, out / f"{name}.item", attributes)
    return [*files, items]


def _attribute_columns(con: duckdb.DuckDBPyConnection, dataset: str) -> str:
    """SQL for item attributes other than title and categories, each as a sequence of words."""
    columns = []
    for (attribute,) in con.execute(query("export/item_attributes"), {"dataset": dataset}).fetchall():
        path = quoted('$."' + attribute.replace('"', '\\"') + '"')
        name = identifier(" ".join(attribute.replace(":", " ").split()) + ":token_seq")
        columns.append(f"regexp_replace(coalesce(i.fields ->> {path}, ''), '\\s+', ' ', 'g') as {name}")
    return "".join(f", {column}" for column in columns)


def _make_folder(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file", "this format writes several: name a folder")
    with machine_errors(out):
        out.mkdir(parents=True, exist_ok=True)


def _copy(
    con: duckdb.DuckDBPyConnection, name: str, parameters: dict[str, Any], options: str, out: Path, columns: str = ""
) -> Path:
    """Write the result of a query atomically. columns: SQL of further columns."""
    if out.is_dir():
        raise UsageError(f"{out} is a folder", "name a file")
    with atomic_path(out) as partial:
        copy_to(con, name, parameters, partial, options, columns)
    return out
