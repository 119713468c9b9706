"""Settings of models as dataclasses: default, help, validation and search range of a setting in one place.

A settings class is a frozen dataclass whose fields are created by `setting`. `--set key=value`, `llmseq models`, tuning
and stored runs all read the same fields.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, TypeVar, Union, get_args, get_origin, get_type_hints

from llmseq_cli.errors import UsageError, did_you_mean

LARGEST_SEED = 2**31 - 1
"""The largest seed that the store and all random number generators accept."""

RENAMED = {
    "average": "ema_decay",
    "breadth": "ef_search",
    "calibration": "gbce_t",
    "clip": "grad_clip",
    "depth": "list_length",
    "inner": "ffn_multiplier",
    "start": "init",
    "unseen": "cold_items",
    "prompt_pooling": "history_pooling",
}
"""Old names of settings and their new names, for the error message."""


@dataclass(frozen=True)
class SettingInfo:
    """Facts about a setting besides its default.

    help: one line for `llmseq models`.
    low, high: inclusive bounds (numbers).
    choices: the accepted words (strings). tune: the range or choices that tuning searches; None keeps the setting
    fixed.
    log: search on a logarithmic scale. by_split: other defaults for some kinds of split.
    """

    help: str
    low: float | None = None
    high: float | None = None
    choices: tuple[Any, ...] | None = None
    tune: tuple[Any, ...] | None = None
    log: bool = False
    by_split: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def setting(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[Any, ...] | None = None,
    tune: tuple[Any, ...] | None = None,
    log: bool = False,
    by_split: Mapping[str, Any] | None = None,
) -> Any:
    """A dataclass field that carries a `SettingInfo`; see there for the arguments."""
    info = SettingInfo(help, low, high, choices, tune, log, by_split or {})
    return dataclasses.field(default=default, metadata={"setting": info})


def with_default(base: type[Settings], name: str, default: Any, *, tune: tuple[Any, ...] | None = None) -> Any:
    """The setting of a base class with another default. tune: what tuning searches, where that differs as well."""
    [info] = [field.metadata["setting"] for field in fields(base) if field.name == name]
    return dataclasses.field(default=default, metadata={"setting": replace(info, tune=tune or info.tune)})


@dataclass(frozen=True)
class Settings:
    """Base of all settings: validates on construction, converts to and from plain dicts."""

    _hints: ClassVar[dict[str, Any]] = {}

    def __post_init__(self) -> None:
        for field in fields(self):
            _validate(field.name, getattr(self, field.name), field.metadata["setting"])

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def defaults_on(cls, split: str) -> dict[str, Any]:
        """The defaults that differ on a split of this kind."""
        by_split = {one.name: one.metadata["setting"].by_split for one in fields(cls)}
        return {name: values[split] for name, values in by_split.items() if split in values}

    @classmethod
    def unset(cls, split: str | None, *, informed: bool) -> dict[str, Any]:
        """What settings mean whose default is None, for a search to start from. informed: by embeddings."""
        return {}

    @classmethod
    def describe(cls) -> list[dict[str, Any]]:
        """One dict per setting: name, type, default (also by split), help, range or choices, and the search range."""
        hints = get_type_hints(cls)
        rows = []
        for field in fields(cls):
            info: SettingInfo = field.metadata["setting"]
            rows.append(
                {
                    "name": field.name,
                    "type": _type_name(hints[field.name]),
                    "default": field.default,
                    "by_split": dict(info.by_split),
                    "low": info.low,
                    "high": info.high,
                    "choices": list(info.choices) if info.choices else None,
                    "tune": list(info.tune) if info.tune else None,
                    "help": info.help,
                }
            )
        return rows


S = TypeVar("S", bound=Settings)

_LARGEST_INT = 2**63 - 1


def parse_settings(cls: type[S], given: Mapping[str, Any], owner: str, split: str | None = None) -> S:
    """Settings of `cls` from text typed by a user or values of a stored run.

    owner: the model's name, for messages. split: the kind of split whose defaults apply to missing values; None: the
    general defaults. Raises UsageError for an unknown name, or a value of the wrong type or out of range.
    """
    hints = get_type_hints(cls)
    names = [field.name for field in fields(cls)]
    values = cls.defaults_on(split) if split else {}
    for name, value in given.items():
        if name not in names:
            raise unknown_setting(name, names, owner, value)
        values[name] = _convert(name, value, hints[name])
    return cls(**values)


def unknown_setting(name: str, names: list[str], owner: str, value: Any = "…") -> UsageError:
    """The error for an unknown setting of a model; for an old name, it gives the new one."""
    if RENAMED.get(name) in names:
        return UsageError(f"the setting '{name}' is now called '{RENAMED[name]}'", f"--set {RENAMED[name]}={value}")
    return UsageError(f"{owner} has no setting '{name}'", did_you_mean(name, names))


def parse_assignments(words: list[str], example: str = "--set k=140") -> dict[str, str]:
    """{"k": "20"} from ["k=20"], as `--set` gives them. Raises UsageError if the `=` is missing."""
    pairs = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"'{word}' is not of the form key=value", f"for example {example}")
        pairs[name.strip()] = value.strip()
    return pairs


def _members(hint: Any) -> tuple[Any, ...]:
    is_union = get_origin(hint) is Union or type(hint).__name__ == "UnionType"
    return get_args(hint) if is_union else (hint,)


def _type_name(hint: Any) -> str:
    names = {"NoneType": "none", "str": "text"}
    return " or ".join(names.get(member.__name__, member.__name__) for member in _members(hint))


def _convert(name: str, value: Any, hint: Any) -> Any:
    for member in sorted(_members(hint), key=lambda member: member is not type(None)):  # "none" is not text
        try:
            return _convert_to(value, member)
        except (ValueError, TypeError, OverflowError):
            continue
    raise UsageError(f"setting '{name}' takes {_type_name(hint)}, not '{value}'", "`llmseq models` lists all settings")


def _convert_to(value: Any, member: type) -> Any:
    if member is type(None):
        if value is None or str(value).lower() in ("none", "null"):
            return None
    elif member is bool:
        words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if str(value).lower() in words:
            return words[str(value).lower()]
    elif member is int:
        if isinstance(value, str):
            try:
                return int(value)  # exact; a float would round
            except ValueError:
                pass
        if not isinstance(value, bool) and float(value) == int(float(value)):
            return int(float(value))
    elif member is float:
        return float(value)
    elif member is str and value is not None:
        return str(value)
    raise ValueError(value)


def _validate(name: str, value: Any, info: SettingInfo) -> None:
    if info.choices is not None and isinstance(value, str) and value not in info.choices:
        words = [str(choice) for choice in info.choices]
        hint = did_you_mean(value, words) if info.low is None else f"{_range_hint(info)}, or {' or '.join(words)}"
        raise UsageError(f"setting '{name}' cannot be '{value}'", hint)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if value != value:
            raise UsageError(f"setting '{name}' is not a number", "`llmseq models` lists the ranges")
        if isinstance(value, float) and math.isinf(value):
            raise UsageError(f"setting '{name}' must be a finite number, not {value}", _range_hint(info))
        if isinstance(value, int) and abs(value) > _LARGEST_INT:
            raise UsageError(f"setting '{name}' is {value}, too large for 64 bits", _range_hint(info))
        if info.low is not None and value < info.low:
            raise UsageError(f"setting '{name}' is {value}, below its minimum {info.low:g}", "give a larger value")
        if info.high is not None and value > info.high:
            raise UsageError(f"setting '{name}' is {value}, above its maximum {info.high:g}", "give a smaller value")


def _range_hint(info: SettingInfo) -> str:
    """A hint with the range of a setting."""
    low = "" if info.low is None else f" from {info.low:g}"
    high = "" if info.high is None else f" up to {info.high:g}"
    return f"give a number{low}{high}"
