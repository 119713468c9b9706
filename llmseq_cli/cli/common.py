"""Shared by all commands: common options, and how they become a `Workspace`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from llmseq_cli.backend import Backend
from llmseq_cli.cli.console import RichProgress
from llmseq_cli.errors import InterruptedByUserError, UsageError
from llmseq_cli.settings import LARGEST_SEED

if TYPE_CHECKING:
    from llmseq_cli.workspace import Workspace

RunArgument = Annotated[
    str,
    typer.Argument(
        help="A run, its number, a model (its best run by validation, or its newest) or latest.", metavar="RUN"
    ),
]
ModelArgument = Annotated[str, typer.Argument(help="Model; see `llmseq models`.", metavar="MODEL")]
DatasetArgument = Annotated[
    str | None, typer.Argument(help="Dataset; may be left out if there is only one.", metavar="NAME")
]
DatasetOption = Annotated[
    str | None, typer.Option("--dataset", help="Dataset; may be left out if there is only one.", metavar="NAME")
]
SplitOption = Annotated[
    str | None,
    typer.Option("--split", help="Split of the dataset; may be left out if there is only one.", metavar="NAME"),
]
TestOption = Annotated[
    str, typer.Option("--test", help="Paired test over sessions: t, permutation or wilcoxon.", metavar="TEST")
]
ReportFormatOption = Annotated[
    str, typer.Option("--format", help="table, json, csv, markdown, latex or html.", metavar="FORMAT")
]
OutOption = Annotated[Path | None, typer.Option("--out", help="Write to this file.", metavar="FILE")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout and nothing else.")]
SafeCellsOption = Annotated[
    bool | None,
    typer.Option(
        "--safe-cells/--no-safe-cells",
        help="In CSV, put a ' before text that a spreadsheet would run as a formula; on by default.",
        show_default=False,
    ),
]
SeedOption = Annotated[int, typer.Option("--seed", help="Random seed.", min=0, max=LARGEST_SEED)]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="A setting, see `llmseq models`; repeatable.", metavar="KEY=VALUE"),
]
RayAddressOption = Annotated[
    str | None,
    typer.Option(
        "--ray-address", help="A running Ray cluster: host:port or auto; default: start one here.", metavar="ADDR"
    ),
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.", metavar="WORD")]
BaseUrlOption = Annotated[
    str | None,
    typer.Option("--base-url", help="Server that speaks OpenAI's protocol; default: $OPENAI_BASE_URL.", metavar="URL"),
]
PricesOption = Annotated[
    str | None, typer.Option("--prices", help="TOML file of prices; default: $LLMSEQ_PRICES.", metavar="FILE")
]

YesOption = Annotated[
    bool,
    typer.Option("--yes", help="Continue even if the model has been or will soon be shut down."),
]


@dataclass(frozen=True)
class Sending:
    """Limits on the rate and cost of requests, as in `SendingOptions`."""

    concurrency: Annotated[
        int, typer.Option("--concurrency", help="Number of requests to send at the same time.", min=1)
    ] = 8
    requests_per_minute: Annotated[
        float | None,
        typer.Option("--requests-per-minute", help="Request limit; default: what the server allows.", min=0.001),
    ] = None
    tokens_per_minute: Annotated[
        float | None, typer.Option("--tokens-per-minute", help="Token limit; default: what the server allows.", min=1)
    ] = None
    max_cost: Annotated[
        float | None, typer.Option("--max-cost", help="Stop before spending more than this (USD).", min=0)
    ] = None
    prices: PricesOption = None
    retry_refused: Annotated[
        bool, typer.Option("--retry-refused", help="Retry texts or questions that the server refused.")
    ] = False
    yes: YesOption = False


@dataclass(frozen=True)
class Machines:
    """On which machines to compute."""

    backend: Annotated[
        str | None,
        typer.Option("--backend", help="ray: compute on a Ray cluster; default: in this process.", metavar="ray"),
    ] = None
    ray_address: RayAddressOption = None
    workers: Annotated[
        int | None,
        typer.Option("--workers", help="With --backend ray: number of workers; default: one per core or GPU.", min=1),
    ] = None

    def chosen(self) -> Backend:
        return Backend(self.backend, self.ray_address, self.workers)


def retirement_facts(found: dict[str, Any] | None) -> list[tuple[str, Any]]:
    """The line of a plan that warns of a model's shutdown."""
    if found is None:
        return []
    instead = f"; its provider suggests {found['instead']} instead" if found["instead"] else ""
    return [("shut down", f"on {found['shutdown']}{instead}")]


