"""`llmseq serve`: what keeps it from starting, and how it ends."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing, contextmanager

import pytest

pytest.importorskip("fastapi")
TOKEN = "0123456789abcdef"


def test_what_keeps_it_from_starting(llmseq, trained, monkeypatch, tmp_path):
    def refused(*words):
        done = llmseq("serve", *words)
        assert done.out == ""
        assert done.err.startswith("error: ")
        assert "\nhint: " in done.err
        return done.status, " ".join(done.err.split())

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        status, said = refused("v-sknn", "--port", port)
        assert (status, f"port {port} is in use" in said) == (1, True)
    for words, wanted, part in (
        (["none-such"], 1, "there is no run 'none-such'"),
        (["v-sknn", "v-sknn-1"], 2, "given twice"),
        (["v-sknn", "--dataset", "shop@1"], 1, "there is no dataset 'shop@1'"),
        (["v-sknn", "--fallback", "none-such"], 1, "none-such"),
        (["v-sknn", "--host", "no.such.host.invalid"], 2, "LLMSEQ_SERVE_TOKEN is not set"),
        (["v-sknn", "--host", "0.0.0.0"], 2, "LLMSEQ_SERVE_TOKEN is not set"),
        (["./nowhere/"], 1, "is not a bundle"),
        (["v-sknn", "--workers", "0"], 2, "--workers"),
        ([], 2, "RUN"),
    ):
        status, said = refused(*words, *([] if "--port" in words else ["--port", "0"]))
        assert (status, part in said) == (wanted, True), said
    monkeypatch.setenv("LLMSEQ_SERVE_TOKEN", "short")
    status, said = refused("v-sknn", "--port", "0")
    assert (status, "shorter than 16" in said, "short " in said.replace("shorter", "")) == (2, True, False)
    monkeypatch.setenv("LLMSEQ_SERVE_TOKEN", TOKEN)
    status, said = refused("v-sknn", "--host", "no.such.host.invalid", "--port", "0")
    assert (status, "this machine has no address" in said, TOKEN in said) == (1, True, False)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert refused("v-sknn") == (
        1, "error: fastapi and uvicorn are not installed hint: pip install 'llmseq[serve]'",
    )  # fmt: skip


def test_runs_without_a_model(llmseq, trained):
    trained.sql("update core.run set model = 'prompt-rank' where model = 'most-popular'", write=True)
    done = llmseq("serve", "prompt-rank-3", "--port", "0")
    assert (done.status, "answers of a language model" in done.err) == (2, True)


@contextmanager
def serving(*words):
    """A service in a process of its own: (process, host, port)."""
    command = [sys.executable, "-m", "llmseq_cli", "serve", *words, "--port", "0", "--json"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )
    try:
        lines = ""
        while "}" not in lines:
            line = process.stdout.readline()
            assert line, process.stderr.read()
            lines += line
        host, port = json.loads(lines)["url"].removeprefix("http://").split(":")
        yield process, host, int(port)
    finally:
        process.kill()
        process.wait()
        process.stdout.close(), process.stderr.close()


def begun(host: str, port: int) -> tuple[http.client.HTTPConnection, bytes]:
    """A request of which half has been sent, and the rest."""
    body = json.dumps({"session": ["i01"], "k": 3}).encode()
    connection = http.client.HTTPConnection(host, port, timeout=30)
    connection.putrequest("POST", "/recommend")
    connection.putheader("content-type", "application/json")
    connection.putheader("content-length", str(len(body)))
    connection.endheaders(body[:9])
    return connection, body[9:]


def answers(host: str, port: int) -> bool:
    """Whether a new request is answered."""
    try:
        with socket.create_connection((host, port), timeout=2) as one:
            one.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
            return bool(one.recv(9))
    except OSError:
        return False


def ended_amid_a_request(number: signal.Signals, *words: str) -> tuple[int, str]:
    """(exit status, stderr) of a service that got the signal in the middle of a request, which it answers."""
    with serving(*words) as (process, host, port):
        connection, rest = begun(host, port)
        with closing(connection):
            time.sleep(0.3)  # for the service to have read it
            process.send_signal(number)
            time.sleep(0.3)
            assert not answers(host, port)
            connection.send(rest)
            answer = connection.getresponse()
            assert answer.status == 200
            assert len(json.loads(answer.read())["lists"][0]["recommendations"]) == 3
        _, said = process.communicate(timeout=30)
        return process.returncode, said


def test_sigterm_ends_it_when_what_came_is_answered(trained):
    assert ended_amid_a_request(signal.SIGTERM, "v-sknn") == (0, "")


def test_ctrl_c_ends_it_when_what_came_is_answered(trained):
    status, said = ended_amid_a_request(signal.SIGINT, "v-sknn")
    assert (status, said) == (130, "error: interrupted\nhint: pending requests were answered\n")


@pytest.mark.slow
def test_several_workers(trained):
    with serving("v-sknn", "sasrec", "--workers", "2") as (process, host, port):
        for run in ("v-sknn-1", "sasrec-2") * 3:
            connection = http.client.HTTPConnection(host, port, timeout=60)
            with closing(connection):
                body = json.dumps({"session": ["i01"], "k": 5, "run": run})
                connection.request("POST", "/recommend", body, {"content-type": "application/json"})
                answer = json.loads(connection.getresponse().read())
            assert answer["lists"][0]["recommendations"] == trained.recommend(run, ["i01"], k=5)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
        assert (process.returncode, said) == (0, "")
    assert ended_amid_a_request(signal.SIGINT, "v-sknn", "--workers", "2")[0] == 130
