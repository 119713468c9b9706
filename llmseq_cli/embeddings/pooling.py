"""Session embeddings: weighted means of the items' vectors.

Weights follow Boz et al., "Improving Sequential Recommendations with LLMs" (arXiv 2402.01339), Table 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from scipy.sparse import csr_array

POOLINGS = (
    "mean",
    "last",
    "constant-linear",
    "scaling-linear",
    "scaling-quadratic",
    "scaling-cubic",
    "log",
    "log-paper",
    "harmonic",
    "squared-harmonic",
)

_LEAST = 1e-6  # ε: the minimum of a linear decay, so that the oldest items of a long session keep some weight


def pooling_weights(sessions: Sessions, pooling: str) -> np.ndarray:
    """Weight of every interaction, float32[n_interactions], not normalised.

    With i = 1 for the most recent item and |S| the length of the session:
    mean 1; last 1 for i = 1, else 0; constant-linear max(ε, 1 − (i − 1)/10); scaling-linear max(ε, 1 − (i − 1)/|S|),
    scaling-quadratic its square, scaling-cubic its cube; log 1/(ln i + 1); log-paper 1/ln(i + 1), as printed in the
    paper; harmonic 1/i; squared-harmonic 1/i².
    """
    i = sessions.positions_from_end().astype(np.float64)
    length = np.repeat(sessions.lengths, sessions.lengths)
    if pooling == "mean":
        weights = np.ones(len(i))
    elif pooling == "last":
        weights = (i == 1).astype(np.float64)
    elif pooling == "constant-linear":
        weights = np.maximum(_LEAST, 1 - (i - 1) / 10)
    elif pooling.startswith("scaling-") and pooling in POOLINGS:
        power = {"scaling-linear": 1, "scaling-quadratic": 2, "scaling-cubic": 3}[pooling]
        weights = np.maximum(_LEAST, 1 - (i - 1) / length) ** power
    elif pooling == "log":
        weights = 1 / (np.log(i) + 1)
    elif pooling == "log-paper":
        weights = 1 / np.log(i + 1)
    elif pooling == "harmonic":
        weights = 1 / i
    elif pooling == "squared-harmonic":
        weights = 1 / i**2
    else:
        raise UsageError(f"there is no pooling '{pooling}'", did_you_mean(pooling, [*POOLINGS]))
    return weights.astype(np.float32)


def weight_matrix(sessions: Sessions, n_items: int, pooling: str) -> csr_array:
    """Sparse float32[n_sessions, n_items] whose rows sum to 1; a repeated item gets the sum of its weights."""
    from scipy.sparse import csr_array

    weights = pooling_weights(sessions, pooling).astype(np.float64)
    rows = sessions.rows()
    totals = np.bincount(rows, weights, minlength=len(sessions))
    weights /= totals[rows]
    # Copies, because summing duplicates changes items and offsets in place.
    parts = (weights, sessions.items.astype(np.int64), sessions.offsets.copy())
    matrix = csr_array(parts, shape=(len(sessions), n_items))
    matrix.sum_duplicates()
    return matrix.astype(np.float32)


def pool(sessions: Sessions, vectors: Any, pooling: str) -> Any:
    """Embeddings of the sessions: float32[n_sessions, dim], sparse if `vectors` is; a session without items gets 0.

    vectors: float32[n_items, dim], an array or a csr_array.
    """
    return weight_matrix(sessions, vectors.shape[0], pooling) @ vectors
