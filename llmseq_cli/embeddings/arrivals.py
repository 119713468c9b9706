"""Vectors that had arrived when a program was killed, as recorded in the file of requests in flight."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

_MOST_TOKENS = 10**12
_HASH = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Arrived:
    """hashes: of the texts of a request. vectors: float32[n, dim]. tokens: what it took."""

    hashes: list[str]
    vectors: np.ndarray
    tokens: int


def arrival_note(hashes: Sequence[str], vectors: np.ndarray, tokens: int) -> dict[str, Any]:
    """The record of an answer (JSON)."""
    encoded = base64.b64encode(vectors.astype("<f4").tobytes()).decode()
    return {"hashes": list(hashes), "vectors": encoded, "tokens": tokens}


def read_arrivals(notes: Sequence[Any], width: int | None) -> list[Arrived]:
    """The records with valid vectors of this width, each text once; width None takes the width of the first."""
    found: list[Arrived] = []
    seen: set[str] = set()
    for note in notes:
        one = _read(note)
        if one is None or not seen.isdisjoint(one.hashes) or one.vectors.shape[1] != (width or one.vectors.shape[1]):
            continue
        width = one.vectors.shape[1]
        seen.update(one.hashes)
        found.append(one)
    return found


def _read(note: Any) -> Arrived | None:
    if not isinstance(note, dict):
        return None
    hashes, encoded, tokens = note.get("hashes"), note.get("vectors"), note.get("tokens")
    if not isinstance(hashes, list) or not all(isinstance(one, str) and _HASH.fullmatch(one) for one in hashes):
        return None
    if len(set(hashes)) != len(hashes) or type(tokens) is not int or not 0 <= tokens < _MOST_TOKENS:
        return None
    if not isinstance(encoded, str):
        return None
    try:
        numbers = np.frombuffer(base64.b64decode(encoded, validate=True), dtype="<f4")
    except ValueError:
        return None
    if not hashes or not len(numbers) or len(numbers) % len(hashes) or not np.isfinite(numbers).all():
        return None
    return Arrived(hashes, numbers.reshape(len(hashes), -1), tokens)
