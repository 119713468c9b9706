"""Time and peak memory of whole processes and of functions."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Process:
    """Wall-clock seconds, peak resident memory and seconds on the processor of a finished process."""

    seconds: float
    peak_mb: float
    cpu_seconds: float


def run_process(command: Sequence[str], env: dict[str, str] | None = None) -> Process:
    """Run a command to its end. Raises RuntimeError where it fails."""
    clock = time.perf_counter()
    process = subprocess.Popen(command, env=(os.environ | env) if env else None, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command} ended with {process.returncode}")
    return Process(time.perf_counter() - clock, usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime)


def median_seconds(function: Callable[[], object], runs: int = 5) -> float:
    times = []
    for _ in range(runs):
        clock = time.perf_counter()
        function()
        times.append(time.perf_counter() - clock)
    return statistics.median(times)
