"""How re-ranking asks: the template of each method, or of a fine-tuning job, and how answers to it are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from llmseq_cli.data.catalog import Catalog
from llmseq_cli.errors import UsageError
from llmseq_cli.finetuning.ledger import FinetuneJob
from llmseq_cli.finetuning.task_setup import TaskSetup, template_of
from llmseq_cli.finetuning.templates import Template, load_template, parse_template
from llmseq_cli.finetuning.wording import Wording
from llmseq_cli.prompting.rerank.options import RerankOptions
from llmseq_cli.prompting.rerank.reading import ReadAnswer, read_labels, read_titles
from llmseq_cli.toml_files import read_toml

_FOLDER = Path(__file__).parent / "templates"
_LABEL = "[{number}]"
_TASKS = {"listwise": ("rank",), "pointwise-title": ("genitem", "preference")}
"""What a job must have been trained for so that it is asked in its own words."""


@dataclass(frozen=True)
class Ask:
    """wording: of the questions. labelled: candidates have numbers in brackets, which answers name; else titles."""

    wording: Wording
    labelled: bool

    @property
    def read(self) -> ReadAnswer:
        return read_labels if self.labelled else read_titles


def find_template(options: RerankOptions, job: FinetuneJob | None) -> Template:
    """The user's template; that of a job which was trained for what is asked; or the one that ships for the method."""
    if options.template:
        table = read_toml(Path(options.template), "the template", "give a TOML file", UsageError)
        template = parse_template(table, options.template)
        if "{options}" not in template.user and options.method != "pointwise-title":
            raise UsageError(
                f"the template '{options.template}' has no {{options}}, which {options.method} needs",
                "add it to `user`",
            )
        return template
    if job is not None and job.task in _TASKS.get(options.method, ()):
        return template_of(TaskSetup.from_dict(job.settings["setup"]))
    if options.method == "pointwise-title":
        return load_template("genitem", None, needs_options=False, takes_options=False)
    shipped = _FOLDER / f"{options.method}.toml"
    return parse_template(read_toml(shipped, "the template", "install llmseq again"), options.method)


def make_ask(template: Template, catalog: Catalog, k: int, count_tokens: Callable[[list[str]], np.ndarray]) -> Ask:
    """k: how many candidates a question shows."""
    labelled = _LABEL in template.option
    if labelled:  # so that nothing but a label is in brackets
        titles = np.array([str(title).replace("[", "(").replace("]", ")") for title in catalog.titles], dtype=object)
        catalog = replace(catalog, titles=titles)
    return Ask(Wording(template, catalog, k, count_tokens), labelled)
