"""List jobs, show one, and act on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llmseq_cli.errors import LlmseqError, UsageError, did_you_mean
from llmseq_cli.finetuning.jobs import JobRunner, about
from llmseq_cli.finetuning.ledger import GONE, OVER, FinetuneJob, Ledger
from llmseq_cli.finetuning.templates import shipped_words
from llmseq_cli.progress import Progress
from llmseq_cli.providers.provider import Surroundings
from llmseq_cli.providers.registry import make_provider
from llmseq_cli.store.connection import Store

ACTIONS = ("show", "wait", "cancel", "download")


def list_jobs(
    store: Store,
    progress: Progress,
    dataset: str | None,
    *,
    refresh: bool,
    base_url: str | None,
    prices: str | None,
) -> list[dict[str, Any]]:
    """One dict per job, oldest first. Warns once for a provider that does not answer."""
    ledger = Ledger(store)
    jobs = ledger.jobs(dataset)
    failed: set[tuple[str, str]] = set()
    for place, job in enumerate(jobs):
        if not refresh or not _open(job) or (job.provider, job.address) in failed:
            continue
        try:
            jobs[place] = runner_of(ledger, job, progress, base_url, prices).refresh(job)
        except LlmseqError as error:
            failed.add((job.provider, job.address))
            progress.warn(f"the state of {job.job} is not available: {error}")
    return [job.to_dict() for job in jobs]


def retiring_jobs(store: Store) -> list[dict[str, Any]]:
    """Jobs whose model has been or will be shut down, from announcements; asks no provider."""
    found = []
    for job in Ledger(store).jobs():
        if job.status in GONE:
            continue
        try:
            provider = make_provider(job.provider, job.address or None, job.settings["tuning"])
        except LlmseqError:  # a plug-in that is not installed, or settings of an older version
            continue
        retired = provider.retirement(job.model or job.base_model, ask=False)
        if retired is not None:
            found.append({"job": job.job, "base_model": job.base_model} | retired.to_dict())
    return found


def act_on_job(
    store: Store,
    progress: Progress,
    name: str,
    action: str,
    dataset: str | None,
    out: str | Path | None,
    *,
    refresh: bool,
    base_url: str | None,
    prices: str | None,
) -> dict[str, Any]:
    """Perform one of ACTIONS on a job; return the job with its steps."""
    if action not in ACTIONS:
        raise UsageError(f"jobs has no action '{action}'", did_you_mean(action, ["list", "import", *ACTIONS]))
    ledger = Ledger(store)
    job = ledger.find(name, dataset)
    downloaded: list[str] = []
    if action == "show":
        if refresh and _open(job):
            job = runner_of(ledger, job, progress, base_url, prices).refresh(job)
    else:
        runner = runner_of(ledger, job, progress, base_url, prices)
        if action == "wait":
            job = runner.wait(job)
        elif action == "cancel":
            job = runner.cancel(job)
        else:
            job, downloaded = _download(runner, job, Path(out or ledger.folder(job)))
    return about(ledger, job) | ({"downloaded": downloaded} if action == "download" else {})


def _open(job: FinetuneJob) -> bool:
    return job.status == "submitting" or (job.remote_id is not None and job.status not in OVER)


def _download(runner: JobRunner, job: FinetuneJob, folder: Path) -> tuple[FinetuneJob, list[str]]:
    job = runner.refresh(job)
    if job.status != "succeeded":
        raise LlmseqError(f"{job.job} is {job.status}: there is nothing to download", "`llmseq jobs wait` waits for it")
    folder.mkdir(parents=True, exist_ok=True)
    files = runner.call(lambda: runner.provider.download(str(job.remote_id), folder))
    return job, [str(file) for file in files]


def runner_of(
    ledger: Ledger,
    job: FinetuneJob,
    progress: Progress,
    base_url: str | None,
    prices: str | None,
    settings: dict[str, Any] | None = None,
) -> JobRunner:
    """The runner of a job: its provider, at the address of submission unless the user gives another.

    settings: the user's, which take precedence over the job's.
    """
    provider = make_provider(job.provider, base_url or job.address, job.settings["tuning"] | (settings or {}))
    provider.settle(Surroundings(ledger.store.folder, job.base_model, progress, words=shipped_words()))
    return JobRunner(ledger, provider, progress, prices=prices)
