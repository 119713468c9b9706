"""Embedding against a loopback server of 200 ms latency: the part reached of what concurrency or the rate limit allows,
and what each text costs on our side.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from pathlib import Path

import numpy as np

_LATENCY = 0.2
_SERVER = """
import sys, time
from embedding_server import EmbeddingServer
server = EmbeddingServer(int(sys.argv[1]))
server.latency, server.requests_per_minute = float(sys.argv[2]), float(sys.argv[3]) or None
server.tell_limits = {"x-ratelimit-limit-requests": sys.argv[3]} if float(sys.argv[3]) else {}
import embedding_server
fixed = embedding_server.vector_of("x", int(sys.argv[1]))
embedding_server.vector_of = lambda text, dimensions: fixed  # the server's own work shall not be measured
print(server.url, flush=True)
time.sleep(600)
"""


def run(options: Namespace) -> None:
    os.environ["NO_PROXY"] = "127.0.0.1"
    os.environ["OPENAI_API_KEY"] = "sk-test-4f1bQz8h1vYh0Lw6"
    for dimensions, texts_per_request, concurrency, n_requests in ((64, 50, 8, 200), (1536, 50, 8, 200)):
        seconds, _ = _fetch(dimensions, texts_per_request, concurrency, n_requests, 0)
        allowed = concurrency / _LATENCY
        _tell(
            f"{dimensions} numbers, {texts_per_request} texts a request, {concurrency} at a time",
            n_requests / seconds,
            allowed,
        )
    seconds, _ = _fetch(64, 50, 16, 240, 1200)
    _tell("64 numbers, 50 texts a request, limit of 1,200 requests a minute told by the server", 240 / seconds, 20)
    for dimensions in (64, 1536):
        _, cpu = _fetch(dimensions, 500, 8, 20, 0)
        print(f"{dimensions} numbers: {1e6 * cpu / 10_000:.0f} µs of processor a text, client and cache together")
    _own_cost()


def _tell(what: str, per_second: float, allowed: float) -> None:
    print(f"{what}: {per_second:.1f} requests/s of {allowed:.1f} ({per_second / allowed:.0%})")


def _fetch(
    dimensions: int, texts_per_request: int, concurrency: int, n_requests: int, limit: float
) -> tuple[float, float]:
    """Wall-clock seconds and our process's processor seconds to fetch and keep the texts of so many requests."""
    from llmseq_cli.embeddings.cache import TextVectorCache, text_hash
    from llmseq_cli.embeddings.fetch import FetchOptions, fetch
    from llmseq_cli.embeddings.sources.openai import OpenAISettings, OpenAISource
    from llmseq_cli.progress import SilentProgress
    from llmseq_cli.store.connection import Store

    command = [sys.executable, "-c", _SERVER, str(dimensions), str(_LATENCY), str(limit)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert server.stdout is not None
    url = server.stdout.readline().strip()
    texts = [f"A product of some brand, number {place}" for place in range(n_requests * texts_per_request)]
    hashes = [text_hash(text) for text in texts]
    try:
        with tempfile.TemporaryDirectory() as folder, Store(Path(folder)).write("measuring") as con:
            source = OpenAISource(base_url=url, settings=OpenAISettings(texts_per_request=texts_per_request))
            source.embed(texts[:1])  # imports and the first connection
            cache = TextVectorCache(con, source)

            def keep(answers: list) -> None:
                places = np.concatenate([one.places for one in answers])
                vectors = np.concatenate([one.vectors for one in answers])
                cache.keep(
                    1, [hashes[place] for place in places], vectors, [(len(one.places), 1, None) for one in answers]
                )

            wall, cpu = time.perf_counter(), time.process_time()
            usage = fetch(source, texts, source.count_tokens(texts), keep, FetchOptions(concurrency), SilentProgress())
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            assert usage.texts == len(texts)
            return wall, cpu
    finally:
        server.kill()
        server.wait()


def _own_cost() -> None:
    """What each step costs by itself."""
    from llmseq_cli.embeddings.cache import TextVectorCache, text_hash
    from llmseq_cli.embeddings.sources.openai import OpenAISource
    from llmseq_cli.store.connection import Store

    source = OpenAISource()
    texts = [
        f"Brand {place} Long Lasting Moisturizing Shampoo for Dry Hair, 12.5 oz (Pack of 2)" for place in range(10_000)
    ]
    clock = time.perf_counter()
    source.count_tokens(texts)
    counted = time.perf_counter()
    hashes = [text_hash(text) for text in texts]
    hashed = time.perf_counter()
    print(f"counting tokens {1e2 * (counted - clock):.1f}, hashing {1e2 * (hashed - counted):.1f} µs a text")
    for dimensions in (64, 1536):
        vectors = np.random.default_rng(0).standard_normal((10_000, dimensions), dtype=np.float32)
        for n in (50, 2000):
            with tempfile.TemporaryDirectory() as folder, Store(Path(folder)).write("measuring") as con:
                cache = TextVectorCache(con, source)
                cache.register()
                clock = time.perf_counter()
                for start in range(0, 2000 if n == 50 else 10_000, n):
                    cache.keep(1, hashes[start : start + n], vectors[start : start + n], [(n, 1, None)])
                seconds = time.perf_counter() - clock
                print(f"keeping {dimensions} numbers, {n} texts at a time: {1e6 * seconds / (start + n):.0f} µs a text")
