"""Score blocks of sessions in this process or on the workers of a Ray cluster, with the same lists."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from llmseq_cli.backend import Backend
from llmseq_cli.data.sessions import Sessions
from llmseq_cli.evaluation.ranking import Ranking
from llmseq_cli.models.model_parts import ModelParts, put_together, take_apart
from llmseq_cli.models.recommender import Recommender
from llmseq_cli.ray_cluster import RayTasks

SESSIONS_PER_BLOCK = 4096
"""The same whoever scores: the last bit of a product can depend on its place in a block."""

_AHEAD = 2  # blocks per worker that are under way or done before their turn


class Scorer(Protocol):
    """Recommends for one block of sessions after the other."""

    def lists(self, blocks: Iterable[Sessions], k: int) -> Iterator[Ranking]:
        """The k best items for each block, in their order. Blocks are taken as they are needed."""


class Here:
    """This process scores."""

    def __init__(self, model: Recommender, exclude_history: bool) -> None:
        self.model, self.exclude_history = model, exclude_history

    def lists(self, blocks: Iterable[Sessions], k: int) -> Iterator[Ranking]:
        for block in blocks:
            yield self.model.recommend(block, k, exclude_history=self.exclude_history)


class OnRay:
    """Workers of a Ray cluster score, each with the model put together from arrays in the cluster's object store.

    workers: blocks at a time, None for as many as the cluster has processors.
    """

    def __init__(self, tasks: RayTasks, model: Recommender, workers: int | None, exclude_history: bool) -> None:
        self.tasks, self.workers, self.exclude_history = tasks, workers or tasks.slots(), exclude_history
        self._parts = tasks.share(take_apart(model))
        self._key = os.urandom(16).hex()

    def lists(self, blocks: Iterable[Sessions], k: int) -> Iterator[Ranking]:
        calls = ((self._key, self._parts, block, k, self.exclude_history) for block in blocks)
        return self.tasks.in_order(_score, calls, _AHEAD * self.workers)


@contextmanager
def open_scorer(model: Recommender, backend: Backend, *, exclude_history: bool = True) -> Iterator[Scorer]:
    """exclude_history: whether items of the history are left out. Raises LlmseqError if there is no cluster."""
    if not backend.on_ray:
        yield Here(model, exclude_history)
        return
    tasks = RayTasks(backend.address, backend.workers)
    try:
        yield OnRay(tasks, model, backend.workers, exclude_history)
    finally:
        tasks.close()


_model: tuple[str, Any] = ("", None)
"""The key and the model that this worker process scored with last."""


def _score(key: str, parts: ModelParts, block: Sessions, k: int, exclude_history: bool) -> Ranking:
    """What a worker runs."""
    global _model
    if _model[0] != key:
        _model = ("", None)  # the one before gives its memory back first
        _model = (key, put_together(parts))
    model: Recommender = _model[1]
    return model.recommend(block, k, exclude_history=exclude_history)
