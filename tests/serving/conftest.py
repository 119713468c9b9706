"""A service on runs of the small shop, in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from llmseq_cli import TrainOptions
from llmseq_cli.workspace import Workspace


@pytest.fixture
def trained(shop, prepared) -> Workspace:
    def build(workspace):
        workspace.train(TrainOptions("v-sknn"))
        workspace.train(TrainOptions("sasrec", settings={"epochs": 1, "dim": 8}, device="cpu"))
        workspace.train(TrainOptions("most-popular"))

    return prepared(shop, "runs-to-serve", build)


@pytest.fixture
def service(trained) -> Iterator[Callable]:
    """service("v-sknn", …) starts one and gives a client of it."""
    pytest.importorskip("fastapi")
    from starlette.testclient import TestClient

    from llmseq_cli.serving.app import make_app
    from llmseq_cli.serving.guards import RateLimit
    from llmseq_cli.serving.options import ServeOptions
    from llmseq_cli.serving.served import open_served

    started = []

    def start(*runs, token=None, hosts=("localhost",), rate=1e6, fallback=None, folder=trained.folder):
        options = ServeOptions(runs, fallback=fallback)
        app = make_app(lambda: open_served(folder, options), token, hosts, RateLimit(rate))
        client = TestClient(app, base_url="http://localhost", raise_server_exceptions=False)
        started.append(client.__enter__())
        return client

    yield start
    for client in started:
        client.__exit__(None, None, None)
