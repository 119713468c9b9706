"""Import models trained elsewhere: a PEFT adapter or a whole model becomes a job in the ledger.

The folder is untrusted data. Only files that a model needs are copied, nothing is executed, and the copy is checked
like any model folder before a library reads it (`llmseq_cli.model_files`).
"""

from __future__ import annotations

import hashlib
import json
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llmseq_cli.checksums import MANIFEST, write_checksums
from llmseq_cli.data.dataset import Dataset, load_dataset
from llmseq_cli.errors import LlmseqError
from llmseq_cli.files import exclusive, move_folder, temporary_folder, write_json
from llmseq_cli.finetuning.exports.export import ABOUT
from llmseq_cli.finetuning.ledger import FinetuneJob, Ledger, NewJob
from llmseq_cli.finetuning.options import TaskOptions
from llmseq_cli.finetuning.task_setup import TaskSetup, make_setup
from llmseq_cli.finetuning.tasks.registry import find_task
from llmseq_cli.finetuning.templates import parse_template
from llmseq_cli.language_model.job import LocalJob
from llmseq_cli.language_model.library import check_folder
from llmseq_cli.language_model.messages import SUCCEEDED
from llmseq_cli.machine import machine_errors
from llmseq_cli.model_files import base_of_adapter, check_folder_of_model
from llmseq_cli.progress import Progress
from llmseq_cli.store.connection import Store

_WANTED = (".json", ".safetensors", ".txt", ".model", ".jinja", ".tiktoken")
_NOT_OF_THE_MODEL = frozenset((ABOUT, "trainer_state.json", MANIFEST))
_LARGEST_ABOUT = 8 << 20
_SEARCHED = 3  # the folder itself and its parents: adapter/checkpoint-100 of an export
_LOCAL, _ADDRESS = "local", "this machine"


class _Setup(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    task: str
    wording: str
    template: dict[str, str]
    k: Annotated[int, Field(ge=1, le=100)]
    seed: Annotated[int, Field(ge=0)]
    candidates: str | None = None
    embeddings: str | None = None
    categories: list[int] | None = None


class _About(BaseModel):
    """The description of examples that `llmseq finetune --export-only` wrote."""

    model_config = ConfigDict(strict=True, extra="ignore")

    dataset: str
    base_model: str
    setup: _Setup
    figures: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True)
class ImportOptions:
    """What to import. folder: with adapter_config.json or config.json, and weights in safetensors. task and dataset:
    what the model was trained for; None reads `llmseq.json` in the folder or its parents. base_model: what an adapter
    was trained on, if its own name for it is unknown here.
    """

    folder: Path
    task: str | None = None
    dataset: str | None = None
    base_model: str | None = None


def import_model(store: Store, options: ImportOptions, progress: Progress) -> FinetuneJob:
    """Copy a model's files into the workspace and record it as a successful job; the same files are not imported twice.
    Raises LlmseqError if the folder is not a model, has no safetensors or could run code.
    """
    if not options.folder.is_dir():
        raise LlmseqError(f"there is no folder '{options.folder}'", "name the folder that the trainer wrote")
    about = _about(options.folder)
    with store.read("reading sessions") as con:
        stored = about.dataset if about and not options.dataset else None
        dataset = load_dataset(con, stored or options.dataset, one_split=stored is None)
    setup = _setup(store, options, about, dataset, progress)
    ledger, jobs = Ledger(store), store.folder / "artifacts" / "jobs"
    with (
        exclusive(jobs / ".lock", "is submitting a job"),
        temporary_folder(jobs / "importing", make_parent=True) as partial,
    ):
        with machine_errors(options.folder), progress.task(f"Copying {options.folder.name}"):
            _copy(options.folder, partial, progress)
        base = _base_model(partial, options, about)
        check_folder_of_model(partial)
        figures = about.figures if about and options.task is None else {}
        settings = {"setup": setup.to_dict(), "tuning": {}, "suffix": None}
        new = NewJob(
            dataset.info.dataset_id, dataset.info.split_id, setup.task, _LOCAL, _ADDRESS, base, _digest(partial),
            settings, _counts(figures),
        )  # fmt: skip
        job = ledger.same(new)
        if job is not None and job.status == SUCCEEDED:
            progress.message(f"{job.job} already has these files")
            return job
        return _note(ledger, job or ledger.create(new, f"imported from {options.folder}"), partial, base)


