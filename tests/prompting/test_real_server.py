"""`llmseq prompt` against an OpenAI-compatible server that nobody here wrote: `transformers serve`."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from support.prompting_steps import prompt, rows

_STARTS_WITHIN = 180  # seconds, on a busy machine

MISSING = [one for one in ("transformers", "fastapi", "uvicorn", "accelerate") if importlib.util.find_spec(one) is None]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"transformers serve needs {', '.join(MISSING)}")


@contextmanager
def served(model: Path, log: Path):
    """The address of `transformers serve` with a model, while it runs."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    program = Path(sys.executable).with_name("transformers")
    command = [program, "serve", str(model), "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "NO_PROXY": "127.0.0.1"}
    with log.open("w") as file:
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT)
    try:
        wait_for(process, f"http://127.0.0.1:{port}/health", log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(30)


def wait_for(process: subprocess.Popen, address: str, log: Path) -> None:
    for _ in range(_STARTS_WITHIN * 4):
        assert process.poll() is None, log.read_text()
        try:
            if httpx.get(address, trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.25)
    raise AssertionError(f"no answer in {_STARTS_WITHIN} s: {log.read_text()}")


def test_a_model_made_here_answers_from_a_server(llmseq, ready, tmp_path, monkeypatch):
    """A small model is trained from the shop's titles, served, and asked through the server as any other."""
    monkeypatch.setenv("OPENAI_API_KEY", "any")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    small = [word for setting in ("dim=64", "layers=1", "epochs=10") for word in ("--set", setting)]
    made = llmseq("finetune", "--provider", "local", *small, "--json")
    assert made.status == 0, made.err
    folder = tmp_path / "tuned"
    assert llmseq("jobs", "download", "latest", "--out", folder).status == 0
    local = prompt(llmseq, made.json["job"], "--samples", "2", "--limit", "12")
    with served(folder, tmp_path / "server.log") as address:
        words = ["--base-model", str(folder), "--base-url", address, "--samples", "2", "--concurrency", "2"]
        some = prompt(llmseq, *words, "--limit", "4")
        assert (some["sessions"], some["figures"]["answers"]) == (4, 8)
        run = prompt(llmseq, *words, "--limit", "12")
        assert (run["sessions"], run["figures"]["answers"]) == (12, 24)
        asked = rows(llmseq, "select sum(requests) as requests, sum(replies) as replies from prompt_usage")[0]
        assert asked["replies"] == 48  # those of the first four were not asked for again
        ranked = prompt(llmseq, *words[:4], "--task", "rank", "-k", "4", "--limit", "3")
        assert ranked["figures"]["answers"] == 3
        refused = llmseq("prompt", "--base-model", "no/such-model", "--base-url", address, "--limit", "2")
    assert (refused.status, "check the model no/such-model" in refused.err) == (1, True), refused.err
    assert run["figures"]["hallucination_rate"] < 0.5  # it says titles of the shop
    assert abs(run["hr@20"] - local["hr@20"]) < 0.4  # drawn at random, from the same model
    assert run["figures"]["unique_recommendations"] > 6
    assert rows(llmseq, f"select count(*) as n from answers where run = '{run['run']}'") == [{"n": 24}]
