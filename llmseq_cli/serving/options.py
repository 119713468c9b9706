"""What `serve` takes, and the limits of what it answers."""

from __future__ import annotations

from dataclasses import dataclass

TOKEN = "LLMSEQ_SERVE_TOKEN"
"""The environment variable with the token that requests must bring."""

MOST_SESSIONS = 256  # of a request
MOST_ITEMS = 1000  # of a session
MOST_RECOMMENDATIONS = 1000  # of a list
MOST_BYTES = 2**20  # of a request's body
MOST_WAITING = 2048  # sessions that wait in a worker; a request that comes on top is turned away


@dataclass(frozen=True)
class ServeOptions:
    """runs: runs, models or bundles as `recommend` takes them; the first answers where a request names none.
    dataset: of the runs. fallback: the run that answers where another has nothing to recommend.
    host, port: where the service listens; port 0 takes any free one. rate_limit: requests a second, of all workers.
    """

    runs: tuple[str, ...]
    dataset: str | None = None
    fallback: str | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    rate_limit: float = 1000.0
