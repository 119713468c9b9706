"""Gemini on Vertex AI: files in Cloud Storage, supervised tuning jobs, answers of tuned endpoints and base models.

Jobs through google-cloud-aiplatform, answers through google-genai, files through google-cloud-storage, with the
credentials that Google's tools find.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import numpy as np

from llmseq_cli.clients.answers import token_count
from llmseq_cli.clients.errors import FinalError, RefusedError
from llmseq_cli.clients.log_probabilities import MOST_TOKENS, NO_LOG_PROBABILITIES, weigh_words
from llmseq_cli.clients.retirements import Retirement, retirement
from llmseq_cli.clients.vertex import DEFAULT_LOCATION, VERTEX_TOKENS, VertexClient
from llmseq_cli.clients.vertex_answers import vertex_chat
from llmseq_cli.clients.vertex_tuning import TuningJobs
from llmseq_cli.errors import UsageError
from llmseq_cli.files import write_whole
from llmseq_cli.language_model.messages import ChatRequest, Completions, Example, JobEvent, RemoteJob, gemini_contents
from llmseq_cli.providers.provider import FineTuneProvider, ProviderLimits, Submission
from llmseq_cli.providers.vertex_storage import TrainingBucket
from llmseq_cli.settings import Settings, setting

if TYPE_CHECKING:
    from google.cloud.aiplatform_v1.types import TuningJob

T = TypeVar("T")

LABEL = "llmseq"
"""Label under which a job carries its token."""

BUCKET_VARIABLE = "GOOGLE_CLOUD_BUCKET"

_STATUS = {
    "JOB_STATE_QUEUED": "queued",
    "JOB_STATE_PENDING": "queued",
    "JOB_STATE_PAUSED": "queued",
    "JOB_STATE_RUNNING": "running",
    "JOB_STATE_UPDATING": "running",
    "JOB_STATE_CANCELLING": "running",
    "JOB_STATE_SUCCEEDED": "succeeded",
    "JOB_STATE_PARTIALLY_SUCCEEDED": "succeeded",
    "JOB_STATE_FAILED": "failed",
    "JOB_STATE_EXPIRED": "failed",
    "JOB_STATE_CANCELLED": "cancelled",
}
_ADAPTERS = {"1": "ONE", "2": "TWO", "4": "FOUR", "8": "EIGHT", "16": "SIXTEEN"}

# docs.cloud.google.com, "About supervised fine-tuning for Gemini models": limitations.
_TOKENS_PER_EXAMPLE = 131_072
_VALIDATION, _USUAL_VALIDATION = 5_000, 250  # the latter as Boz et al. had it
_MOST_EXAMPLES, _LARGEST_FILE = 1_000_000, 1_000_000_000  # of text; bytes of JSON lines
_EPOCHS = 3  # what Google's choice has come to for thousands of examples
_MOST_CANDIDATES = 8
_START_MINUTES, _TOKENS_PER_MINUTE = 20, 100_000  # rough: Google states neither
_THOUGHTS = 8_192  # room for what a model thinks that cannot be kept from it

_CHECK = "check the model and the server"

_PLACE = re.compile(r"(?P<address>.*?)/?projects/(?P<project>[^/]+)/locations/(?P<location>[^/]+)/?")


@dataclass(frozen=True)
class VertexTuning(Settings):
    """Where it runs, and hyperparameters; none leaves one to Google, as the paper did."""

    epochs: int | None = setting(None, "passes over the examples; none: Google decides", low=1, high=100)
    learning_rate_multiplier: float | None = setting(None, "of the rate; none: Google decides", low=0.0001, high=100)
    adapter_size: str | None = setting(None, "rank of the adapter; none: Google decides", choices=tuple(_ADAPTERS))
    bucket: str | None = setting(None, f"of Cloud Storage, for training files; none: ${BUCKET_VARIABLE}")
    project: str | None = setting(None, "Google Cloud project; none: $GOOGLE_CLOUD_PROJECT, or the credentials' own")
    location: str | None = setting(None, f"region; none: $GOOGLE_CLOUD_LOCATION, or {DEFAULT_LOCATION}")
    thinking: int | None = setting(
        0, "tokens a model may think before it answers; none: it decides", low=0, high=65_536
    )
    timeout: float = setting(300.0, "seconds to wait for an answer", low=1)


class VertexProvider(FineTuneProvider):
    """base_url: another endpoint, else $GOOGLE_VERTEX_BASE_URL, else the region's own; "projects/P/locations/L" after
    it, or alone, names project and region. Credentials and project are asked for at the first call.
    """

    name = "vertex"
    Settings = VertexTuning
    settings: VertexTuning
    weighs = "words"
    default_model = "gemini-3.5-flash"
    limits = ProviderLimits(
        tokens_per_example=_TOKENS_PER_EXAMPLE,
        validation=_VALIDATION,
        usual_validation=_USUAL_VALIDATION,
        most_examples=_MOST_EXAMPLES,
        largest_file=_LARGEST_FILE,
    )

    def __init__(self, base_url: str | None, settings: VertexTuning) -> None:
        endpoint, project, location = _placed(base_url)
        self.settings = settings
        self.client = VertexClient(
            endpoint, settings.project or project, settings.location or location, settings.timeout
        )
        self._thinks_little = settings.thinking is not None
        self._many = True

    @cached_property
    def address(self) -> str:  # type: ignore[override]
        """Endpoint where it is not the region's own, project and region. Raises FinalError without a project."""
        place = f"projects/{self.client.project}/locations/{self.client.location}"
        return f"{self.client.address}/{place}" if self.client.address else place

    def count_tokens(self, texts: list[str]) -> np.ndarray:
        return VERTEX_TOKENS.count(texts)

    def retirement(self, model: str, *, ask: bool) -> Retirement | None:
        return retirement(self.name, model)

    def minutes(self, tokens: int) -> float | None:
        return _START_MINUTES + tokens / _TOKENS_PER_MINUTE

    def settings_dict(self) -> dict[str, Any]:
        """Hyperparameters alone: where it runs is in the address, and files lie where they were uploaded to."""
        chosen = ("epochs", "learning_rate_multiplier", "adapter_size")
        return {name: value for name, value in self.settings.to_dict().items() if name in chosen}

    def epochs(self, examples: int) -> int:
        return self.settings.epochs or _EPOCHS

    def asking_settings(self) -> dict[str, Any]:
        return {"thinking": self.settings.thinking}

    def scrub(self, text: str) -> str:
        return self.client.scrub(text)

    def training_line(self, example: Example) -> str:
        """An example in Gemini's format of contents."""
        return json.dumps(gemini_contents(example), ensure_ascii=False)

    # Fine-tuning.

    def upload(self, file: Path, name: str) -> str:
        place = self.settings.bucket or os.environ.get(BUCKET_VARIABLE)
        if not place:
            raise FinalError(
                "Vertex AI reads training files from Cloud Storage, and no bucket is known",
                f"--set bucket=gs://my-bucket, or set {BUCKET_VARIABLE}",
            )
        return TrainingBucket(place, self.settings.timeout).upload(file, name, self.client)

    def submit(self, submission: Submission) -> RemoteJob:
        return self.find(submission.token) or self._call(lambda: self._create(submission))

    @cached_property
    def _jobs(self) -> TuningJobs:
        return TuningJobs(self.client)

    def _create(self, submission: Submission) -> RemoteJob:
        from google.cloud.aiplatform_v1 import types

        settings = self.settings
        hyper = types.SupervisedHyperParameters(
            epoch_count=settings.epochs, learning_rate_multiplier=settings.learning_rate_multiplier
        )
        if settings.adapter_size:
            sizes: Any = types.SupervisedHyperParameters.AdapterSize
            hyper.adapter_size = sizes[f"ADAPTER_SIZE_{_ADAPTERS[settings.adapter_size]}"]
        job = types.TuningJob(
            base_model=submission.base_model,
            tuned_model_display_name=f"{submission.suffix or 'llmseq'}-{submission.token}",
            labels={LABEL: submission.token},
            supervised_tuning_spec=types.SupervisedTuningSpec(
                training_dataset_uri=submission.training_file,
                validation_dataset_uri=submission.validation_file,
                hyper_parameters=hyper,
                export_last_checkpoint_only=True,
            ),
        )
        return self._remote_job(self._jobs.create(job))

    def find(self, token: str) -> RemoteJob | None:
        def call() -> RemoteJob | None:
            for job in self._jobs.all():
                named = job.tuned_model_display_name.endswith(f"-{token}")
                if (named or job.labels.get(LABEL) == token) and job.state:
                    return self._remote_job(job)
            return None

        return self._call(call)

    def poll(self, remote_id: str) -> RemoteJob | None:
        job = self._call(lambda: self._jobs.get(remote_id))
        return None if job is None else self._remote_job(job)

    def events(self, remote_id: str) -> list[JobEvent]:
        """Google keeps no list of events: what the job is at now is one."""
        job = self._call(lambda: self._jobs.get(remote_id))
        if job is None:
            return []
        said = _state(job).removeprefix("JOB_STATE_")
        return [JobEvent(said, said.lower().replace("_", " "))]

    def cancel(self, remote_id: str) -> RemoteJob:
        self._call(lambda: self._jobs.cancel(remote_id))
        return self.poll(remote_id) or RemoteJob(remote_id, "cancelled")

    def download(self, remote_id: str, folder: Path) -> list[Path]:
        """The weights stay with Google: what comes is the job's description, with statistics of its data."""
        job = self._call(lambda: self._jobs.get(remote_id))
        if job is None:
            raise FinalError(f"Vertex AI does not know {remote_id} any more", "`llmseq jobs` shows what is known here")
        path = folder / "tuning_job.json"
        described = type(job).to_json(
            job,
            use_integers_for_enums=False,
            always_print_fields_with_no_presence=False,
            preserving_proto_field_name=True,
        )
        write_whole(path, described)
        return [path]

    def _remote_job(self, job: TuningJob) -> RemoteJob:
        return RemoteJob(
            remote_id=job.name,
            status=_STATUS.get(_state(job), "running"),
            model=job.tuned_model.endpoint or job.tuned_model.model or None,
            error=self.scrub(job.error.message) or None,
            trained_tokens=self._trained_tokens(job),
        )

    def _trained_tokens(self, job: TuningJob) -> int | None:
        """What is paid for: the tokens of the examples, as Google counted them, in every epoch."""
        tokens = job.tuning_data_stats.supervised_tuning_data_stats.total_billable_token_count
        epochs = job.supervised_tuning_spec.hyper_parameters.epoch_count or self.settings.epochs
        return token_count(tokens * epochs) if tokens > 0 and epochs and epochs > 0 else None

    def _call(self, function: Callable[[], T]) -> T:
        try:
            return function()
        except RefusedError as refused:  # no single example is to blame
            raise FinalError(f"Vertex AI does not take it: {refused}", "check --model and --set") from None
        except FinalError as error:
            if error.message.startswith(("400 ", "404 ")):
                raise FinalError(error.message, "check --model, project and location") from None
            raise

    # Answers.

    def complete(self, request: ChatRequest) -> Completions:
        from google.genai.errors import APIError

        n = min(request.n, _MOST_CANDIDATES) if self._many else 1
        try:
            config = self._asked(request, n)
            answer = self.client.ask(
                lambda sdk: sdk.models.generate_content(model=request.model, contents=request.user, config=config)
            )
        except Exception as error:  # of google-genai, httpx, google-auth
            if isinstance(error, APIError) and self._adapted(error, n):
                return self.complete(request)
            raise self._explained(error, request.model) from None
        found = vertex_chat(answer, _CHECK)
        if request.weighing:
            if not found.first_tokens:
                raise FinalError(f"Vertex AI tells no log-probabilities of {request.model}", NO_LOG_PROBABILITIES)
            weights = weigh_words(request.weighing.texts, found.first_tokens)
            return Completions([weights], ["stop"], found.prompt_tokens, found.completion_tokens)
        return Completions(found.texts, found.finishes, found.prompt_tokens, found.completion_tokens)

    def _asked(self, request: ChatRequest, n: int) -> Any:
        from google.genai.types import GenerateContentConfig, ThinkingConfig

        budget = self.settings.thinking if self._thinks_little else None
        room = _THOUGHTS if budget is None else budget
        return GenerateContentConfig(
            system_instruction=request.system or None,
            temperature=request.temperature,
            top_p=request.top_p,
            candidate_count=n,
            max_output_tokens=request.max_tokens + room,
            thinking_config=None if budget is None else ThinkingConfig(thinking_budget=budget),
            response_logprobs=True if request.weighing else None,
            logprobs=MOST_TOKENS if request.weighing else None,
        )

    def _adapted(self, error: Any, n: int) -> bool:
        """Whether the model dislikes a way of asking that there is another for, which is taken from now on."""
        said = str(error.message or "").lower()
        if error.code != 400:
            return False
        if self._thinks_little and "thinking" in said:
            self._thinks_little = False
            return True
        if n > 1 and "candidate" in said:
            self._many = False
            return True
        return False

    def _explained(self, error: Exception, model: str) -> Exception:
        from google.genai.errors import APIError

        explained = self.client.explained(error, model)
        if isinstance(error, APIError) and error.code in (400, 404) and isinstance(explained, FinalError):
            return FinalError(explained.message, f"check the model {model}, project and location")
        return explained


def _placed(base_url: str | None) -> tuple[str | None, str | None, str | None]:
    """(endpoint, project, location) of an address as a user or a job has it."""
    found = _PLACE.fullmatch(base_url or "")
    if found is None:
        return base_url, None, None
    address = found["address"] or None
    if address and not urlsplit(address).hostname:
        raise UsageError(f"'{base_url}' is not the address of an endpoint", "for example projects/P/locations/L")
    return address, found["project"], found["location"]


def _state(job: TuningJob) -> str:
    """The name of the job's state; of one that came after this client was written, its number."""
    return getattr(job.state, "name", str(job.state))
