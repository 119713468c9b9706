"""Log-probabilities of words as an answer's beginning, from those of the likeliest first tokens."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

MOST_TOKENS = 20
"""OpenAI and Google tell no more."""
NO_LOG_PROBABILITIES = "choose another model, or --method listwise"
_BLANKS = " \t\r\n\u2581\u0120"  # as tokenizers write a blank before a word, too


def weigh_words(words: Sequence[str], told: Sequence[tuple[str, float]]) -> str:
    """A JSON list with a log-probability for each word, in whatever letters; null where none of the words was told.

    told: (token, log-probability) of the likeliest first tokens. A word that is not among them is at most as likely as
    the least likely of these, and taken to be so.
    """
    sound = [(token.strip(_BLANKS).casefold(), value) for token, value in told if math.isfinite(value)]
    sums = [sum(math.exp(min(0.0, value)) for token, value in sound if token == word.casefold()) for word in words]
    if not any(sums):
        return json.dumps([None] * len(words))
    least = min(value for _, value in sound)
    return json.dumps([round(math.log(share) if share > 0 else least, 6) for share in sums])
