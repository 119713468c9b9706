"""The lexical source: TF-IDF of words and character n-grams. No network, no key, the same on every machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from llmseq_cli.errors import LlmseqError, UsageError
from llmseq_cli.settings import Settings, setting

if TYPE_CHECKING:
    from scipy.sparse import csr_array


@dataclass(frozen=True)
class LexicalSettings(Settings):
    """Defaults: the best of those tried by NDCG@20 of LLMSeqSim over three temporal folds of the training sessions of
    Amazon Beauty. words=1 min_characters=4 has half as many terms and is hardly worse.
    """

    words: int = setting(2, "longest run of words that is a term; 0 uses no words", low=0, high=5)
    characters: int = setting(4, "longest run of characters within a word that is a term; 0 uses none", low=0, high=8)
    min_characters: int = setting(3, "shortest run of characters that is a term", low=1, high=8)
    character_weight: float = setting(1.0, "weight of the characters' part beside the words' part of 1", low=0)
    min_df: int = setting(1, "terms in fewer texts than this are left out", low=1)
    sublinear: bool = setting(True, "count a term as 1 + ln(times) instead of its times")


def embed_texts(
    texts: list[str], settings: LexicalSettings, dimensions: int | None = None, seed: int = 0
) -> csr_array | np.ndarray:
    """L2-normalised vectors of the texts: sparse float32[len(texts), n_terms], or dense [len(texts), dimensions].

    Dense vectors are made by truncated SVD of the sparse ones. An empty text gets the zero vector.
    Raises UsageError where the settings leave neither words nor characters, LlmseqError where no term is left in the
    texts, or there are fewer terms or texts than `dimensions`.
    """
    from scipy.sparse import csr_array, hstack
    from sklearn.preprocessing import normalize

    parts = []
    if settings.words:
        parts.append(_tfidf(texts, settings, analyzer="word", shortest=1, longest=settings.words))
    if settings.characters and settings.character_weight:
        shortest = min(settings.min_characters, settings.characters)
        part = _tfidf(texts, settings, analyzer="char_wb", shortest=shortest, longest=settings.characters)
        parts.append(part * settings.character_weight)
    if not parts:
        raise UsageError(
            "the lexical source has neither words nor characters to work with", "set words=2 or characters=4"
        )
    vectors = csr_array(normalize(hstack(parts, format="csr"), copy=False), dtype=np.float32)
    if dimensions is None:
        return vectors
    return _truncated_svd(vectors, dimensions, seed)


def _tfidf(texts: list[str], settings: LexicalSettings, *, analyzer: str, shortest: int, longest: int) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(
        analyzer=analyzer,
        ngram_range=(shortest, longest),
        # Single letters and digits count: in titles they are sizes and shades.
        token_pattern=r"(?u)\b\w+\b" if analyzer == "word" else None,
        min_df=settings.min_df,
        sublinear_tf=settings.sublinear,
        dtype=np.float32,
    )
    try:
        return vectorizer.fit_transform(texts)
    except ValueError as error:  # scikit-learn's word for a vocabulary that is empty
        raise LlmseqError("no term is left in the texts", "check --text, or set min_df=1") from error


def _truncated_svd(vectors: csr_array, dimensions: int, seed: int) -> np.ndarray:
    from sklearn.decomposition import TruncatedSVD
    from sklearn.preprocessing import normalize

    most = min(vectors.shape) - 1
    if dimensions > most:
        raise LlmseqError(
            f"{dimensions} dimensions are more than {vectors.shape[0]:,} texts with {vectors.shape[1]:,} terms give",
            f"ask for at most {most}",
        )
    reduced = TruncatedSVD(dimensions, random_state=seed).fit_transform(vectors)
    return normalize(reduced, copy=False).astype(np.float32)
