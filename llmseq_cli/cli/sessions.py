"""Print sessions: their history, ground truth and recommendations."""

from __future__ import annotations

from typing import Any

from rich.text import Text

from llmseq_cli.cli.console import out

_LAST = 4  # items of a history that are shown


def print_session(one: dict[str, Any], runs: list[str]) -> None:
    """Print a session from `sessions_in_words` (reporting.inspection); the ground truth is bold wherever it occurs."""
    history, truth = one["history"], one["ground_truth"]
    out.print(Text(f"session {one['session']}, {len(history)} items", style="bold"), soft_wrap=True)
    if len(history) > _LAST:
        _line("before", f"… {len(history) - _LAST} more", "dim")
    for title in history[-_LAST:]:
        _line("before", title)
    _line("then", truth, "bold")
    for run, found in zip(runs, one["runs"], strict=True):
        where = "not among its items" if found["rank"] is None else f"at {found['rank']}"
        _line("", f"{run}: {where}", "dim")
        for place, title in enumerate(found["recommended"], 1):
            _line(f"{place}.", title, "bold" if place == found["rank"] else "")


def _line(name: str, text: str, style: str = "") -> None:
    """One line, cut to the width of the terminal."""
    line = Text(f"  {name:>6}  ")
    line.append(text, style=style)
    line.truncate(out.width, overflow="ellipsis")
    out.print(line, no_wrap=True)
