"""The Ray cluster that `--backend ray` works on: one that runs, or one of this machine's own for as long as needed."""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from llmseq_cli.errors import LlmseqError, NotInstalledError, WorkerLostError

_PATIENCE_SECONDS = 10
_RETRIES = 5


def connect(address: str | None, cpus: int | None = None) -> Any:
    """The ray module, connected. cpus: of a cluster that is started here, where no address is given.

    Raises LlmseqError where Ray is not installed or nothing answers at the address.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise NotInstalledError("Ray is not installed", "ray") from error
    if ray.is_initialized():
        return ray
    try:
        if address:
            _knock(address)
            ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
        else:
            _start(ray, cpus)
    except (OSError, RuntimeError, ValueError) as error:
        where = f"no Ray cluster answers at {address}" if address else "Ray does not start here"
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        hint = "start one with `ray start --head`, or leave --ray-address out"
        if address and "RAY_AUTH_MODE" not in os.environ:
            hint += "; if it wants a token, RAY_AUTH_MODE=token sends yours"
        raise LlmseqError(f"{where}: {said}", hint) from error
    _keep_off_stdout()
    return ray


def _start(ray: Any, cpus: int | None) -> None:
    """A cluster of this machine's own, which listens to this machine alone.

    On Linux Ray listens on all interfaces, whatever address it is given, unless clusters of several machines are
    turned off as they are on Windows and macOS.
    """
    from ray._private import ray_constants

    name, several = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", ray_constants.ENABLE_RAY_CLUSTER
    before = os.environ.get(name)
    os.environ[name] = "0"  # for what Ray starts
    ray_constants.ENABLE_RAY_CLUSTER = False  # for this process, which may have read the variable before
    try:
        # "local" starts one: without it, Ray joins any cluster that it finds on this machine.
        ray.init(
            address="local",
            num_cpus=cpus,
            include_dashboard=False,
            dashboard_host="127.0.0.1",
            logging_level=logging.ERROR,
            log_to_driver=False,
        )
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = several
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _keep_off_stdout() -> None:
    """Ray tells of workers that went away on stdout, where only results belong; no option turns that off."""
    from ray._private import worker

    if hasattr(worker, "print_to_stdstream"):
        worker.print_to_stdstream = lambda *_, **__: None


def _knock(address: str) -> None:
    """Ray itself would wait for a minute and a half. Raises OSError where nobody answers."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host, int(port)), _PATIENCE_SECONDS).close()


def disconnect() -> None:
    import ray

    ray.shutdown()


class RayTasks:
    """Functions that a cluster's workers run; what a lost machine was at is computed again elsewhere.

    address, cpus: as for `connect`. A cluster that this process is connected to already is used, and kept.
    """

    def __init__(self, address: str | None, cpus: int | None = None) -> None:
        loaded = sys.modules.get("ray")
        self._connected_before = loaded is not None and loaded.is_initialized()
        self._ray = connect(address, cpus)
        self._remote: dict[Callable[..., Any], Any] = {}

    def slots(self, device: str = "cpu") -> int:
        """Tasks that the cluster runs at a time: one a processor, or one a GPU for "cuda"."""
        return max(1, int(self._ray.cluster_resources().get("GPU" if device == "cuda" else "CPU", 1)))

    def has_gpus(self) -> bool:
        return bool(self._ray.cluster_resources().get("GPU", 0) >= 1)

    def share(self, value: Any) -> Any:
        """Lays a value into the object store, once for all tasks that get what this returns; arrays in it are read
        where they lie, one copy a machine.
        """
        return self._ray.put(value)

    def submit(self, function: Callable[..., Any], *values: Any, device: str = "cpu") -> Any:
        """Has a worker call a function of a module with these values. Returns a job, for `wait` and `result`."""
        if function not in self._remote:
            self._remote[function] = self._ray.remote(max_retries=_RETRIES, scheduling_strategy="SPREAD")(function)
        gpus = {"num_gpus": 1} if device == "cuda" else {}
        return self._remote[function].options(**gpus).remote(*values)

    def wait(self, pending: Iterable[Any], seconds: float) -> list[Any]:
        """A job that is done, if one is within so many seconds."""
        done, _ = self._ray.wait(list(pending), num_returns=1, timeout=seconds)
        return list(done)

    def result(self, job: Any) -> Any:
        """What the function returned, or raised if that is an LlmseqError; WorkerLostError where its worker went away
        several times.
        """
        exceptions = self._ray.exceptions
        try:
            return self._ray.get(job)
        except exceptions.RayTaskError as error:
            raise error.cause if isinstance(error.cause, LlmseqError) else error from error
        except (
            exceptions.WorkerCrashedError,
            exceptions.NodeDiedError,
            exceptions.ObjectLostError,
            exceptions.OutOfMemoryError,
        ) as error:
            raise WorkerLostError("a Ray worker went away", "see `ray status` for what is left") from error

    def in_order(self, function: Callable[..., Any], calls: Iterable[tuple[Any, ...]], ahead: int) -> Iterator[Any]:
        """What the function returns for each tuple of values, in their order. `ahead`: jobs at most that are under way
        or done before their turn, so that neither values nor results pile up.
        """
        jobs: deque[Any] = deque()
        for values in calls:
            if len(jobs) >= ahead:
                yield self.result(jobs.popleft())
            jobs.append(self.submit(function, *values))
        while jobs:
            yield self.result(jobs.popleft())

    def close(self) -> None:
        self._remote.clear()
        if not self._connected_before:
            disconnect()
