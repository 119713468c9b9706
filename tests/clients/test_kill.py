"""kill -9 while requests are under way: nothing is charged twice by a server that knows idempotency keys, and at most
what was under way by one that does not.
"""

import re
import signal
import time

import pytest
from support.embedding_server import vector_of
from support.embedding_steps import catalog, stored
from support.idempotent_server import IdempotentServer
from support.prompting_steps import BASE, dataset_of, rows
from support.warm import Command

KILLS = 5
AT_A_TIME = 4
TEXTS = 600
TEXTS_PER_REQUEST = 3


@pytest.fixture
def start(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-4f1bQz8h1vYh0Lw6")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    servers = []

    def make(**options):
        servers.append(IdempotentServer(**options))
        monkeypatch.setenv("OPENAI_BASE_URL", servers[-1].url)
        return servers[-1]

    yield make
    for server in servers:
        server.stop()


def run_and_kill(server, words, workspace, enough):
    """Runs a command and kills it once the server has charged `enough` more; returns what it told until then."""
    child = Command(*words, "--workspace", workspace)
    wanted = sum(server.charged.values()) + enough
    deadline = time.monotonic() + 120
    while sum(server.charged.values()) < wanted and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    assert child.poll() is None, child.err
    child.send_signal(signal.SIGKILL)
    told = child.communicate()[1]
    while server.under_way:
        time.sleep(0.01)
    return told


@pytest.mark.parametrize("knows_keys", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_embedding(start, llmseq, tmp_path, knows_keys):
    server = start(knows_keys=knows_keys)
    workspace = catalog(tmp_path, [(f"title {place}", "things") for place in range(TEXTS)])
    words = ["embed", "--source", "openai", "--set", f"texts_per_request={TEXTS_PER_REQUEST}"]
    words += ["--concurrency", str(AT_A_TIME)]
    server.latency = 0.1
    told = [run_and_kill(server, words, tmp_path / "workspace", 60) for _ in range(KILLS)]
    server.latency = 0.0
    done = llmseq(*words)
    assert done.status == 0, done.err
    said = [int(re.search(r"([\d,]+) texts were in flight", text).group(1)) for text in [*told[1:], done.err]]
    twice = sum(server.charged.values()) - TEXTS
    assert set(server.charged) == {f"title {place}" for place in range(TEXTS)}
    assert twice <= sum(said) <= KILLS * 4 * AT_A_TIME * TEXTS_PER_REQUEST
    if knows_keys:
        assert (twice, server.repeats > 0) == (0, True)
    titles, vectors = stored(workspace)
    assert all((vectors[place] == vector_of(title, 16)).all() for place, title in enumerate(titles))
    assert not list((tmp_path / "workspace" / "artifacts" / "in-flight").iterdir())


@pytest.mark.parametrize("knows_keys", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_prompting(start, llmseq, ready, tmp_path, knows_keys):
    server = start(knows_keys=knows_keys)
    n, samples = len(dataset_of(ready).test), 2
    words = ["prompt", "--base-model", BASE, "--samples", str(samples), "--concurrency", str(AT_A_TIME)]
    server.latency = 0.3
    told = [run_and_kill(server, words, tmp_path / "workspace", 2 * AT_A_TIME) for _ in range(2)]
    server.latency = 0.0
    done = llmseq(*words)
    assert done.status == 0, done.err
    said = [int(re.search(r"([\d,]+) questions were under way", text).group(1)) for text in [*told[1:], done.err]]
    twice = sum(server.charged.values()) - n * samples
    assert twice <= samples * sum(said) <= samples * 2 * 2 * AT_A_TIME
    if knows_keys:
        assert (twice, server.repeats > 0) == (0, True)
    kept = rows(llmseq, "select count(*) as n, count(distinct (session_id, sample)) as d from core.reply")
    assert kept == [{"n": n * samples, "d": n * samples}]


def test_a_second_kill_forgets_nothing_of_the_first(start, llmseq, tmp_path):
    """What the first run lost is still known after a run that was killed before it could send it again."""
    server = start()
    catalog(tmp_path, [(f"title {place}", "things") for place in range(60)])
    words = ["embed", "--source", "openai", "--set", "texts_per_request=1", "--concurrency", "20"]
    server.latency = 5.0
    run_and_kill(server, words, tmp_path / "workspace", 20)
    server.latency = 0.5
    run_and_kill(server, [*words[:-1], "1"], tmp_path / "workspace", 0)
    server.latency = 0.0
    done = llmseq(*words)
    assert done.status == 0, done.err
    assert set(server.charged.values()) == {1}
    assert len(server.charged) == 60
