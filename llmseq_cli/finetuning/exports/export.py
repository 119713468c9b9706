"""Training files for another trainer: a folder with examples, configuration and a description of the task."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmseq_cli._version import __version__
from llmseq_cli.clients.openai import OPENAI_TOKENS
from llmseq_cli.data.dataset import Dataset, load_dataset
from llmseq_cli.errors import LlmseqError, UsageError
from llmseq_cli.files import atomic_folder, check_output, write_json
from llmseq_cli.finetuning.examples import Amounts, Built, ExampleBuilder, check_amount
from llmseq_cli.finetuning.exports.formats import ExportFormat, as_line, find_format
from llmseq_cli.finetuning.options import DEFAULT_TASK, FinetuneOptions
from llmseq_cli.finetuning.task_setup import TaskSetup, gather, make_setup, template_of
from llmseq_cli.finetuning.tasks.registry import find_task
from llmseq_cli.finetuning.wording import Wording
from llmseq_cli.language_model.settings import LocalTuning
from llmseq_cli.progress import Progress
from llmseq_cli.settings import parse_settings
from llmseq_cli.store.connection import Store

ABOUT = "llmseq.json"
"""The file that describes the task of a folder's examples; `llmseq jobs import` reads it."""

_TEMPLATES = Path(__file__).parent / "templates"
_DATA = "data"
_QUERY_AND_VALUE = ["q_proj", "v_proj"]
_EVERY_LINEAR = [*_QUERY_AND_VALUE, "k_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
_DPO_EPOCHS, _DPO_RATE = 1, 1e-5  # ten times TRL's rate, as its documentation advises for LoRA
_ON_THE_DEVICE = 4  # examples per device batch; the rest of a step is accumulated


@dataclass(frozen=True)
class Exported:
    """What was written: the folder and its files, and counts of examples."""

    folder: Path
    format: str
    model: str
    files: list[str]
    built: Built

    def to_dict(self) -> dict[str, Any]:
        about = {"folder": str(self.folder), "format": self.format, "base_model": self.model, "files": self.files}
        return about | self.built.to_dict()


class Export:
    """One call of `llmseq finetune --export-only`. Token counts are estimates: no tokenizer is downloaded."""

    def __init__(self, store: Store, options: FinetuneOptions, format: str, progress: Progress) -> None:
        self.options, self.format, self.progress = options, format, progress
        self.form: ExportFormat = find_format(format, options.task or DEFAULT_TASK)
        self.tuning = parse_settings(LocalTuning, dict(options.settings), "local")
        if self.form.comes_back and not float(self.tuning.alpha).is_integer():
            raise UsageError(f"alpha is {self.tuning.alpha:g}", "trainers elsewhere take whole numbers: --set alpha=16")
        self.model = options.model or self.form.model
        if self.model is None:
            raise UsageError("no model to start from is given", "name it with --model")
        with store.read("reading sessions") as con:
            self.dataset: Dataset = load_dataset(con, options.dataset)
        self.setup: TaskSetup = make_setup(store, self.dataset, options, progress)
        ingredients = gather(store, self.dataset, self.setup, progress, training=True)
        self.wording = Wording(template_of(self.setup), self.dataset.catalog, self.setup.k, OPENAI_TOKENS.count)
        self.builder = ExampleBuilder(find_task(self.setup.task), self.wording, ingredients, self._amounts())

    def _amounts(self) -> Amounts:
        given, form = self.options, self.form
        validation = form.validation if given.validation is None else given.validation
        if validation > form.validation:
            raise UsageError(
                f"--validation is {validation}, above the maximum {form.validation}", "give a smaller number"
            )
        return Amounts(given.limit, validation, given.context or form.context or self.tuning.max_length)

    def run(self, folder: Path) -> Exported:
        """Write the folder atomically. Raises LlmseqError if it already exists."""
        check_output(folder)
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise LlmseqError(f"{folder} already exists", "choose a new folder with --out")
        with atomic_folder(folder, existing="fail") as partial:
            (partial / _DATA).mkdir()
            built = self.builder.write(
                self.dataset.train, partial / _DATA, lambda example: as_line(self.form, example), self.progress
            )
            check_amount(built, 1, None)
            values = self._values(built, folder)
            for name, template in {**self.form.files, "README.md": "README.md"}.items():
                (partial / name).write_text(rendered(template, values), encoding="utf-8")
            write_json(partial / ABOUT, self._about(built))
            files = sorted(str(file.relative_to(partial)) for file in partial.rglob("*") if file.is_file())
        return Exported(folder, self.format, str(self.model), files, built)

    def _about(self, built: Built) -> dict[str, Any]:
        return {
            "llmseq": __version__,
            "dataset": self.dataset.info.name,
            "base_model": self.model,
            "setup": self.setup.to_dict(),
            "figures": built.to_dict(),
        }

    def _values(self, built: Built, folder: Path) -> dict[str, Any]:
        """Values for the templates."""
        tuning = self.tuning
        batch = tuning.batch(scratch=False)
        on_device = next(size for size in range(min(_ON_THE_DEVICE, batch), 0, -1) if batch % size == 0)
        named = tuning.modules.split(",") if tuning.modules else None
        every = named == ["all-linear"]
        return {
            "task": self.setup.task,
            "dataset": self.dataset.info.name,
            "training": built.training,
            "n_validation": built.validation,
            "validation": bool(built.validation),
            "how": self.form.how,
            "comes_back": self.form.comes_back,
            "folder": folder,
            "model": self.model,
            "rank": tuning.rank,
            "alpha": f"{tuning.alpha:g}",
            "dropout": _number(tuning.dropout),
            "modules": named,
            "axolotl_modules": named or _QUERY_AND_VALUE,
            "unsloth_modules": _EVERY_LINEAR if every else named or _QUERY_AND_VALUE,
            "epochs": tuning.most_epochs(scratch=False),
            "chosen_epochs": tuning.epochs or "auto",
            "device_batch": on_device,
            "accumulation": batch // on_device,
            "learning_rate": _number(tuning.rate(full=False)),
            "dpo_epochs": tuning.epochs or _DPO_EPOCHS,
            "dpo_learning_rate": _number(tuning.learning_rate or _DPO_RATE),
            "max_length": tuning.max_length,
            "four_bit": tuning.four_bit,
            "seed": self.setup.seed,
        }


def rendered(template: str, values: dict[str, Any]) -> str:
    """Fill a trainer's template. Texts are inserted as JSON, which YAML and Python can also read."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, trim_blocks=False)
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=True)
    text = (_TEMPLATES / f"{template}.j2").read_text(encoding="utf-8")
    return environment.from_string(text).render(values)


def _number(value: float) -> str:
    """Without an exponent, which YAML would read as text."""
    text = f"{value:.12f}".rstrip("0")
    return text + "0" if text.endswith(".") else text
