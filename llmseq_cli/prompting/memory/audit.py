"""An audit: ask, compare with the control, store the findings."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from llmseq_cli.data.dataset import Dataset, load_dataset
from llmseq_cli.errors import LlmseqError, WorkspaceBusyError
from llmseq_cli.evaluation.intervals import difference, wilson
from llmseq_cli.finetuning.templates import shipped_words
from llmseq_cli.finetuning.wording import normal_titles
from llmseq_cli.language_model.messages import ChatRequest
from llmseq_cli.progress import Progress
from llmseq_cli.prompting.asking import AskOptions, Question, ask
from llmseq_cli.prompting.cost_plan import cost_plan
from llmseq_cli.prompting.memory.options import AuditOptions
from llmseq_cli.prompting.memory.probes import MARKING, SYSTEM, Probe, make_probes
from llmseq_cli.prompting.questions import text_hash
from llmseq_cli.prompting.replies import ReplyStore
from llmseq_cli.prompting.whom import Address, find_whom
from llmseq_cli.providers.provider import Surroundings
from llmseq_cli.store.queries import query, rows_of

if TYPE_CHECKING:
    import duckdb

    from llmseq_cli.store.connection import Store


@dataclass(frozen=True)
class Finding:
    """What a probe found: shares of right answers and their intervals, and the interval of what the share has above the
    control's. recites: that interval lies above 0.
    """

    probe: str
    asked: int
    recited: int
    control_asked: int
    control_recited: int

    @property
    def excess(self) -> tuple[float, float]:
        return difference(self.recited, self.asked, self.control_recited, self.control_asked)

    @property
    def recites(self) -> bool:
        return self.excess[0] > 0

    def to_dict(self) -> dict[str, Any]:
        low, high = self.excess
        return asdict(self) | {
            "share": self.recited / self.asked,
            "interval": list(wilson(self.recited, self.asked)),
            "control_share": self.control_recited / self.control_asked,
            "control_interval": list(wilson(self.control_recited, self.control_asked)),
            "excess": self.recited / self.asked - self.control_recited / self.control_asked,
            "excess_interval": [low, high],
            "recites": self.recites,
            "marks": self.recites and self.probe in MARKING,
        }


class Audit:
    """One call of `llmseq audit-llm`."""

    def __init__(self, store: Store, options: AuditOptions, progress: Progress) -> None:
        self.store, self.options, self.progress = store, options, progress
        with store.read("reading sessions") as con:
            self.dataset: Dataset = load_dataset(con, options.dataset)
        at = Address(options.provider, options.base_url, options.settings, options.prices)
        self.whom = find_whom(store, options.model, at, progress)
        self.titles = normal_titles(self.dataset.catalog)
        self.whom.provider.settle(
            Surroundings(store.folder, self.whom.model, progress, self.titles, shipped_words(), options.seed)
        )
        self.called = options.called or self.dataset.info.dataset
        self.probes = make_probes(store, self.dataset, options.probes, options.sample, self.called, options.seed)
        if not self.probes:
            raise LlmseqError("nothing can be asked", "the probes need items with titles; `llmseq describe` tells more")
        self.replies = ReplyStore(store, self.dataset.info.dataset_id, self.about())

    @cached_property
    def _title_tokens(self) -> np.ndarray:
        return self.whom.provider.count_tokens([title for title in self.titles if title])

    @property
    def max_tokens(self) -> int:
        return self.options.max_tokens or int(np.quantile(self._title_tokens, 0.999)) + 16

    def about(self) -> dict[str, Any]:
        """All that decides the answers to a question."""
        return {
            "task": "audit",
            "provider": self.whom.provider.name,
            "address": self.whom.provider.address,
            "model": self.whom.model,
            "temperature": self.options.temperature,
            "max_tokens": self.max_tokens,
            **self.whom.provider.asking_settings(),
        }

    def questions(self) -> list[Question]:
        """All questions of the probes and their controls, each once."""
        system = SYSTEM.format(dataset=self.called)
        asked = [
            (int(key), text)
            for probe in self.probes
            for texts in (probe.questions, probe.control or [])
            for key, text in zip(probe.keys, texts, strict=bool(texts))
        ]
        asked = list(dict.fromkeys(asked))
        tokens = self.whom.provider.count_tokens([system, *(text for _, text in asked)])
        return [
            Question(
                key,
                self._hash(text),
                0,
                ChatRequest(
                    self.whom.model, system, text, 1, self.options.temperature, 1.0, self.max_tokens, self.options.seed
                ),
                int(tokens[0] + n) + 15,
            )
            for (key, text), n in zip(asked, tokens[1:], strict=True)
        ]

    def _hash(self, text: str) -> str:
        return text_hash(SYSTEM.format(dataset=self.called) + "\0" + text)

    def _missing(self) -> list[Question]:
        kept = self.replies.counts()
        return [one for one in self.questions() if (one.session_id, one.prompt_hash) not in kept]

    def plan(self) -> dict[str, Any]:
        """What asking would take, without asking."""
        with suppress(WorkspaceBusyError), self.replies.opened(self.progress):
            pass  # counts what a killed program has left
        missing = self._missing()
        tokens = sum(one.prompt_tokens for one in missing)
        return {
            "dataset": self.dataset.info.name,
            "model": self.whom.model,
            "probes": {probe.name: len(probe) for probe in self.probes},
            **cost_plan(
                self.whom, self.options, len(missing), len(missing), tokens, len(missing) * self.answer_tokens()
            ),
        }

    def answer_tokens(self) -> int:
        return 1 + int(np.mean(self._title_tokens))

    def run(self) -> dict[str, Any]:
        """Asks for what is missing; stores and returns what was found."""
        clock = time.perf_counter()
        with self.replies.opened(self.progress):
            if self.options.retry_refused:
                self.replies.forget_refused()
            self._ask(self._missing())
        findings = [self._graded(probe) for probe in self.probes]
        kept = self._keep(findings)
        keys = np.unique(np.concatenate([probe.keys for probe in self.probes]))
        return {
            "dataset": self.dataset.info.name,
            "provider": self.whom.provider.name,
            "model": self.whom.model,
            "findings": [finding.to_dict() for finding in findings],
            "kept": kept,
            "seconds": time.perf_counter() - clock,
            **self.replies.usage(keys),
        }

    def _ask(self, missing: list[Question]) -> None:
        if not missing:
            return
        prices = self.whom.known_prices(self.options.prices, self.options.max_cost)
        self.whom.check_retirement(self.progress, sure=self.options.yes)
        options = AskOptions(
            self.options.concurrency,
            self.options.requests_per_minute,
            self.options.tokens_per_minute,
            *prices,
            self.options.max_cost,
            self.answer_tokens(),
        )
        keep, in_flight = self.replies.keep, self.replies.in_flight
        usage = ask(self.whom.provider, iter(missing), len(missing), keep, options, self.progress, in_flight)
        if usage.refused:
            self.progress.warn(f"{usage.refused:,} prompts were refused; --retry-refused asks them again")

    def _graded(self, probe: Probe) -> Finding:
        """Refused questions count as asked: their answers are not known."""
        answers = self._answers(probe, probe.questions)
        right = sum(probe.is_right(place, text, probe.truths[place]) for place, text in answers)
        if probe.control is not None:
            again = self._answers(probe, probe.control)
            in_control = sum(probe.is_right(place, text, probe.truths[place]) for place, text in again)
        else:
            others = probe.control_truths or []
            in_control = sum(
                bool(others[place]) and probe.is_right(place, text, others[place]) for place, text in answers
            )
        return Finding(probe.name, len(probe), right, len(probe), in_control)

    def _answers(self, probe: Probe, questions: list[str]) -> Iterator[tuple[int, str]]:
        found = self.replies.read(probe.keys, [self._hash(text) for text in questions], 1)
        return ((place, text) for place, _, text, _ in found)

    def _keep(self, findings: list[Finding]) -> list[str]:
        """Takes the place of what an earlier audit of this model found, unless that had more questions; returns the
        probes where it had.
        """
        info, kept = self.dataset.info, []
        with self.store.transaction("keeping an audit", wait=True) as con:
            for finding in findings:
                told = finding.to_dict()
                row = {
                    "dataset_id": info.dataset_id,
                    "split_id": info.split_id,
                    "provider": self.whom.provider.name,
                    "model": self.whom.model,
                    "low": told["excess_interval"][0],
                    "high": told["excess_interval"][1],
                    "now": datetime.now(UTC).replace(tzinfo=None),
                    **{name: told[name] for name in _KEPT},
                }
                key = {name: row[name] for name in _KEY}
                if con.execute(query("prompting/larger_audit"), key | {"asked": row["asked"]}).fetchall():
                    kept.append(finding.probe)
                    continue
                con.execute(query("prompting/delete_audit"), key)
                con.execute(query("prompting/insert_audit"), row)
        return kept


_KEY = ("split_id", "provider", "model", "probe")
_KEPT = ("probe", "asked", "recited", "control_asked", "control_recited", "recites", "marks")


def list_audits(con: duckdb.DuckDBPyConnection, dataset: str | None) -> list[dict[str, Any]]:
    """What audits found: one dict per model and probe."""
    return rows_of(con, "prompting/audits", {"dataset": dataset})
