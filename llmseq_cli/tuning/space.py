"""What a study searches: ranges of a model's settings, and of the embeddings and reductions that it starts from."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from llmseq_cli.errors import UsageError
from llmseq_cli.settings import SettingInfo, Settings, parse_settings, unknown_setting

if TYPE_CHECKING:
    import optuna

EMBEDDINGS, REDUCE, DIM = "embeddings", "reduce", "dim"
"""The parameters of a study that are no settings of the model."""

_WITHOUT_DIM = ("none", "lda")
"""Reductions that are not asked for a number of dimensions: lda's is given by the classes."""


@dataclass(frozen=True)
class Range:
    """Numbers from low to high, both included. whole: integers only. log: searched on a logarithmic scale."""

    low: float
    high: float
    whole: bool = False
    log: bool = False

    def holds(self, value: Any) -> bool:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return is_number and self.low <= value <= self.high and (not self.whole or value == int(value))

    def suggest(self, trial: optuna.Trial, name: str) -> Any:
        if self.whole:
            return trial.suggest_int(name, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(name, self.low, self.high, log=self.log)

    def to_json(self) -> Any:
        return {"low": self.low, "high": self.high, "whole": self.whole, "log": self.log}


@dataclass(frozen=True)
class Choices:
    """One of several values, in no order."""

    values: tuple[Any, ...]

    def holds(self, value: Any) -> bool:
        return value in self.values

    def suggest(self, trial: optuna.Trial, name: str) -> Any:
        # One choice is none: it need not be drawn, and would only blur what matters.
        return self.values[0] if len(self.values) == 1 else trial.suggest_categorical(name, list(self.values))

    def to_json(self) -> Any:
        return {"choices": list(self.values)}


Searched = Range | Choices


def searched_from_json(about: dict[str, Any]) -> Searched:
    return Choices(tuple(about["choices"])) if "choices" in about else Range(**about)


@dataclass(frozen=True)
class Configuration:
    """What one trial runs: settings by name, and what is done to which embeddings (None: no embeddings)."""

    settings: dict[str, Any]
    embeddings: str | None = None
    reduce: str | None = None
    dim: int | None = None

    @property
    def inputs(self) -> dict[str, Any]:
        return {EMBEDDINGS: self.embeddings, REDUCE: self.reduce, DIM: self.dim}


@dataclass(frozen=True)
class Space:
    """settings: what is searched of a model's settings. fixed: settings that the user gave. The rest are choices."""

    settings: dict[str, Searched]
    fixed: dict[str, Any] = field(default_factory=dict)
    embeddings: Choices | None = None
    reduce: Choices | None = None
    dim: Choices | None = None

    def suggest(self, trial: optuna.Trial) -> Configuration:
        """The configuration of a trial; a reduction is only asked for where there are embeddings to reduce."""
        drawn = {name: one.suggest(trial, name) for name, one in self.settings.items()}
        source = reduce = dim = None
        if self.embeddings is not None:
            source = self.embeddings.suggest(trial, EMBEDDINGS)
            reduce = self.reduce.suggest(trial, REDUCE) if self.reduce else None
            if self.dim and reduce not in _WITHOUT_DIM:
                dim = self.dim.suggest(trial, DIM)
        return Configuration(self.fixed | drawn, source, reduce, dim)

    def defaults(self, cls: type[Settings], split: str | None = None) -> dict[str, Any]:
        """The default settings as far as the space holds them: what a search should not end below. split: its kind."""
        usual = {one.name: one.default for one in fields(cls)} | (cls.defaults_on(split) if split else {})
        informed = self.embeddings is not None or self.fixed.get("item_init") == "sessions"
        unset = cls.unset(split, informed=informed)
        usual |= {name: value for name, value in unset.items() if usual[name] is None}
        return {name: usual[name] for name, one in self.settings.items() if one.holds(usual[name])}

    @property
    def names(self) -> list[str]:
        """What is really searched."""
        more = {EMBEDDINGS: self.embeddings, REDUCE: self.reduce, DIM: self.dim}
        drawn = {name: one for name, one in more.items() if one is not None}
        return [
            name for name, one in (self.settings | drawn).items() if not isinstance(one, Choices) or len(one.values) > 1
        ]

    def to_json(self) -> dict[str, Any]:
        kept: dict[str, Any] = {
            "settings": {name: one.to_json() for name, one in self.settings.items()},
            "fixed": self.fixed,
        }
        for name, one in ((EMBEDDINGS, self.embeddings), (REDUCE, self.reduce), (DIM, self.dim)):
            kept[name] = one.to_json() if one is not None else None
        return kept

    @classmethod
    def from_json(cls, about: dict[str, Any]) -> Space:
        more = {}
        for name in (EMBEDDINGS, REDUCE, DIM):
            one = searched_from_json(about[name]) if about[name] is not None else None
            assert one is None or isinstance(one, Choices)
            more[name] = one
        settings = {name: searched_from_json(one) for name, one in about["settings"].items()}
        return cls(settings, about["fixed"], **more)


def searched_settings(
    cls: type[Settings], owner: str, given: dict[str, Any], wider: dict[str, str], leave_out: tuple[str, ...] = ()
) -> tuple[dict[str, Searched], dict[str, Any]]:
    """(what is searched of a model's settings, what is fixed).

    given: settings with the value that the user wants. wider: ranges or choices as the user writes them, "50..800" or
    "cosine,dot", in place of the model's own. leave_out: settings that something else decides.
    Raises UsageError for a setting that the model does not have, or a range that it does not take.
    """
    hints = get_type_hints(cls)
    names = [one.name for one in fields(cls)]
    for name in wider:
        if name not in names:
            raise unknown_setting(name, names, owner)
        if name in given:
            raise UsageError(f"'{name}' is both given and searched", f"leave --set {name} or --search {name} out")
    parsed = parse_settings(cls, given, owner)
    fixed = {name: getattr(parsed, name) for name in given}
    searched: dict[str, Searched] = {}
    for one in fields(cls):
        info: SettingInfo = one.metadata["setting"]
        if one.name in fixed or one.name in leave_out:
            continue
        if one.name in wider:
            searched[one.name] = _parse(cls, owner, one.name, wider[one.name], info, _is_whole(hints[one.name]))
        elif info.tune:
            searched[one.name] = _own_range(info, _is_whole(hints[one.name]))
    return searched, fixed


def _own_range(info: SettingInfo, whole: bool) -> Searched:
    assert info.tune
    if len(info.tune) == 2 and all(isinstance(one, (int, float)) and not isinstance(one, bool) for one in info.tune):
        return Range(info.tune[0], info.tune[1], whole, info.log)
    return Choices(tuple(info.tune))


def _parse(cls: type[Settings], owner: str, name: str, words: str, info: SettingInfo, whole: bool) -> Searched:
    """ "50..800" as a range, "cosine,dot" as choices; each end and each choice must be a value of the setting."""
    low, dots, high = words.partition("..")
    parts = [low, high] if dots else [part for part in words.split(",") if part.strip()]
    values = [getattr(parse_settings(cls, {name: part.strip()}, owner), name) for part in parts]
    if not dots:
        if not values:
            raise UsageError(f"--search {name}= names no values", f"for example --search {name}=1..10")
        return Choices(tuple(dict.fromkeys(values)))
    numbers = [value for value in values if isinstance(value, (int, float)) and not isinstance(value, bool)]
    if len(numbers) < 2 or not numbers[0] < numbers[1]:
        raise UsageError(f"'{words}' is no range of '{name}'", "the smaller number stands first, for example 50..800")
    return Range(numbers[0], numbers[1], whole, info.log and numbers[0] > 0)


def _is_whole(hint: Any) -> bool:
    members = get_args(hint) or (hint,)
    return int in members and float not in members
