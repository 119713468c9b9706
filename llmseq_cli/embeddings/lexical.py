"""The lexical source: TF-IDF of words and character n-grams. It needs no network and no key, and is the same on every
machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from llmseq_cli.errors import LlmseqError, UsageError
from llmseq_cli.settings import Settings, setting

if TYPE_CHECKING:
    from scipy.sparse import csr_array
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer


@dataclass(frozen=True)
class LexicalSettings(Settings):
    """The defaults had the best NDCG@20 with LLMSeqSim over three temporal folds of Amazon Beauty's training sessions.
    words=1 min_characters=4 has half as many terms and is hardly worse.
    """

    words: int = setting(2, "longest sequence of words used as a term; 0 uses no words", low=0, high=5)
    characters: int = setting(4, "longest sequence of characters in a word used as a term; 0 uses none", low=0, high=8)
    min_characters: int = setting(3, "shortest sequence of characters used as a term", low=1, high=8)
    character_weight: float = setting(1.0, "weight of the characters' part; the words' part has 1", low=0)
    min_df: int = setting(1, "leave out terms that occur in fewer texts than this", low=1)
    sublinear: bool = setting(True, "count a term as 1 + ln(occurrences) instead of its occurrences")


def embed_texts(
    texts: list[str], settings: LexicalSettings, dimensions: int | None = None, seed: int = 0
) -> csr_array | np.ndarray:
    """L2-normalised vectors of the texts: sparse float32[len(texts), n_terms], or dense [len(texts), dimensions].

    Dense vectors are a truncated SVD of the sparse ones. An empty text gets the zero vector. Raises UsageError if the
    settings use neither words nor characters, LlmseqError if no term is left in the texts, or there are fewer terms or
    texts than `dimensions`.
    """
    return LexicalVectors(texts, settings, dimensions, seed).vectors


class LexicalVectors:
    """Vectors of texts, and of further texts in the same space; arguments and errors as for `embed_texts`.

    vectors: of the texts that define the terms and their weights.
    """

    def __init__(
        self, texts: list[str], settings: LexicalSettings, dimensions: int | None = None, seed: int = 0
    ) -> None:
        self._parts: list[tuple[TfidfVectorizer, float]] = []
        self._svd: TruncatedSVD | None = None
        made = []
        for analyzer, shortest, longest, weight in _analyzers(settings):
            vectorizer = _vectorizer(settings, analyzer, shortest, longest)
            try:
                made.append(vectorizer.fit_transform(texts) * weight)
            except ValueError as error:  # scikit-learn's error for an empty vocabulary
                raise LlmseqError("no term is left in the texts", "check --text, or set min_df=1") from error
            self._parts.append((vectorizer, weight))
        sparse = _joined(made)
        self.vectors: csr_array | np.ndarray = sparse
        if dimensions is not None:
            self._svd = _truncated_svd(sparse, dimensions, seed)
            self.vectors = self._reduced(sparse)

    def of(self, texts: list[str]) -> csr_array | np.ndarray:
        """Vectors of further texts; a text without any known term gets the zero vector."""
        sparse = _joined([vectorizer.transform(texts) * weight for vectorizer, weight in self._parts])
        return sparse if self._svd is None else self._reduced(sparse)

    def _reduced(self, sparse: csr_array) -> np.ndarray:
        from sklearn.preprocessing import normalize

        assert self._svd is not None
        reduced: np.ndarray = normalize(self._svd.transform(sparse), copy=False).astype(np.float32)
        return reduced


def _analyzers(settings: LexicalSettings) -> list[tuple[str, int, int, float]]:
    """(analyzer, shortest, longest n-gram, weight) of each part of a vector."""
    parts = []
    if settings.words:
        parts.append(("word", 1, settings.words, 1.0))
    if settings.characters and settings.character_weight:
        shortest = min(settings.min_characters, settings.characters)
        parts.append(("char_wb", shortest, settings.characters, settings.character_weight))
    if not parts:
        raise UsageError("the lexical source uses neither words nor characters", "set words=2 or characters=4")
    return parts


def _joined(parts: list[Any]) -> csr_array:
    from scipy.sparse import csr_array, hstack
    from sklearn.preprocessing import normalize

    return csr_array(normalize(hstack(parts, format="csr"), copy=False), dtype=np.float32)


def _vectorizer(settings: LexicalSettings, analyzer: str, shortest: int, longest: int) -> TfidfVectorizer:
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(
        analyzer=analyzer,
        ngram_range=(shortest, longest),
        # Single letters and digits are terms: in titles they are sizes and shades.
        token_pattern=r"(?u)\b\w+\b" if analyzer == "word" else None,
        min_df=settings.min_df,
        sublinear_tf=settings.sublinear,
        dtype=np.float32,
    )


def _truncated_svd(vectors: csr_array, dimensions: int, seed: int) -> TruncatedSVD:
    from sklearn.decomposition import TruncatedSVD

    most = min(vectors.shape) - 1
    if dimensions > most:
        raise LlmseqError(
            f"{dimensions} dimensions are more than {vectors.shape[0]:,} texts with {vectors.shape[1]:,} terms allow",
            f"ask for at most {most}",
        )
    return TruncatedSVD(dimensions, random_state=seed).fit(vectors)
