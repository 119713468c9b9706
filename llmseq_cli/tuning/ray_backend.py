"""Units on a Ray cluster: arrays lie in its object store, and what a lost machine was at is computed elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from llmseq_cli.errors import LlmseqError
from llmseq_cli.ray_cluster import connect, disconnect
from llmseq_cli.tuning.backends import WorkerLostError
from llmseq_cli.tuning.units import Measured, Unit, measure

_RETRIES = 5


class Ray:
    """A Ray cluster's workers. jobs: units at a time; address: of the cluster, None to start one on this machine."""

    def __init__(self, jobs: int, address: str | None) -> None:
        ray = connect(address, jobs)
        self.slots = jobs
        self._references: dict[str, Any] = {}
        self._measure = ray.remote(max_retries=_RETRIES, scheduling_strategy="SPREAD")(_measure)
        self._ray = ray

    def share(self, arrays: Mapping[str, np.ndarray]) -> None:
        for name, array in arrays.items():
            if name not in self._references:
                self._references[name] = self._ray.put(np.ascontiguousarray(array))

    def submit(self, unit: Unit) -> Any:
        names = unit.arrays()
        gpus = {"num_gpus": 1} if unit.device == "cuda" else {}
        return self._measure.options(**gpus).remote(unit, names, *[self._references[name] for name in names])

    def wait(self, pending: Iterable[Any], seconds: float) -> list[Any]:
        done, _ = self._ray.wait(list(pending), num_returns=1, timeout=seconds)
        return done

    def result(self, job: Any) -> Measured:
        exceptions = self._ray.exceptions
        try:
            return self._ray.get(job)
        except exceptions.RayTaskError as error:
            raise error.cause if isinstance(error.cause, LlmseqError) else error from error
        except (exceptions.WorkerCrashedError, exceptions.NodeDiedError, exceptions.ObjectLostError) as error:
            raise WorkerLostError("a Ray worker went away", "`ray status` tells what is left of the cluster") from error

    def close(self, *, kill: bool) -> None:
        self._references.clear()
        disconnect()


def _measure(unit: Unit, names: list[str], *arrays: np.ndarray) -> Measured:
    """What a Ray worker runs; the arrays are read where they lie."""
    return measure(unit, dict(zip(names, arrays, strict=True)))
