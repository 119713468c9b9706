"""What a network is validated on: sessions held out of training, or validation cases of the split."""

from __future__ import annotations

import numpy as np

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.models.neural.settings import NeuralSettings


def hold_out(sessions: Sessions, settings: NeuralSettings, seed: int) -> tuple[Sessions, Sessions | None]:
    """(sessions to train on, sessions to validate on or None): at most a tenth of those with two items."""
    places = np.flatnonzero(sessions.lengths >= 2)
    n = min(settings.validation_sessions, len(places) // 10)
    if n == 0 or settings.patience == 0:
        return sessions, None
    if settings.validation == "temporal":
        chosen = places[np.argsort(sessions.ids[places], kind="stable")[-n:]]
    else:
        chosen = _draw(places, n, seed)
    return sessions.take(np.setdiff1d(np.arange(len(sessions)), chosen)), sessions.take(chosen)


def some_cases(cases: Sessions, most: int, seed: int) -> Sessions | None:
    """At most so many validation cases that have a history; None if there are none."""
    places = np.flatnonzero(cases.lengths >= 2)
    if len(places) > most:
        places = _draw(places, most, seed)
    return cases.take(places) if len(places) else None


def _draw(places: np.ndarray, n: int, seed: int) -> np.ndarray:
    return np.sort(np.random.default_rng([seed, 3]).choice(places, n, replace=False))


def with_validation(train: Sessions, cases: Sessions) -> Sessions:
    """Everything known of each session, for a last training: the longest of its cases, else what training has, by id.

    cases: histories, with the items to predict as the last ones; a session may have several.
    """
    times = None if train.times is None or cases.times is None else np.concatenate([train.times, cases.times])
    lengths = np.concatenate([train.lengths, cases.lengths])
    ids = np.concatenate([train.ids, cases.ids])
    both = Sessions.from_lengths(np.concatenate([train.items, cases.items]), lengths, ids, times)
    order = np.lexsort([-lengths, ids])
    first = np.append(True, np.diff(ids[order]) > 0)
    return both.take(order[first])
