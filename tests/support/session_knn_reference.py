"""The neighbour models in plain Python loops, written from their definitions, one prompt after the other."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np

DECAYS = {
    "none": lambda i, length: 1,
    "constant-linear": lambda i, length: max(1e-6, 1 - (i - 1) / 10),
    "scaling-linear": lambda i, length: (length - i + 1) / length,
    "scaling-quadratic": lambda i, length: ((length - i + 1) / length) ** 2,
    "scaling-cubic": lambda i, length: ((length - i + 1) / length) ** 3,
    "log": lambda i, length: 1 / (math.log(i) + 1),
    "log-paper": lambda i, length: 1 / math.log(i + 1),
    "harmonic": lambda i, length: 1 / i,
    "squared-harmonic": lambda i, length: 1 / i**2,
}


def recommend(
    train: list[list[int]], order: list[int], prompt: list[int], k: int, settings: Any, exclude: bool = True
) -> list[tuple[int, float]]:
    """(item, score) of the k best items; `train` from the oldest to the latest session, sampled in `order`."""
    seen = {item for session in train for item in session}
    prompt = [item for item in prompt if item in seen]
    ages = {item: len(prompt) - place for place, item in enumerate(prompt)}  # the last occurrence overwrites
    weights = {item: _decay(settings.decay, age, len(prompt)) for item, age in ages.items()}

    candidates = [number for number in order if ages.keys() & set(train[number])]
    if settings.sample_size != "all":
        candidates = candidates[: settings.sample_size]
    similarity = {number: _similarity(weights, set(train[number]), settings.similarity) for number in candidates}
    nearest = sorted(candidates, key=lambda number: (_single(similarity[number]), number), reverse=True)[: settings.k]

    scores: dict[int, list[float]] = {}
    for number in nearest:
        vote = similarity[number]
        if settings.sequential != "none":
            youngest = min(age for item, age in ages.items() if item in train[number])
            vote *= _decay(settings.sequential, youngest, len(prompt))
        for item in _voted_for(train, number, prompt, settings):
            scores.setdefault(item, []).append(vote)
    totals = {item: _single(sum(votes) * _idf(train, item, settings.idf)) for item, votes in scores.items()}
    listed = [(item, score) for item, score in totals.items() if not (exclude and item in ages)]
    return sorted(listed, key=lambda entry: (-entry[1], entry[0]))[:k]


def _single(value: float) -> float:
    """Rounded to 32 bits, as similarities and scores are compared."""
    return float(np.float32(value))


def _decay(name: str, age: int, length: int) -> float:
    return _single(DECAYS[name](age, length))


def _similarity(weights: dict[int, float], session: set[int], name: str) -> float:
    shared = sum(weight for item, weight in weights.items() if item in session)
    total = sum(weights.values())
    norm = math.sqrt(sum(weight**2 for weight in weights.values()))
    return {
        "dot": lambda: shared,
        "cosine": lambda: shared / (norm * math.sqrt(len(session))),
        "jaccard": lambda: shared / (total + len(session) - shared),
        "binary": lambda: 2 * shared / (2 * shared + total + len(session)),
    }[name]()


def _voted_for(train: list[list[int]], number: int, prompt: list[int], settings: Any) -> set[int]:
    kind = getattr(settings, "filter", None)
    if kind is None:
        return set(train[number])
    sources = [train[number]] if kind == "neighbor" else train
    followers = {after for session in sources for before, after in pairwise(session) if before == prompt[-1]}
    return followers & set(train[number])


def _idf(train: list[list[int]], item: int, wanted: bool) -> float:
    return 1 + math.log(len(train) / sum(item in session for session in train)) if wanted else 1.0
