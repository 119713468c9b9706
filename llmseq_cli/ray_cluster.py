"""The Ray cluster that `--backend ray` works on: one that runs, or one of this machine's own for as long as needed."""

from __future__ import annotations

import logging
import os
import socket
from typing import Any

from llmseq_cli.errors import LlmseqError

_PATIENCE_SECONDS = 10


def connect(address: str | None, cpus: int | None = None) -> Any:
    """The ray module, connected. cpus: of a cluster that is started here, where no address is given.

    Raises LlmseqError where Ray is not installed or nothing answers at the address.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise LlmseqError("Ray is not installed", "pip install 'llmseq[ray]'") from error
    if ray.is_initialized():
        return ray
    own: dict[str, Any] = {} if address else {"num_cpus": cpus, "include_dashboard": False}
    try:
        if address:
            _knock(address)
        # "local" starts one: without it, Ray joins any cluster that it finds on this machine.
        ray.init(address=address or "local", logging_level=logging.ERROR, log_to_driver=False, **own)
    except (OSError, RuntimeError, ValueError) as error:
        where = f"no Ray cluster answers at {address}" if address else "Ray does not start here"
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        hint = "start one with `ray start --head`, or leave --ray-address out"
        raise LlmseqError(f"{where}: {said}", hint) from error
    _keep_off_stdout()
    return ray


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
