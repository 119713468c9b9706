"""This machine: any causal language model of Hugging Face, or a small one that is made from the catalog's titles."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from llmseq_cli.errors import LlmseqError, UsageError
from llmseq_cli.language_model.job import LocalJob
from llmseq_cli.language_model.library import (
    Loading,
    check_folder,
    load_config,
    load_model,
    load_tokenizer,
    make_loading,
    require_library,
)
from llmseq_cli.language_model.messages import ChatRequest, Completions, JobEvent, RemoteJob
from llmseq_cli.language_model.scratch import SCRATCH, make_scratch, scratch_folder, scratch_tokenizer
from llmseq_cli.language_model.settings import LocalTuning
from llmseq_cli.providers.provider import FineTuneProvider, ProviderLimits, Submission, Surroundings

if TYPE_CHECKING:
    from llmseq_cli.language_model.answering import Answerer

_ADDRESS = "this machine"
_VALIDATION = 5000
_USUAL_VALIDATION = 1000  # of scratch
_SHARE = 0.2  # of other models, as Boz et al. fine-tuned Llama (Section 7.1.7), and
_TEMPERATURE, _TOP_P = 1.0, 0.25  # as they asked it
_COUNTED_AT_ONCE = 4096
_NOT_OF_THE_JOB = ("device", "save_minutes")  # change nothing but where and when


class LocalProvider(FineTuneProvider):
    """Jobs are trained in the process of `finetune`; where it ends early, the next one goes on.

    A model is "scratch", the name of a local job, a folder, or an id of the Hugging Face hub.
    """

    name = "local"
    Settings = LocalTuning
    settings: LocalTuning
    default_model = SCRATCH
    remote = False
    weighs = "texts"

    def __init__(self, base_url: str | None, settings: LocalTuning) -> None:
        if base_url not in (None, _ADDRESS):
            raise UsageError("models on this machine have no address", "leave out --base-url")
        self.settings, self.address = settings, _ADDRESS
        self.limits = ProviderLimits(tokens_per_example=settings.max_length, validation=_VALIDATION)

    def settle(self, surroundings: Surroundings) -> None:
        self.surroundings = surroundings
        self.jobs = surroundings.folder / "artifacts" / "jobs"
        if not surroundings.titles:
            return
        require_library()
        if surroundings.model == SCRATCH and self.settings.dim % (2 * self.settings.heads):
            raise UsageError(
                f"dim is {self.settings.dim}, which {self.settings.heads} heads do not divide into even parts",
                "give a multiple of twice the heads",
            )
        _ = self._loading  # says what the device cannot do, before a job is noted
        longest = self.settings.max_length  # that of scratch, which is made when it is needed
        if surroundings.model != SCRATCH:
            longest = getattr(load_config(self._path), "max_position_embeddings", None) or longest
        most = min(self.settings.max_length, longest)
        if self._from_scratch(surroundings.model):
            self.limits = ProviderLimits(most, _VALIDATION, _USUAL_VALIDATION)
        else:
            self.limits = ProviderLimits(most, _VALIDATION, validation_share=_SHARE)

    def _from_scratch(self, model: str) -> bool:
        job = self._job(model)
        return self._from_scratch(job.read()["base_model"]) if job.exists else model == SCRATCH

    @cached_property
    def _path(self) -> str:
        """Where the model's files are, or its id on the hub."""
        model = self.surroundings.model
        if self._job(model).model.is_dir():
            return str(self._job(model).model)
        if model == SCRATCH:
            given = self.surroundings
            return str(make_scratch(self._models, given.titles, self.settings, given.seed, given.words, given.progress))
        check_folder(model)
        folder = Path(model).expanduser()
        return str(folder.resolve()) if folder.is_dir() else model

    @cached_property
    def _tokenizer(self) -> Any:
        given = self.surroundings
        if given.model != SCRATCH or scratch_folder(self._models, given.titles, self.settings, given.seed).is_dir():
            return load_tokenizer(self._path)
        return scratch_tokenizer(given.titles, self.settings, given.words)

    @property
    def _models(self) -> Path:
        return self.surroundings.folder / "artifacts" / "language_models"

    @cached_property
    def _loading(self) -> Loading:
        return make_loading(self.settings.device, self.settings.precision, self.settings.four_bit)

    @property
    def device(self) -> str:  # type: ignore[override]
        return self._loading.device

    def count_tokens(self, texts: list[str]) -> np.ndarray:
        counts = np.empty(len(texts), dtype=np.int64)
        for start in range(0, len(texts), _COUNTED_AT_ONCE):
            part = texts[start : start + _COUNTED_AT_ONCE]
            ids = self._tokenizer(part, return_attention_mask=False, verbose=False)["input_ids"]
            counts[start : start + len(part)] = [len(row) for row in ids]
        return counts

    def epochs(self, examples: int) -> int:
        return self.settings.most_epochs(scratch=self.surroundings.model == SCRATCH)

    def usual_sampling(self, base_model: str) -> tuple[float, float] | None:
        return None if self._from_scratch(base_model) else (_TEMPERATURE, _TOP_P)

    def settings_dict(self) -> dict[str, Any]:
        return {name: value for name, value in self.settings.to_dict().items() if name not in _NOT_OF_THE_JOB}

    # Fine-tuning: files stay where they are, and the ledger's name of a job is all that there is to know.

    def upload(self, file: Path, name: str) -> str:
        return f"{file.parent.name}/{file.name}"

    def submit(self, submission: Submission) -> RemoteJob:
        job = self._job(submission.training_file.partition("/")[0])
        if not job.exists:
            method = self.settings.method
            job.write(
                status="queued",
                token=submission.token,
                base_model=submission.base_model,
                base=self._path,
                method=("full" if submission.base_model == SCRATCH else "lora") if method == "auto" else method,
                epochs=self.epochs(0),
                batch_size=self.settings.batch(scratch=submission.base_model == SCRATCH),
                prompt_weight=self.settings.weight_of_prompt(scratch=submission.base_model == SCRATCH),
                seed=submission.seed,
                files=[submission.training_file, submission.validation_file],
            )
        return job.remote()

    def find(self, token: str) -> RemoteJob | None:
        for file in self.jobs.glob("*/local.json"):
            job = LocalJob(file.parent)
            if job.read()["token"] == token:
                return job.remote()
        return None

    def poll(self, remote_id: str) -> RemoteJob | None:
        job = self._job(remote_id)
        return job.remote() if job.exists else None

    def work(self, remote_id: str) -> None:
        require_library()
        self._job(remote_id).run(self.settings, self._loading, self.surroundings.progress)

    def events(self, remote_id: str) -> list[JobEvent]:
        return self._job(remote_id).events()

    def cancel(self, remote_id: str) -> RemoteJob:
        job = self._job(remote_id)
        job.cancel()
        return job.remote()

    def download(self, remote_id: str, folder: Path) -> list[Path]:
        model = self._job(remote_id).model
        if folder.resolve() == model.parent.resolve():
            return sorted(model.iterdir())
        shutil.copytree(model, folder, dirs_exist_ok=True)
        return [folder / file.name for file in sorted(model.iterdir())]

    def _job(self, name: str) -> LocalJob:
        return LocalJob(self.jobs / name)

    # Answers.

    @cached_property
    def _answerer(self) -> Answerer:
        from llmseq_cli.language_model.answering import Answerer

        with self.surroundings.progress.task(f"Loading {self.surroundings.model}"):
            model = load_model(self._path, self._loading)
            return Answerer(model, load_tokenizer(self._path), self.settings.tokens_at_once)

    def complete(self, request: ChatRequest) -> Completions:
        [[(_, completions)]] = self.complete_many([request])
        return completions

    def complete_many(self, requests: Sequence[ChatRequest]) -> Iterator[list[tuple[int, Completions]]]:
        if any(request.model != self.surroundings.model for request in requests):
            raise LlmseqError("another model is asked for than the provider was set up with", "call settle again")
        weighed = bool(requests) and requests[0].weighing is not None
        return self._answerer.weigh(requests) if weighed else self._answerer.answer(requests)

    def asking_settings(self) -> dict[str, Any]:
        """A model that was made again in its place is another one."""
        held = {"constrained": True} if self.surroundings.constrain else {}
        return held | ({"files": _fingerprint(Path(self._path))} if Path(self._path).is_dir() else {})


def _fingerprint(folder: Path) -> str:
    """BLAKE2b-64 over names and contents of a model's files."""
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(path for path in folder.iterdir() if path.suffix in (".json", ".safetensors", ".bin")):
        with path.open("rb") as file:
            digest.update(
                path.name.encode() + hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest()
            )
    return digest.hexdigest()
