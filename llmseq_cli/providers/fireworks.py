"""Fireworks AI: LoRA on open models; datasets, jobs and adapters over its REST API, chat in OpenAI's protocol.

Routes as documented at docs.fireworks.ai (fine-tuning/fine-tuning-via-api; api-reference, among it
get-model-download-endpoint). Names are ours to choose,
and each holds the job's token: what a lost answer was about is found again by its name.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from llmseq_cli.clients.answers import Answer, fitting
from llmseq_cli.clients.errors import FinalError, TransientError
from llmseq_cli.clients.fireworks_answers import FireworksDataset, FireworksFiles, FireworksJob, FireworksJobs
from llmseq_cli.clients.openai import OpenAIClient
from llmseq_cli.files import atomic_path
from llmseq_cli.language_model.messages import JobEvent, RemoteJob
from llmseq_cli.providers.hosted import HostedProvider, HostedTuning
from llmseq_cli.providers.provider import ProviderLimits, Submission
from llmseq_cli.settings import Settings, setting

ACCOUNT_VARIABLE = "FIREWORKS_ACCOUNT_ID"

# States as docs.fireworks.ai/api-reference lists them (gatewayJobState); those that are in neither are running.
_QUEUED = (
    *("UNSPECIFIED", "CREATING", "CREATING_INPUT_DATASET", "VALIDATING", "PENDING"),
    *("RE_QUEUEING", "IDLE", "PAUSED"),
)
_ENDED = {
    "COMPLETED": "succeeded",
    "EARLY_STOPPED": "succeeded",
    "CANCELLED": "cancelled",
    "DELETING": "cancelled",
    "DELETING_CLEANING_UP": "cancelled",
    "FAILED": "failed",
    "EXPIRED": "failed",
}
_LARGEST_FILE = 150_000_000  # bytes: "file sizes less than 150 MB" for the one-step upload
_CONTEXT = 8_192  # tokens; what a model takes differs, --context says more
_VALIDATION = 5_000
_WAIT = 2.0  # seconds, for a dataset to be checked
_MOST_PAGES = 50


@dataclass(frozen=True)
class FireworksTuning(HostedTuning):
    """LoRA; none leaves a value to Fireworks."""

    account: str | None = setting(None, f"id of the account; none: ${ACCOUNT_VARIABLE}")


class FireworksClient(OpenAIClient):
    """What manages datasets and jobs. The key comes from $FIREWORKS_API_KEY."""

    service: ClassVar[str] = "fireworks"
    own_address: ClassVar[str] = "https://api.fireworks.ai/v1"
    address_variable: ClassVar[str] = "FIREWORKS_BASE_URL"
    key_variable: ClassVar[str] = "FIREWORKS_API_KEY"


class FireworksProvider(HostedProvider):
    """base_url: of the managing API, ending in /v1; answers come from /inference/v1 beside it."""

    name = "fireworks"
    Settings: ClassVar[type[Settings]] = FireworksTuning
    Client: ClassVar[type[OpenAIClient]] = FireworksClient
    settings: FireworksTuning

    def __init__(self, base_url: str | None, settings: FireworksTuning) -> None:
        super().__init__(base_url, settings)
        self.chat = FireworksClient(self.client.address.removesuffix("/v1") + "/inference/v1", settings.timeout)
        self.limits = ProviderLimits(_CONTEXT, _VALIDATION, usual_validation=500, largest_file=_LARGEST_FILE)

    @cached_property
    def _account(self) -> str:
        account = (self.settings.account or os.environ.get(ACCOUNT_VARIABLE) or "").removeprefix("accounts/").strip()
        if not account or not account.replace("-", "").isalnum():
            raise FinalError(
                "the Fireworks account is not known",
                f"set {ACCOUNT_VARIABLE}, or --set account=ID; app.fireworks.ai shows it",
            )
        return f"/accounts/{account}"

    # Fine-tuning.

    def upload(self, file: Path, name: str) -> str:
        """Makes the dataset's record, sends the file, and waits until Fireworks has checked it; → the dataset's id."""
        dataset = name.removesuffix(".jsonl")
        place = f"{self._account}/datasets"

        def call() -> str:
            state = self._state(f"{place}/{dataset}")
            if state is None:
                self.client.post(place, {"datasetId": dataset, "dataset": {"userUploaded": {}}})
                state = "UPLOADING"
            if state == "UPLOADING":
                with file.open("rb") as content:
                    self.client.post_file(f"{place}/{dataset}:upload", name, content)
                state = self._state(f"{place}/{dataset}")
            if state != "READY":
                raise TransientError(f"{self.client.host}: the dataset is not ready yet", _WAIT)
            return dataset

        return self._call(call)

    def _state(self, path: str) -> str | None:
        """The state of a dataset, None if there is none."""
        answer = self._got(path)
        return None if answer is None else answer.read(FireworksDataset).state or "UPLOADING"

    def _got(self, path: str) -> Answer | None:
        import openai

        try:
            return self.client.get(path)
        except openai.NotFoundError:
            return None

    @property
    def _jobs_path(self) -> str:
        return f"{self._account}/supervisedFineTuningJobs"

    def _create(self, submission: Submission) -> RemoteJob:
        chosen, account, name = self.settings, self._account.strip("/"), f"llmseq-{submission.token}"
        asked: dict[str, Any] = {
            "displayName": name,
            "baseModel": submission.base_model,
            "dataset": f"{account}/datasets/{submission.training_file}",
            "outputModel": f"{account}/models/{(submission.suffix or 'llmseq')[:20].lower()}-{submission.token}",
            "epochs": chosen.epochs,
        }
        if submission.validation_file:
            asked["evaluationDataset"] = f"{account}/datasets/{submission.validation_file}"
        known = {"learningRate": chosen.learning_rate, "loraRank": chosen.rank}
        asked |= {key: value for key, value in known.items() if value is not None}
        return self._read(self.client.post(self._jobs_path, asked, supervisedFineTuningJobId=name))

    def find(self, token: str) -> RemoteJob | None:
        """By its id, which is ours; or by its displayed name, where a server chose the id."""
        name = f"llmseq-{token}"

        def call() -> RemoteJob | None:
            there = self._got(f"{self._jobs_path}/{name}")
            if there is not None:
                return self._read(there)
            page = ""
            for _ in range(_MOST_PAGES):
                listed = self.client.get(self._jobs_path, pageSize="200", **({"pageToken": page} if page else {}))
                jobs = listed.read(FireworksJobs)
                for entry in jobs.supervised_fine_tuning_jobs:
                    job = fitting(FireworksJob, entry)
                    if job is not None and job.display_name == name:
                        return self._remote(job)
                if not jobs.next_page_token or jobs.next_page_token == page:
                    return None
                page = jobs.next_page_token
            return None

        return self._call(call)

    def poll(self, remote_id: str) -> RemoteJob | None:
        def call() -> RemoteJob | None:
            answer = self._got(f"/{remote_id}")
            return None if answer is None else self._read(answer)

        return self._call(call)

    def events(self, remote_id: str) -> list[JobEvent]:
        """Fireworks keeps no list of events: what the job is at now is one."""
        answer = self._call(lambda: self._got(f"/{remote_id}"))
        job = None if answer is None else fitting(FireworksJob, answer.document())
        if job is None:
            return []
        said = job.state.removeprefix("JOB_STATE_").lower().replace("_", " ")
        return [JobEvent(job.state, said)]

    def cancel(self, remote_id: str) -> RemoteJob:
        """Fireworks documents no route for it, but its own command."""
        raise FinalError(
            "Fireworks documents no request that cancels a supervised job",
            f"firectl supervised-fine-tuning-job cancel {remote_id}",
        )

    def download(self, remote_id: str, folder: Path) -> list[Path]:
        """The adapter's files, as `llmseq jobs import` reads them."""

        def call() -> list[Path]:
            job = self.poll(remote_id)
            if job is None or job.model is None:
                raise FinalError(f"{remote_id} has no model", "`llmseq jobs show` tells more")
            files = self.client.get(f"/{job.model}:getDownloadEndpoint").read(FireworksFiles, "names no files")
            return [self._fetched(url, folder / name) for name, url in sorted(files.by_name().items())]

        return self._call(call)

    def _fetched(self, url: str, path: Path) -> Path:
        """A file at a signed address, which needs, and gets, no key."""
        import httpx

        if not url.startswith(("https://", "http://127.0.0.1")):
            raise FinalError(f"the address of {path.name} is not https", "try again later")
        try:
            with httpx.stream("GET", url, timeout=self.client.timeout, follow_redirects=True) as answer:
                answer.raise_for_status()
                with atomic_path(path) as partial, partial.open("wb") as file:
                    for part in answer.iter_bytes():
                        file.write(part)
        except httpx.HTTPError as error:
            raise TransientError(f"{path.name} did not arrive whole: {type(error).__name__}") from None
        return path

    def _read(self, answer: Answer) -> RemoteJob:
        return self._remote(answer.read(FireworksJob, "is no fine-tuning job"))

    def _remote(self, job: FireworksJob) -> RemoteJob:
        state = job.state.removeprefix("JOB_STATE_")
        status = _ENDED.get(state) or ("queued" if state in _QUEUED else "running")
        said = self.scrub(job.status.message) if job.status.message and status == "failed" else None
        return RemoteJob(job.name, status, job.output_model if status == "succeeded" else None, said)
