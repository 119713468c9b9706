"""Log runs to MLflow: settings as parameters, metrics, the training curve, versions as tags."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmseq_cli.errors import LlmseqError, NotInstalledError
from llmseq_cli.reporting.inspection import RunDetails, load_details

if TYPE_CHECKING:
    from llmseq_cli.store.connection import Store

_TAG = "llmseq.run"
_HABITS = {
    # MLflow sends usage data to its makers by default; that is not ours to allow.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # By default it would try for minutes to reach a missing server.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}
"""Environment variables to set unless the user has."""
_LONGEST = 6000
"""Characters that MLflow stores per parameter."""


def check_installed() -> None:
    """Raises LlmseqError if MLflow is not installed."""
    from importlib.util import find_spec

    if find_spec("mlflow") is None:
        raise NotInstalledError("MLflow is not installed", "mlflow")


def usual_address() -> str:
    """Where MLflow logs by default: $MLFLOW_TRACKING_URI, or the folder mlruns."""
    return os.environ.get("MLFLOW_TRACKING_URI") or "mlruns"


def log_runs(store: Store, runs: Sequence[str], to: str, dataset: str | None) -> dict[str, Any]:
    """Log runs to a folder or tracking server, one experiment per dataset; runs already logged are skipped.

    Raises LlmseqError if MLflow is not installed or refuses them.
    """
    for name, value in _HABITS.items():
        os.environ.setdefault(name, value)
    try:
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient
    except ImportError as error:
        raise NotInstalledError("MLflow is not installed", "mlflow") from error
    details = [load_details(store, run, dataset) for run in runs]
    logged: list[str] = []
    known: list[str] = []
    with _local_folders_allowed(to):
        try:
            client = MlflowClient(tracking_uri=_address(to))
            for run in details:
                (logged if _log(client, run) else known).append(run.run)
        except (MlflowException, ImportError, OSError) as error:
            said = str(error).splitlines()[0]
            raise LlmseqError(
                f"MLflow at {to}: {said}", "give a folder, or the address of a tracking server: http://localhost:5000"
            ) from error
    return {"format": "mlflow", "runs": logged, "known": known, "files": [to]}


def _address(to: str) -> str:
    return to if "://" in to else Path(to).expanduser().resolve().as_uri()


@contextmanager
def _local_folders_allowed(to: str) -> Iterator[None]:
    """MLflow requires this variable before it writes to a folder; the user named one, so set it."""
    name = "MLFLOW_ALLOW_FILE_STORE"
    before = os.environ.get(name)
    if "://" not in to or to.startswith("file:"):
        os.environ[name] = "true"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before


def _log(client: Any, run: RunDetails) -> bool:
    """Log a run; False if it is already there."""
    from mlflow.entities import Metric, Param, RunTag

    experiment = client.get_experiment_by_name(run.dataset)
    number = experiment.experiment_id if experiment else client.create_experiment(run.dataset)
    mark = f"{run.run} {run.started_at.isoformat()}"
    if client.search_runs([number], filter_string=f"tags.`{_TAG}` = '{mark}'", max_results=1):
        return False
    start = int(run.started_at.replace(tzinfo=UTC).timestamp() * 1000)
    seconds = (run.figures.get("train_seconds") or 0) + (run.figures.get("score_seconds") or 0)
    end = start + int(seconds * 1000)
    tags = {_TAG: mark, "label": run.label, "mlflow.source.name": "llmseq"} | _flat(run.environment)
    made = client.create_run(number, start_time=start, run_name=run.run, tags=tags)
    params = {"model": run.model, "seed": run.seed} | run.settings | _flat({"embeddings": run.embeddings or {}})
    numbers = {key: value for key, value in _flat(run.figures).items() if isinstance(value, (int, float))}
    metrics = [Metric(_allowed(key), float(value), end, 0) for key, value in (run.metrics | numbers).items()]
    for epoch in run.curve:
        at = start + int(1000 * (epoch.get("seconds") or 0))
        curve = {"epoch_loss": epoch.get("loss"), "epoch_ndcg": epoch.get("ndcg")}
        metrics += [Metric(name, value, at, epoch["epoch"]) for name, value in curve.items() if value is not None]
    for start_at in range(0, max(len(metrics), 1), 500):  # MLflow takes a thousand entities per call
        client.log_batch(
            made.info.run_id,
            metrics=metrics[start_at : start_at + 500],
            params=[Param(_allowed(key), _text(value)) for key, value in params.items()] if start_at == 0 else [],
            tags=[RunTag("dataset", run.dataset)] if start_at == 0 else [],
        )
    client.set_terminated(made.info.run_id, end_time=end)
    return True


def _allowed(name: str) -> str:
    """MLflow does not allow @ in names: ndcg_at_20."""
    return name.replace("@", "_at_")


def _text(value: Any) -> str:
    return (value if isinstance(value, str) else json.dumps(value, default=str))[:_LONGEST]


def _flat(tree: dict[str, Any], before: str = "") -> dict[str, Any]:
    """{"a.b": 1} from {"a": {"b": 1}}."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{before}{key}.") if isinstance(value, dict) else {before + key: value}
    return flat
