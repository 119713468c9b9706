"""OpenAI: files, fine-tuning jobs and chat; for chat, every server that speaks its protocol (vLLM, Ollama, …)."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np

from llmseq_cli.clients.answers import Page
from llmseq_cli.clients.errors import FinalError, RefusedError
from llmseq_cli.clients.idempotency import idempotency_header
from llmseq_cli.clients.log_probabilities import MOST_TOKENS, NO_LOG_PROBABILITIES, weigh_words
from llmseq_cli.clients.openai import OPENAI_TOKENS, OPENAI_URL, OpenAIClient, told_limits
from llmseq_cli.clients.openai_answers import File, TuningEvent, TuningJob, openai_chat
from llmseq_cli.clients.retirements import Retirement, TuningEnd, tuning_end
from llmseq_cli.files import write_whole
from llmseq_cli.language_model.messages import ChatRequest, Completions, JobEvent, RemoteJob
from llmseq_cli.providers.provider import FineTuneProvider, ProviderLimits, Submission, Surroundings
from llmseq_cli.settings import Settings, setting

T = TypeVar("T")

TOKEN_KEY = "llmseq"
"""Metadata under which a job carries its token."""

_STATUS = {"validating_files": "queued", "queued": "queued", "paused": "queued", "running": "running"}
_STATUS |= {name: name for name in ("succeeded", "failed", "cancelled")}
_EPOCHS = 3  # what "auto" has come to for hundreds of examples and more
_EVENTS = 100
_FEWER_TOKENS = 5  # the most that some servers tell log-probabilities of
_MOST_CHOICES = 128  # in one answer; what is missing is asked for again
_QUEUE_MINUTES, _TOKENS_PER_MINUTE = 10, 60_000  # rough: OpenAI states neither
_LARGEST_FILE = 512_000_000  # bytes, developers.openai.com, "Upload file": "up to 512 MB"
_REASONS = re.compile(r"gpt-(?:[5-9]|\d\d)|o\d")  # names of OpenAI's models that think unless they are told not to
_THOUGHTS = 8_192  # tokens of room for that
_CHECK = "check the model and the server"


@dataclass(frozen=True)
class OpenAITuning(Settings):
    """Hyperparameters of the supervised method; none leaves one to OpenAI, as the paper did."""

    epochs: int | None = setting(None, "passes over the examples; none: OpenAI decides", low=1, high=50)
    batch_size: int | None = setting(None, "examples a step; none: OpenAI decides", low=1, high=256)
    learning_rate_multiplier: float | None = setting(None, "of the rate; none: OpenAI decides", low=0.0001, high=100)
    reasoning: str | None = setting(
        None,
        "how much a model thinks before it answers; none: not at all at OpenAI, elsewhere as the server likes",
        choices=("minimal", "low", "medium", "high", "xhigh", "max"),
    )
    timeout: float = setting(300.0, "seconds to wait for an answer", low=1)


class OpenAIProvider(FineTuneProvider):
    """The key comes from $OPENAI_API_KEY and nowhere else."""

    name = "openai"
    Settings: ClassVar[type[Settings]] = OpenAITuning
    Client: ClassVar[type[OpenAIClient]] = OpenAIClient
    settings: Any
    weighs = "words"
    not_of_the_job: ClassVar[tuple[str, ...]] = ("reasoning", "timeout")
    """Settings that decide nothing of a job, but how models are asked."""
    keeps_metadata: ClassVar[bool] = True
    """Whether jobs can be given metadata, and be found by it."""
    default_model = None  # all that OpenAI fine-tunes is about to be shut down

    def __init__(self, base_url: str | None, settings: Any) -> None:
        self.settings = settings
        self.client = self.Client(base_url, settings.timeout)
        self.chat = self.client  # what answers questions, where that is not what takes jobs
        self.address = self.client.variant or OPENAI_URL
        own = self.client.is_openai
        self.limits = ProviderLimits(
            tokens_per_example=65_536,
            validation=500,
            least_examples=10,
            largest_file=_LARGEST_FILE if own else None,
            requests_per_minute=500 if own else None,
            tokens_per_minute=200_000 if own else None,
        )
        self._limit_name = "max_completion_tokens" if own else "max_tokens"
        self._many = True
        self._top_tokens = MOST_TOKENS
        self._model = ""

    def settle(self, surroundings: Surroundings) -> None:
        super().settle(surroundings)
        self._model = surroundings.model

    def count_tokens(self, texts: list[str]) -> np.ndarray:
        return OPENAI_TOKENS.count(texts)

    def retirement(self, model: str, *, ask: bool) -> Retirement | None:
        return self.client.retirement(model, ask=ask)

    def tuning_end(self) -> TuningEnd | None:
        return tuning_end(self.name) if self.client.is_openai else None

    def minutes(self, tokens: int) -> float | None:
        return _QUEUE_MINUTES + tokens / _TOKENS_PER_MINUTE

    def settings_dict(self) -> dict[str, Any]:
        return {name: value for name, value in self.settings.to_dict().items() if name not in self.not_of_the_job}

    def epochs(self, examples: int) -> int:
        return self.settings.epochs or _EPOCHS

    def scrub(self, text: str) -> str:
        return self.client.scrub(text)

    # Fine-tuning.

    def upload(self, file: Path, name: str) -> str:
        def call() -> str:
            files = self.client.sdk.files.with_raw_response
            for there in self.client.pages(files.list, File, purpose="fine-tune", order="desc"):
                if there.filename == name and there.bytes == file.stat().st_size:
                    return there.id
            with file.open("rb") as content:
                made = files.create(file=(name, content), purpose="fine-tune")
            return self.client.answer(made).read(File, "names no file").id

        return self._call(call)

    def submit(self, submission: Submission) -> RemoteJob:
        return self.find(submission.token) or self._call(lambda: self._create(submission))

    def _create(self, submission: Submission) -> RemoteJob:
        return self._read_job(self._jobs.create(**self._asked(submission)))

    def _asked(self, submission: Submission) -> dict[str, Any]:
        """What is asked for in a job."""
        chosen = {
            "n_epochs": self.settings.epochs,
            "batch_size": self.settings.batch_size,
            "learning_rate_multiplier": self.settings.learning_rate_multiplier,
        }
        asked: dict[str, Any] = {
            "model": submission.base_model,
            "training_file": submission.training_file,
            "method": {
                "type": "supervised",
                "supervised": {"hyperparameters": {key: value for key, value in chosen.items() if value is not None}},
            },
            "metadata": {TOKEN_KEY: submission.token},
            "seed": submission.seed,
        }
        if submission.validation_file:
            asked["validation_file"] = submission.validation_file
        if submission.suffix:
            asked["suffix"] = submission.suffix
        return asked

    @property
    def _jobs(self) -> Any:
        return self.client.sdk.fine_tuning.jobs.with_raw_response

    def find(self, token: str) -> RemoteJob | None:
        """By the token in its metadata, or where a server keeps none, by the name of its training file."""

        def call() -> RemoteJob | None:
            jobs = self._jobs.list
            listed = self.client.pages(jobs, TuningJob, metadata={TOKEN_KEY: token}) if self.keeps_metadata else ()
            for job in listed:
                if job.metadata.get(TOKEN_KEY) == token:
                    return self._remote_job(job)
            files = self.client.pages(self.client.sdk.files.with_raw_response.list, File, purpose="fine-tune")
            named = {file.id for file in files if (file.filename or "").startswith(f"llmseq-{token}-")}
            for job in self.client.pages(jobs, TuningJob) if named else ():
                if job.training_file in named:
                    return self._remote_job(job)
            return None

        return self._call(call)

    def poll(self, remote_id: str) -> RemoteJob | None:
        import openai

        def call() -> RemoteJob | None:
            try:
                return self._read_job(self._jobs.retrieve(remote_id))
            except openai.NotFoundError:
                return None

        return self._call(call)

    def events(self, remote_id: str) -> list[JobEvent]:
        def call() -> list[JobEvent]:
            page = self.client.answer(self._jobs.list_events(remote_id, limit=_EVENTS)).read(Page)
            events = page.entries(TuningEvent)
            return [JobEvent(event.id, self.scrub(event.message)) for event in reversed(events)]

        return self._call(call)

    def cancel(self, remote_id: str) -> RemoteJob:
        return self._call(lambda: self._read_job(self._jobs.cancel(remote_id)))

    def download(self, remote_id: str, folder: Path) -> list[Path]:
        def call() -> list[Path]:
            written = []
            job = self.client.answer(self._jobs.retrieve(remote_id)).read(TuningJob, "is no fine-tuning job")
            for file_id in job.result_files:
                path = folder / f"{file_id}.csv"
                write_whole(path, self.client.sdk.files.content(file_id).read())
                written.append(path)
            return written

        return self._call(call)

    def _read_job(self, raw: Any) -> RemoteJob:
        answer = self.client.answer(raw)
        job = answer.read(TuningJob, "is no fine-tuning job")
        if job.status not in _STATUS:
            raise answer.wrong("has a job in no state that is known", hint=_CHECK)
        return self._remote_job(job)

    def _remote_job(self, job: TuningJob) -> RemoteJob:
        error = job.error.message if job.error else None
        return RemoteJob(
            remote_id=job.id,
            status=_STATUS.get(job.status, "running"),
            model=job.fine_tuned_model,
            error=self.scrub(error) if error else None,
            trained_tokens=job.trained_tokens,
            finishes_in=max(0.0, job.estimated_finish - time.time()) if job.estimated_finish else None,
        )

    def _call(self, function: Callable[[], T]) -> T:
        import openai

        try:
            return function()
        except openai.OpenAIError as error:
            explained = self.client.explained(error)
            if isinstance(explained, RefusedError):  # no single example is to blame
                raise FinalError(f"the server does not take it: {explained}", "check --model and --set") from None
            if isinstance(error, (openai.NotFoundError, openai.PermissionDeniedError)):
                raise FinalError(str(explained.args[0]), "check --model and --base-url") from None
            raise explained from None

    # Chat.

    def complete(self, request: ChatRequest) -> Completions:
        import openai

        messages = [{"role": "system", "content": request.system}] if request.system else []
        asked: dict[str, Any] = {
            "model": self.asked_as(request.model),
            "messages": [*messages, {"role": "user", "content": request.user}],
            "temperature": request.temperature,
            "top_p": request.top_p,
            self._limit_name: request.max_tokens,
        }
        if request.weighing:
            asked |= {"logprobs": True, "top_logprobs": self._top_tokens, self._limit_name: 1}
        effort = self._effort(request.model)
        if effort is not None:
            asked["reasoning_effort"] = effort
            asked[self._limit_name] += 0 if effort == "none" else _THOUGHTS
        if self._many and request.n > 1:
            asked["n"] = min(request.n, _MOST_CHOICES)
        header = idempotency_header(asked, request.first)  # equal questions for further answers are told apart
        try:
            raw = self.chat.sdk.chat.completions.with_raw_response.create(**asked, extra_headers=header)
        except openai.APIStatusError as error:
            if self._adapted(error, asked):
                return self.complete(request)
            raise self._explained(error, request.model) from None
        except openai.OpenAIError as error:
            raise self.chat.explained(error, request.model) from None
        found = openai_chat(self.chat.answer(raw), _CHECK)
        tokens = found.prompt_tokens, found.completion_tokens
        if request.weighing:
            if not found.first_tokens:
                raise FinalError(f"the server tells no log-probabilities of {request.model}", NO_LOG_PROBABILITIES)
            weights = weigh_words(request.weighing.texts, found.first_tokens)
            return Completions([weights], ["stop"], *tokens, *told_limits(raw.headers))
        return Completions(found.texts, found.finishes, *tokens, *told_limits(raw.headers))

    def asked_as(self, model: str) -> str:
        """What a model is called where it answers."""
        return model

    def _effort(self, model: str) -> str | None:
        """How much a model shall think; None if that is not said."""
        own = self.client.is_openai and _REASONS.match(model)
        return self.settings.reasoning or ("none" if own else None)

    def asking_settings(self) -> dict[str, Any]:
        effort = self._effort(self._model)
        return {} if effort is None else {"reasoning": effort}

    def _adapted(self, error: Any, asked: Mapping[str, Any]) -> bool:
        """Whether the server dislikes a way of asking that there is another for, which is taken from now on."""
        if error.status_code not in (400, 422):
            return False
        said = f"{error.param} {error.message}"
        if "n" in asked and (error.param == "n" or "only one completion" in said.lower()):
            self._many = False
            return True
        if "top_logprobs" in asked and "logprobs" in said and asked["top_logprobs"] > _FEWER_TOKENS:
            self._top_tokens = _FEWER_TOKENS
            return True
        other = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
        if isinstance(error.param, str) and error.param in other and error.param in asked and "support" in said:
            self._limit_name = other[error.param]
            return True
        return False

    def _explained(self, error: Any, model: str) -> Exception:
        explained = self.chat.explained(error, model)
        if isinstance(explained, RefusedError) and "logprobs" in f"{error.param} {explained.reason}":
            return FinalError(explained.reason, NO_LOG_PROBABILITIES)
        if isinstance(explained, RefusedError) and error.param in ("temperature", "top_p"):
            return FinalError(str(explained), f"{model} takes no other value: set --temperature and --top-p so")
        if isinstance(explained, RefusedError) and "reasoning" in str(error.param):
            return FinalError(str(explained), f"{model} takes another value: --set reasoning=low, for example")
        if isinstance(explained, RefusedError) and model in explained.reason and not explained.too_long:
            return FinalError(explained.reason, f"check the model {model} and the address of the server")
        if isinstance(explained, FinalError) and error.status_code in (400, 403, 404):
            return FinalError(explained.message, f"check the model {model} and the address of the server")
        return explained
