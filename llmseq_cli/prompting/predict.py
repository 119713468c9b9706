"""Prediction: ask a model for the test sessions, map its answers to the catalog, store a run."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import numpy as np

from llmseq_cli.clients.retirements import check_model
from llmseq_cli.errors import UsageError, WorkspaceBusyError
from llmseq_cli.progress import Progress
from llmseq_cli.prompting.allowed_titles import Constraints
from llmseq_cli.prompting.asking import AskOptions, AskUsage, ask
from llmseq_cli.prompting.options import PromptOptions
from llmseq_cli.prompting.preparation import Preparation
from llmseq_cli.prompting.questions import questions
from llmseq_cli.prompting.run_maker import RunMaker
from llmseq_cli.store.connection import Store

_SECONDS_PER_REQUEST = 2.0
"""What a request is taken to need when the duration of asking is estimated."""


class Prompting:
    """One call of `llmseq prompt`."""

    def __init__(self, store: Store, options: PromptOptions, progress: Progress) -> None:
        self.options, self.progress = options, progress
        self.ready = Preparation(store, options, progress)

    def plan(self) -> dict[str, Any]:
        """What asking would take, without asking."""
        with suppress(WorkspaceBusyError), self.ready.replies.opened(self.progress):
            pass  # counts what a killed program has left
        ready, lacking = self.ready, self.ready.missing()
        requests = int((lacking > 0).sum())
        prompt_tokens = int(ready.prompts.tokens[lacking > 0].sum())
        completion_tokens = int(lacking.sum()) * ready.answer_tokens()
        prices = ready.price("input"), ready.price("output")
        cost = None
        if prices[0] is not None and prices[1] is not None:
            cost = prompt_tokens * prices[0] + completion_tokens * prices[1]
        retired = ready.asked.provider.retirement(ready.asked.model, ask=False)
        limits, tokens = ready.asked.provider.limits, prompt_tokens + completion_tokens
        minutes = max(
            requests * _SECONDS_PER_REQUEST / self.options.concurrency / 60,
            requests / (self.options.requests_per_minute or limits.requests_per_minute or np.inf),
            tokens / (self.options.tokens_per_minute or limits.tokens_per_minute or np.inf),
        )
        return {
            "dataset": ready.dataset.info.name,
            "model": ready.asked.model,
            "sessions": len(ready.test),
            "unasked": int((~ready.prompts.askable).sum()),
            "cut": ready.prompts.cut,
            "requests": requests,
            "answers": int(lacking.sum()),
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "tokens": tokens,
            "cost_usd": cost,
            "minutes": float(minutes) if ready.asked.provider.remote else None,
            "retirement": retired and retired.to_dict(),
        }

    def run(self) -> str:
        """Asks for what is missing, then stores the run; returns its name, the old one's where nothing is new."""
        clock = time.perf_counter()
        with self.ready.replies.opened(self.progress):
            if self.options.retry_refused:
                self.ready.replies.forget_refused()
            usage = self._ask()
        return RunMaker(self.ready, usage, time.perf_counter() - clock).store_run()

    def _ask(self) -> AskUsage:
        ready, lacking = self.ready, self.ready.missing()
        if not lacking.any():
            return AskUsage()
        ready.text_vectors.check()
        prices = ready.price("input"), ready.price("output")
        if self.options.max_cost is not None and None in prices:
            raise UsageError(
                f"no price is known for {ready.asked.provider.name}:{ready.asked.base_model}, which --max-cost needs",
                "name a file of prices with --prices",
            )
        check_model(
            ready.asked.provider.retirement(ready.asked.model, ask=True), self.progress.warn, sure=self.options.yes
        )
        options = AskOptions(
            self.options.concurrency,
            self.options.requests_per_minute,
            self.options.tokens_per_minute,
            *prices,
            self.options.max_cost,
            ready.answer_tokens(),
        )
        asked = questions(
            ready.prompts,
            lacking,
            ready.wording,
            ready.asked.model,
            ready.sampling,
            ready.asked.setup.seed,
            Constraints(ready.wording, ready.dataset.catalog, ready.names).of if self.options.constrain else None,
        )
        usage = ask(
            ready.asked.provider,
            asked,
            int(lacking.sum()),
            ready.replies.keep,
            options,
            self.progress,
            ready.replies.in_flight,
        )
        if usage.refused:
            self.progress.warn(f"{usage.refused:,} prompts were refused; --retry-refused asks them again")
        return usage
