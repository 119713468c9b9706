"""Prediction: ask a model about the test sessions, map its answers to the catalog, store a run."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

from llmseq_cli.errors import WorkspaceBusyError
from llmseq_cli.progress import Progress
from llmseq_cli.prompting.allowed_titles import Constraints
from llmseq_cli.prompting.asking import AskOptions, AskUsage, ask
from llmseq_cli.prompting.cost_plan import cost_plan
from llmseq_cli.prompting.options import PromptOptions
from llmseq_cli.prompting.preparation import Preparation
from llmseq_cli.prompting.questions import questions
from llmseq_cli.prompting.run_maker import RunMaker
from llmseq_cli.store.connection import Store


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
        return {
            "dataset": ready.dataset.info.name,
            "model": ready.asked.model,
            "sessions": len(ready.test),
            "unasked": int((~ready.prompts.askable).sum()),
            "cut": ready.prompts.cut,
            **cost_plan(ready.asked, self.options, requests, int(lacking.sum()), prompt_tokens, completion_tokens),
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
        prices = ready.asked.known_prices(self.options.prices, self.options.max_cost)
        ready.asked.check_retirement(self.progress, sure=self.options.yes)
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
