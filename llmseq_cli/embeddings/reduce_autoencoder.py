"""An autoencoder that reduces item vectors, trained until it stops improving on held-out vectors."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from llmseq_cli.progress import Progress

_BATCH = 256
_EPOCHS = 200
_PATIENCE = 5
_LEARNING_RATE = 1e-3
_PENALTY = 1e-3  # on the mean square of the codes
_HELD_OUT = 0.1
_ROWS_PER_BLOCK = 65_536

_Inputs = Callable[[np.ndarray | slice], torch.Tensor]
"""The vectors at given places, centred and scaled."""


def encode(vectors: np.ndarray, rows: np.ndarray, dim: int, seed: int, progress: Progress) -> np.ndarray:
    """Codes of all vectors, float32[n, dim], from an autoencoder fitted on the vectors of `rows`.

    vectors: float32[n, d]. One hidden layer of (d + dim) / 2 numbers on each side of the code. The loss is the mean
    squared error of the vectors, centred and scaled to a mean variance of 1, plus an ℓ2 penalty on the codes. The same
    seed gives the same codes on a machine; torch's global random state is not changed.
    """
    mean = vectors[rows].mean(axis=0, dtype=np.float64).astype(np.float32)
    scale = float(np.sqrt(np.mean(np.square(vectors[rows] - mean), dtype=np.float64))) or 1.0
    random = np.random.default_rng(seed)
    shuffled = random.permutation(rows)
    n_held_out = max(1, int(len(rows) * _HELD_OUT))
    held_out, training = shuffled[:n_held_out], shuffled[n_held_out:]

    def inputs(places: np.ndarray | slice) -> torch.Tensor:
        return torch.from_numpy((vectors[places] - mean) / scale)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder, decoder = _halves(vectors.shape[1], dim)
    _train(encoder, decoder, inputs, training, held_out, random, progress)
    codes = np.empty((len(vectors), dim), dtype=np.float32)
    with torch.inference_mode():
        for start in range(0, len(vectors), _ROWS_PER_BLOCK):
            block = slice(start, start + _ROWS_PER_BLOCK)
            codes[block] = encoder(inputs(block)).numpy()
    return codes


def _halves(d: int, dim: int) -> tuple[nn.Module, nn.Module]:
    hidden = (d + dim) // 2
    encoder = nn.Sequential(nn.Linear(d, hidden), nn.ReLU(), nn.Linear(hidden, dim))
    decoder = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, d))
    return encoder, decoder


def _train(
    encoder: nn.Module,
    decoder: nn.Module,
    inputs: _Inputs,
    training: np.ndarray,
    held_out: np.ndarray,
    random: np.random.Generator,
    progress: Progress,
) -> None:
    """Train in place, and restore the weights of the epoch with the smallest error on held-out vectors."""
    both = nn.ModuleList([encoder, decoder])
    optimizer = torch.optim.Adam(both.parameters(), lr=_LEARNING_RATE)
    least, waited, best = float("inf"), 0, copy.deepcopy(both.state_dict())
    with progress.task("Training the autoencoder", _EPOCHS, "epochs") as task:
        for _ in range(_EPOCHS):
            order = random.permutation(training)
            for start in range(0, len(order), _BATCH):
                x = inputs(order[start : start + _BATCH])
                codes = encoder(x)
                loss = nn.functional.mse_loss(decoder(codes), x) + _PENALTY * codes.square().mean()
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
            error = _error(encoder, decoder, inputs, held_out)
            task.advance()
            if error < least:
                least, waited, best = error, 0, copy.deepcopy(both.state_dict())
            elif (waited := waited + 1) >= _PATIENCE:
                break
    both.load_state_dict(best)


def _error(encoder: nn.Module, decoder: nn.Module, inputs: _Inputs, places: np.ndarray) -> float:
    total = 0.0
    with torch.inference_mode():
        for start in range(0, len(places), _ROWS_PER_BLOCK):
            x = inputs(places[start : start + _ROWS_PER_BLOCK])
            total += float((decoder(encoder(x)) - x).square().mean(dim=1).sum())
    return total / len(places)
