"""Whom to ask: a provider's model, or the model of a fine-tuning job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmseq_cli.clients.prices import usd_for_token
from llmseq_cli.clients.retirements import check_model
from llmseq_cli.errors import LlmseqError, UsageError
from llmseq_cli.finetuning.job_list import runner_of
from llmseq_cli.finetuning.ledger import UNSUBMITTED, FinetuneJob, Ledger
from llmseq_cli.progress import Progress
from llmseq_cli.providers.provider import FineTuneProvider
from llmseq_cli.providers.registry import make_provider, provider_class
from llmseq_cli.store.connection import Store


@dataclass(frozen=True)
class Whom:
    """A model to ask, and who runs it. base_model: what it was made of. job: that made it, None for a base model."""

    provider: FineTuneProvider
    model: str
    base_model: str
    job: FinetuneJob | None = None

    @property
    def is_base(self) -> bool:
        return self.model == self.base_model

    def price(self, kind: str, prices: str | None) -> float | None:
        """US dollars of a token. kind: input or output. prices: a user's table."""
        if not self.provider.remote:
            return 0.0
        kind = kind if self.is_base else f"tuned_{kind}"
        return usd_for_token(f"{self.provider.name}:{self.base_model}", kind, prices)

    def check_retirement(self, progress: Progress, *, sure: bool) -> None:
        """Tells of a model that its provider shuts down soon. Raises LlmseqError for one that is about to go, or gone,
        unless the user is sure.
        """
        check_model(self.provider.retirement(self.model, ask=True), progress.warn, sure=sure)

    def known_prices(self, prices: str | None, max_cost: float | None) -> tuple[float | None, float | None]:
        """US dollars of a token that is asked, and of one that is answered. Raises UsageError if max_cost is set and
        one of them is not known.
        """
        known = self.price("input", prices), self.price("output", prices)
        if max_cost is not None and None in known:
            raise UsageError(
                f"no price is known for {self.provider.name}:{self.base_model}, which --max-cost needs",
                "give a file of prices with --prices",
            )
        return known


@dataclass(frozen=True)
class Address:
    """Where a model is looked for, as the user names it. settings: of the provider, by name."""

    provider: str
    base_url: str | None
    settings: Mapping[str, Any]
    prices: str | None = None


def base_model(model: str, at: Address) -> Whom:
    """A model by the id that its provider has for it."""
    return Whom(make_provider(at.provider, at.base_url, dict(at.settings)), model, model)


def model_of_job(ledger: Ledger, job: FinetuneJob, at: Address, progress: Progress, instead: str | None = None) -> Whom:
    """The model of a job, or of its provider another one, `instead`. Raises LlmseqError if the job has none yet."""
    if at.base_url and not provider_class(job.provider).remote:  # a server serves it under the job's name, as vLLM does
        provider = make_provider("openai", at.base_url, dict(at.settings))
        return Whom(provider, instead or job.job, instead or job.base_model, job)
    runner = runner_of(ledger, job, progress, at.base_url, at.prices, dict(at.settings))
    if instead is not None:
        return Whom(runner.provider, instead, instead, job)
    job = runner.refresh(job)
    if job.model is None:
        hint = f"`llmseq jobs wait {job.job}` waits for it; see `llmseq jobs show {job.job}`"
        if job.status in UNSUBMITTED:
            hint = "`llmseq finetune` with the same options as before submits it"
        raise LlmseqError(f"{job.job} is {job.status} and has no model", hint)
    return Whom(runner.provider, job.model, job.base_model, job)


def find_whom(store: Store, name: str, at: Address, progress: Progress) -> Whom:
    """The model of the job of this name ("latest": the newest), where there is one; else a model of the provider's."""
    ledger = Ledger(store)
    for job in reversed(ledger.jobs()):
        if name in (job.job, "latest"):
            return model_of_job(ledger, job, at, progress)
    return base_model(name, at)
