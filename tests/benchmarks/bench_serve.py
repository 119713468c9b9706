"""`llmseq serve` under load: LLM2SASRec and V-SKNN on Beauty, 200 requests a second for a minute.

Requests are sent when their time has come, whether or not earlier ones are answered, and latency counts from that time.
The load generator, this process, shares the cores with the service.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from llmseq_cli import EmbedOptions, IngestOptions, TrainOptions, Workspace

RATE, SECONDS, CONNECTIONS, K = 200, 60, 16, 20
RUNS = ("sasrec", "v-sknn")


def run(options: Namespace) -> None:
    folder = os.environ.get("LLMSEQ_BEAUTY")
    if not folder:
        print("LLMSEQ_BEAUTY names no folder with the Beauty dataset: left out")
        return
    with tempfile.TemporaryDirectory() as temporary:
        workspace = Workspace(Path(temporary) / "workspace")
        workspace.ingest(IngestOptions([folder], "beauty"))
        workspace.embed(EmbedOptions("lexical"))
        workspace.train(TrainOptions("v-sknn"))
        few = {"epochs": 2, "patience": 0}  # how well it is trained makes no difference to its speed
        workspace.train(TrainOptions("sasrec", embeddings="lexical", reduce="whiten", dim=64, settings=few))
        for workers in (1, 2):
            for name in RUNS:
                measure(workspace, name, workers)


def measure(workspace: Workspace, run: str, workers: int, rate: int = RATE, seconds: int = SECONDS) -> None:
    """Prints the figures of one run that is served."""
    sessions = _sessions(workspace)
    command = [sys.executable, "-m", "llmseq_cli", "--workspace", str(workspace.folder), "serve", run, "--json"]
    service = subprocess.Popen([*command, "--port", "0", "--workers", str(workers)], stdout=subprocess.PIPE, text=True)
    assert service.stdout is not None
    lines = ""
    while "}" not in lines:
        lines += service.stdout.readline()
    host, port = json.loads(lines)["url"].removeprefix("http://").split(":")
    try:
        asyncio.run(_load(host, int(port), sessions, rate, 3, Figures()))  # workers start, files are read
        figures = Figures()
        asyncio.run(_load(host, int(port), sessions, rate, seconds, figures, service.pid))
    finally:
        service.send_signal(signal.SIGTERM)
        service.wait(60)
    print(f"{run}, {workers} worker(s): {figures}; load of the machine {os.getloadavg()[0]:.1f}", flush=True)


@dataclass
class Figures:
    milliseconds: list[float] = field(default_factory=list)
    errors: int = 0
    memory_mb: list[float] = field(default_factory=list)
    processor_seconds: list[float] = field(default_factory=list)
    seconds: float = 0

    def __str__(self) -> str:
        p50, p99, most = np.percentile(self.milliseconds, [50, 99, 100])
        rate = len(self.milliseconds) / self.seconds
        used = 1000 * (self.processor_seconds[-1] - self.processor_seconds[0]) / len(self.milliseconds)
        memory = " → ".join(f"{self.memory_mb[place]:.0f}" for place in (0, len(self.memory_mb) // 2, -1))
        return (
            f"{rate:.0f} requests/s, p50 {p50:.1f} ms, p99 {p99:.1f} ms, max {most:.0f} ms, {self.errors} errors, "
            f"memory {memory} MB, {used:.1f} ms of processor a request"
        )


def _sessions(workspace: Workspace) -> list[list[str]]:
    _, rows = workspace.sql("select list(item order by position) from interactions group by session order by session")
    return [items[:-1] for (items,) in rows[-5000:]]


async def _load(
    host: str, port: int, sessions: list[list[str]], rate: int, seconds: int, figures: Figures, process: int = 0
) -> None:
    requests = iter(range(rate * seconds))
    start = time.perf_counter()
    watching = asyncio.create_task(_watch(process, figures)) if process else None

    async def client() -> None:
        reader, writer = await asyncio.open_connection(host, port)
        for number in requests:
            due = start + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            body = json.dumps({"session": sessions[number % len(sessions)], "k": K}).encode()
            head = f"POST /recommend HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
            writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = int(answer.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
            await reader.readexactly(length)
            figures.milliseconds.append((time.perf_counter() - due) * 1000)
            figures.errors += b" 200 " not in answer[:20]
        writer.close()

    await asyncio.gather(*[client() for _ in range(CONNECTIONS)])
    figures.seconds = time.perf_counter() - start
    if watching:
        watching.cancel()


async def _watch(process: int, figures: Figures) -> None:
    """Resident memory and processor time of the service and its workers, once a second."""
    tick = os.sysconf("SC_CLK_TCK")
    while True:
        kin = [process, *map(int, Path(f"/proc/{process}/task/{process}/children").read_text().split())]
        pages = [int(Path(f"/proc/{one}/statm").read_text().split()[1]) for one in kin]
        figures.memory_mb.append(sum(pages) * os.sysconf("SC_PAGE_SIZE") / 2**20)
        times = [Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()[11:13] for one in kin]
        figures.processor_seconds.append(sum(int(ticks) for pair in times for ticks in pair) / tick)
        await asyncio.sleep(1)
