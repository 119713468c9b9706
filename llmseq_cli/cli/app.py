"""The `llmseq` program: its commands, and the one place that turns errors into messages and exit statuses."""

from __future__ import annotations

import io
import os
import sys
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import typer

from llmseq_cli._version import __version__
from llmseq_cli.cli import (
    append,
    audit_llm,
    compare,
    data,
    demo,
    doctor,
    embed,
    export,
    finetune,
    jobs,
    models,
    neighbors,
    plot,
    prompt,
    recipes,
    report,
    rerank,
    serve,
    show,
    split,
    sql,
    train,
    tune,
)
from llmseq_cli.cli.common import RENAMED
from llmseq_cli.cli.console import print_error
from llmseq_cli.errors import LlmseqError
from llmseq_cli.machine import machine_error

app = typer.Typer(
    name="llmseq",
    help="Try, tune and compare sequential recommenders with LLMs.",
    epilog="Start with `llmseq demo`. Every command has examples: `llmseq COMMAND --help`.",
    # Locals in tracebacks can hold API keys; errors are shown by `run` anyway.
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in (
    demo,
    doctor,
    data,
    append,
    split,
    embed,
    neighbors,
    models,
    train,
    tune,
    recipes,
    finetune,
    jobs,
    prompt,
    rerank,
    audit_llm,
    report,
    plot,
    show,
    compare,
    export,
    serve,
    sql,
):
    group.register(app)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"llmseq {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    workspace: Annotated[
        Path | None,
        typer.Option("--workspace", help="Workspace folder, for any command.", metavar="DIR", hidden=True),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    if workspace is not None:
        os.environ["LLMSEQ_WORKSPACE"] = str(workspace)


@cache
def _command() -> Any:
    """The typer commands, built once per process."""
    return typer.main.get_command(app)


def run(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    arguments = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    debug = "--debug" in arguments
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115  (None where it was closed, as by `>&-`)
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that cannot show ± or ▲ prints a question mark
    try:
        status = _command()(args=arguments, prog_name="llmseq", standalone_mode=False)
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except typer.exceptions.TyperException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else _command_of(arguments)
        renamed = RENAMED.get(getattr(error, "option_name", ""))
        if renamed:
            print_error(f"{error.option_name} is now called {renamed}", f"use {renamed}")  # type: ignore[attr-defined]
            return 2
        print_error(_one_line(error.format_message()), f"see `{command} --help`")
        return 2
    except BrokenPipeError:
        # The reader of our output has gone (`| head`): this is no failure, but we can print nothing more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except LlmseqError as error:
        if debug:
            raise
        print_error(_one_line(error.message), _one_line(error.hint))
        return error.exit_code
    except Exception as error:
        if debug:
            raise
        state = machine_error(error)
        if state is not None:
            print_error(_one_line(state.message), _one_line(state.hint))
            return state.exit_code
        print_error(
            f"{type(error).__name__}: {_one_line(str(error))}", "this is a bug; --debug shows where it happened"
        )
        return 1


def _command_of(arguments: list[str]) -> str:
    """The command that was typed, for errors without a context."""
    names = {command.name for command in app.registered_commands}
    return " ".join(["llmseq", *[word for word in arguments if word in names][:1]])


def _one_line(text: str) -> str:
    return " ".join(text.split())
