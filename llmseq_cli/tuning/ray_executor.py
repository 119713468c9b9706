"""Units on a Ray cluster: arrays lie in its object store, and what a lost machine was at is computed elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from llmseq_cli.ray_cluster import RayTasks
from llmseq_cli.tuning.units import Measured, Unit, measure


class Ray:
    """A Ray cluster's workers. workers: units at a time; address: of the cluster, None to start one on this machine."""

    shares_disk = False

    def __init__(self, workers: int, address: str | None) -> None:
        self.slots = workers
        self._tasks = RayTasks(address, workers)
        self._references: dict[str, Any] = {}

    def share(self, arrays: Mapping[str, np.ndarray]) -> None:
        for name, array in arrays.items():
            if name not in self._references:
                self._references[name] = self._tasks.share(np.ascontiguousarray(array))

    def submit(self, unit: Unit) -> Any:
        names = unit.arrays()
        arrays = [self._references[name] for name in names]
        return self._tasks.submit(_measure, unit, names, *arrays, device=unit.device)

    def wait(self, pending: Iterable[Any], seconds: float) -> list[Any]:
        return self._tasks.wait(pending, seconds)

    def result(self, job: Any) -> Measured:
        measured: Measured = self._tasks.result(job)
        return measured

    def close(self, *, kill: bool) -> None:
        self._references.clear()
        self._tasks.close()


def _measure(unit: Unit, names: list[str], *arrays: np.ndarray) -> Measured:
    """What a Ray worker runs; the arrays are read where they lie."""
    return measure(unit, dict(zip(names, arrays, strict=True)))
