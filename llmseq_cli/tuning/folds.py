"""What tuning learns from and validates on: what the split hands out, or temporal folds of the training sessions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llmseq_cli.data.dataset import Dataset
from llmseq_cli.data.sessions import Sessions
from llmseq_cli.errors import LlmseqError


@dataclass(frozen=True)
class Fold:
    """train: sessions to learn from. held_out: the next ones, without items that do not occur in `train`, unless the
    dataset keeps such in its test sessions.

    The last item of a held-out session is the ground truth.
    """

    train: Sessions
    held_out: Sessions


def temporal_folds(train: Sessions, n_folds: int, n_items: int, *, keep_unseen: bool = False) -> list[Fold]:
    """Fold f learns from the first f of n_folds + 1 equal bins and validates on the one after (Boz et al. 7.1.4).

    keep_unseen: leave items that a fold has not seen in the sessions that it validates on.
    Raises LlmseqError if a fold has nothing to learn from or to validate on.
    """
    sizes = np.full(n_folds + 1, len(train) // (n_folds + 1))
    sizes[: len(train) % (n_folds + 1)] += 1  # as the bins that are stored with the sessions
    edges = np.concatenate([[0], np.cumsum(sizes)])
    folds = []
    for number in range(1, n_folds + 1):
        earlier = train.slice(0, int(edges[number]))
        known = (earlier.counts(n_items) > 0) | keep_unseen
        held_out = _known(train.slice(int(edges[number]), int(edges[number + 1])), known)
        if not len(earlier) or not len(held_out):
            raise LlmseqError(
                f"{len(train):,} training sessions are too few for {n_folds} temporal folds",
                "ingest more sessions, or fewer folds with `llmseq ingest --folds 1`",
            )
        folds.append(Fold(earlier, held_out))
    return folds


def folds_of(dataset: Dataset) -> list[Fold]:
    """One fold, that of the split's own validation cases, or else temporal folds of the training sessions."""
    info = dataset.info
    if dataset.validation is not None:
        return [Fold(dataset.train, dataset.validation)]
    return temporal_folds(dataset.train, info.protocol["folds"], len(dataset.catalog), keep_unseen=info.keeps_unseen)


def _known(sessions: Sessions, known: np.ndarray) -> Sessions:
    """The sessions without items that are not known, of those that keep a history and a ground truth."""
    left = sessions.only(known)
    return left.take(np.flatnonzero(left.lengths >= 2))
