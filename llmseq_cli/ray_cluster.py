"""The Ray cluster for `--backend ray`: a running one, or a local one for as long as it is needed."""

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
    """Connect to Ray and return its module. cpus: of a local cluster, if no address is given.

    Raises LlmseqError if Ray is not installed or nothing answers at the address.
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
        hint = "start one with `ray start --head`, or leave out --ray-address"
        if address and "RAY_AUTH_MODE" not in os.environ:
            hint += "; if it needs a token, RAY_AUTH_MODE=token sends yours"
        raise LlmseqError(f"{where}: {said}", hint) from error
    _keep_off_stdout()
    return ray


def _start(ray: Any, cpus: int | None) -> None:
    """Start a local cluster that listens to this machine only.

    On Linux, Ray listens on all interfaces, whatever address it is given, unless clusters of several machines are
    turned off, as they are on Windows and macOS.
    """
    from ray._private import ray_constants

    name, several = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", ray_constants.ENABLE_RAY_CLUSTER
    before = os.environ.get(name)
    os.environ[name] = "0"  # for processes that Ray starts
    ray_constants.ENABLE_RAY_CLUSTER = False  # for this process, which may have read the variable already
    try:
        # "local" starts a new one; without it, Ray joins any cluster that it finds on this machine.
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
    """Ray reports lost workers on stdout, where only results belong, and has no option to turn that off."""
    from ray._private import worker

    if hasattr(worker, "print_to_stdstream"):
        worker.print_to_stdstream = lambda *_, **__: None


def _knock(address: str) -> None:
    """Check that something answers: Ray itself would wait for 90 seconds. Raises OSError if nothing does."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host, int(port)), _PATIENCE_SECONDS).close()


def disconnect() -> None:
    import ray

    ray.shutdown()


class RayTasks:
    """Runs functions on a cluster's workers; if a machine is lost, its work is repeated elsewhere.

    address, cpus: as for `connect`. If this process is already connected to a cluster, that one is used and kept.
    """

    def __init__(self, address: str | None, cpus: int | None = None) -> None:
        loaded = sys.modules.get("ray")
        self._connected_before = loaded is not None and loaded.is_initialized()
        self._ray = connect(address, cpus)
        self._remote: dict[Callable[..., Any], Any] = {}

    def slots(self, device: str = "cpu") -> int:
        """Number of tasks that the cluster runs at a time: one per processor, or per GPU for "cuda"."""
        return max(1, int(self._ray.cluster_resources().get("GPU" if device == "cuda" else "CPU", 1)))

    def has_gpus(self) -> bool:
        return bool(self._ray.cluster_resources().get("GPU", 0) >= 1)

    def share(self, value: Any) -> Any:
        """Put a value into the object store, once for all tasks that get the returned reference; its arrays are read in
        place, one copy per machine.
        """
        return self._ray.put(value)

    def submit(self, function: Callable[..., Any], *values: Any, device: str = "cpu") -> Any:
        """Let a worker call a module-level function with these values. Returns a job, for `wait` and `result`."""
        if function not in self._remote:
            self._remote[function] = self._ray.remote(max_retries=_RETRIES, scheduling_strategy="SPREAD")(function)
        gpus = {"num_gpus": 1} if device == "cuda" else {}
        return self._remote[function].options(**gpus).remote(*values)

    def wait(self, pending: Iterable[Any], seconds: float) -> list[Any]:
        """A finished job, if there is one within this many seconds."""
        done, _ = self._ray.wait(list(pending), num_returns=1, timeout=seconds)
        return list(done)

    def result(self, job: Any) -> Any:
        """The function's result. Raises its LlmseqError, or WorkerLostError if its worker was lost several times."""
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
            raise WorkerLostError("a Ray worker was lost", "see `ray status` for the rest of the cluster") from error

    def in_order(self, function: Callable[..., Any], calls: Iterable[tuple[Any, ...]], ahead: int) -> Iterator[Any]:
        """The function's results for each tuple of values, in order. ahead: most jobs that may run or wait before their
        turn, so that neither values nor results pile up.
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
