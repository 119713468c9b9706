"""Log-probabilities of Yes and No out of what servers tell of the likeliest first tokens."""

import json
import math

import pytest

from llmseq_cli.clients.answers import Answer
from llmseq_cli.clients.log_probabilities import weigh_words
from llmseq_cli.clients.openai_answers import openai_chat
from llmseq_cli.clients.vertex_answers import vertex_chat


def answer(document):
    return Answer("a server", json.dumps(document).encode(), lambda text, *_: text)


@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        ([("Yes", -0.5), ("No", -1.0)], [-0.5, -1.0]),
        ([(" yes", -1.0), ("YES", -1.0), ("\u2581No", -2.0), ("\u0120no", -3.0)],
         [math.log(2 * math.exp(-1)), math.log(math.exp(-2) + math.exp(-3))]),
        ([("Yes", -0.1), ("Maybe", -4.0)], [-0.1, -4.0]),
        ([("Maybe", -0.1), ("Well", -3.0)], [None, None]),
        ([("Yes", float("nan")), ("No", -1.0)], [-1.0, -1.0]),
        ([("Yes", 0.0), ("No", -9999.0)], [0.0, -9999.0]),
        ([], [None, None]),
    ],
)  # fmt: skip
def test_words_in_whatever_letters(told, wanted):
    found = json.loads(weigh_words(("Yes", "No"), told))
    for value, expected in zip(found, wanted, strict=True):
        assert value == (None if expected is None else pytest.approx(expected, abs=1e-5))


def test_what_servers_tell_is_read_entry_by_entry():
    entries = [{"token": "Yes", "logprob": -1, "bytes": None}, {"token": 7, "logprob": -1.0}, "x"]
    choice = {"message": {"content": "Yes"}, "logprobs": {"content": [{"token": "Yes", "top_logprobs": entries}]}}
    assert openai_chat(answer({"choices": [choice]}), "").first_tokens == [("Yes", -1.0)]
    for odd in (None, {}, {"content": []}, {"content": [None]}, {"content": [{"top_logprobs": None}]}, "x"):
        assert openai_chat(answer({"choices": [choice | {"logprobs": odd}]}), "").first_tokens == []
    tokens = [{"token": "Yes", "logProbability": -0.5, "tokenId": 3}, {"token": "No"}]
    candidate = {"content": {"parts": [{"text": "Yes"}]}, "logprobsResult": {"topCandidates": [{"candidates": tokens}]}}
    assert vertex_chat(answer({"candidates": [candidate]}), "").first_tokens == [("Yes", -0.5)]
    for odd in (None, {}, {"topCandidates": [{}]}, {"topCandidates": 3}):
        assert vertex_chat(answer({"candidates": [candidate | {"logprobsResult": odd}]}), "").first_tokens == []
