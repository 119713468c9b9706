"""Re-ranking: let a model reorder the first items of a run's lists, and store the result as a run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import numpy as np

from llmseq_cli.data.dataset import Dataset, load_dataset
from llmseq_cli.data.sessions import Sessions
from llmseq_cli.errors import UsageError, WorkspaceBusyError
from llmseq_cli.finetuning.item_lists import compact, title_groups
from llmseq_cli.finetuning.tasks.task import no_options
from llmseq_cli.finetuning.templates import shipped_words
from llmseq_cli.finetuning.wording import normal_titles
from llmseq_cli.language_model.messages import ChatRequest, Weighing
from llmseq_cli.progress import Progress
from llmseq_cli.prompting.asking import AskOptions, AskUsage, Question, ask
from llmseq_cli.prompting.cost_plan import cost_plan
from llmseq_cli.prompting.questions import Prompts, lay_out, missing, text_hash
from llmseq_cli.prompting.replies import ReplyStore
from llmseq_cli.prompting.rerank.cases import Cases, test_cases, validation_cases
from llmseq_cli.prompting.rerank.listwise import Listwise
from llmseq_cli.prompting.rerank.method import Method, Shown
from llmseq_cli.prompting.rerank.options import RerankOptions
from llmseq_cli.prompting.rerank.pairwise import Pairwise
from llmseq_cli.prompting.rerank.pointwise import YES_OR_NO, Pointwise
from llmseq_cli.prompting.rerank.store_run import Reordered, store_reranked
from llmseq_cli.prompting.rerank.wording import find_template, make_ask
from llmseq_cli.prompting.whom import Address, find_whom
from llmseq_cli.providers.provider import Surroundings
from llmseq_cli.store.connection import Store
from llmseq_cli.store.runs import find_run

_TOKENS_PER_LABEL = 6
_ROOM = 16  # for a few words around an answer


@dataclass(frozen=True)
class Sorting:
    """Cases on their way to an order. titled: which of the first items of their lists have a title, bool[n, top].
    candidates: these, moved to the left, int32[n, top].
    """

    cases: Cases
    titled: np.ndarray
    candidates: np.ndarray
    method: Method

    def histories_of(self, shown: Shown) -> Sessions:
        return self.cases.sessions.histories().take(shown.rows)


class Reranking:
    """One call of `llmseq rerank`."""

    def __init__(self, store: Store, options: RerankOptions, progress: Progress) -> None:
        self.store, self.options, self.progress = store, options, progress
        self.started_at = datetime.now(UTC).replace(tzinfo=None)
        at = Address(options.provider, options.base_url, options.settings, options.prices)
        with store.read("looking for the run") as con:
            self.info = find_run(con, options.run, options.dataset, progress)
            self.dataset: Dataset = load_dataset(con, self.info.dataset, one_split=False)
            found = test_cases(con, self.dataset, self.info)
        self.whom = find_whom(store, options.model, at, progress)
        depth = found.lists.shape[1]
        if options.top > depth:
            raise UsageError(
                f"the lists of {self.info.run} hold {depth} items, fewer than --top {options.top}",
                f"use --top {depth}, or train the model with --list-length {options.top}",
            )
        self._check_weighing()
        self.whom.provider.settle(
            Surroundings(
                store.folder,
                self.whom.model,
                progress,
                normal_titles(self.dataset.catalog),
                shipped_words(),
                options.seed,
            )
        )
        self.groups = title_groups(self.dataset.catalog)
        self.template = find_template(options, self.whom.job)
        self.ask = make_ask(self.template, self.dataset.catalog, self.shown, self.whom.provider.count_tokens)
        self.test = found.drawn(options.limit, options.seed)
        self.replies = ReplyStore(store, self.dataset.info.dataset_id, self.about())
        self.usage = AskUsage()
        self.checked = False  # whether the model is about to be shut down

    def _check_weighing(self) -> None:
        told, provider = self.whom.provider.weighs, self.whom.provider.name
        if self.by_title and told != "texts":
            raise UsageError(
                f"{provider} does not tell how likely a model finds a title",
                "use --method pointwise-yes or listwise, or --provider local",
            )
        if self.weighs and told == "nothing":
            raise UsageError(f"{provider} tells no log-probabilities", "use --method listwise or pairwise")

    @property
    def shown(self) -> int:
        """How many candidates a question shows at most."""
        most = {"pairwise": 2, "pointwise-yes": 1, "pointwise-title": 1}
        return most.get(self.options.method, min(self.options.window, self.options.top))

    @property
    def weighs(self) -> bool:
        """Whether log-probabilities count, instead of answers."""
        return self.options.method.startswith("pointwise")

    @property
    def by_title(self) -> bool:
        return self.options.method == "pointwise-title"

    @property
    def max_tokens(self) -> int:
        if self.options.max_tokens:
            return self.options.max_tokens
        if self.options.method == "pointwise-yes":
            return 1
        if self.ask.labelled:
            return _TOKENS_PER_LABEL * self.shown + _ROOM
        return self.ask.wording.longest_answer(self.shown)

    def answer_tokens(self) -> int:
        """What an answer usually needs."""
        if self.weighs:
            return 1
        each = _TOKENS_PER_LABEL - 1 if self.ask.labelled else np.mean(self.ask.wording.title_tokens) + 4
        return 1 + int(self.shown * each)

    def about(self) -> dict[str, Any]:
        """All that decides the answers to a question."""
        return {
            "task": "rerank",
            "run": self.info.run,
            "method": self.options.method,
            "provider": self.whom.provider.name,
            "address": self.whom.provider.address,
            "model": self.whom.model,
            "temperature": self.options.temperature,
            "max_tokens": self.max_tokens,
            **({"split": self.dataset.info.split} if "/" in self.dataset.info.name else {}),
            **self.whom.provider.asking_settings(),
        }

    @cached_property
    def validation(self) -> Cases:
        """Lists for the validation sessions, whose model may have to be trained again for them."""
        return validation_cases(self.store, self.dataset, self.info, self.test.lists.shape[1], self.progress)

    def sortings(self) -> Iterator[Sorting]:
        """The test sessions, then the validation sessions if they are wanted."""
        for cases in [self.test, *([self.validation] if self.options.validation else [])]:
            top = cases.lists[:, : self.options.top]
            titled = (top >= 0) & (self.groups[top] >= 0)
            candidates = compact(top, titled)
            yield Sorting(cases, titled, candidates, self._method(candidates, cases))

    def _method(self, candidates: np.ndarray, cases: Cases) -> Method:
        given = self.options
        if self.weighs:
            return Pointwise(candidates, by_title=self.by_title)
        if given.method == "pairwise":
            return Pairwise(candidates, self.ask.wording.titles, self.ask.read, given.rounds)
        return Listwise(
            candidates,
            cases.sessions.ids,
            self.ask.wording.titles,
            self.ask.read,
            given.window,
            given.step,
            given.shuffles,
            given.seed,
        )

    def prompts(self, sorting: Sorting, shown: Shown) -> Prompts:
        limits = self.whom.provider.limits
        room = (self.options.context or limits.tokens_per_example) - self.max_tokens
        histories, items = sorting.histories_of(shown), shown.items(sorting.candidates)
        if not self.by_title:
            return lay_out(self.ask.wording, self.groups, histories, items, room)
        laid_out = lay_out(self.ask.wording, self.groups, histories, no_options(len(items)), room)
        hashes = [
            digest and text_hash("\0".join([digest, *self._titles(row)]))
            for digest, row in zip(laid_out.hashes, items, strict=True)
        ]
        return replace(laid_out, options=items, hashes=hashes)

    def _titles(self, items: np.ndarray) -> tuple[str, ...]:
        return tuple(self.ask.wording.titles[item] for item in items[items >= 0].tolist())

    def plan(self) -> dict[str, Any]:
        """What asking would take, without asking. Windows that depend on answers to come are taken to be as long as if
        nothing changed.
        """
        with suppress(WorkspaceBusyError), self.replies.opened(self.progress):
            pass  # counts what a killed program has left
        requests = tokens = cut = 0
        counts = self.replies.counts()
        sortings = list(self.sortings())
        unasked = 0
        for sorting in sortings:
            for round in range(sorting.method.rounds):
                shown = sorting.method.show(round)
                prompts = self.prompts(sorting, shown)
                lacking = _once(prompts, missing(prompts, counts, 1))
                requests += int(lacking.sum())
                tokens += int(prompts.tokens[lacking > 0].sum())
                cut = max(cut, prompts.cut)
                unasked = max(unasked, len(np.unique(shown.rows[~prompts.askable])))
                sorting.method.take(shown, self._read(prompts))
        return {
            "dataset": self.dataset.info.name,
            "run": self.info.run,
            "model": self.whom.model,
            "sessions": sum(len(sorting.candidates) for sorting in sortings),
            "unasked": unasked,
            "cut": cut,
            "rounds": max(sorting.method.rounds for sorting in sortings),
            **cost_plan(self.whom, self.options, requests, requests, tokens, requests * self.answer_tokens()),
        }

    def run(self) -> str:
        """Asks for what is missing, then stores the run; returns its name, the old one's where nothing is new."""
        clock = time.perf_counter()
        sortings = list(self.sortings())
        with self.replies.opened(self.progress):
            if self.options.retry_refused:
                self.replies.forget_refused()
            reordered = [self._sorted(sorting) for sorting in sortings]
        if self.usage.refused:
            self.progress.warn(f"{self.usage.refused:,} prompts were refused; --retry-refused asks them again")
        return store_reranked(self, reordered, time.perf_counter() - clock)

    def _sorted(self, sorting: Sorting) -> Reordered:
        method = sorting.method
        cut, unasked = 0, np.zeros(len(sorting.candidates), dtype=bool)
        for round in range(method.rounds):
            shown = method.show(round)
            prompts = self.prompts(sorting, shown)
            self._ask(prompts, round, method.rounds)
            method.take(shown, self._read(prompts))
            cut = max(cut, prompts.cut)
            unasked[shown.rows[~prompts.askable]] = True
        counts = dict(method.counts) | {"cut_sessions": cut, "unasked_sessions": int(unasked.sum())}
        lists = _in_place(sorting.cases.lists, sorting.titled, sorting.candidates, method.order())
        return Reordered(sorting.cases, lists, counts)

    def _ask(self, prompts: Prompts, round: int, rounds: int) -> None:
        lacking = _once(prompts, missing(prompts, self.replies.counts(), 1))
        if not lacking.any():
            return
        prices = self.whom.known_prices(self.options.prices, self.options.max_cost)
        if not self.checked:
            self.whom.check_retirement(self.progress, sure=self.options.yes)
            self.checked = True
        if rounds > 1:
            self.progress.message(f"round {round + 1} of {rounds}")
        options = AskOptions(
            self.options.concurrency,
            self.options.requests_per_minute,
            self.options.tokens_per_minute,
            *prices,
            self.options.max_cost,
            self.answer_tokens(),
            self.usage.cost_usd,
        )
        usage = ask(
            self.whom.provider,
            self._questions(prompts, lacking),
            int(lacking.sum()),
            self.replies.keep,
            options,
            self.progress,
            self.replies.in_flight,
        )
        self.replies.flush()
        self.usage.replies += usage.replies
        self.usage.refused += usage.refused
        self.usage.cost_usd += usage.cost_usd

    def _questions(self, prompts: Prompts, lacking: np.ndarray) -> Iterator[Question]:
        wording = self.ask.wording
        for place in np.flatnonzero(lacking).tolist():
            request = ChatRequest(
                model=self.whom.model,
                system=wording.template.system,
                user=wording.question(prompts.sessions[place], prompts.options[place]),
                n=1,
                temperature=self.options.temperature,
                top_p=1.0,
                max_tokens=self.max_tokens,
                seed=self.options.seed,
                weighing=self._weighing(prompts.options[place]),
            )
            yield Question(
                int(prompts.sessions.ids[place]), prompts.hashes[place], 0, request, int(prompts.tokens[place])
            )

    def _weighing(self, items: np.ndarray) -> Weighing | None:
        if self.by_title:
            return Weighing(self._titles(items), whole=True)
        return Weighing(YES_OR_NO) if self.weighs else None

    def _read(self, prompts: Prompts) -> list[tuple[int, str, str]]:
        """(place of the question, text, why it ended) of all answers that are kept."""
        places = np.flatnonzero(prompts.askable)
        hashes = [prompts.hashes[place] for place in places]
        found = self.replies.read(prompts.sessions.ids[places], hashes, 1)
        return [(int(places[number]), text, finish) for number, _, text, finish in found]


def _once(prompts: Prompts, lacking: np.ndarray) -> np.ndarray:
    """Without questions that equal an earlier one of the same session, such as those about twins."""
    seen: set[tuple[int, str]] = set()
    lacking = lacking.copy()
    for place in np.flatnonzero(lacking).tolist():
        key = int(prompts.sessions.ids[place]), prompts.hashes[place]
        lacking[place] = key not in seen
        seen.add(key)
    return lacking


def _in_place(lists: np.ndarray, titled: np.ndarray, candidates: np.ndarray, order: np.ndarray) -> np.ndarray:
    """The lists with their candidates, which stand at the places `titled` (bool[n, top]), in their new order. Items
    without a title keep their places, as does all that stands below.
    """
    reordered = np.take_along_axis(candidates, order, axis=1)
    rows, places = np.nonzero(titled)
    done = lists.copy()
    done[rows, places] = reordered[rows, titled.cumsum(axis=1)[rows, places] - 1]
    return done
