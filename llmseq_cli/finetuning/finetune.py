"""Fine-tune on a dataset: build the files, estimate the cost, upload, submit, wait."""

from __future__ import annotations

from typing import Any

from llmseq_cli.clients.retirements import check_model, check_tuning
from llmseq_cli.data.dataset import Dataset, load_dataset
from llmseq_cli.errors import LlmseqError, UsageError
from llmseq_cli.files import exclusive, move_folder, temporary_folder
from llmseq_cli.finetuning.examples import Amounts, Built, ExampleBlock, ExampleBuilder, check_amount, check_files
from llmseq_cli.finetuning.jobs import JobRunner, training_price
from llmseq_cli.finetuning.ledger import GONE, OVER, UNSUBMITTED, FinetuneJob, Ledger, NewJob
from llmseq_cli.finetuning.options import DEFAULT_TASK, FinetuneOptions
from llmseq_cli.finetuning.task_setup import TaskSetup, gather, make_setup, template_of
from llmseq_cli.finetuning.tasks.registry import find_task
from llmseq_cli.finetuning.templates import shipped_words
from llmseq_cli.finetuning.wording import Wording, normal_titles
from llmseq_cli.progress import Progress
from llmseq_cli.providers.provider import FineTuneProvider, Surroundings
from llmseq_cli.providers.registry import default_provider, make_provider
from llmseq_cli.store.connection import Store


