"""The ledger of fine-tuning jobs: what was built, uploaded and submitted, recorded before and after each call."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmseq_cli.errors import LlmseqError, did_you_mean
from llmseq_cli.store.queries import query, rows_of

if TYPE_CHECKING:
    import duckdb

    from llmseq_cli.store.connection import Store

UNSUBMITTED = ("prepared", "uploading", "uploaded", "submitting")
_SHOWN = (
    "job",
    "dataset",
    "task",
    "provider",
    "address",
    "status",
    "base_model",
    "model",
    "remote_id",
    "cost_usd",
    "created_at",
    "updated_at",
)
GONE = ("failed", "cancelled", "lost")
OVER = ("succeeded", *GONE)


@dataclass(frozen=True)
class FinetuneJob:
    """A fine-tuning job in the ledger.

    job: its name, for example "genitem-3". status: prepared, uploading, uploaded, submitting, queued, running,
    succeeded, failed, cancelled, or lost if the provider no longer knows it. token: sent with the job as metadata.
    model: the fine-tuned one. settings: {"setup", "tuning", "suffix"}. figures: counts and estimates.
    """

    job_id: int
    job: str
    dataset: str
    dataset_id: int
    split_id: int
    task: str
    provider: str
    address: str
    base_model: str
    remote_id: str | None
    model: str | None
    status: str
    file_hash: str
    token: str
    training_file_id: str | None
    validation_file_id: str | None
    settings: dict[str, Any]
    figures: dict[str, Any]
    cost_usd: float | None
    created_at: datetime
    updated_at: datetime

    def to_dict(self) -> dict[str, Any]:
        """The fields that users see."""
        return {name: getattr(self, name) for name in _SHOWN} | {"settings": self.settings} | self.figures


@dataclass(frozen=True)
class NewJob:
    """The facts about a job once its files are built."""

    dataset_id: int
    split_id: int
    task: str
    provider: str
    address: str
    base_model: str
    file_hash: str
    settings: dict[str, Any]
    figures: dict[str, Any]


class Ledger:
    """Every method is one transaction: its changes are on disk when it returns."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def jobs(self, dataset: str | None = None, file_hash: str | None = None) -> list[FinetuneJob]:
        """All jobs, oldest first."""
        with self.store.read("listing jobs") as con:
            return _jobs(con, dataset, file_hash)

    def find(self, name: str, dataset: str | None = None) -> FinetuneJob:
        """The job of this name; "latest" is the newest. Raises LlmseqError if there is none."""
        jobs = self.jobs(dataset)
        if name == "latest" and jobs:
            return jobs[-1]
        for job in jobs:
            if job.job == name:
                return job
        names = [job.job for job in jobs]
        hint = did_you_mean(name, names) if names else "start one with `llmseq finetune --task genitem`"
        raise LlmseqError(f"there is no job '{name}'", hint)

    def same(self, new: NewJob) -> FinetuneJob | None:
        """The newest job for the same files, model and settings."""
        for job in reversed(self.jobs(file_hash=new.file_hash)):
            if (job.split_id, job.provider, job.address, job.base_model, job.settings) == (
                new.split_id,
                new.provider,
                new.address,
                new.base_model,
                new.settings,
            ):
                return job
        return None

    def create(self, new: NewJob, said: str = "training files built") -> FinetuneJob:
        """Record a job whose files are built, or that was trained elsewhere."""
        parameters = {
            "dataset_id": new.dataset_id,
            "split_id": new.split_id,
            "task": new.task,
            "provider": new.provider,
            "address": new.address,
            "base_model": new.base_model,
            "file_hash": new.file_hash,
            "settings": json.dumps(new.settings),
            "figures": json.dumps(new.figures),
            "token": uuid.uuid4().hex,
            "now": _now(),
        }
        expected = new.figures.get("expected_usd")
        said += f"; at most about {expected:,.4g} US dollars" if expected else ""
        with self.store.transaction("recording a job", wait=True) as con:
            job_id = con.execute(query("prompting/insert_job"), parameters).fetchall()[0][0]
            con.execute("insert into core.job_event values (?, ?, ?, ?)", [job_id, _now(), "prepared", said])
            return _job(con, job_id)

    def note(self, job: FinetuneJob, status: str, message: str, **known: Any) -> FinetuneJob:
        """Record a step of a job; known: remote_id, model, training_file_id, validation_file_id, cost_usd."""
        columns = ("remote_id", "model", "training_file_id", "validation_file_id", "cost_usd")
        parameters = {name: known.get(name) for name in columns} | {"status": status, "job_id": job.job_id}
        with self.store.transaction("recording a job", wait=True) as con:
            con.execute(query("prompting/update_job"), parameters | {"now": _now()})
            con.execute("insert into core.job_event values (?, ?, ?, ?)", [job.job_id, _now(), status, message])
            return _job(con, job.job_id)

    def events(self, job: FinetuneJob) -> list[dict[str, Any]]:
        """The steps of a job, oldest first: happened_at, status, message."""
        with self.store.read("reading a job") as con:
            return rows_of(con, "prompting/job_events", {"job_id": job.job_id})

    def folder(self, job: FinetuneJob) -> Path:
        """The folder of the job's files."""
        return self.store.folder / "artifacts" / "jobs" / job.job


def _jobs(con: duckdb.DuckDBPyConnection, dataset: str | None, file_hash: str | None) -> list[FinetuneJob]:
    rows = rows_of(con, "prompting/jobs", {"dataset": dataset, "file_hash": file_hash})
    for row in rows:
        row["settings"] = json.loads(row["settings"])
        row["figures"] = json.loads(row["figures"] or "{}")
    return [FinetuneJob(**row) for row in rows]


def _job(con: duckdb.DuckDBPyConnection, job_id: int) -> FinetuneJob:
    return next(job for job in _jobs(con, None, None) if job.job_id == job_id)


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
