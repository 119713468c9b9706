"""Compute units in this process or in worker processes. Arrays are shared once and read by all."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from llmseq_cli.backend import Backend
from llmseq_cli.checksums import array_checksum
from llmseq_cli.errors import WorkerLostError
from llmseq_cli.files import atomic_path
from llmseq_cli.training.environment import usable_cores
from llmseq_cli.tuning.units import FoldBaseRuns, Measured, Unit, measure

_WATCH_SECONDS = 2.0


class Executor(Protocol):
    """Computes units. slots: how many at a time. shares_disk: whether a unit finds the files that one before it left.

    What `submit` returns is only handed back: to `wait`, and to `result`, which raises what the unit raised, or
    WorkerLostError.
    """

    slots: int
    shares_disk: bool

    def share(self, arrays: Mapping[str, np.ndarray]) -> None: ...

    def submit(self, unit: Unit) -> Any: ...

    def wait(self, pending: Iterable[Any], seconds: float) -> list[Any]: ...

    def result(self, job: Any) -> Measured: ...

    def close(self, *, kill: bool) -> None: ...


class InProcess:
    """One unit at a time, here: for one worker, and for models made of runs, whose files lie here."""

    slots = 1
    shares_disk = True

    def __init__(self, base_models: FoldBaseRuns | None = None) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self.base_models = base_models

    def share(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.arrays |= arrays

    def submit(self, unit: Unit) -> Unit:
        return unit

    def wait(self, pending: Iterable[Unit], seconds: float) -> list[Unit]:
        return list(pending)[:1]

    def result(self, job: Unit) -> Measured:
        return measure(job, self.arrays, self.base_models(job.fold) if self.base_models else ())

    def close(self, *, kill: bool) -> None:
        self.arrays.clear()


class Loky:
    """Processes beside this one (loky), which map the arrays from files: one copy for all of them.

    folder: where the files lie; they are kept, since a study that goes on needs the same. A file that does not hold the
    array any more, whatever happened to it, is written again.
    """

    shares_disk = True

    def __init__(self, workers: int, folder: Path) -> None:
        self.slots = workers
        self.folder = folder

    def share(self, arrays: Mapping[str, np.ndarray]) -> None:
        for name, array in arrays.items():
            file = self.folder / f"{name}.npy"
            if _holds(file, np.asarray(array)):
                continue
            with atomic_path(file, durable=False, make_folder=True) as partial:
                np.save(partial, np.asarray(array), allow_pickle=False)

    def _executor(self) -> Any:
        from loky import get_reusable_executor

        # A broken executor is replaced by a new one.
        threads = str(max(1, usable_cores() // self.slots))
        environment = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), threads)
        return get_reusable_executor(
            self.slots, timeout=300, env=environment, initializer=end_with, initargs=(os.getpid(),)
        )

    def submit(self, unit: Unit) -> Future[Measured]:
        job: Future[Measured] = self._executor().submit(measure_from_files, unit, str(self.folder))
        return job

    def wait(self, pending: Iterable[Future[Measured]], seconds: float) -> list[Future[Measured]]:
        return list(wait(list(pending), seconds, FIRST_COMPLETED).done)

    def result(self, job: Future[Measured]) -> Measured:
        from concurrent.futures.process import BrokenProcessPool

        try:
            return job.result()
        except BrokenProcessPool as error:
            raise WorkerLostError(
                "a worker process was ended from outside", "if memory was short, use fewer --workers"
            ) from error

    def close(self, *, kill: bool) -> None:
        self._executor().shutdown(wait=not kill, kill_workers=kill)


def _holds(file: Path, array: np.ndarray) -> bool:
    """Whether a file is there and holds this array, bit for bit."""
    try:
        kept = np.lib.format.open_memmap(file, mode="r")
    except (OSError, ValueError, EOFError):
        return False
    if (kept.dtype, kept.shape) != (array.dtype, array.shape):
        return False
    return array_checksum(kept, "") == array_checksum(array, "")


def end_with(parent: int) -> None:
    """Have this process end soon after its parent: one that was killed cannot stop a fold that takes hours."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_WATCH_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def measure_from_files(unit: Unit, folder: str) -> Measured:
    """What a worker process runs: the arrays are mapped, not read."""
    arrays = {name: np.load(f"{folder}/{name}.npy", mmap_mode="r", allow_pickle=False) for name in unit.arrays()}
    return measure(unit, arrays)


def make_executor(backend: Backend, folder: Path, *, stops: bool = False) -> Executor:
    """Who computes the units. Raises LlmseqError if a cluster cannot be reached.

    stops: units may have to be stopped while they are computed, which only those of other processes can be.
    """
    workers = backend.workers or 1
    if backend.on_ray:
        from llmseq_cli.tuning.ray_executor import Ray

        return Ray(workers, backend.address)
    return InProcess() if workers == 1 and not stops else Loky(workers, folder)
