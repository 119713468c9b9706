"""`serve`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from llmseq_cli.cli.common import Common, DatasetOption, JsonOption, command
from llmseq_cli.cli.console import out, print_json


def register(app: typer.Typer) -> None:
    command(app, "serve", interrupted="pending requests were answered")(serve)


def serve(
    common: Common,
    runs: Annotated[
        list[str],
        typer.Argument(
            help="Runs, models (their best run by validation, or newest), latest, or bundles (paths with a /).",
            metavar="RUN|FOLDER/...",
        ),
    ],
    dataset: DatasetOption = None,
    fallback: Annotated[
        str | None,
        typer.Option("--fallback", help="Run that answers where another has nothing to recommend.", metavar="RUN"),
    ] = None,
    host: Annotated[
        str,
        typer.Option(
            "--host", help="Address to listen on. Non-local addresses need $LLMSEQ_SERVE_TOKEN.", metavar="HOST"
        ),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="Port; 0 takes any free one.", min=0, max=65535)] = 8000,
    workers: Annotated[
        int, typer.Option("--workers", help="Number of processes, each with its own copy of the models.", min=1)
    ] = 1,
    rate_limit: Annotated[
        float, typer.Option("--rate-limit", help="Requests per second; more get status 429.", min=0.001)
    ] = 1000,
    json: JsonOption = False,
) -> None:
    """Recommend over HTTP.

    POST /recommend takes one session or several; / is a page that shows the lists of all runs side by side, /docs
    documents the API. Only this machine can connect, unless you set $LLMSEQ_SERVE_TOKEN: then requests need that token,
    and --host 0.0.0.0 lets other machines connect. Ctrl-C or SIGTERM stops the service after it has answered pending
    requests.

    Examples:

        llmseq serve sasrec

        llmseq serve v-sknn sasrec --workers 2

        llmseq serve sasrec-bundle/ --port 9000
    """
    from llmseq_cli.serving.options import ServeOptions

    def ready(about: dict[str, Any]) -> None:
        if json:
            print_json(about)
        else:
            out.print(f"{', '.join(about['runs'])} at {about['url']} (Ctrl-C stops it)", soft_wrap=True)
        out.file.flush()

    options = ServeOptions(tuple(runs), dataset, fallback, host, port, workers, rate_limit)
    common.open().serve(options, ready)
