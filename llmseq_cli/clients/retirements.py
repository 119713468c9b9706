"""When providers shut models down: a built-in table, and what a service itself says about a model."""

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
_SOON = 90  # days: a fine-tuned model should be usable for a while

GO_ON = "--yes continues anyway"


@dataclass(frozen=True)
class Retirement:
    """A model and its shutdown date. instead: the replacement that its provider suggests."""

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
        return f"its provider suggests {self.instead} instead" if self.instead else "choose another model"

    def to_dict(self) -> dict[str, Any]:
        return {"model": self.model, "shutdown": self.on.isoformat(), "instead": self.instead}


@dataclass(frozen=True)
class TuningEnd:
    """The last day on which a service accepts fine-tuning jobs."""

    service: str
    last: date
    note: str

    @property
    def passed(self) -> bool:
        return today() > self.last

    @property
    def told(self) -> str:
        if self.passed:
            return f"{self.service} has accepted no new fine-tuning jobs since {spoken(self.last)}"
        return f"{self.service} accepts new fine-tuning jobs until {spoken(self.last)}; {self.note}"


def today() -> date:
    """The current day in UTC. Tests replace it."""
    return datetime.now(UTC).date()


def spoken(day: date) -> str:
    """A date as people write it: 14 January 2027."""
    return f"{day.day} {day:%B %Y}"


def retirement(service: str, model: str, told: str | None = None) -> Retirement | None:
    """When a model of a service will be shut down; None if nothing is announced.

    A fine-tuned model is shut down together with its base model. told: the date given by the service itself, as text;
    ignored if it is not a date.
    """
    base = model.split(":")[1] if model.startswith("ft:") and ":" in model[3:] else model
    listed = _listed().get((service, base)) or _listed().get((service, _DATE.sub("", base)))
    try:
        on = date.fromisoformat(told or "")
    except ValueError:
        return Retirement(model, *listed) if listed else None
    return Retirement(model, on, listed[1] if listed else None)


def tuning_end(service: str) -> TuningEnd | None:
    """When a service stops accepting fine-tuning jobs; None if nothing is announced."""
    for entry in _table()["tuning"]:
        if entry["service"] == service:
            return TuningEnd(service, entry["last"], entry["note"])
    return None


def check_model(found: Retirement | None, warn: Callable[[str], None], *, sure: bool, to_tune: bool = False) -> None:
    """Check a model before spending money: warn if it will be shut down; raise FinalError if it has been or, before
    fine-tuning, soon will be. sure: the user chose to continue.
    """
    if found is None:
        return
    if sure or not (found.passed or (to_tune and found.soon)):
        warn(f"{found.told}; {found.advice}")
        return
    goes_with_it = " and what is fine-tuned on it goes with it" if to_tune and not found.passed else ""
    advice = "choose a model that stays available, for example with --provider local" if to_tune else found.advice
    raise FinalError(f"{found.told}{goes_with_it}", f"{advice}; {GO_ON}")


def check_tuning(found: TuningEnd | None, warn: Callable[[str], None], *, sure: bool) -> None:
    """Before submitting a job: warn if the service will stop accepting jobs; raise FinalError once it has."""
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
    """(service, model) to (date, replacement)."""
    return {
        (entry["service"], model): (entry["shutdown"], entry.get("instead"))
        for entry in _table()["retirement"]
        for model in entry["models"]
    }
