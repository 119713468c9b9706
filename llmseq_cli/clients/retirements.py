"""When providers shut models down: a table that ships, and what a service itself tells of a model."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import Any

from llmseq_cli.clients.errors import FinalError

_SHIPPED = Path(__file__).with_name("retirements.toml")
_DATE = re.compile(r"-\d{4}-\d{2}-\d{2}$")
_SOON = 90  # days: what is fine-tuned on a model must be of use for a while

GO_ON = "--yes goes on all the same"


@dataclass(frozen=True)
class Retirement:
    """A model that is shut down on a day. instead: what its provider names in its place."""

    model: str
    on: date
    instead: str | None = None

    @property
    def passed(self) -> bool:
        return today() >= self.on

    @property
    def soon(self) -> bool:
        return (self.on - today()).days < _SOON

    @property
    def told(self) -> str:
        return f"{self.model} {'was' if self.passed else 'will be'} shut down by its provider on {spoken(self.on)}"

    @property
    def advice(self) -> str:
        return f"its provider names {self.instead} in its place" if self.instead else "choose another model"

    def to_dict(self) -> dict[str, Any]:
        return {"model": self.model, "shutdown": self.on.isoformat(), "instead": self.instead}


@dataclass(frozen=True)
class TuningEnd:
    """The last day on which a service takes fine-tuning jobs."""

    service: str
    last: date
    note: str

    @property
    def passed(self) -> bool:
        return today() > self.last

    @property
    def told(self) -> str:
        if self.passed:
            return f"{self.service} has taken no new fine-tuning jobs since {spoken(self.last)}"
        return f"{self.service} takes new fine-tuning jobs until {spoken(self.last)}; {self.note}"


def today() -> date:
    """The day in UTC. Tests put another one in its place."""
    return datetime.now(UTC).date()


def spoken(day: date) -> str:
    """A day as people write it: 14 January 2027."""
    return f"{day.day} {day:%B %Y}"


def retirement(service: str, model: str, told: str | None = None) -> Retirement | None:
    """When a model of a service is shut down; None where nothing is announced.

    A model that was fine-tuned goes with the one that it was made of. told: the day that the service itself named, as
    it wrote it; what is no day is passed over.
    """
    base = model.split(":")[1] if model.startswith("ft:") and ":" in model[3:] else model
    listed = _listed().get((service, base)) or _listed().get((service, _DATE.sub("", base)))
    try:
        on = date.fromisoformat(told or "")
    except ValueError:
        return Retirement(model, *listed) if listed else None
    return Retirement(model, on, listed[1] if listed else None)


def tuning_end(service: str) -> TuningEnd | None:
    """When a service stops taking fine-tuning jobs; None where nothing is announced."""
    for entry in _table()["tuning"]:
        if entry["service"] == service:
            return TuningEnd(service, entry["last"], entry["note"])
    return None


def check_model(found: Retirement | None, warn: Callable[[str], None], *, sure: bool, to_tune: bool = False) -> None:
    """Before money is spent: warns of a model that will be shut down; raises FinalError for one that was, and to
    fine-tune it, also for one that soon will be. sure: the user said to go on.
    """
    if found is None:
        return
    if sure or not (found.passed or (to_tune and found.soon)):
        warn(f"{found.told}; {found.advice}")
        return
    goes_with_it = " and what is fine-tuned on it goes with it" if to_tune and not found.passed else ""
    advice = "start from a model that stays, for example with --provider local" if to_tune else found.advice
    raise FinalError(f"{found.told}{goes_with_it}", f"{advice}; {GO_ON}")


def check_tuning(found: TuningEnd | None, warn: Callable[[str], None], *, sure: bool) -> None:
    """Before a job is submitted: warns of a service that will stop taking them; raises FinalError once it has."""
    if found is None:
        return
    if not found.passed or sure:
        warn(found.told)
        return
    raise FinalError(found.told, f"fine-tune with --provider local, or another provider; {GO_ON}")


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads(_SHIPPED.read_text(encoding="utf-8"))


@cache
def _listed() -> dict[tuple[str, str], tuple[date, str | None]]:
    """(service, model) to (day, what comes in its place)."""
    return {
        (entry["service"], model): (entry["shutdown"], entry.get("instead"))
        for entry in _table()["retirement"]
        for model in entry["models"]
    }
