"""`FineTuneProvider`: the interface of all services that fine-tune and answer.

Each method is one attempt, which raises TransientError for what may pass, RefusedError for what this very content is
to blame for, and FinalError where nothing further can succeed; `llmseq_cli.clients.retries` decides what follows.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from llmseq_cli.clients.retirements import Retirement, TuningEnd
from llmseq_cli.errors import UsageError
from llmseq_cli.language_model.messages import ChatRequest, Completions, Example, JobEvent, RemoteJob, chat_messages
from llmseq_cli.progress import Progress
from llmseq_cli.settings import Settings


@dataclass(frozen=True)
class ProviderLimits:
    """What a provider takes. tokens_per_example: prompt and answer together. validation: most examples in the
    validation file, 0 if it takes none; usual_validation: as many as there are where the user does not say (None:
    the most), and validation_share: at most so many of all examples. least_examples: fewer are refused, as are more
    than most_examples to train on and files of more than largest_file bytes. The rates are a new account's. None is no
    limit.
    """

    tokens_per_example: int
    validation: int
    usual_validation: int | None = None
    validation_share: float = 0.1
    least_examples: int = 1
    most_examples: int | None = None
    largest_file: int | None = None
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None


@dataclass(frozen=True)
class Submission:
    """A job to submit. token: goes with it, so that it is found again. The files are what `upload` returned."""

    token: str
    base_model: str
    training_file: str
    validation_file: str | None
    suffix: str | None
    seed: int


@dataclass(frozen=True)
class Surroundings:
    """Where a provider works that computes on this machine. folder: the workspace's. model: whom it is about. titles:
    of the catalog, '' for none; nothing where only jobs are looked at. words: what stands around titles in questions.
    constrain: answers name nothing but titles.
    """

    folder: Path
    model: str
    progress: Progress
    titles: Sequence[str] = ()
    words: Sequence[str] = ()
    seed: int = 0
    constrain: bool = False


class FineTuneProvider(ABC):
    """A new provider is one file and one line in the registry.

    address: whose service it is (a server, a project and region): given back as `base_url`, it is the same service.
    """

    name: ClassVar[str]
    Settings: ClassVar[type[Settings]]
    """How it fine-tunes: `--set` of `llmseq finetune`."""
    default_model: ClassVar[str | None]
    """What to start from where the user names no model; None if the user has to."""
    remote: ClassVar[bool] = True
    """Whether a service does the work; one that is not remote trains in `work` and answers in `complete_many`."""
    weighs: ClassVar[str] = "nothing"
    """What it tells log-probabilities of (see `Weighing`): "nothing", "words" that are one token, or any "texts"."""

    address: str
    device: str = "remote"
    limits: ProviderLimits
    settings: Any

    @abstractmethod
    def __init__(self, base_url: str | None, settings: Any) -> None:
        """Sends nothing yet. Raises UsageError for an address that it cannot have."""

    def settle(self, surroundings: Surroundings) -> None:
        """Tells the provider where it works, before anything else is asked of it."""
        if surroundings.constrain:
            raise UsageError(f"{self.name} cannot be held to titles of the catalog", "--constrain is for local models")

    @abstractmethod
    def count_tokens(self, texts: list[str]) -> np.ndarray:
        """Tokens of each text, int64[n]; an upper estimate where the tokenizer is not available. Additive: a text's
        tokens are at most those of its parts.
        """

    @abstractmethod
    def epochs(self, examples: int) -> int:
        """How many epochs a job is expected to run."""

    def minutes(self, tokens: int) -> float | None:
        """How long a job that trains on so many tokens (of all epochs) is expected to take; None if not known."""
        return None

    def retirement(self, model: str, *, ask: bool) -> Retirement | None:
        """When the model is shut down, None if nothing is announced. ask: the service may be asked."""
        return None

    def tuning_end(self) -> TuningEnd | None:
        """When the service stops taking jobs, None if nothing is announced."""
        return None

    def usual_sampling(self, base_model: str) -> tuple[float, float] | None:
        """Temperature and top_p of a base model, and of what is made of it, for tasks whose answers are drawn; None
        leaves them to the task.
        """
        return None

    def settings_dict(self) -> dict[str, Any]:
        """Hyperparameters, as kept with a job."""
        kept: dict[str, Any] = self.settings.to_dict()
        return kept

    def training_line(self, example: Example) -> str:
        """An example as a line of a file; OpenAI's chat format unless overridden."""
        return json.dumps({"messages": chat_messages(example)}, ensure_ascii=False)

    @abstractmethod
    def upload(self, file: Path, name: str) -> str:
        """Uploads a file and returns its id; a file of this name that is there already is not uploaded again."""

    @abstractmethod
    def submit(self, submission: Submission) -> RemoteJob:
        """Submits a job, unless one with its token exists, which is then returned."""

    @abstractmethod
    def find(self, token: str) -> RemoteJob | None:
        """The job that carries the token."""

    @abstractmethod
    def poll(self, remote_id: str) -> RemoteJob | None:
        """The job's state, None if the provider does not know it."""

    def work(self, remote_id: str) -> None:  # noqa: B027 nothing is left to do where a service does it
        """Does a submitted job, or goes on with it, where no service does; see `remote`."""

    @abstractmethod
    def events(self, remote_id: str) -> list[JobEvent]:
        """What happened to the job, oldest first."""

    @abstractmethod
    def cancel(self, remote_id: str) -> RemoteJob:
        """Asks for the job to be stopped."""

    @abstractmethod
    def download(self, remote_id: str, folder: Path) -> list[Path]:
        """Writes what came out of the job into a folder; returns the files."""

    @abstractmethod
    def complete(self, request: ChatRequest) -> Completions:
        """Answers to a question. May be called from threads."""

    def complete_many(self, requests: Sequence[ChatRequest]) -> Iterator[list[tuple[int, Completions]]]:
        """Answers to questions (place, answers) as batches are done, in any order."""
        for place, request in enumerate(requests):
            yield [(place, self.complete(request))]

    def asking_settings(self) -> dict[str, Any]:
        """What else decides the answers, as kept with them."""
        return {}

    def scrub(self, text: str) -> str:
        """A text that may be shown: without keys."""
        return text
