"""`doctor`."""

from __future__ import annotations

import os
import shutil
from typing import Any

import typer

from llmseq_cli.cli.common import Common, JsonOption, command
from llmseq_cli.cli.console import out, print_facts, print_json
from llmseq_cli.errors import LlmseqError

_KEYS = (
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "AZURE_OPENAI_API_KEY",
    "AZURE_OPENAI_ENDPOINT",
    "TOGETHER_API_KEY",
    "FIREWORKS_API_KEY",
    "FIREWORKS_ACCOUNT_ID",
    "GOOGLE_CLOUD_PROJECT",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_CLOUD_BUCKET",
    "HF_TOKEN",
)

_NOT_USABLE, _NOT_MADE = "not usable", "not made yet"


def register(app: typer.Typer) -> None:
    command(app, "doctor")(doctor)


def doctor(common: Common, json: JsonOption = False) -> None:
    """Show versions, device, which keys are set (never their values) and the workspace's health.

    Also lists fine-tuning jobs whose models have been or will soon be shut down, by the dates known to this version.

    The exit status is 1 if the workspace cannot be used.

    Example:

        llmseq doctor
    """
    from llmseq_cli.devices import resolve_device
    from llmseq_cli.training.environment import environment

    facts: dict[str, Any] = environment(resolve_device("auto"), compile_it=True)
    facts["keys"] = {key: bool(os.environ.get(key)) for key in _KEYS}
    facts["workspace"], facts["retiring"] = _workspace(common), []
    if facts["workspace"]["state"] not in (_NOT_USABLE, _NOT_MADE):
        facts["retiring"] = common.open().retiring_jobs()
    if json:
        print_json(facts)
    else:
        _print_health(facts)
    if facts["workspace"]["state"] == _NOT_USABLE:
        raise typer.Exit(1)


def _print_health(facts: dict[str, Any]) -> None:
    workspace = facts["workspace"]
    print_facts(
        [
            *facts["versions"].items(),
            ("platform", facts["platform"]),
            ("processor", f"{facts['processor']}, {facts['cores']} cores"),
            ("device", facts["device"]),
            ("softmax on the CPU", facts["softmax"]),
            *((key, "set" if there else "not set") for key, there in facts["keys"].items()),
            ("workspace", workspace["folder"]),
            ("state", workspace["state"]),
            ("free on disk", f"{workspace['free_gb']:.1f} GB"),
        ]
    )
    for one in facts["retiring"]:
        instead = f"; instead of {one['base_model']} its provider suggests {one['instead']}" if one["instead"] else ""
        out.print(f"shutting down: the model of {one['job']} ends on {one['shutdown']}{instead}", soft_wrap=True)
    for problem in workspace["problems"]:
        out.print(f"problem: {problem}", soft_wrap=True)


def _workspace(common: Common) -> dict[str, Any]:
    workspace = common.open()
    folder = workspace.folder
    there = next(parent for parent in [folder.absolute(), *folder.absolute().parents] if parent.exists())
    report = {"folder": str(folder), "free_gb": shutil.disk_usage(there).free / 1e9, "problems": []}
    if not workspace.store.file.exists():
        return report | {"state": _NOT_MADE}
    try:
        datasets = workspace.datasets()
        problems = workspace.health()
    except LlmseqError as error:
        return report | {"state": _NOT_USABLE, "problems": [str(error)]}
    names = ", ".join(row["name"] for row in datasets)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
    return report | {"state": f"usable, {size:,.1f} MB, datasets: {names or 'none'}", "problems": problems}
