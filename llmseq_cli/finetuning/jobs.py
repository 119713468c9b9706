"""Run a job: upload, submit, wait, refresh, cancel. Each call is recorded before and after it.

If the program was killed between a call and its record, uploads are found again by file name and jobs by token, so that
nothing is submitted twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from llmseq_cli.clients.errors import TransientError, UnreachableError
from llmseq_cli.clients.prices import usd_for_token
from llmseq_cli.clients.retries import Patience, patiently
from llmseq_cli.errors import LlmseqError
from llmseq_cli.finetuning.examples import TRAINING, VALIDATION
from llmseq_cli.finetuning.ledger import OVER, UNSUBMITTED, FinetuneJob, Ledger
from llmseq_cli.language_model.messages import JobEvent, RemoteJob
from llmseq_cli.progress import Progress
from llmseq_cli.providers.provider import FineTuneProvider, Submission
from llmseq_cli.providers.registry import provider_class

T = TypeVar("T")

_POLL_SECONDS = 15.0


class JobRunner:
    """Runs jobs of one provider. Failed calls are repeated under the one retry policy. prices: a user's table."""

    def __init__(
        self,
        ledger: Ledger,
        provider: FineTuneProvider,
        progress: Progress,
        patience: Patience | None = None,
        prices: str | None = None,
    ) -> None:
        self.ledger, self.provider, self.progress = ledger, provider, progress
        self.patience, self.prices = patience or Patience(), prices
        self.reached = False  # whether the provider has answered anything

    def submit(self, job: FinetuneJob) -> FinetuneJob:
        """Bring a job into the provider's queue. May be called again from any earlier state."""
        if job.status not in UNSUBMITTED:
            return job
        if job.status == "submitting":  # it may have arrived without our knowing
            found = self.call(lambda: self.provider.find(job.token))
            if found is not None:
                return self._noted(job, found, f"found again as {found.remote_id}")
        folder = self.ledger.folder(job)
        files = {"training_file_id": folder / TRAINING, "validation_file_id": folder / VALIDATION}
        for column, file in files.items():
            if getattr(job, column) is None and file.exists():
                job = self._upload(job, column, file)
        submission = Submission(
            token=job.token,
            base_model=job.base_model,
            training_file=str(job.training_file_id),
            validation_file=job.validation_file_id,
            suffix=job.settings.get("suffix"),
            seed=job.settings["setup"]["seed"],
        )
        job = self.ledger.note(job, "submitting", f"submitting to {self.provider.name}")
        remote = self.call(lambda: self.provider.submit(submission))
        return self._noted(job, remote, f"submitted as {remote.remote_id}")

    def _upload(self, job: FinetuneJob, column: str, file: Path) -> FinetuneJob:
        if not file.exists():
            raise LlmseqError(f"the file {file} is missing", "run `llmseq finetune` again with the same options")
        job = self.ledger.note(job, "uploading", f"uploading {file.name}")
        name = f"llmseq-{job.token}-{file.name}"
        with self.progress.task(f"Uploading {file.name} ({file.stat().st_size / 1e6:,.1f} MB)"):
            file_id = self.call(lambda: self.provider.upload(file, name))
        return self.ledger.note(job, "uploaded", f"uploaded {file.name} as {file_id}", **{column: file_id})

    def refresh(self, job: FinetuneJob) -> FinetuneJob:
        """Update the job from the provider."""
        if job.remote_id is None:
            if job.status != "submitting":
                return job
            found = self.call(lambda: self.provider.find(job.token))
            return self._noted(job, found, f"found again as {found.remote_id}") if found else job
        if job.status in OVER:
            return job
        remote = self.call(lambda: self.provider.poll(str(job.remote_id)))
        if remote is None:
            self.progress.warn(f"the provider no longer knows {job.remote_id}")
            return self.ledger.note(job, "lost", "the provider no longer knows it")
        return self._noted(job, remote, remote.error or "")

    def wait(self, job: FinetuneJob) -> FinetuneJob:
        """Wait until the job has ended, and report what happens."""
        if job.status in UNSUBMITTED:
            job = self.refresh(job)
        if job.remote_id is None:
            raise LlmseqError(f"{job.job} was not submitted", "run `llmseq finetune` again with the same options")
        if not self.provider.remote:
            self.provider.work(job.remote_id)
        told: set[str] = set()
        with self.progress.task(f"Waiting for {job.job}") as task:
            while True:
                job = self.refresh(job)
                for event in self._events(job):
                    if event.event_id not in told:
                        told.add(event.event_id)
                        if not self.provider.remote:  # local events were already shown
                            continue
                        self.progress.message(f"{job.job}: {event.message}")
                if job.status in OVER:
                    return job
                if job.status == "queued" and not self.provider.remote:
                    break  # the program that ran it has gone
                task.describe(f"Waiting for {job.job}: {job.status}")
                time.sleep(_POLL_SECONDS)
        return self.wait(job)

    def _events(self, job: FinetuneJob) -> list[JobEvent]:
        return self.call(lambda: self.provider.events(str(job.remote_id)))

    def cancel(self, job: FinetuneJob) -> FinetuneJob:
        """Stop a running job; one that was not submitted is only marked."""
        job = self.refresh(job)
        if job.status in OVER:
            raise LlmseqError(f"{job.job} has already ended: {job.status}", "see `llmseq jobs show`")
        if job.remote_id is None:
            return self.ledger.note(job, "cancelled", "cancelled before it was submitted")
        remote = self.call(lambda: self.provider.cancel(str(job.remote_id)))
        return self._noted(job, remote, "asked to be cancelled")

    def _noted(self, job: FinetuneJob, remote: RemoteJob, message: str) -> FinetuneJob:
        """Update the ledger's job from the provider's; write nothing if nothing is new."""
        cost = self._cost(job, remote)
        known = (remote.remote_id, remote.model or job.model, remote.status, cost or job.cost_usd)
        if known == (job.remote_id, job.model, job.status, job.cost_usd):
            return job
        said = message or (f"fine-tuned as {remote.model}" if remote.model else remote.status)
        if cost and cost != job.cost_usd:
            said += f"; {cost:,.4g} US dollars"
        return self.ledger.note(job, remote.status, said, remote_id=remote.remote_id, model=remote.model, cost_usd=cost)

    def _cost(self, job: FinetuneJob, remote: RemoteJob) -> float | None:
        """US dollars for the tokens that the provider counted."""
        price = training_price(job.provider, job.base_model, self.prices)
        return None if price is None or remote.trained_tokens is None else remote.trained_tokens * price

    def call(self, function: Callable[[], T]) -> T:
        """A call under the one retry policy."""

        def call() -> T:
            try:
                result = function()
            except TransientError as error:
                self.reached |= not isinstance(error, UnreachableError)
                raise
            self.reached = True
            return result

        return patiently(
            call, self.patience, time.sleep, lambda note, _: self.progress.message(note), lambda: self.reached
        )


def training_price(provider: str, model: str, prices: str | None) -> float | None:
    """US dollars per token and epoch, None if unknown."""
    if not provider_class(provider).remote:
        return 0.0
    return usd_for_token(f"{provider}:{model}", "training", prices)


def about(ledger: Ledger, job: FinetuneJob) -> dict[str, Any]:
    """A job with its steps, for `llmseq jobs show`."""
    return job.to_dict() | {"folder": str(ledger.folder(job)), "events": ledger.events(job)}
