"""Training sessions together with the validation cases of the split, for a last training on all that is known."""

from __future__ import annotations

import numpy as np

from llmseq_cli.data.sessions import Sessions


def with_validation(train: Sessions, cases: Sessions) -> Sessions:
    """Every session as far as it is known, in the order of the ids: the longest of its cases, else what training has.

    cases: histories, with the items to predict as the last ones; a session may have several.
    """
    times = None if train.times is None or cases.times is None else np.concatenate([train.times, cases.times])
    lengths = np.concatenate([train.lengths, cases.lengths])
    ids = np.concatenate([train.ids, cases.ids])
    both = Sessions.from_lengths(np.concatenate([train.items, cases.items]), lengths, ids, times)
    order = np.lexsort([-lengths, ids])
    first = np.append(True, np.diff(ids[order]) > 0)
    return both.take(order[first])