def _note(ledger: Ledger, job: FinetuneJob, partial: Path, base: str) -> FinetuneJob:
    """Move the files into place, then mark the job as done. If it is killed in between, repeating the command
    continues."""
    local = LocalJob(ledger.folder(job))
    local.folder.mkdir(parents=True, exist_ok=True)
    write_checksums(partial)
    method = "full" if base_of_adapter(partial) is None else "lora"
    move_folder(partial, local.model, "keep")
    local.write(status=SUCCEEDED, token=job.token, base_model=base, base=base, method=method, imported=True)
    return ledger.note(job, SUCCEEDED, "imported", remote_id=job.job, model=job.job)


def _about(folder: Path) -> _About | None:
    """An export's description of its examples, in the folder or its parents."""
    place = folder.resolve()
    for candidate in [place, *place.parents][:_SEARCHED]:
        file = candidate / ABOUT
        if not file.is_file():
            continue
        try:
            if file.stat().st_size > _LARGEST_ABOUT:
                raise ValueError("it is too large")
            return _About.model_validate_json(file.read_text(encoding="utf-8"))
        except (ValidationError, ValueError, RecursionError) as error:
            why = " ".join(str(error).split())[:150]
            raise LlmseqError(
                f"{file} was not written by an export: {why}", "export again, or remove it and use --task"
            ) from None
    return None


def _setup(
    store: Store, options: ImportOptions, about: _About | None, dataset: Dataset, progress: Progress
) -> TaskSetup:
    if options.task is not None or about is None:
        if options.task is None:
            raise LlmseqError(
                f"the task of the model in {options.folder} is not known",
                f"for example --task genitem; folders of `finetune --export-only` contain it in {ABOUT}",
            )
        return make_setup(store, dataset, TaskOptions(task=options.task), progress)
    kept = about.setup
    find_task(kept.task)
    parse_template(dict(kept.template), f"of {ABOUT}")
    n_items = len(dataset.catalog)
    if any(not 0 <= item < n_items for item in kept.categories or ()):
        raise LlmseqError(
            f"{ABOUT} has categories that {dataset.info.name} does not have",
            "name the dataset of the export: --dataset",
        )
    return TaskSetup.from_dict(kept.model_dump())


def _copy(folder: Path, target: Path, progress: Progress) -> None:
    """Copy the files that a model needs, and report the others."""
    left = []
    for file in sorted(folder.iterdir()):
        if file.is_dir() or file.name in _NOT_OF_THE_MODEL:
            continue
        if file.suffix not in _WANTED:
            left.append(file.name)
            continue
        if not stat.S_ISREG(file.stat().st_mode):
            raise LlmseqError(f"{file} is not a plain file", "remove it from the folder")
        shutil.copyfile(file, target / file.name)
    if left:
        shown = ", ".join(left[:5]) + (", …" if len(left) > 5 else "")
        progress.message(f"not copied, since no model needs it: {shown}")


def _base_model(folder: Path, options: ImportOptions, about: _About | None) -> str:
    """The base of the model; for an adapter, the model that it is loaded on."""
    if not (folder / "adapter_config.json").is_file():
        if not (folder / "config.json").is_file():
            raise LlmseqError(
                f"{options.folder} contains no model: neither adapter_config.json nor config.json",
                "name the folder that the trainer wrote",
            )
        return options.base_model or (about.base_model if about else options.folder.resolve().name)
    named = base_of_adapter(folder)
    base = options.base_model or str(named)
    check_folder(base)
    place = Path(base).expanduser()
    base = str(place.resolve()) if place.is_dir() else base
    if base != named:
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        write_json(folder / "adapter_config.json", config | {"base_model_name_or_path": base})
    return base


def _digest(folder: Path) -> str:
    """SHA-256 of names and contents of the files."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            digest.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _counts(figures: dict[str, Any]) -> dict[str, Any]:
    """The valid counts of an export."""
    names = ("training_examples", "validation_examples", "training_tokens", "validation_tokens")
    return {name: figures[name] for name in names if type(figures.get(name)) is int and figures[name] >= 0}
