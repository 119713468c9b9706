"""What can be said of sending requests to a service."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class SendingOptions:
    """At which pace and cost requests are sent.

    concurrency: requests to have open at a time. requests_per_minute, tokens_per_minute: None takes what the server
    says it allows. max_cost: in US dollars. prices: a TOML file. retry_refused: send again what the server refused.
    yes: go on with a model that is shut down.
    """

    concurrency: int = 8
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    max_cost: float | None = None
    prices: str | None = None
    retry_refused: bool = False
    yes: bool = False
