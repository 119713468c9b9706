"""Answers are on the disk as soon as they arrive: a kill does not lose what is not kept elsewhere yet."""

import base64
import json

import numpy as np
import pytest
from support.embedding_server import KEY, EmbeddingServer, vector_of
from support.embedding_steps import catalog, stored

from llmseq_cli.clients import in_flight
from llmseq_cli.clients.in_flight import InFlight
from llmseq_cli.embeddings.arrivals import arrival_note, read_arrivals
from llmseq_cli.embeddings.cache import text_hash

HASHES = [text_hash(text) for text in ("a", "b", "c")]
VECTORS = np.arange(6, dtype=np.float32).reshape(3, 2)
GOOD = arrival_note(HASHES, VECTORS, 7)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "requests" / "in-flight.jsonl"


def handed_over(file):
    found = []
    InFlight(file).hand_over(found.extend)
    return found


def test_what_arrived_and_is_not_kept_is_handed_over_once(file):
    with InFlight(file) as requests:
        for number in (1, 2, 3):
            requests.sent(number, f"question {number}")
        requests.arrived(1, "one")
        requests.arrived(2, {"a": "two"})
        requests.answered([1])
        assert InFlight(file).left() == ["question 3"]
    assert handed_over(file) == [{"a": "two"}]
    assert handed_over(file) == []
    assert InFlight(file).left() == ["question 3"]


def test_nothing_is_forgotten_where_keeping_fails(file):
    with InFlight(file) as requests:
        requests.sent(1, "question")
        requests.arrived(1, "answer")

    def fail(replies):
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        InFlight(file).hand_over(fail)
    assert handed_over(file) == ["answer"]
    assert not file.exists()


def test_a_large_file_loses_what_is_done_and_nothing_else(file, monkeypatch):
    monkeypatch.setattr(in_flight, "_LARGE", 2000)
    with InFlight(file) as requests:
        requests.sent(1, "lost at last")
    with InFlight(file) as requests:
        requests.sent(1, "never answered")
        requests.sent(2, "not kept")
        requests.arrived(2, "reply 2")
        for number in range(3, 200):
            requests.sent(number, "question")
            requests.arrived(number, "x" * 100)
            requests.answered([number])
            assert file.stat().st_size < 2500
        assert InFlight(file).left() == ["lost at last", "never answered"]
    assert handed_over(file) == ["reply 2"]


def test_a_disk_that_takes_half_a_line_costs_no_other(file, monkeypatch):
    with InFlight(file) as requests:
        requests.sent(1, "question 1")
        whole = requests._file.write

        class Full:
            """Takes ten bytes, then no more."""

            def __getattr__(self, name):
                return getattr(self.file, name)

            def write(self, line):
                if len(line) < 60:
                    raise OSError(28, "No space left on device")
                return whole(line[:10])

        monkeypatch.setattr(Full, "file", requests._file, raising=False)
        requests._file = Full()
        requests.arrived(1, "x" * 60)
        with pytest.raises(OSError, match="No space"):
            requests.sent(2, "question 2")
        requests._file = requests._file.file
        requests.sent(3, "question 3")
    assert InFlight(file).left() == ["question 1", "question 3"]


@pytest.mark.parametrize(
    "note",
    [
        None, 7, [], {}, GOOD | {"hashes": HASHES[:2] * 2}, GOOD | {"hashes": [*HASHES[:2], "../x"]},
        GOOD | {"hashes": [*HASHES[:2], 3]}, GOOD | {"tokens": 10**30}, GOOD | {"tokens": True}, GOOD | {"tokens": -1},
        GOOD | {"vectors": "AAAA"}, GOOD | {"vectors": "?"}, GOOD | {"vectors": ""}, GOOD | {"vectors": [1.0]},
        GOOD | {"vectors": base64.b64encode(np.full(6, np.nan, "<f4").tobytes()).decode()},
        arrival_note(HASHES, np.ones((3, 5), dtype=np.float32), 7),
    ],
)  # fmt: skip
def test_notes_that_cannot_be_used_are_left_out(note):
    note = json.loads(json.dumps(note))
    assert read_arrivals([note], width=2) == []
    [found] = read_arrivals([note, GOOD, GOOD], width=2)
    assert (found.hashes, found.tokens) == (HASHES, 7)
    assert (found.vectors == VECTORS).all()


def test_vectors_that_had_arrived_are_not_asked_for_again(llmseq, tmp_path, monkeypatch):
    """As after a kill between an answer and the store; notes that cannot be used cost their texts alone."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = EmbeddingServer(dimensions=4)
    workspace = catalog(tmp_path, [(f"title {place}", "") for place in range(20)])
    words = ["embed", "--source", "openai", "--base-url", server.url]
    server.forbidden = ("title 1",)  # title 10 to 19, too
    assert llmseq(*words, "--set", "texts_per_request=1", "--json").json["items_refused"] == 11
    server.forbidden = ()
    file = tmp_path / "workspace" / "artifacts" / "in-flight" / "embed-1.jsonl"
    with InFlight(file) as requests:
        for number, place in enumerate((10, 11, 2)):  # 2 is in the store already
            note = arrival_note([text_hash(f"title {place}")], vector_of(f"title {place}", 4)[None], 2)
            requests.sent(number, note["hashes"])
            requests.arrived(number, note)
        requests.sent(9, [text_hash("title 12")])
        requests.arrived(9, {"vectors": "nonsense"})
    made = llmseq(*words, "--retry-refused")
    server.stop()
    assert "2 texts had arrived when the last run ended; their vectors are stored" in made.err
    assert made.status == 0, made.err
    assert [server.paid[f"title {place}"] for place in (2, 10, 11, 12)] == [1, 0, 0, 1]
    titles, vectors = stored(workspace)
    assert all((vectors[place] == vector_of(title, 4)).all() for place, title in enumerate(titles))
    assert not file.exists()
