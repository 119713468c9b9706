"""The environment of a run: versions, device, threads, processor, memory."""

from __future__ import annotations

import os
import platform
import sys
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

_PACKAGES = ("numpy", "scipy", "scikit-learn", "duckdb", "torch")


def environment(device: str, *, compile_it: bool = False) -> dict[str, Any]:
    """Versions and hardware, as kept with every run. compile_it: compile what speeds up training on a CPU, too."""
    from llmseq_cli.models.neural import softmax_kernel

    return {
        "versions": dict(_versions()),
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": processor_name(),
        "cores": usable_cores(),
        "device": device,
        "softmax": softmax_kernel.about(compile_it=compile_it),
    }


@cache
def _versions() -> dict[str, str]:
    """Read once: reading the notes of five packages takes longer than storing a run."""
    from llmseq_cli._version import __version__

    versions = {"llmseq": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    return versions


def usable_cores() -> int:
    """Cores that this process may use, which a container or taskset can make fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def processor_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def peak_memory_mb() -> float:
    """Largest resident memory of this process so far, in MiB; 0 if the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)
