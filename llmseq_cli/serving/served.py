"""The models of a service: they take sessions of ids and titles, and return lists and unknown items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from llmseq_cli.bundle.read import open_model
from llmseq_cli.data.sessions import Sessions
from llmseq_cli.errors import UsageError
from llmseq_cli.progress import Progress
from llmseq_cli.serving.options import ServeOptions
from llmseq_cli.store.connection import Store
from llmseq_cli.training.ready import ReadyModel

_WARM_UP = 50  # items of the longest session in the warm-up


@dataclass(frozen=True)
class Served:
    """A model, and the fallback for sessions where it has nothing to recommend."""

    ready: ReadyModel
    fallback: ReadyModel | None = None

    @property
    def run(self) -> str:
        return self.ready.run

    def answers(
        self, sessions: Sequence[Sequence[str]], times: Sequence[np.ndarray | None], k: int
    ) -> list[dict[str, Any]]:
        """One dict per session: "recommendations" from `ReadyModel.next_items`, and "unknown": items not in the
        catalog, which are ignored. times: microseconds of each session's items, or None."""
        lists = _lists(self.ready, sessions, times, k)
        empty = [place for place, one in enumerate(lists) if not one]
        if self.fallback is not None and empty:
            instead = _lists(self.fallback, [sessions[place] for place in empty], [times[place] for place in empty], k)
            for place, one in zip(empty, instead, strict=True):
                lists[place] = one
        known = self.ready.catalog.known
        return [
            {"recommendations": one, "unknown": [text for text in session if known(text) is None]}
            for session, one in zip(sessions, lists, strict=True)
        ]

    def warm_up(self) -> None:
        """Do a model's one-time work before the first request has to wait for it."""
        n = len(self.ready.catalog)
        lengths = np.arange(1, _WARM_UP + 1)
        items = np.random.default_rng(0).integers(0, n, lengths.sum())
        histories = Sessions.from_lengths(items, lengths, np.arange(len(lengths)))
        for ready in (self.ready, self.fallback):
            if ready is not None and len(ready.catalog) == n:
                ready.lists(histories, 1)
        self.ready.catalog.known("")


def _lists(
    ready: ReadyModel, sessions: Sequence[Sequence[str]], times: Sequence[np.ndarray | None], k: int
) -> list[list[dict[str, Any]]]:
    found = [[ready.catalog.known(text) for text in session] for session in sessions]
    items = [[item for item in session if item is not None] for session in found]
    kept = [
        None if one is None else one[[item is not None for item in session]]
        for one, session in zip(times, found, strict=True)
    ]
    return ready.timed_lists(items, kept, k)


def open_served(folder: Path, options: ServeOptions, progress: Progress | None = None) -> list[Served]:
    """Open the models that the options name; folder: of the workspace. Raises LlmseqError if one cannot be opened."""
    store = Store(folder, progress=progress)
    ready = [open_model(store, name, options.dataset) for name in options.runs]
    fallback = open_model(store, options.fallback, ready[0].dataset) if options.fallback else None
    names = [one.run for one in ready]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"{twice} is given twice", "name different runs")
    return [Served(one, fallback) for one in ready]
