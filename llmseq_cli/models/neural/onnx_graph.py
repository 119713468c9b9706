"""Export a trained network as an ONNX graph, for other programs and languages."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from llmseq_cli.models.neural.neural_recommender import NeuralRecommender

_TOLERANCE = 1e-4  # of products of two vectors, relative to the largest


class NotExportableError(Exception):
    """The network cannot be written as ONNX; the message says why."""


class _Graph(nn.Module):
    """items: int64[n, length], numbers of the catalog's items, padded at the end. lengths: int64[n], at least 1. →
    (float32[n, d], the sessions' vectors, float32[n, n_items], scores, −inf for items that cannot be recommended)"""

    inward: Tensor
    outward: Tensor
    barred: Tensor

    def __init__(self, model: NeuralRecommender) -> None:
        super().__init__()
        self.encoder, self.head = model.network.encoder, model.network.head
        vectors = model.network.item_vectors().detach()
        self.register_buffer("inward", model.by_item(vectors))
        # Without a head, input and output vectors are the same and stored once.
        self.register_buffer(
            "outward",
            self.inward if self.head is None else model.by_item(model.network.output(vectors).detach()),
        )
        self.register_buffer("barred", torch.from_numpy(np.where(model.candidates(), 0, -np.inf).astype(np.float32)))

    def forward(self, items: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        last = self.encoder.last(functional.embedding(items, self.inward), lengths)
        sessions = last if self.head is None else self.head(last)
        return sessions, sessions @ self.outward.T + self.barred


def write_onnx(model: NeuralRecommender, file: Path) -> None:
    """Write the network, for any number of sessions of up to `model.history_length()` items, and compare the file's
    results with the network's.

    Raises NotExportableError if torch cannot write it, a library is missing, or the results differ.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401 torch wants it
    except ImportError as error:
        raise NotExportableError(f"{error.name} is not installed: pip install 'llmseq[onnx]'") from error
    if not model.dense_scores:
        raise NotExportableError(f"the scores of {model.name} are not products of two vectors")
    if model.settings.time != "none":
        raise NotExportableError("the network reads the times of a session, which the graph does not support")
    device = model.device
    model.move("cpu")
    try:
        with torch.inference_mode(False):
            graph = _Graph(model).eval()
        _export(graph, model.history_length(), file)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        _compare(onnxruntime.InferenceSession(str(file), options), graph, model)
    except NotExportableError:
        raise
    except Exception as error:  # torch's exporter and the runtime fail in a dozen ways
        said = " ".join(str(error).split())[:200]
        raise NotExportableError(f"{type(error).__name__}: {said}") from error
    finally:
        model.move(device)


def _export(graph: _Graph, longest: int, file: Path) -> None:
    n, length = torch.export.Dim("n", min=1), torch.export.Dim("length", min=1, max=longest)
    items = torch.zeros(7, min(5, longest), dtype=torch.int64)  # unlike any size that a network has
    lengths = torch.full((7,), items.shape[1])
    axes = {"items": {0: n, 1: length} if longest > 1 else {0: n}, "lengths": {0: n}}
    with _silence():
        program = torch.onnx.export(
            graph,
            (items, lengths),
            dynamo=True,
            dynamic_shapes=axes,
            input_names=["items", "lengths"],
            output_names=["session", "scores"],
            verbose=False,
        )
        if program is None:
            raise NotExportableError("torch did not export a graph")
        program.save(str(file))


def _compare(session: Any, graph: _Graph, model: NeuralRecommender) -> None:
    random, longest = np.random.default_rng(0), model.history_length()
    for n, length in ((1, 1), (3, longest)):
        items = random.choice(model.item_ids, (n, length)).astype(np.int64)
        lengths = random.integers(1, length + 1, n)
        found = session.run(["session", "scores"], {"items": items, "lengths": lengths})
        with torch.inference_mode():
            wanted = graph(torch.from_numpy(items), torch.from_numpy(lengths))
        for mine, theirs in zip(wanted, found, strict=True):
            known = np.isfinite(mine.numpy())
            apart = np.abs(mine.numpy()[known] - theirs[known]).max(initial=0)
            if not np.array_equal(known, np.isfinite(theirs)) or apart > _TOLERANCE * np.abs(theirs[known]).max():
                raise NotExportableError("the graph's results differ from the network's")


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep the exporter's developer messages off the terminal."""
    names = ("torch.onnx", "onnxscript", "onnx_ir", "torch.onnx._internal.exporter")
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
