"""`serve`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from llmseq_cli.cli.common import Common, DatasetOption, JsonOption, command
from llmseq_cli.cli.console import out, print_json


def register(app: typer.Typer) -> None:
    command(app, "serve", interrupted="requests that had come were answered")(serve)


def serve(
    common: Common,
    runs: Annotated[
        list[str],
        typer.Argument(
            help="Runs, models (their best run by validation, else newest), latest, or bundles (paths with a /).",
            metavar="RUN|FOLDER/...",
        ),
    ],
    dataset: DatasetOption = None,
    fallback: Annotated[
        str | None,
        typer.Option("--fallback", help="Run that recommends where another has nothing.", metavar="RUN"),
    ] = None,
    host: Annotated[
        str,
        typer.Option(
            "--host", help="Address to listen on. Any but this machine's own needs $LLMSEQ_SERVE_TOKEN.", metavar="HOST"
        ),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="0 takes any free one.", min=0, max=65535)] = 8000,
    workers: Annotated[int, typer.Option("--workers", help="Processes, each with the models in memory.", min=1)] = 1,
    rate_limit: Annotated[
        float, typer.Option("--rate-limit", help="Requests a second; more get status 429.", min=0.001)
    ] = 1000,
    json: JsonOption = False,
) -> None:
    """Recommend over HTTP.

    POST /recommend takes a session or several; / is a page that shows the lists of all runs side by side, /docs says
    what programs send. Only this machine can ask. With $LLMSEQ_SERVE_TOKEN set, requests must bring that token, and
    --host 0.0.0.0 lets other machines ask. Ctrl-C or SIGTERM ends it after the requests that have come are answered.

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
            out.print(f"{', '.join(about['runs'])} at {about['url']} (Ctrl-C ends it)", soft_wrap=True)
        out.file.flush()

    options = ServeOptions(tuple(runs), dataset, fallback, host, port, workers, rate_limit)
    common.open().serve(options, ready)
