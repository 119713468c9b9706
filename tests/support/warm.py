"""Commands in processes of their own that start at once: forked from a process that has imported everything."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

_FORKING = multiprocessing.get_context("forkserver")
_FORKING.set_forkserver_preload(
    [
        "support.warm",
        "llmseq_cli.cli.app",
        "llmseq_cli.workspace",
        "duckdb",
        "openai",
        "optuna",
        "safetensors.torch",
        "scipy.sparse",
        "sklearn.decomposition",
        "sklearn.feature_extraction.text",
        "torch",
        "torch._dynamo",
    ]
)


class Command:
    """A command line of llmseq that runs in a process and a session of its own, as `subprocess.Popen` would run it.

    before: Python that the process executes first, as to have it die at a certain moment. said: its standard input.
    """

    def __init__(self, *words: object, env: dict[str, str] | None = None, before: str = "", said: str = "") -> None:
        self.args = [str(word) for word in words]
        self._kept = tempfile.TemporaryDirectory()
        self._in, self._out, self._err = files = [Path(self._kept.name) / name for name in ("in", "out", "err")]
        for file in files:
            file.write_text(said if file == self._in else "", encoding="utf-8")
        given = (self.args, dict(os.environ if env is None else env), os.getcwd(), files, before)
        self._process = _FORKING.Process(target=_run, args=given)
        self._reading = threading.Lock()  # a server's thread may wait for the process, too
        self._process.start()
        self.pid = self._process.pid
        atexit.register(self.kill)

    @property
    def returncode(self) -> int | None:
        return self.poll()

    @property
    def err(self) -> str:
        """What it has told until now."""
        return self._err.read_text(encoding="utf-8")

    def poll(self) -> int | None:
        with self._reading:
            return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        deadline = time.monotonic() + (timeout or 600)
        while (status := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(self.args, timeout or 600)
            time.sleep(0.005)
        return status

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Its output and what it told, once it has ended."""
        self.wait(timeout)
        return self._out.read_text(encoding="utf-8"), self.err

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self.send_signal(signal.SIGKILL)


def _run(words: list[str], environment: dict[str, str], folder: str, files: list[Path], before: str) -> None:
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, file in enumerate(files):
        opened = os.open(file, os.O_WRONLY if number else os.O_RDONLY)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin = open(0)  # noqa: SIM115
    sys.argv = ["llmseq", *words]
    exec(compile(before, "before", "exec"), {})  # noqa: S102
    from llmseq_cli.__main__ import main

    main()
