"""Options for sending requests to a service."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class SendingOptions:
    """Limits on the rate and cost of requests.

    concurrency: requests in flight at a time. requests_per_minute, tokens_per_minute: None uses the server's own
    limits. max_cost: in US dollars. prices: a TOML file. retry_refused: resend what the server refused.
    yes: continue with a model that is being shut down.
    """

    concurrency: int = 8
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    max_cost: float | None = None
    prices: str | None = None
    retry_refused: bool = False
    yes: bool = False
