"""Log-probabilities of words at the start of an answer, from those of the most likely first tokens."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

MOST_TOKENS = 20
"""The most that OpenAI and Google return."""
NO_LOG_PROBABILITIES = "choose another model, or --method listwise"
_BLANKS = " \t\r\n\u2581\u0120"  # including the marks that tokenizers use for a space before a word


def weigh_words(words: Sequence[str], told: Sequence[tuple[str, float]]) -> str:
    """A JSON list with a log-probability for each word, ignoring case; null if none of the words was returned.

    told: (token, log-probability) of the most likely first tokens. A word that is not among them is at most as likely
    as the least likely of these, so it gets that value.
    """
    sound = [(token.strip(_BLANKS).casefold(), value) for token, value in told if math.isfinite(value)]
    sums = [sum(math.exp(min(0.0, value)) for token, value in sound if token == word.casefold()) for word in words]
    if not any(sums):
        return json.dumps([None] * len(words))
    least = min(value for _, value in sound)
    return json.dumps([round(math.log(share) if share > 0 else least, 6) for share in sums])
