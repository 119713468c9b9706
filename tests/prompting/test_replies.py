"""Stored answers, in the journal and in the store: whatever is wrong with one is set aside, told, and asked again."""

import json

import pytest
from support.file_server import Recorder
from support.prompting_steps import BASE, clairvoyant, dataset_of, prompt, rows

from llmseq_cli.clients.in_flight import InFlight
from llmseq_cli.prompting.asking import Answered, Question
from llmseq_cli.prompting.replies import ReplyStore
from llmseq_cli.providers.provider import ChatRequest
from llmseq_cli.workspace import Workspace


def entry(session=1, first=0, n=1, **other):
    return {
        "session_id": session,
        "prompt_hash": "h",
        "first": first,
        "texts": [f"answer {place}" for place in range(n)],
        "finishes": ["stop"] * n,
        "prompt_tokens": 5,
        "completion_tokens": 3,
        "cost_usd": None,
    } | other


@pytest.fixture
def replies(tmp_path, prepared):
    def build(workspace):
        with workspace.store.write("testing"):
            pass

    return ReplyStore(prepared(Workspace(tmp_path / "workspace"), "empty", build).store, 1, {"model": "m"})


def taken_over(replies, lines):
    """(counts by session, what was told) after the journal with these lines was opened."""
    replies.journal.path.parent.mkdir(parents=True, exist_ok=True)
    content = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    replies.journal.path.write_bytes(b"\n".join(content))
    progress = Recorder()
    with replies.opened(progress):
        pass
    return {session: count for (session, _), count in replies.counts().items()}, progress.messages


WRONG = {
    "prompt_tokens": [10**30, -1, 1.5, "7", None, True, [1]],
    "completion_tokens": [10**30, -(10**20), float("nan"), {}],
    "cost_usd": [-1, float("nan"), float("inf"), "1", True, 10**400],
    "session_id": [-1, 2**31, "1", None, 1.0],
    "first": [-1, 2**15, 10**30, None, "0"],
    "texts": [[], "answer", None, [1], [None], {}, ["\ud800"], ["a\0b"]],
    "finishes": [[], ["stop", "stop"], None, [1], "stop"],
    "prompt_hash": [None, 1, ["h"], "\ud800"],
}


WRONG_VALUES = [(name, value) for name, values in WRONG.items() for value in values]


@pytest.mark.parametrize(("name", "value"), WRONG_VALUES, ids=lambda part: repr(part)[:12])
def test_a_wrong_value_is_set_aside_and_the_rest_is_kept(replies, name, value):
    counts, told = taken_over(replies, [entry(1), entry(2, **{name: value}), entry(3, n=2)])
    assert counts == {1: 1, 3: 2}
    assert told == ["1 stored answers cannot be used and were set aside; they are asked again"]


LINES = [b'{"session_id": 1, "prompt_ha', b"\xff\xfe\x00", b"[" * 100_000, b"null", b"7", b"[1]", b"{}", b"1" * 5000]


@pytest.mark.parametrize("line", LINES, ids=lambda line: repr(line[:12]))
def test_a_line_that_is_no_entry_is_set_aside(replies, line):
    counts, told = taken_over(replies, [entry(1), line, entry(3)])
    assert (counts, len(told)) == ({1: 1, 3: 1}, 1)


def test_each_sample_once_and_none_behind_a_gap(replies):
    counts, _ = taken_over(
        replies, [entry(1, 0, 2), entry(1, 0, 2), entry(1, 2), entry(2, 1), entry(3, 1), entry(3, 0)]
    )
    assert counts == {1: 3, 3: 2}
    counts, told = taken_over(replies, [entry(1, 2), entry(1, 3)])
    assert (counts, told) == ({1: 4, 3: 2}, [])


def test_absurd_counts_of_a_new_answer_do_not_end_the_run(replies):
    question = Question(1, "h", 0, ChatRequest("m", "", "?", 1, 0, 1, 9), 5)
    with replies.opened(Recorder()):
        replies.keep([Answered(question, ["yes"], ["st\0op"], 10**30, -5, None)])
    assert replies.counts() == {(1, "h"): 1}
    with replies.opened(progress := Recorder()):
        pass
    assert progress.messages == []


