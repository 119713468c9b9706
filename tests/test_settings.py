from dataclasses import dataclass, fields

import pytest

from llmseq_cli.errors import UsageError
from llmseq_cli.models.registry import model_class, model_names
from llmseq_cli.settings import RENAMED, Settings, parse_assignments, parse_settings, setting, with_default


@dataclass(frozen=True)
class Example(Settings):
    k: int = setting(100, "neighbours", low=1, high=500, tune=(50, 500))
    sample: int | str = setting("all", "sample", low=1, choices=("all",))
    decay: str = setting("harmonic", "decay", choices=("none", "harmonic"))
    idf: bool = setting(False, "idf")
    clip: float | None = setting(None, "clip", low=0)


def test_defaults_are_kept():
    assert parse_settings(Example, {}, "example") == Example()


@dataclass(frozen=True)
class BySplit(Settings):
    length: int = setting(20, "length", low=1, by_split={"leave-one-out": 50})
    decay: str = setting("harmonic", "decay", choices=("none", "harmonic"))


def test_defaults_follow_the_split_and_what_is_given_counts_before_them():
    assert parse_settings(BySplit, {}, "example", "leave-one-out") == BySplit(length=50)
    assert parse_settings(BySplit, {}, "example", "sessions") == BySplit() == parse_settings(BySplit, {}, "example")
    given = parse_settings(BySplit, {"length": "7", "decay": "none"}, "example", "leave-one-out")
    assert given == BySplit(length=7, decay="none")
    assert [row["by_split"] for row in BySplit.describe()] == [{"leave-one-out": 50}, {}]


def test_words_become_values():
    settings = parse_settings(
        Example, {"k": "320", "sample": "1530", "decay": "none", "idf": "true", "clip": "1.5"}, "example"
    )
    assert settings == Example(k=320, sample=1530, decay="none", idf=True, clip=1.5)


def test_none_is_a_value_where_it_is_allowed():
    assert parse_settings(Example, {"clip": "none"}, "example").clip is None


def test_to_dict_comes_back_the_same():
    settings = Example(k=7, sample=9, clip=2.0)
    assert parse_settings(Example, settings.to_dict(), "example") == settings


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kk": "3"}, "example has no setting 'kk'"),
        ({"k": "many"}, "takes int, not 'many'"),
        ({"k": "2.5"}, "takes int, not '2.5'"),
        ({"k": "0"}, "below its minimum 1"),
        ({"k": "501"}, "above its maximum 500"),
        ({"decay": "harmonc"}, "cannot be 'harmonc'"),
        ({"sample": "some"}, "cannot be 'some'"),
        ({"idf": "maybe"}, "takes bool"),
        ({"clip": "nan"}, "is not a number"),
        ({"clip": "inf"}, "must be a finite number"),
        ({"clip": "1e400"}, "must be a finite number"),
        ({"clip": "-inf"}, "must be a finite number"),
        ({"k": "inf"}, "takes int, not 'inf'"),
        ({"k": "1e400"}, "takes int, not '1e400'"),
        ({"k": "nan"}, "takes int, not 'nan'"),
        ({"k": "-inf"}, "takes int, not '-inf'"),
        ({"k": float("inf")}, "takes int, not 'inf'"),
        ({"sample": "1" + "0" * 30}, "too large for 64 bits"),
        ({"sample": "9223372036854775808"}, "too large for 64 bits"),
    ],
)
def test_bad_values_are_refused(given, message):
    with pytest.raises(UsageError, match=message):
        parse_settings(Example, given, "example")


def test_large_whole_numbers_are_not_rounded():
    assert parse_settings(Example, {"sample": "9007199254740993"}, "example").sample == 9007199254740993


def test_a_near_miss_is_suggested():
    with pytest.raises(UsageError) as error:
        parse_settings(Example, {"decai": "none"}, "example")
    assert error.value.hint == "did you mean 'decay'?"


def test_old_names_mean_settings_that_a_model_has_and_no_model_has_the_old_ones():
    names = {field.name for model in model_names() for field in fields(model_class(model).Settings)}
    assert set(RENAMED.values()) <= names
    assert not set(RENAMED) & names


def test_an_old_name_that_a_model_never_had_is_unknown():
    with pytest.raises(UsageError, match="most-popular has no setting 'clip'"):
        parse_settings(model_class("most-popular").Settings, {"clip": "5"}, "most-popular")


def test_a_setting_that_takes_numbers_and_words_says_both():
    with pytest.raises(UsageError) as error:
        parse_settings(Example, {"sample": "many"}, "example")
    assert error.value.hint == "give a number from 1, or all"


def test_describe_lists_ranges():
    rows = {row["name"]: row for row in Example.describe()}
    assert rows["k"]["tune"] == [50, 500]
    assert rows["sample"]["type"] == "int or text"
    assert rows["clip"]["type"] == "float or none"


def test_a_subclass_changes_a_default_and_keeps_the_rest():
    @dataclass(frozen=True)
    class Wider(Example):
        k: int = with_default(Example, "k", 200)
        sample: int | str = with_default(Example, "sample", 10, tune=(10, 20))

    before, now = ({row["name"]: row for row in cls.describe()} for cls in (Example, Wider))
    assert now["k"] == before["k"] | {"default": 200}
    assert now["sample"] == before["sample"] | {"default": 10, "tune": [10, 20]}
    assert [*now] == [*before]


def test_assignments():
    assert parse_assignments(["k=3", "decay = none"]) == {"k": "3", "decay": "none"}
    with pytest.raises(UsageError, match="not of the form key=value"):
        parse_assignments(["k"])


@pytest.mark.parametrize(
    ("model", "old", "new"),
    [
        ("sasrec", "inner", "ffn_multiplier"),
        ("sasrec", "start", "init"),
        ("bert4rec", "clip", "grad_clip"),
        ("gru4rec", "average", "ema_decay"),
        ("gru4rec", "calibration", "gbce_t"),
        ("llmseqsim", "unseen", "cold_items"),
        ("llmseqsim", "breadth", "ef_search"),
        ("blend", "depth", "list_length"),
    ],
)
def test_an_earlier_name_says_the_new_one(llmseq, shop, model, old, new):
    failed = llmseq("train", model, "--set", f"{old}=7")
    assert failed.status == 2
    assert f"error: the setting '{old}' is now called '{new}'" in failed.err
    assert f"hint: --set {new}=7" in failed.err
