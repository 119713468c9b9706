"""What is searched: a model's own ranges, the user's, and what depends on what."""

from __future__ import annotations

from dataclasses import dataclass

import optuna
import pytest

from llmseq_cli.errors import UsageError
from llmseq_cli.models.registry import model_class, model_names
from llmseq_cli.settings import Settings, setting
from llmseq_cli.tuning.space import Choices, Range, Space, searched_settings


@dataclass(frozen=True)
class Knobs(Settings):
    k: int = setting(100, "neighbours", low=1, tune=(50, 500))
    rate: float | None = setting(None, "of learning", low=0, tune=(1e-4, 1e-2), log=True)
    kind: str = setting("a", "of thing", choices=("a", "b", "c"), tune=("a", "b"))
    idf: bool = setting(False, "weighted", tune=(False, True))
    plain: int = setting(1, "not tuned", low=0)


def searched(given=None, wider=None):
    return searched_settings(Knobs, "knobs", given or {}, wider or {})


def test_ranges_come_from_the_settings():
    settings, fixed = searched()
    assert settings == {
        "k": Range(50, 500, whole=True),
        "rate": Range(1e-4, 1e-2, log=True),
        "kind": Choices(("a", "b")),
        "idf": Choices((False, True)),
    }
    assert fixed == {}


def test_given_settings_are_fixed_and_others_widened():
    settings, fixed = searched({"k": "70"}, {"kind": "b,c", "plain": "1..9", "rate": "0.1..1"})
    assert fixed == {"k": 70}
    assert settings["kind"] == Choices(("b", "c"))
    assert settings["plain"] == Range(1, 9, whole=True)
    assert settings["rate"] == Range(0.1, 1.0, log=True)


@pytest.mark.parametrize(
    ("given", "wider", "says"),
    [
        ({}, {"kk": "1..2"}, "no setting 'kk'"),
        ({"k": "3"}, {"k": "1..2"}, "both given and searched"),
        ({}, {"k": "9..2"}, "no range"),
        ({}, {"k": "0..5"}, "below its minimum"),
        ({}, {"kind": "a,z"}, "cannot be 'z'"),
        ({}, {"kind": "a..c"}, "no range"),
        ({}, {"k": ","}, "names no values"),
        ({}, {"k": "x..5"}, "takes int"),
    ],
)
def test_what_cannot_be_searched(given, wider, says):
    with pytest.raises(UsageError, match=says):
        searched(given, wider)


def test_a_reduction_is_only_drawn_with_dimensions_where_it_takes_some():
    space = Space({}, {}, Choices(("lexical", "openai")), Choices(("none", "pca")), Choices((64, 128)))
    study = optuna.create_study()
    seen = set()
    for _ in range(60):
        trial = study.ask()
        one = space.suggest(trial)
        seen.add((one.embeddings, one.reduce, one.dim))
        study.tell(trial, 0.0)
    assert {(reduce, dim) for _, reduce, dim in seen} == {("none", None), ("pca", 64), ("pca", 128)}
    assert {source for source, _, _ in seen} == {"lexical", "openai"}


def test_a_space_survives_its_journal():
    settings, fixed = searched({"plain": 4}, {"k": "1..1000"})
    space = Space(settings, fixed, Choices(("lexical",)), Choices(("none", "pca")), None)
    assert Space.from_json(space.to_json()) == space
    assert space.names == ["k", "rate", "kind", "idf", "reduce"]
    assert space.defaults(Knobs) == {"k": 100, "kind": "a", "idf": False}


@pytest.mark.parametrize("name", model_names())
def test_every_model_has_ranges_that_it_takes(name):
    cls = model_class(name)
    settings, _ = searched_settings(cls.Settings, name, {}, {})
    for key, one in settings.items():
        values = (one.low, one.high) if isinstance(one, Range) else one.values
        for value in values:
            taken = int(value) if isinstance(one, Range) and one.whole else value
            assert getattr(cls.Settings(**{key: taken}), key) == taken
