"""What tests that fetch vectors share: a short patience, texts, and a keeper of what comes."""

from __future__ import annotations

import numpy as np
from support.embedding_server import vector_of
from support.file_server import Recorder

from llmseq_cli.clients.retries import Patience
from llmseq_cli.embeddings.fetch import FetchOptions, fetch

QUICK = Patience(attempts=6, seconds=0, first_wait=0.001, largest_wait=0.01)


OPTIONS = FetchOptions(patience=QUICK)


TEXTS = [f"title number {place} of things" for place in range(500)]


WORDS = np.full(500, 5)


class Kept:
    """What `keep` was given, by place."""

    def __init__(self):
        self.vectors, self.calls = {}, 0

    def __call__(self, fetched):
        self.calls += 1
        for one in fetched:
            for place, vector in zip(one.places, one.vectors, strict=True):
                assert place not in self.vectors
                self.vectors[int(place)] = vector

    def check(self, texts, dimensions=4):
        for place, vector in self.vectors.items():
            assert np.array_equal(vector, vector_of(texts[place], dimensions))


def get(source, texts=TEXTS, options=OPTIONS):
    kept, progress = Kept(), Recorder()
    usage = fetch(source, texts, source.count_tokens(texts), kept, options, progress)
    return kept, usage, progress
