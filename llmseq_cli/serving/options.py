"""Options of `serve`, and limits of requests."""

from __future__ import annotations

from dataclasses import dataclass

TOKEN = "LLMSEQ_SERVE_TOKEN"
"""The environment variable with the token that requests must contain."""

MOST_SESSIONS = 256  # per request
MOST_ITEMS = 1000  # per session
MOST_RECOMMENDATIONS = 1000  # per list
MOST_BYTES = 2**20  # in a request's body
MOST_WAITING = 2048  # sessions waiting in a worker; further requests are refused


@dataclass(frozen=True)
class ServeOptions:
    """runs: runs, models or bundles, as for `recommend`; the first is the default. dataset: of the runs. fallback: the
    run that answers if another has nothing to recommend.
    host, port: where the service listens; port 0 takes any free one. rate_limit: requests per second, over all workers.
    """

    runs: tuple[str, ...]
    dataset: str | None = None
    fallback: str | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    rate_limit: float = 1000.0
