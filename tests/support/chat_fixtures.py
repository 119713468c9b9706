"""A loopback server for every test of prompting that asks for one, and a shop whose llmseqsim run makes candidates."""

import pytest
from support.chat_server import KEY, MODEL, ChatServer

from llmseq_cli import EmbedOptions, TrainOptions
from llmseq_cli.finetuning import jobs

PRICES = f"""["openai:{MODEL.removesuffix("-2026-09-22")}"]
training = 5.00
input = 0.40
output = 1.60
tuned_input = 0.80
tuned_output = 3.20
"""


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(jobs, "_POLL_SECONDS", 0.01)
    prices = tmp_path / "prices of the tests.toml"
    prices.write_text(PRICES)
    monkeypatch.setenv("LLMSEQ_PRICES", str(prices))
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
