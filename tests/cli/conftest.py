"""A workspace with runs, for tests of commands that show or use some."""

from __future__ import annotations

import pytest


@pytest.fixture
def trained(shop, llmseq, prepared):
    """The shop with lexical embeddings and two runs."""

    def build(_):
        assert llmseq("embed").status == 0
        assert llmseq("train", "v-sknn", "--set", "k=20").status == 0
        assert llmseq("train", "llmseqsim", "--embeddings", "lexical").status == 0

    return prepared(shop, "neighbours-and-text", build)
