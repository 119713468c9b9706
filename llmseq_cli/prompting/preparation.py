"""Collect and check everything before paying: whom to ask, what, and with which vectors."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np

from llmseq_cli.data.dataset import Dataset, load_dataset
from llmseq_cli.errors import UsageError
from llmseq_cli.finetuning.ledger import Ledger
from llmseq_cli.finetuning.task_setup import TaskSetup, find_item_vectors, gather, make_setup, template_of
from llmseq_cli.finetuning.tasks.registry import find_task
from llmseq_cli.finetuning.templates import shipped_words
from llmseq_cli.finetuning.wording import Wording, normal_titles
from llmseq_cli.progress import Progress
from llmseq_cli.prompting.options import PromptOptions
from llmseq_cli.prompting.questions import Sampling, choose_sessions, make_prompts, missing
from llmseq_cli.prompting.replies import ReplyStore
from llmseq_cli.prompting.text_vectors import TextVectors
from llmseq_cli.prompting.whom import Address, Whom, base_model, model_of_job
from llmseq_cli.providers.provider import Surroundings
from llmseq_cli.store.connection import Store


@dataclass(frozen=True)
class Asked(Whom):
    """Whom and what to ask."""

    setup: TaskSetup = field(kw_only=True)


class Preparation:
    """A model, its prompts for the test sessions, the replies so far, and item vectors for what it will name."""

    def __init__(self, store: Store, options: PromptOptions, progress: Progress) -> None:
        self.store, self.options, self.progress = store, options, progress
        self.started_at = datetime.now(UTC).replace(tzinfo=None)
        if options.job is None:
            with store.read("reading sessions") as con:
                self.dataset: Dataset = load_dataset(con, options.dataset)
            self.asked = self._base_model()
        else:
            self.asked = self._of_job(options.job)
        self.asked.provider.settle(
            Surroundings(
                store.folder,
                self.asked.model,
                progress,
                normal_titles(self.dataset.catalog),
                shipped_words(),
                self.asked.setup.seed,
                options.constrain,
            )
        )
        self.task = find_task(self.asked.setup.task)
        template, limits = template_of(self.asked.setup), self.asked.provider.limits
        setup = self.asked.setup
        self.wording = Wording(template, self.dataset.catalog, setup.k, self.asked.provider.count_tokens)
        temperature, top_p = self._usual_sampling()
        self.sampling = Sampling(
            temperature if options.temperature is None else options.temperature,
            top_p if options.top_p is None else options.top_p,
            self.task.samples if options.samples is None else options.samples,
            options.max_tokens or self.wording.longest_answer(self.names),
        )
        # Before anything is paid for: without vectors no answer becomes an item.
        self.embeddings = find_item_vectors(store, self.dataset, options.embeddings, progress)
        name = options.embeddings or f"{self.embeddings.source}:{self.embeddings.model}"
        self.text_vectors = TextVectors(store, self.dataset, self.embeddings, name, progress, options.prices)
        self.test = choose_sessions(self.dataset.test, options.limit, setup.seed)
        self.ingredients = gather(store, self.dataset, setup, progress, training=False)
        room = (options.context or limits.tokens_per_example) - self.sampling.max_tokens
        self.prompts = make_prompts(self.task, self.wording, self.ingredients, self.test.histories(), room)
        self.replies = ReplyStore(store, self.dataset.info.dataset_id, self.about())

    @property
    def names(self) -> int:
        """How many items an answer names."""
        return 1 if self.task.names_one else self.asked.setup.k

    def missing(self) -> np.ndarray:
        """How many answers each session still lacks, int64[n]."""
        return missing(self.prompts, self.replies.counts(), self.sampling.samples)

    def _usual_sampling(self) -> tuple[float, float]:
        """Temperature and top_p where the user does not say."""
        own = self.asked.provider.usual_sampling(self.asked.base_model) if self.task.temperature else None
        return own or (self.task.temperature, 1.0)

    def _base_model(self) -> Asked:
        given = self.options
        whom = base_model(str(given.base_model), self._address)
        setup = make_setup(self.store, self.dataset, given, self.progress)
        return Asked(whom.provider, whom.model, whom.base_model, setup=setup)

    @property
    def _address(self) -> Address:
        given = self.options
        return Address(given.provider, given.base_url, given.settings, given.prices)

    def _of_job(self, name: str) -> Asked:
        """The job's model, or with --base-model another one that is asked the same."""
        if self.options.says_what_is_asked:
            raise UsageError(
                f"the job {name} says what is asked", "leave out --template, --candidates, -k, --clusters and --seed"
            )
        ledger = Ledger(self.store)
        job = ledger.find(name, self.options.dataset)
        whom = model_of_job(ledger, job, self._address, self.progress, self.options.base_model)
        if self.options.task not in (None, job.task):
            raise UsageError(f"{job.job} is a job for {job.task}, not {self.options.task}", "leave out --task")
        with self.store.read("reading sessions") as con:
            self.dataset = load_dataset(con, job.dataset, one_split=False)
        setup = TaskSetup.from_dict(job.settings["setup"])
        return Asked(whom.provider, whom.model, whom.base_model, whom.job, setup=setup)

    def about(self) -> dict[str, Any]:
        """All that decides the answers to a prompt."""
        return {
            "task": self.asked.setup.task,
            "provider": self.asked.provider.name,
            "address": self.asked.provider.address,
            "model": self.asked.model,
            "temperature": self.sampling.temperature,
            "top_p": self.sampling.top_p,
            "max_tokens": self.sampling.max_tokens,
            **({"split": self.dataset.info.split} if "/" in self.dataset.info.name else {}),
            **self.asked.provider.asking_settings(),
        }

    def answer_tokens(self) -> int:
        """What an answer usually needs."""
        return 1 + int(self.names * (np.mean(self.wording.title_tokens) + 4))
