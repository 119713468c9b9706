"""Serve models until the process is told to stop."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmseq_cli.errors import LlmseqError, NotInstalledError, UsageError
from llmseq_cli.progress import Progress
from llmseq_cli.serving.options import TOKEN, ServeOptions
from llmseq_cli.serving.workers import run_here, run_workers

if TYPE_CHECKING:
    from llmseq_cli.serving.guards import Application, RateLimit

_SHORTEST_TOKEN = 16
_LOCAL = ("localhost", "127.0.0.1", "::1")


def serve(folder: Path, options: ServeOptions, progress: Progress, ready: Callable[[dict[str, Any]], None]) -> None:
    """Serve until SIGTERM or Ctrl-C, then answer pending requests; Ctrl-C raises KeyboardInterrupt after that.

    folder: of the workspace. ready: called with the address and the runs once the service accepts requests. Raises
    LlmseqError if the service cannot start.
    """
    _check_installed()
    token = _token(options.host)
    with _listening(options.host, options.port) as listening:
        from llmseq_cli.serving.app import make_app
        from llmseq_cli.serving.guards import RateLimit
        from llmseq_cli.serving.served import open_served

        models = open_served(folder, options, progress)
        hosts = None if token else (*_LOCAL, options.host.lower())
        about = {"url": _url(listening), "runs": [one.run for one in models], "workers": options.workers}
        rate = RateLimit(options.rate_limit)
        if options.workers == 1:
            run_here(partial(make_app, lambda: models, token, hosts, rate), listening, partial(ready, about))
        else:
            del models  # every worker opens its own
            with _one_thread_each():
                app = partial(_app, folder, options, token, hosts, rate)
                run_workers(app, options.workers, listening, partial(ready, about), progress)


def _check_installed() -> None:
    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise NotInstalledError("fastapi and uvicorn are not installed", "serve") from error


def _token(host: str) -> str | None:
    """The token that requests must contain; None if there is none and only this machine can connect."""
    token = os.environ.get(TOKEN, "").strip()
    how = f"set one, for example: export {TOKEN}=$(openssl rand -hex 16)"
    if token and len(token) < _SHORTEST_TOKEN:
        raise UsageError(f"{TOKEN} is shorter than {_SHORTEST_TOKEN} characters", how)
    if not token and not _is_local(host):
        raise UsageError(f"other machines can reach {host}, and {TOKEN} is not set", how)
    return token or None


def _is_local(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """A listening socket. Raises LlmseqError if there cannot be one."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        one = socket.socket(family, kind)
    except (OSError, UnicodeError) as error:
        raise LlmseqError(
            f"this machine has no address {host}", "use --host 127.0.0.1, or an address of this machine"
        ) from error
    with one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind(address)
            one.listen(2048)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise LlmseqError(
                    f"port {port} is in use", f"use --port {port + 1}, or --port 0 for any free one"
                ) from error
            if error.errno == errno.EACCES:
                raise LlmseqError(f"port {port} is reserved for system services", "use --port 8000") from error
            raise LlmseqError(f"cannot listen on {host}: {error.strerror}", "use --host 127.0.0.1") from error
        yield one


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _app(
    folder: Path, options: ServeOptions, token: str | None, hosts: tuple[str, ...] | None, rate: RateLimit
) -> Application:
    """The service in a worker."""
    from llmseq_cli.serving.app import make_app
    from llmseq_cli.serving.served import open_served

    return make_app(partial(open_served, folder, options), token, hosts, rate)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Workers share the cores, so each uses one thread, unless OMP_NUM_THREADS is set."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("OMP_NUM_THREADS", None)
