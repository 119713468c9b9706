"""Models of OpenAI that think before they answer are told not to, unless the user says how much."""

from __future__ import annotations

import pytest
from support.chat_server import MODEL, error

from llmseq_cli.clients.errors import FinalError
from llmseq_cli.language_model.messages import ChatRequest
from llmseq_cli.providers.openai import OpenAIProvider, OpenAITuning


def asked(server, provider, model):
    server.models.add(model)
    provider.complete(ChatRequest(model, "", "what next?", 1, 0.5, 1.0, 30))
    return server.bodies[-1][1]


@pytest.mark.parametrize(
    ("model", "own", "reasoning", "effort", "room"),
    [
        ("gpt-6-luna", True, None, "none", 30),
        ("o3", True, None, "none", 30),
        ("gpt-6-luna", True, "low", "low", 30 + 8192),
        ("gpt-4o", True, None, None, 30),
        ("gpt-6-luna", False, None, None, 30),  # a server that may call anything so
        (MODEL, False, "high", "high", 30 + 8192),
    ],
)
def test_how_much_a_model_is_told_to_think(server, model, own, reasoning, effort, room):
    provider = OpenAIProvider(server.url, OpenAITuning(reasoning=reasoning))
    provider.client.is_openai = own
    provider._limit_name = server.wants
    body = asked(server, provider, model)
    assert (body.get("reasoning_effort"), body["max_tokens"]) == (effort, room)
    provider._model = model
    assert provider.asking_settings() == ({} if effort is None else {"reasoning": effort})


def test_a_model_that_takes_another_value_says_so(server):
    provider = OpenAIProvider(server.url, OpenAITuning(reasoning="minimal"))
    server.script = [(400, error("Unsupported value: 'minimal'", "unsupported_value", "reasoning_effort"))]
    with pytest.raises(FinalError, match="Unsupported value") as caught:
        asked(server, provider, MODEL)
    assert "--set reasoning=" in caught.value.hint
