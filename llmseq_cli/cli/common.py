"""What all commands share: their common options, and how their words become a `Workspace`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmseq_cli.cli.console import RichProgress
from llmseq_cli.errors import InterruptedByUserError
from llmseq_cli.settings import LARGEST_SEED

if TYPE_CHECKING:
    from llmseq_cli.workspace import Workspace

DatasetOption = Annotated[
    str | None, typer.Option("--dataset", help="Which dataset; may be left out where there is one.", metavar="NAME")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout and nothing else.")]
SeedOption = Annotated[int, typer.Option("--seed", help="Seed of all random numbers.", min=0, max=LARGEST_SEED)]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="A setting, see `llmseq models`; may be repeated.", metavar="KEY=VALUE"),
]
BackendOption = Annotated[
    str | None,
    typer.Option("--backend", help="ray: the workers of a Ray cluster; else this process.", metavar="ray"),
]
RayAddressOption = Annotated[
    str | None,
    typer.Option("--ray-address", help="A Ray cluster, as host:port or auto; else one is started.", metavar="ADDR"),
]
JobsOption = Annotated[
    int | None,
    typer.Option("--jobs", help="With --backend ray: tasks at a time; else one a processor, or GPU.", min=1),
]


@dataclass(frozen=True)
class Common:
    """The options that every command takes."""

    workspace: Path | None
    wait_for_lock: bool
    quiet: bool

    def open(self) -> Workspace:
        from llmseq_cli.workspace import Workspace

        return Workspace(self.workspace, wait_for_lock=self.wait_for_lock, progress=self.progress())

    def progress(self) -> RichProgress:
        return RichProgress(self.quiet)


_COMMON: list[tuple[str, Any, Any]] = [
    (
        "workspace",
        Annotated[
            Path | None,
            typer.Option(
                "--workspace",
                help="Folder of the workspace; else $LLMSEQ_WORKSPACE, else ./.llmseq.",
                metavar="DIR",
                rich_help_panel="Common options",
            ),
        ],
        None,
    ),
    (
        "wait_for_lock",
        Annotated[
            bool,
            typer.Option(
                "--wait-for-lock",
                help="Wait while another process writes to the workspace.",
                rich_help_panel="Common options",
            ),
        ],
        False,
    ),
    (
        "quiet",
        Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.", rich_help_panel="Common options")],
        False,
    ),
    (
        "debug",
        Annotated[
            bool,
            typer.Option("--debug", help="Show where an error happened.", rich_help_panel="Common options"),
        ],
        False,
    ),
]


def command(app: typer.Typer, name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Registers a function as a command; its first parameter, a `Common`, is made of the options that all share."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        shared = [
            inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for key, annotation, default in _COMMON
        ]

        @functools.wraps(function)
        def wrapper(**given: Any) -> None:
            # --debug is read by `run` (app.py), which is the one that shows errors.
            given.pop("debug")
            quiet = given.pop("quiet") or given.get("json", False)
            common = Common(given.pop("workspace"), given.pop("wait_for_lock"), quiet)
            try:
                function(common, **given)
            except KeyboardInterrupt:
                # Typer would end the program by itself, without a word.
                hint = "nothing half-written was kept; run the same command again"
                raise InterruptedByUserError("interrupted", hint) from None

        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own] + shared
        wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        wrapper.__annotations__ = {p.name: p.annotation for p in parameters}
        wrapper.__doc__ = _reflowed(inspect.getdoc(function) or "")
        app.command(name)(wrapper)
        return function

    return register


def _reflowed(help_text: str) -> str:
    """Every paragraph on one line, for the terminal to break; indented examples stay as they are."""
    paragraphs = help_text.split("\n\n")
    return "\n\n".join(p if p.startswith(" ") else " ".join(p.split("\n")) for p in paragraphs)
