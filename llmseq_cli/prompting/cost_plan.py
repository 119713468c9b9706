"""Estimate the cost of asking: requests, tokens, US dollars, minutes."""

from __future__ import annotations

from typing import Any

import numpy as np

from llmseq_cli.prompting.options import AskingOptions
from llmseq_cli.prompting.whom import Whom

_SECONDS_PER_REQUEST = 2.0
"""Assumed duration of a request."""


def cost_plan(
    whom: Whom, options: AskingOptions, requests: int, answers: int, prompt_tokens: int, completion_tokens: int
) -> dict[str, Any]:
    """Figures of a plan; cost_usd is None if no price is known, minutes for a model on this machine."""
    prices = [whom.price(kind, options.prices) for kind in ("input", "output")]
    cost = None
    if prices[0] is not None and prices[1] is not None:
        cost = prompt_tokens * prices[0] + completion_tokens * prices[1]
    retired = whom.provider.retirement(whom.model, ask=False)
    limits, tokens = whom.provider.limits, prompt_tokens + completion_tokens
    minutes = max(
        requests * _SECONDS_PER_REQUEST / options.concurrency / 60,
        requests / (options.requests_per_minute or limits.requests_per_minute or np.inf),
        tokens / (options.tokens_per_minute or limits.tokens_per_minute or np.inf),
    )
    return {
        "requests": requests,
        "answers": answers,
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "tokens": tokens,
        "cost_usd": cost,
        "minutes": float(minutes) if whom.provider.remote else None,
        "retirement": retired and retired.to_dict(),
    }
