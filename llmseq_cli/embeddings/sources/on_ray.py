"""Local models on a Ray cluster: each worker loads the model once and embeds batch after batch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from llmseq_cli.backend import Backend
from llmseq_cli.clients.errors import FinalError, TransientError
from llmseq_cli.embeddings.sources.registry import SourceOptions, make_source
from llmseq_cli.embeddings.sources.source import EmbeddingSource, Limits, VectorAnswer
from llmseq_cli.errors import WorkerLostError
from llmseq_cli.ray_cluster import RayTasks

_TEXTS_PER_TASK = 256  # lost if a worker dies; the model itself gets `batch_size` at a time


class RayHuggingFaceSource(EmbeddingSource):
    """The huggingface source on the workers of a cluster; this process counts and cuts texts with the model's
    tokenizer.

    A model folder must exist at the same path on all machines of the cluster. Model, dimensions and variant are those
    of the workers, so the cache treats vectors made here and there alike. `embed` may be called from `parallel`
    threads; it raises TransientError if the workers with the texts were lost.

    backend: its workers is the number of batches at a time, None for one per processor of the cluster, or per GPU.
    """

    name: ClassVar[str] = "huggingface"
    remote: ClassVar[bool] = False

    def __init__(self, options: SourceOptions, backend: Backend) -> None:
        folder = Path(options.model or "").expanduser()
        if options.model and folder.is_dir():  # workers have another working directory
            options = replace(options, model=str(folder.resolve()))
        self._here = _on_cpu(options)
        self._tasks = RayTasks(backend.address, backend.workers)
        try:
            wanted = options.settings.get("device", "auto")
            self._device = ("cuda" if self._tasks.has_gpus() else "cpu") if wanted == "auto" else str(wanted)
            self._options = replace(options, settings=options.settings | {"device": self._device})
            self.parallel = backend.workers or self._tasks.slots(self._device)
            first = self._tasks.submit(_describe, self._options, device=self._device)
            self.model, self.dimensions, self.variant = self._tasks.result(first)
        except BaseException:
            self._tasks.close()
            raise
        self.limits = Limits(_TEXTS_PER_TASK, tokens_per_text=self._here.limits.tokens_per_text)

    def count_tokens(self, texts: list[str]) -> np.ndarray:
        return self._here.count_tokens(texts)

    def cut(self, text: str, tokens: int) -> str:
        return self._here.cut(text, tokens)

    def embed(self, texts: list[str]) -> VectorAnswer:
        try:
            job = self._tasks.submit(_embed, self._options, self.variant, texts, device=self._device)
            return VectorAnswer(self._tasks.result(job))
        except WorkerLostError as error:
            raise TransientError(error.message) from error

    def close(self) -> None:
        self._tasks.close()


def _on_cpu(options: SourceOptions) -> EmbeddingSource:
    """The source on this machine's CPU, whatever device the workers use."""
    given = {name: value for name, value in options.settings.items() if name != "precision"}
    return make_source("huggingface", replace(options, settings=given | {"device": "cpu"}))


# The code below runs in the workers.

_loaded: tuple[SourceOptions, EmbeddingSource] | None = None


def _source(options: SourceOptions) -> EmbeddingSource:
    """The source in this worker process, which loads its model once."""
    global _loaded
    if _loaded is None or _loaded[0] != options:
        _loaded = None  # free the previous model first
        _loaded = (options, make_source("huggingface", options))
    return _loaded[1]


def _describe(options: SourceOptions) -> tuple[str, int | None, str]:
    source = _source(options)
    return source.model, source.dimensions, source.variant


def _embed(options: SourceOptions, variant: str, texts: list[str]) -> np.ndarray:
    source = _source(options)
    if source.variant != variant:
        raise FinalError(
            f"the model '{options.model}' is not the same on all machines of the cluster",
            "copy its folder to all of them, and use the same kind of device on all",
        )
    return source.embed(texts).vectors
