"""Together AI: LoRA on open models; files, jobs and adapters over its REST API, chat in OpenAI's protocol.

Routes as documented at docs.together.ai/reference (upload-file, post-fine-tunes, get-finetune-download).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from llmseq_cli.clients.answers import Page
from llmseq_cli.clients.openai import OpenAIClient
from llmseq_cli.clients.openai_answers import File
from llmseq_cli.clients.together_answers import TogetherEvent, TogetherJob
from llmseq_cli.files import write_whole
from llmseq_cli.language_model.messages import JobEvent, RemoteJob
from llmseq_cli.providers.hosted import HostedProvider, HostedTuning
from llmseq_cli.providers.provider import ProviderLimits, Submission
from llmseq_cli.settings import Settings, setting

# States as docs.together.ai/reference lists them (FinetuneJobStatus).
_STATUS = {
    "pending": "queued",
    "queued": "queued",
    "running": "running",
    "compressing": "running",
    "uploading": "running",
    "cancel_requested": "running",
    "cancelled": "cancelled",
    "error": "failed",
    "user_error": "failed",  # not in the list, seen in its SDK
    "completed": "succeeded",
}
_LONGEST_SUFFIX = 40
_LARGEST_FILE = 25_000_000_000  # bytes, docs.together.ai/reference/finetune: "25GB"
_CONTEXT = 8_192  # tokens; what a model takes differs, --context says more
_VALIDATION = 5_000
_ARCHIVES = {b"\x28\xb5\x2f\xfd": "adapter.tar.zst", b"\x1f\x8b": "adapter.tar.gz", b"PK": "adapter.zip"}


@dataclass(frozen=True)
class TogetherTuning(HostedTuning):
    """LoRA; none leaves a value to Together, which wants to be told rank and alpha."""

    epochs: int = setting(3, "passes over the examples", low=1, high=20)
    rank: int = setting(8, "rank of LoRA's matrices", low=1, high=1024)
    alpha: int = setting(32, "scale of LoRA's matrices, divided by the rank", low=1, high=10_000)
    dropout: float | None = setting(None, "dropout before LoRA's matrices; none: 0", low=0, high=0.9)
    batch_size: int | None = setting(None, "examples a step; none: the largest", low=1, high=1024)


class TogetherClient(OpenAIClient):
    """The key comes from $TOGETHER_API_KEY."""

    service: ClassVar[str] = "together"
    own_address: ClassVar[str] = "https://api.together.ai/v1"
    address_variable: ClassVar[str] = "TOGETHER_BASE_URL"
    key_variable: ClassVar[str] = "TOGETHER_API_KEY"


class TogetherProvider(HostedProvider):
    """Jobs have no seed and no metadata: they are found again by the token in their suffix, or their training file."""

    name = "together"
    Settings: ClassVar[type[Settings]] = TogetherTuning
    Client: ClassVar[type[OpenAIClient]] = TogetherClient
    settings: TogetherTuning

    def __init__(self, base_url: str | None, settings: TogetherTuning) -> None:
        super().__init__(base_url, settings)
        self.limits = ProviderLimits(_CONTEXT, _VALIDATION, usual_validation=500, largest_file=_LARGEST_FILE)

    # Fine-tuning.

    def upload(self, file: Path, name: str) -> str:
        def call() -> str:
            for there in self._files():
                if there.filename == name:
                    return there.id
            with file.open("rb") as content:
                fields = {"purpose": "fine-tune", "file_name": name, "file_type": "jsonl"}
                return self.client.post_file("/files/upload", name, content, **fields).read(File, "names no file").id

        return self._call(call)

    def _files(self) -> list[File]:
        return self.client.get("/files").read(Page).entries(File)

    def _create(self, submission: Submission) -> RemoteJob:
        return self._read(self.client.post("/fine-tunes", self._asked(submission)))

    def _asked(self, submission: Submission) -> dict[str, Any]:
        chosen = self.settings
        lora = {"lora_r": chosen.rank, "lora_alpha": chosen.alpha, "lora_dropout": chosen.dropout}
        prefix = (submission.suffix or "llmseq")[: _LONGEST_SUFFIX - len(submission.token) - 1]
        asked: dict[str, Any] = {
            "model": submission.base_model,
            "training_file": submission.training_file,
            "n_epochs": chosen.epochs,
            "batch_size": chosen.batch_size or "max",
            "suffix": f"{prefix}-{submission.token}",
            "training_type": {"type": "Lora"} | {name: value for name, value in lora.items() if value is not None},
            "training_method": {"method": "sft", "train_on_inputs": False},
        }
        if chosen.learning_rate is not None:
            asked["learning_rate"] = chosen.learning_rate
        if submission.validation_file:
            asked |= {"validation_file": submission.validation_file, "n_evals": 1}
        return asked

    def find(self, token: str) -> RemoteJob | None:
        def call() -> RemoteJob | None:
            named = {file.id for file in self._files() if (file.filename or "").startswith(f"llmseq-{token}-")}
            for job in self._listed():
                if job.carries(token) or job.training_file in named:
                    return self._remote(job)
            return None

        return self._call(call)

    def _listed(self) -> Iterator[TogetherJob]:
        yield from self.client.get("/fine-tunes").read(Page).entries(TogetherJob)

    def poll(self, remote_id: str) -> RemoteJob | None:
        import openai

        def call() -> RemoteJob | None:
            try:
                return self._read(self.client.get(f"/fine-tunes/{remote_id}"))
            except openai.NotFoundError:
                return None

        return self._call(call)

    def events(self, remote_id: str) -> list[JobEvent]:
        def call() -> list[JobEvent]:
            told = self.client.get(f"/fine-tunes/{remote_id}/events").read(Page).entries(TogetherEvent)
            return [JobEvent(f"{place} {event.message}", self.scrub(event.message)) for place, event in enumerate(told)]

        return self._call(call)

    def cancel(self, remote_id: str) -> RemoteJob:
        return self._call(lambda: self._read(self.client.post(f"/fine-tunes/{remote_id}/cancel")))

    def download(self, remote_id: str, folder: Path) -> list[Path]:
        """The adapter as Together packs it; unpacked, `llmseq jobs import` reads it."""

        def call() -> list[Path]:
            content = self.client.get("/finetune/download", ft_id=remote_id, checkpoint="adapter").content
            name = next((name for magic, name in _ARCHIVES.items() if content.startswith(magic)), "adapter")
            write_whole(folder / name, content)
            return [folder / name]

        return self._call(call)

    def _read(self, answer: Any) -> RemoteJob:
        job = answer.read(TogetherJob, "is no fine-tuning job")
        if job.status not in _STATUS:
            raise answer.wrong("has a job in no state that is known", hint="check the model and the server")
        return self._remote(job)

    def _remote(self, job: TogetherJob) -> RemoteJob:
        status = _STATUS.get(job.status, "running")
        return RemoteJob(job.id, status, job.output if status == "succeeded" else None)