RENAMED = {"--depth": "--list-length", "--jobs": "--workers"}
"""Renamed options: the old name is an error that gives the new one."""


def listed(words: str | None) -> tuple[str, ...]:
    """Split at commas: "a, b" becomes ("a", "b")."""
    return tuple(one.strip() for one in (words or "").split(",") if one.strip())


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
                help="Workspace folder; default: $LLMSEQ_WORKSPACE, or ./.llmseq.",
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


_INTERRUPTED = "no partial result was kept; run the same command again"


def command(
    app: typer.Typer, name: str, *, interrupted: str = _INTERRUPTED, split: bool = True
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function as a command; its first parameter is a `Common`, built from the options that all commands
    share.

    A parameter whose type is a dataclass adds one option per field, so that commands can share options.
    interrupted: hint after Ctrl-C. split: whether a command with --dataset also takes --split; the function gets both
    as its `dataset`, DATASET/SPLIT.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        words = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        groups: dict[str, Any] = {word.name: word.annotation for word in words if is_dataclass(word.annotation)}
        own = [part for word in words for part in (_options_of(word.annotation) if word.name in groups else [word])]
        splits = split and any(one.annotation == DatasetOption for one in own)
        if splits:
            own.append(inspect.Parameter("split", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=SplitOption))
        shared = [
            inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for key, annotation, default in _COMMON
        ]

        @functools.wraps(function)
        def wrapper(**given: Any) -> None:
            # --debug is read by `run` (app.py), which is the one that shows errors.
            given.pop("debug")
            quiet = given.pop("quiet") or given.get("json", False)
            if splits:
                given["dataset"] = dataset_address(given["dataset"], given.pop("split"))
            for key, group in groups.items():
                given[key] = group(**{one.name: given.pop(one.name) for one in fields(group)})
            common = Common(given.pop("workspace"), given.pop("wait_for_lock"), quiet)
            try:
                function(common, **given)
            except KeyboardInterrupt:
                # Typer would exit without a message.
                raise InterruptedByUserError("interrupted", interrupted) from None

        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own] + shared
        wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        wrapper.__annotations__ = {p.name: p.annotation for p in parameters}
        wrapper.__doc__ = _reflowed(inspect.getdoc(function) or "")
        app.command(name)(wrapper)
        return function

    return register


def _options_of(group: Any) -> list[inspect.Parameter]:
    """The fields of a group of options, as separate parameters."""
    kinds = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(one.name, inspect.Parameter.KEYWORD_ONLY, default=one.default, annotation=kinds[one.name])
        for one in fields(group)
    ]


def dataset_address(dataset: str | None, split: str | None) -> str | None:
    """DATASET/SPLIT, the form used below the command line; /SPLIT if there is only one dataset."""
    if split is None:
        return dataset
    if dataset and "/" in dataset:
        raise UsageError(f"'{dataset}' and --split {split} name two splits", "leave out --split")
    return f"{dataset or ''}/{split}"


def _reflowed(help_text: str) -> str:
    """Join every paragraph into one line, which the terminal wraps; indented examples stay unchanged."""
    paragraphs = help_text.split("\n\n")
    return "\n\n".join(p if p.startswith(" ") else " ".join(p.split("\n")) for p in paragraphs)


def safe_cells_for(format: str, given: bool | None) -> bool:
    """Whether to make cells safe. Raises UsageError if the option is given for anything but CSV."""
    if given is not None and format != "csv":
        raise UsageError("--safe-cells and --no-safe-cells only work with CSV", "leave the option out, or write CSV")
    return given is not False
