"""A loopback server for every test of prompting that asks for one, and a shop whose llmseqsim run makes candidates."""

import pytest
from support.chat_server import KEY, ChatServer

from llmseq_cli import EmbedOptions, TrainOptions
from llmseq_cli.finetuning import jobs


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(jobs, "_POLL_SECONDS", 0.01)
    server = ChatServer()
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    yield server
    server.stop()


@pytest.fixture
def ready(shop, prepared):
    """The shop with lexical embeddings and a run of llmseqsim."""

    def build(workspace):
        workspace.embed(EmbedOptions("lexical"))
        workspace.train(TrainOptions("llmseqsim", embeddings="lexical"))

    return prepared(shop, "text-run", build)
