"""Turn the items that a model named into recommendations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.evaluation.ranking import NO_ITEM, Ranking


@dataclass(frozen=True)
class Named:
    """Items that answers named, one row each.

    rows: int64[n], place of the session. samples, places: int64[n], which answer to its prompt, and where in it, from
    0. items: int32[n], NO_ITEM for none. similarity: float32[n].
    """

    rows: np.ndarray
    samples: np.ndarray
    places: np.ndarray
    items: np.ndarray
    similarity: np.ndarray


def rank(named: Named, prompts: Sessions, n_items: int, k: int, *, exclude_history: bool = True) -> Ranking:
    """The k items that most answers of a session name; ties go to items named earlier in the answers, then to those
    with a higher mean similarity to the answers, then to the lower id.

    So a single list answer keeps its order, and single-item answers are ranked by frequency, then mean similarity (Boz
    et al., Section 4.1). Items that an answer repeats count once, with exclude_history items of the prompt not at all.
    Scores are (answers that name the item) + 1 / (1 + its place in the list).
    """
    keys = named.rows * n_items + named.items
    barred = exclude_history & np.isin(keys, prompts.rows() * n_items + prompts.items)
    keep = np.flatnonzero((named.items >= 0) & ~barred)
    # The first time that an answer names an item.
    order = keep[np.lexsort((named.places[keep], named.samples[keep], keys[keep]))]
    again = np.zeros(len(order), dtype=bool)
    again[1:] = (keys[order][1:] == keys[order][:-1]) & (named.samples[order][1:] == named.samples[order][:-1])
    order = order[~again]
    unique, first, counts = np.unique(keys[order], return_index=True, return_counts=True)
    items = np.full((len(prompts), k), NO_ITEM, dtype=np.int32)
    scores = np.full((len(prompts), k), -np.inf, dtype=np.float32)
    if not len(unique):
        return Ranking(items, scores)
    place = np.add.reduceat(named.places[order], first) / counts
    similarity = np.add.reduceat(named.similarity[order].astype(np.float64), first) / counts
    row, item = np.divmod(unique, n_items)
    best = np.lexsort((item, -similarity, place, -counts, row))
    row, item, counts = row[best], item[best], counts[best]
    starts = np.searchsorted(row, np.arange(len(prompts)))
    rank_of = np.arange(len(row)) - starts[row]
    fits = rank_of < k
    items[row[fits], rank_of[fits]] = item[fits]
    scores[row[fits], rank_of[fits]] = counts[fits] + 1 / (1 + rank_of[fits])
    return Ranking(items, scores)
