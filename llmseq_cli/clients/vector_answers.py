"""Extract vectors from answers of OpenAI's embeddings endpoint and Vertex AI's."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from llmseq_cli.clients.answers import Answer, Entries, Object, Typed, fitting, token_count
from llmseq_cli.clients.errors import BadAnswerError


@dataclass(frozen=True)
class FoundVectors:
    """The valid part of an answer.

    places: positions of the texts that have a vector, int64[n], ascending. vectors: float32[n, dim], finite, dim above
    0.
    tokens: of the whole answer, None if unknown. wrong: what is wrong with the rest, None if every text has a vector.
    not_finite: whether the problem is numbers that are not finite.
    """

    places: np.ndarray
    vectors: np.ndarray
    tokens: int | None
    wrong: str | None = None
    not_finite: bool = False


class _Embedding(Typed):
    embedding: Any
    index: Any = None


class _OpenAIVectors(Typed):
    data: list[Any]
    usage: Object


class _Values(Typed):
    values: list[Any]
    statistics: Object


class _Prediction(Typed):
    embeddings: _Values


class _Predictions(Typed):
    predictions: Entries


class _OneEmbedding(Typed):
    embedding: _Values
    usageMetadata: Object  # noqa: N815 as it is called there


def openai_vectors(answer: Answer, n_texts: int, width: int | None) -> FoundVectors:
    """The vectors of an answer of the embeddings endpoint; see `openai_vectors_in`."""
    return _sound(answer, openai_vectors_in(answer.document(), n_texts, width))


def openai_vectors_in(document: Any, n_texts: int, width: int | None) -> FoundVectors:
    """The vectors of a document of the embeddings endpoint, matched to the texts by `index`, or by order if there is
    none. width: required width; None accepts any width that all vectors share.
    """
    found = fitting(_OpenAIVectors, document)
    if found is None:
        return _nothing(None, "holds no vectors")
    tokens = token_count(found.usage.get("total_tokens"))
    if tokens is None:
        tokens = token_count(found.usage.get("prompt_tokens"))
    entries = [fitting(_Embedding, entry) for entry in found.data]
    given = [None if entry is None else entry.index for entry in entries]
    in_order = all(index is None for index in given)
    count = None if len(entries) == n_texts else f"holds {len(entries):,} vectors for {n_texts:,} texts"
    if in_order and count:
        return _nothing(tokens, count)
    rows: list[Any] = [None] * n_texts
    taken: set[int] = set()
    for place, entry in enumerate(entries):
        index = place if in_order or given[place] is None else given[place]
        if entry is None or isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < n_texts:
            count = count or "has a vector for no text"
            continue
        if index in taken:  # which text does it belong to?
            rows[index], count = None, count or f"has a vector whose index {index} comes twice"
            continue
        taken.add(index)
        rows[index] = _numbers(entry.embedding)
    return _matched(rows, tokens, width, count)


def vertex_vectors(answer: Answer, n_texts: int, width: int | None) -> FoundVectors:
    """The vectors of an answer of `:predict` or `:embedContent`, in the order of the texts."""
    document = answer.document() if answer.content.strip() else {}
    alone = fitting(_OneEmbedding, document)
    if alone is not None:
        entries: list[_Values | None] = [alone.embedding]
        tokens = token_count(alone.usageMetadata.get("promptTokenCount"))
    else:
        predicted = fitting(_Predictions, document)
        predictions = [fitting(_Prediction, entry) for entry in (predicted.predictions if predicted else ())]
        entries = [None if one is None else one.embeddings for one in predictions]
        counts = [None if entry is None else token_count(entry.statistics.get("token_count")) for entry in entries]
        told = [count for count in counts if count is not None]
        tokens = sum(told) if told and len(told) == len(counts) else None
    if len(entries) != n_texts:
        return _sound(answer, _nothing(tokens, f"holds {len(entries):,} vectors for {n_texts:,} texts"))
    rows = [None if entry is None else _numbers(entry.values) for entry in entries]
    return _sound(answer, _matched(rows, tokens, width, None))


def _numbers(value: Any) -> np.ndarray | None:
    """A vector as float64[dim] from a list of numbers or OpenAI's base64 of float32, None if it is neither."""
    if isinstance(value, str):
        try:
            return np.frombuffer(base64.b64decode(value, validate=True), dtype="<f4").astype(np.float64)
        except (binascii.Error, ValueError):
            return None
    if not isinstance(value, list) or not set(map(type, value)) <= {int, float}:
        return None
    try:
        return np.array(value, dtype=np.float64)
    except (OverflowError, ValueError):
        return None


def _matched(
    rows: Sequence[np.ndarray | None], tokens: int | None, width: int | None, count: str | None
) -> FoundVectors:
    """Select the valid rows. count: what is wrong with their number, reported first."""
    widths = {len(row) for row in rows if row is not None and len(row)}
    if width is None and len(widths) > 1:
        return _nothing(tokens, f"has vectors of widths {min(widths):,} to {max(widths):,}")
    expected = width or next(iter(widths), 0)
    wrong, not_finite = count, False
    places, vectors = [], []
    for place, row in enumerate(rows):
        if row is None:
            wrong = wrong or "lacks a vector that makes sense"
        elif len(row) != expected or not expected:
            wrong = wrong or f"has vectors of width {len(row):,} where {expected or 'more than 0'} belong"
        elif not np.isfinite(single := _single(row)).all():
            not_finite = not_finite or wrong is None
            wrong = wrong or "has vectors with numbers that are not finite"
        else:
            places.append(place)
            vectors.append(single)
    stacked = np.stack(vectors) if vectors else np.zeros((0, expected), dtype=np.float32)
    return FoundVectors(np.array(places, dtype=np.int64), stacked, tokens, wrong, not_finite)


def _single(row: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return row.astype(np.float32)


def _nothing(tokens: int | None, wrong: str) -> FoundVectors:
    return FoundVectors(np.zeros(0, dtype=np.int64), np.zeros((0, 0), dtype=np.float32), tokens, wrong)


def _sound(answer: Answer, found: FoundVectors) -> FoundVectors:
    """Raises BadAnswerError, with the valid part, if a text has no vector."""
    if found.wrong is None:
        return found
    error: BadAnswerError = answer.wrong(found.wrong, refuses=found.not_finite)
    error.tokens = found.tokens
    error.part = found if len(found.places) else None
    raise error