class FineTuning:
    """One call of `llmseq finetune`."""

    def __init__(self, store: Store, options: FinetuneOptions, progress: Progress) -> None:
        self.store, self.options, self.progress = store, options, progress
        find_task(options.task or DEFAULT_TASK)
        self.provider: FineTuneProvider = make_provider(
            options.provider or default_provider(options.base_url), options.base_url, dict(options.settings)
        )
        self.model = self._model()
        with store.read("reading sessions") as con:
            self.dataset: Dataset = load_dataset(con, options.dataset)
        self.setup: TaskSetup = make_setup(store, self.dataset, options, progress)
        self.provider.settle(
            Surroundings(
                store.folder,
                self.model,
                progress,
                normal_titles(self.dataset.catalog),
                shipped_words(),
                self.setup.seed,
            )
        )
        ingredients = gather(store, self.dataset, self.setup, progress, training=True)
        task = find_task(self.setup.task)
        template = template_of(self.setup)
        self.wording = Wording(template, self.dataset.catalog, self.setup.k, self.provider.count_tokens)
        self.builder = ExampleBuilder(task, self.wording, ingredients, self._amounts())
        self.ledger = Ledger(store)

    def _model(self) -> str:
        model = self.options.model or self.provider.default_model
        if model is None:
            raise UsageError(
                f"no model is given for {self.provider.name} to start from",
                "name one that it fine-tunes with --model, or use --provider local",
            )
        return model

    def _amounts(self) -> Amounts:
        given, limits = self.options, self.provider.limits
        usual = limits.validation if limits.usual_validation is None else limits.usual_validation
        validation = usual if given.validation is None else given.validation
        if validation > limits.validation:
            raise UsageError(
                f"--validation is {validation}, and {self.provider.name} allows at most {limits.validation}",
                "give a smaller number",
            )
        return Amounts(given.limit, validation, given.context or limits.tokens_per_example, limits.validation_share)

    def show(self, n: int) -> list[dict[str, Any]]:
        """The first n training examples as text, and how their answers are parsed."""
        task = find_task(self.setup.task)
        shown = []
        for block in self.builder.show(self.dataset.train, n):
            for place in range(len(block.prompts)):
                example = self.builder.example(block, place)
                shown.append(
                    {
                        "system": example.system,
                        "user": example.user,
                        "completion": example.completion,
                        **({"rejected": example.rejected} if example.rejected else {}),
                        "tokens": int(block.tokens[place]),
                        "parsed": self._parsed(task.parse(example.completion), block, place),
                    }
                )
        if not shown:
            raise LlmseqError(
                "no session gives an example: all lack a title, are too short, or do not fit the model's context",
                "`llmseq finetune --dry-run` counts what is left out; see --context",
            )
        return shown

    def _parsed(self, titles: list[str], block: ExampleBlock, place: int) -> list[dict[str, Any]]:
        named = {self.wording.titles[item]: item for item in block.answers[place].tolist() if item >= 0}
        ids = self.dataset.catalog.external_ids
        return [{"title": title, "item": str(ids[named[title]]) if title in named else None} for title in titles]

    def plan(self) -> dict[str, Any]:
        """Estimate the cost of the job, without writing or sending anything."""
        built = self.builder.count(self.dataset.train, self.progress)
        self._check_amount(built)
        return self._about(built)

    def _check_amount(self, built: Built) -> None:
        limits = self.provider.limits
        check_amount(built, limits.least_examples, limits.most_examples)

    def _about(self, built: Built) -> dict[str, Any]:
        epochs = self.provider.epochs(built.training)
        tokens = built.training_tokens * epochs
        price = training_price(self.provider.name, self.model, self.options.prices)
        retired, end = self.provider.retirement(self.model, ask=False), self.provider.tuning_end()
        return {
            "dataset": self.dataset.info.name,
            "task": self.setup.task,
            "provider": self.provider.name,
            "base_model": self.model,
            "candidates": self.setup.candidates,
            **built.to_dict(),
            "epochs": epochs,
            "tokens": tokens,
            "cost_usd": None if price is None else tokens * price,
            "minutes": self.provider.minutes(tokens),
            "retirement": retired and retired.to_dict(),
            "tuning_end": None if end is None else end.last.isoformat(),
        }

    def run(self) -> FinetuneJob:
        """Build the files, then upload and submit them, unless that was done before."""
        if not find_task(self.setup.task).submits:
            raise UsageError(
                f"the task {self.setup.task} is only for another trainer: TRL's DPOTrainer",
                "--export-only --format trl writes its files; `llmseq jobs import` brings the model back",
            )
        runner = JobRunner(self.ledger, self.provider, self.progress, prices=self.options.prices)
        # Without a lock, two programs could both find nothing submitted, and submit the same job twice.
        with exclusive(self.store.folder / "artifacts" / "jobs" / ".lock", "is submitting a job"):
            job = self._prepared()
            if self.options.prepare_only:
                return job
            if job.status in UNSUBMITTED:
                job = runner.submit(job)
                if self.provider.remote:
                    self.progress.message(f"{job.job} is submitted; `llmseq jobs wait {job.job}` waits for it")
        wait = self.options.wait or not self.provider.remote
        return runner.wait(job) if wait and job.status not in OVER else job

    def _prepared(self) -> FinetuneJob:
        """The job in the ledger, with its files: an existing or a new one."""
        jobs = self.store.folder / "artifacts" / "jobs"
        with temporary_folder(jobs / "building", make_parent=True) as partial:
            built = self.builder.write(self.dataset.train, partial, self.provider.training_line, self.progress)
            self._check_amount(built)
            check_files(partial, self.provider.limits.largest_file)
            figures = self._about(built)
            new = NewJob(
                self.dataset.info.dataset_id,
                self.dataset.info.split_id,
                self.setup.task,
                self.provider.name,
                self.provider.address,
                self.model,
                built.digest,
                {
                    "setup": self.setup.to_dict(),
                    "tuning": self.provider.settings_dict(),
                    "suffix": self.options.suffix,
                },
                {name: figures[name] for name in _KEPT} | {"expected_usd": figures["cost_usd"]},
            )
            job = self._known(new)
            if job is None:
                self._check_cost(figures["cost_usd"])
                self._check_model()
                job = self.ledger.create(new)
            folder = self.ledger.folder(job)
            move_folder(partial, folder, "keep")
            return job

    def _known(self, new: NewJob) -> FinetuneJob | None:
        """An earlier job with the same files; with --again, submitted jobs do not count."""
        job = self.ledger.same(new)
        if job is None or (self.options.again and job.status not in UNSUBMITTED):
            return None
        if job.status in GONE:
            raise LlmseqError(
                f"{job.job} was submitted with the same files and settings and is {job.status}",
                f"see `llmseq jobs show {job.job}`; --again submits it again",
            )
        if job.status not in UNSUBMITTED:
            self.progress.message(
                f"{job.job} was submitted with the same files and settings; it is not submitted twice without --again"
            )
        else:
            self._check_cost(job.figures.get("expected_usd"))
            if job.status != "submitting":  # such a job may have arrived, so look for it first
                self._check_model()
            self.progress.message(f"continuing {job.job} ({job.status} before)")
        return job

    def _check_model(self) -> None:
        """Warn of models and services that will be shut down soon."""
        if self.options.prepare_only:
            return
        warn, sure = self.progress.warn, self.options.yes
        check_tuning(self.provider.tuning_end(), warn, sure=sure)
        check_model(self.provider.retirement(self.model, ask=True), warn, sure=sure, to_tune=True)

    def _check_cost(self, expected: float | None) -> None:
        most = self.options.max_cost
        if most is None or self.options.prepare_only:
            return
        if expected is None:
            raise UsageError(
                f"no price is known for training {self.provider.name}:{self.model}, which --max-cost needs",
                "give a file of prices with --prices",
            )
        if expected > most:
            raise LlmseqError(
                f"the job may cost {expected:,.4g} US dollars, more than --max-cost {most:g}",
                "nothing was sent; give a smaller --limit or a larger --max-cost",
            )


_KEPT = (
    "training_examples",
    "validation_examples",
    "training_tokens",
    "validation_tokens",
    "left_out",
    "epochs",
    "tokens",
    "minutes",
)