FIRST = "where session_id = (select min(session_id) from core.reply)"
DAMAGE = [
    (f"update core.reply set sample = sample + 1 {FIRST}", 2),
    ("update core.reply set sample = -1 where sample = 1", None),
    ("insert into core.reply from core.reply limit 1", 1),
    ("update core.reply_request set prompt_tokens = 9223372036854775807", None),
    (
        f"update core.reply_request set completion_tokens = -1 {FIRST}",
        1,
    ),
    ("update core.reply_request set cost_usd = 'nan'", None),
    ("update core.reply_request set cost_usd = -1, replies = 0", None),
]


@pytest.mark.parametrize(("damage", "count"), DAMAGE)
def test_damaged_rows_are_asked_again(llmseq, server, ready, damage, count):
    server.answer = clairvoyant(dataset_of(ready))
    n = 6
    words = ["--base-model", BASE, "--samples", "2", "--limit", n]
    prompt(llmseq, *words)
    with ready.store.write("damaging") as con:
        con.execute(damage)
    done = llmseq("prompt", *words, "--json")
    assert done.status == 0, done.err
    assert f"{count or n:,} stored answers cannot be used" in done.err
    assert "bug" not in done.err
    samples = rows(
        llmseq, "select list(sample order by sample) as samples from core.reply group by session_id, prompt_hash"
    )
    assert samples == [{"samples": [0, 1]}] * n
    assert "stored answers" not in llmseq("prompt", *words).err


def test_a_poisoned_journal_of_the_command(llmseq, server, ready, tmp_path):
    server.answer = clairvoyant(dataset_of(ready))
    words = ["prompt", "--base-model", BASE, "--samples", "1"]
    assert llmseq(*words, "--limit", "3").status == 0
    folder = tmp_path / "workspace" / "artifacts" / "answers"
    digest = rows(llmseq, "select dataset_id, digest from core.asking")[0]
    poisoned = folder / f"{digest['dataset_id']}-{digest['digest'][:24]}.jsonl"
    poisoned.write_text(json.dumps(entry(10**6, prompt_tokens=10**30)) + "\n")
    done = llmseq(*words)
    assert (done.status, "1 stored answers cannot be used" in done.err) == (0, True), done.err
    assert sum(server.paid.values()) == len(dataset_of(ready).test)


def test_an_answer_that_had_arrived_is_not_asked_for_again(llmseq, server, ready):
    """As after a kill between an answer and the journal."""
    words = ["prompt", "--base-model", BASE, "--samples", "1", "--limit", "3"]
    server.answer = clairvoyant(dataset_of(ready))
    assert llmseq(*words).status == 0
    with ready.store.write("testing") as con:
        asked = con.execute("select dataset_id, digest from core.asking").fetchall()[0]
        lost = con.execute("select session_id, prompt_hash, text from core.reply order by all limit 1").fetchall()[0]
        con.execute("delete from core.reply where session_id = ?", [lost[0]])
    entry = {"session_id": lost[0], "prompt_hash": lost[1], "first": 0, "texts": [lost[2]], "finishes": ["stop"]}
    entry |= {"prompt_tokens": 1, "completion_tokens": 1, "cost_usd": None}
    file = ready.folder / "artifacts" / "answers" / f"{asked[0]}-{asked[1][:24]}.in-flight"
    with InFlight(file) as requests:
        requests.sent(1, ["x"])
        requests.arrived(1, entry)
        requests.sent(2, ["y"])
        requests.arrived(2, {"poison": 10**30})
    before = len(server.requests)
    done = llmseq(*words)
    assert (done.status, "1 stored answers cannot be used" in done.err) == (0, True), done.err
    assert len(server.requests) == before
    assert rows(llmseq, "select count(*) as n from core.reply") == [{"n": 3}]
    assert not file.exists()
