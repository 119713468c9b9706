"""Upper estimates of token counts, for services whose tokenizer is not available."""

from __future__ import annotations

import re

import numpy as np

_LETTERS_PER_TOKEN = 3


class TokenEstimate:
    """Counts one token for every three characters (rounded up) of an ASCII piece, and the UTF-8 bytes of any other
    character.

    piece: matches one piece: a word, a number, a symbol.
    """

    def __init__(self, piece: str) -> None:
        self._piece = re.compile(piece)

    def count(self, texts: list[str]) -> np.ndarray:
        """Tokens of each text, int64[n_texts]."""
        counts = (sum(map(_tokens, self._piece.findall(text))) for text in texts)
        return np.fromiter(counts, dtype=np.int64, count=len(texts))

    def cut(self, text: str, tokens: int) -> str:
        """The longest prefix of the text with at most this many tokens."""
        left, end = tokens, 0
        for match in self._piece.finditer(text):
            piece = match.group()
            needed = _tokens(piece)
            if needed > left:
                return text[: match.start() + left * _LETTERS_PER_TOKEN] if piece.isascii() and left else text[:end]
            left -= needed
            end = match.end()
        return text


def _tokens(piece: str) -> int:
    if piece.isascii():
        return -(-len(piece) // _LETTERS_PER_TOKEN)
    return len(piece.encode("utf-8", "surrogatepass"))
