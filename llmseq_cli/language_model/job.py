"""A fine-tuning job on this machine: its folder, its state on disk, and the training."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmseq_cli.errors import LlmseqError, WorkspaceBusyError
from llmseq_cli.files import atomic_folder, exclusive, write_json
from llmseq_cli.language_model.chat import read_examples
from llmseq_cli.language_model.library import Loading, load_model, load_tokenizer
from llmseq_cli.language_model.messages import CANCELLED, SUCCEEDED, JobEvent, RemoteJob
from llmseq_cli.language_model.settings import LocalTuning
from llmseq_cli.model_files import quiet_libraries
from llmseq_cli.progress import Progress

if TYPE_CHECKING:
    from llmseq_cli.language_model.training import Progressed

_STATE, _MODEL, _LOCK, _CANCEL, _CHECKPOINTS = "local.json", "model", "local.lock", "cancel", "checkpoints"


class CancelledHereError(Exception):
    """Another process cancelled the job."""


class LocalJob:
    """One job in its folder of the ledger. Its name is also the name of its model."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def exists(self) -> bool:
        return (self.folder / _STATE).is_file()

    @property
    def model(self) -> Path:
        """The folder of the fine-tuned model: a whole one, or an adapter."""
        return self.folder / _MODEL

    def read(self) -> dict[str, Any]:
        file = self.folder / _STATE
        try:
            state: dict[str, Any] = {"events": []} | json.loads(file.read_text(encoding="utf-8"))
            return state
        except (ValueError, TypeError, RecursionError):
            raise LlmseqError(f"{file} is damaged", "fine-tune again with --again") from None

    def write(self, **news: Any) -> None:
        """Record changes atomically."""
        state = (self.read() if self.exists else {"events": []}) | news
        write_json(self.folder / _STATE, state)

    def tell(self, message: str) -> None:
        """Adds an event."""
        self.write(events=[*self.read()["events"], f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {message}"])

    def events(self) -> list[JobEvent]:
        return [JobEvent(str(place), message) for place, message in enumerate(self.read()["events"])]

    def remote(self) -> RemoteJob:
        """The job for the ledger: running while a program works on it, otherwise queued."""
        state = self.read()
        status = state["status"]
        return RemoteJob(
            remote_id=self.folder.name,
            status="running" if status == "queued" and self._busy() else status,
            model=self.folder.name if status == SUCCEEDED else None,
            error=state.get("error"),
            trained_tokens=state.get("trained_tokens"),
        )

    def _busy(self) -> bool:
        try:
            with exclusive(self.folder / _LOCK, "is training it"):
                return False
        except WorkspaceBusyError:
            return True

    def cancel(self) -> None:
        """End the job now or, if a program works on it, at its next step."""
        (self.folder / _CANCEL).touch()
        if not self._busy():
            self.write(status=CANCELLED)

    def run(self, tuning: LocalTuning, loading: Loading, progress: Progress) -> None:
        """Train from the current state; return at once if another program works on it, or it has ended."""
        try:
            with exclusive(self.folder / _LOCK, "is training it"):
                if self.read()["status"] == "queued":
                    self._run(tuning, loading, progress)
        except WorkspaceBusyError:
            return

    def _run(self, tuning: LocalTuning, loading: Loading, progress: Progress) -> None:
        try:
            self._train(tuning, loading, progress)
        except CancelledHereError:
            self.write(status=CANCELLED)
            shutil.rmtree(self.folder / _CHECKPOINTS, ignore_errors=True)

    def _check(self) -> None:
        if (self.folder / _CANCEL).exists():
            raise CancelledHereError

    def _told(self, progress: Progress, message: str) -> None:
        self.tell(message)
        progress.message(f"{self.folder.name}: {message}")

    def _train(self, tuning: LocalTuning, loading: Loading, progress: Progress) -> None:
        import torch

        from llmseq_cli.language_model.training import Course, Trainer
        from llmseq_cli.models.neural.checkpoints import Checkpoints

        state = self.read()
        with progress.task(f"Loading {state['base_model']}"):
            tokenizer = load_tokenizer(state["base"])
            model = _trainable(state["base"], state["method"], tuning, loading, state["seed"])
            files = [None if name is None else self.folder.parent / name for name in state["files"]]
            training, validation = (
                None if file is None else read_examples(file, tokenizer, tuning.max_length) for file in files
            )
        assert training is not None
        course = Course(
            epochs=state["epochs"],
            batch_size=state["batch_size"],
            learning_rate=tuning.rate(full=state["method"] == "full"),
            seed=state["seed"],
            patience=tuning.patience,
            tokens_at_once=tuning.tokens_at_once,
            prompt_weight=state["prompt_weight"],
            save_seconds=tuning.save_minutes * 60,
            autocast=loading.precision == "bfloat16",
        )
        checkpoints = Checkpoints(self.folder / _CHECKPOINTS)
        trainer = Trainer(
            model,
            training,
            validation,
            course,
            checkpoints,
            lambda message: self._told(progress, message),
            self._check,
        )
        try:
            with progress.task("Fine-tuning", total=len(training) * course.epochs, unit="examples") as task:
                done = trainer.run(task)
        except torch.OutOfMemoryError:
            raise LlmseqError(
                f"{tuning.tokens_at_once:,} tokens at once need more memory than {loading.device} has",
                "lower --set tokens_at_once, --set checkpointing=true, or choose a smaller model",
            ) from None
        self._keep(model, tokenizer, done)
        checkpoints.remove()

    def _keep(self, model: Any, tokenizer: Any, done: Progressed) -> None:
        """Store the model atomically."""
        with atomic_folder(self.model, checksums=True) as partial, quiet_libraries():
            model.save_pretrained(partial)
            tokenizer.save_pretrained(partial)
        best = done.curve[done.best_epoch - 1 if done.best is not None else -1]
        self.write(status=SUCCEEDED, trained_tokens=done.trained_tokens, curve=done.curve, kept=best)


def _trainable(base: str, method: str, tuning: LocalTuning, loading: Loading, seed: int) -> Any:
    """The model with the weights to train: all of them, in float32, or LoRA's matrices."""
    import torch

    if method == "full":
        model = load_model(base, Loading(loading.device, "float32"))
    else:
        from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

        model = load_model(base, loading)
        if loading.four_bit:
            model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
        modules = tuning.modules
        config = LoraConfig(
            task_type="CAUSAL_LM",
            r=tuning.rank,
            lora_alpha=tuning.alpha,  # type: ignore[arg-type]
            lora_dropout=tuning.dropout,
            target_modules=modules if modules in (None, "all-linear") else modules.split(","),
            base_model_name_or_path=base,
        )
        with torch.random.fork_rng(), quiet_libraries():
            torch.manual_seed(seed)
            try:
                model = get_peft_model(model, config)
            except ValueError as error:  # no layers with these names, or an unknown kind of model
                why = " ".join(str(error).split())[:200]
                raise LlmseqError(f"LoRA cannot adapt this model: {why}", "--set modules=all-linear") from None
    if tuning.checkpointing:
        _compute_activations_twice(model)
    return model


def _compute_activations_twice(model: Any) -> None:
    """Without reentrance, which needs inputs that require gradients. transformers 5 has two names for it."""
    if hasattr(model, "activation_checkpointing_enable"):
        model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    else:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
