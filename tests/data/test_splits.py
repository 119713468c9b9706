"""Every split against a plain pandas version of it, and what each of them promises."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from functools import cache
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
from support.beauty_split import needs_beauty, stage_beauty
from support.leave_one_out import FOLDER as CANONICAL
from support.leave_one_out import needs_leave_one_out

from llmseq_cli.data.dataset import Dataset, find_dataset, load_dataset
from llmseq_cli.data.ingest import Protocol, build_dataset
from llmseq_cli.data.splits import SplitRule, in_words, make_split, rule_of
from llmseq_cli.errors import LlmseqError, UsageError
from llmseq_cli.progress import SilentProgress
from llmseq_cli.store.migrations import migrate
from llmseq_cli.store.queries import query

Case = tuple[str, tuple[str, ...], str]
"""User, items of the history, item to predict."""

RULES = [
    {"kind": "sessions"},
    {"kind": "sessions", "test_fraction": 0.4, "unseen_items": "keep"},
    {"kind": "leave-one-out"},
    {"kind": "leave-one-out", "unseen_items": "drop"},
    *(
        {"kind": "global-time", "targets": targets, "unseen_items": unseen}
        for targets in ("last", "first", "random", "successive", "all")
        for unseen in ("drop", "keep")
    ),
    {"kind": "global-time", "point": "1970-01-08", "validation": "last"},
    {"kind": "global-time", "point": "0.5", "validation": "users", "validation_fraction": 0.3, "seed": 4},
    {"kind": "users"},
    {"kind": "users", "test_fraction": 0.5, "validation_fraction": 0.2, "seed": 9, "unseen_items": "keep"},
]


def rows_of(seed: int) -> pd.DataFrame:
    """Interactions with ties, repeats, items that come late, and users of one or two items."""
    random = np.random.default_rng(seed)
    users = np.repeat(np.arange(80), random.integers(1, 9, size=80))
    days = random.integers(0, 10, size=len(users))
    items = random.integers(0, 30, size=len(users)) + np.where(days > 7, random.integers(0, 2, size=len(users)) * 40, 0)
    return pd.DataFrame({"user": [f"u{u:02d}" for u in users], "item": [f"i{i:02d}" for i in items], "day": days})


def build(rows: pd.DataFrame, protocol: Protocol, parts: list[str] | None = None) -> duckdb.DuckDBPyConnection:
    con = duckdb.connect()
    migrate(con)
    con.execute("begin transaction")
    con.execute(query("ingest/staging"))
    part = np.array(parts if parts is not None else [None] * len(rows), dtype=object)
    con.register("staged", {"u": rows["user"].to_numpy(object), "i": rows["item"].to_numpy(object),
                            "t": rows["day"].to_numpy(np.int64), "p": part})  # fmt: skip
    con.execute(
        "insert into staged_interaction (user_id, item_id, time, part)"
        " select u, i, make_timestamp(t * 86400000000), p::varchar from staged"
    )
    build_dataset(con, "test", protocol, {}, SilentProgress())
    con.execute("commit")
    return con


@cache
def stored(seed: int) -> duckdb.DuckDBPyConnection:
    con = build(rows_of(seed), Protocol(k_core=0, min_session=1, tie_break="input"))
    for number, given in enumerate(RULES):
        make_split(con, 1, f"split-{number}", rule_of(given["kind"], {k: v for k, v in given.items() if k != "kind"}))
    return con


def md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


def in_order(rows: pd.DataFrame) -> pd.DataFrame:
    """Sessions one after the other, by the time of their last interaction; times may tie, the input's order decides."""
    sessions = rows.sort_values(["user", "day"], kind="stable")
    sessions["length"] = sessions.groupby("user")["item"].transform("size")
    sessions["position"] = sessions.groupby("user").cumcount() + 1
    return sessions


def plain(rows: pd.DataFrame, rule: SplitRule) -> tuple[pd.DataFrame, list[Case], list[Case]]:
    """(what is trained on, validation cases, test cases) in plain pandas."""
    sessions, train, valid, test = parted(rows, rule)
    counts = sessions["item"].isin(set(sessions[train]["item"])) | rule.keeps_unseen
    return (
        sessions[train],
        list(cases(sessions, valid, counts, "last", rule.seed)),
        list(cases(sessions, test, counts, rule.chosen_targets, rule.seed)),
    )


def parted(rows: pd.DataFrame, rule: SplitRule) -> tuple[pd.DataFrame, pd.Series, pd.Series, pd.Series]:
    """(sessions, and which interactions are for training, for validation, for testing)."""
    sessions = in_order(rows)
    last = sessions.groupby("user")["day"].max().reset_index()
    last["md5"] = last["user"].map(md5)
    by_time = last.sort_values(["day", "md5"])["user"].tolist()
    n = len(by_time)
    from_end = sessions["length"] - sessions["position"]
    none = pd.Series(False, index=sessions.index)
    valid, test, train = none, none, none
    if rule.kind == "sessions":
        held_out = by_time[n - math.ceil(rule.test_fraction * n) :]
        test = sessions["user"].isin(held_out)
        train = ~test
    elif rule.kind == "leave-one-out":
        long = sessions["length"] >= 3
        test, valid = long & (from_end == 0), long & (from_end == 1)
        train = ~test & ~valid
    elif rule.kind == "users":
        drawn = sorted(by_time, key=lambda user: md5(f"{user}:{rule.seed}"))
        n_test, n_valid = math.ceil(rule.test_fraction * n), math.ceil(rule.validation_fraction * n)
        test = sessions["user"].isin(drawn[:n_test])
        valid = sessions["user"].isin(drawn[n_test : n_test + n_valid])
        train = ~test & ~valid
    else:
        point = cut_of(rows, rule)
        test, train = sessions["day"] >= point, sessions["day"] < point
        if rule.validation == "last":
            before = sessions[train].groupby("user")["position"].agg(["max", "size"])
            ends = before[before["size"] >= 2]["max"]
            valid = train & (sessions["position"] == sessions["user"].map(ends))
        elif rule.validation == "users":
            reaching = sorted(set(sessions[train]["user"]), key=lambda user: md5(f"{user}:{rule.seed}"))
            valid = train & sessions["user"].isin(reaching[: math.ceil(rule.validation_fraction * n)])
        train = train & ~valid
    return sessions, train, valid, test


def cut_of(rows: pd.DataFrame, rule: SplitRule) -> int:
    """The first day that is tested."""
    if rule.point.startswith("1970"):
        return (pd.Timestamp(rule.point) - pd.Timestamp("1970-01-01")).days
    return int(np.quantile(rows["day"], float(rule.point), method="inverted_cdf"))


def cases(sessions: pd.DataFrame, asked: pd.Series, counts: pd.Series, targets: str, seed: int) -> Iterator[Case]:
    for user, session in sessions.groupby("user"):
        to_predict, known = asked[session.index], counts[session.index]
        if not to_predict.any():
            continue
        first = session["position"][to_predict].min()
        found = []
        for place, item in session[to_predict & known][["position", "item"]].itertuples(index=False):
            history = session[known & (session["position"] < (first if targets == "all" else place))]["item"]
            if len(history):
                found.append((place, (str(user), tuple(history), item)))
        if targets == "last" and found and found[-1][0] == session["position"][to_predict & known].max():
            yield found[-1][1]
        elif targets == "first" and found:
            yield found[0][1]
        elif targets == "random" and found:
            yield min(found, key=lambda one: md5(f"{user}:{one[0]}:{seed}"))[1]
        elif targets in ("successive", "all"):
            yield from (case for _, case in found)


def named(con: duckdb.DuckDBPyConnection, dataset: Dataset, part: str) -> list[Case]:
    """The cases that the product hands out, with names."""
    sessions = dataset.test if part == "test" else dataset.validation
    if sessions is None:
        return []
    users = con.execute(
        "select s.external_id from core.target as t inner join core.session as s using (session_id)"
        " where t.split_id = ? and t.part = ? and s.dataset_id = ? order by t.case_id",
        [dataset.info.split_id, part, dataset.info.dataset_id],
    ).fetchall()
    names = dataset.catalog.external_ids
    histories = sessions.histories()
    return [
        (user, tuple(names[i] for i in histories[place]), names[target])
        for place, ((user,), target) in enumerate(zip(users, sessions.targets(), strict=True))
    ]


@pytest.mark.parametrize("number", range(len(RULES)), ids=lambda n: "-".join(str(v) for v in RULES[n].values()))
@pytest.mark.parametrize("seed", [1, 2])
def test_a_split_equals_plain_pandas(number, seed):
    con, rows = stored(seed), rows_of(seed)
    dataset = load_dataset(con, f"test/split-{number}")
    rule = rule_of(RULES[number]["kind"], {k: v for k, v in RULES[number].items() if k != "kind"})
    train, valid, test = plain(rows, rule)
    assert sorted(named(con, dataset, "test")) == sorted(test)
    assert sorted(named(con, dataset, "validation")) == sorted(valid)
    names = dataset.catalog.external_ids
    ours = sorted(tuple(names[i] for i in dataset.train[place]) for place in range(len(dataset.train)))
    assert ours == sorted(tuple(session["item"]) for _, session in train.groupby("user"))
    assert names[dataset.catalog.in_train].tolist() == sorted(set(train["item"]))
    known = dataset.info.statistics
    assert (known["train_interactions"], known["evaluated_sessions"], known["validation_sessions"]) == (
        len(train),
        len(test),
        len(valid),
    )
    assert len(test) > 0
    assert (dataset.validation is None) == (not valid)


@pytest.mark.parametrize("number", range(len(RULES)), ids=lambda n: "-".join(str(v) for v in RULES[n].values()))
def test_a_split_keeps_its_promises(number):
    """No look into the future, and none of validation or training at what is tested."""
    con = stored(3)
    split_id = find_dataset(con, f"test/split-{number}").split_id
    kind = RULES[number]["kind"]
    frame = con.execute(
        "select x.session_id, x.position, x.time, p.train_length from core.interaction as x"
        " inner join core.split_session as p on p.split_id = ? and x.session_id = p.session_id",
        [split_id],
    ).df()
    targets = con.execute("select * from core.target where split_id = ?", [split_id]).df()
    targets = targets.merge(frame[["session_id", "position", "time", "train_length"]], on=["session_id", "position"])
    # What is predicted is never trained on, and stands behind its whole history.
    assert (targets["position"] > targets["train_length"]).all()
    assert (targets["history_length"] < targets["position"]).all()
    assert (targets["history_length"] >= 1).all()
    assert not targets.duplicated(["part", "session_id", "position"]).any()
    assert not targets.duplicated(["part", "case_id"]).any()
    # What validation sees, target included, ends before what the same session is tested on.
    tested, validated = targets[targets["part"] == "test"], targets[targets["part"] == "validation"]
    first_tested = tested.groupby("session_id")["position"].min()
    both = validated[validated["session_id"].isin(first_tested.index)]
    assert (both["position"] < both["session_id"].map(first_tested)).all()
    trained = frame[frame["position"] <= frame["train_length"]]
    if kind == "global-time":
        assert trained["time"].max() < tested["time"].min()
        assert validated.empty or validated["time"].max() < tested["time"].min()
    elif kind == "sessions":
        ends = frame.groupby("session_id")["time"].max()
        assert ends[trained["session_id"].unique()].max() <= ends[tested["session_id"].unique()].min()
    elif kind == "users":
        people = [set(one["session_id"]) for one in (trained, validated, tested)]
        assert not people[0] & (people[1] | people[2])
        assert not people[1] & people[2]
    else:
        own = trained.groupby("session_id")["position"].max()
        assert (own.reindex(tested["session_id"]).to_numpy() == tested["position"].to_numpy() - 2).all()


def test_a_validation_that_nothing_is_left_for():
    """Users with one item before the point keep it for training: there is nothing to validate on, and it says so."""
    rows = pd.DataFrame(
        [(user, item, day) for user in "abcd" for item, day in (("x", 1), (user, 8))] + [("d", "a", 9), ("d", "x", 1)],
        columns=["user", "item", "day"],
    ).drop_duplicates(ignore_index=True)
    con = build(rows, Protocol(k_core=0, min_session=1, tie_break="input"))
    rule = rule_of("global-time", {"point": "1970-01-05", "validation": "last", "unseen_items": "keep"})
    make_split(con, 1, "early", rule)
    dataset = load_dataset(con, "test/early")
    train, valid, test = plain(rows, rule)
    assert (dataset.validation, valid) == (None, [])
    assert dataset.info.statistics["validation_sessions"] == 0
    assert dataset.train.lengths.tolist() == [1] * 4 == train.groupby("user").size().tolist()
    assert sorted(named(con, dataset, "test")) == sorted(test)
    assert len(test) == 4


def test_training_sessions_tell_nothing_of_what_comes_after():
    """Their order and numbers are those of what is trained on, not of whole sessions."""
    rows = pd.DataFrame(
        [("a", "x", 1), ("a", "y", 2), ("a", "z", 9), ("b", "x", 3), ("b", "y", 4), ("b", "z", 5), ("c", "x", 9),
         ("c", "y", 9), ("c", "z", 9)], columns=["user", "item", "day"]
    )  # fmt: skip
    con = build(rows, Protocol(k_core=0, tie_break="input", splits=("global-time",), point="1970-01-06"))
    train = load_dataset(con, "test", times=True).train
    assert (len(train), train.ids.tolist(), train.lengths.tolist()) == (2, [0, 1], [2, 2])
    assert [int(time // 86_400_000_000) for time in train.times] == [1, 2, 3, 4]


def test_parts_of_files_are_kept_as_they_are():
    rows = pd.DataFrame(
        [("a", "x", 5), ("a", "y", 6), ("a", "z", 1), ("b", "x", 1), ("b", "y", 2), ("c", "z", 3), ("c", "x", 4)],
        columns=["user", "item", "day"],
    )
    parts = ["train", "validation", "test", "train", "train", "test", "test"]
    con = build(rows, Protocol(splits=("files",)), parts)
    dataset = load_dataset(con, "test", times=True)
    names = dataset.catalog.external_ids
    assert sorted(tuple(names[i] for i in one) for one in dataset.train) == [("x",), ("x", "y")]
    assert named(con, dataset, "validation") == [("a", ("x",), "y")]
    # The test file says what is tested, whatever its times; an item without any before it cannot be predicted.
    assert sorted(named(con, dataset, "test")) == [("a", ("x", "y"), "z"), ("c", ("z",), "x")]
    days = {
        tuple(names[i] for i in part[case]): (
            part.times[slice(*part.offsets[case : case + 2])] // 86_400_000_000
        ).tolist()
        for part in (dataset.validation, dataset.test)
        for case in range(len(part))
    }
    assert days == {("x", "y"): [5, 6], ("x", "y", "z"): [5, 6, 1], ("z", "x"): [3, 4]}
    assert (dataset.info.protocol["k_core"], dataset.info.keeps_unseen) == (0, True)
    with pytest.raises(LlmseqError, match="do not show which part is for training"):
        build(rows, Protocol(splits=("files",)))
    with pytest.raises(LlmseqError, match="takes parts from files"):
        make_split(build(rows, Protocol(k_core=0)), 1, "files", SplitRule("files"))


def test_a_sort_key_orders_equal_times():
    rows = pd.DataFrame([("a", item, 1) for item in "zxy"] + [("b", "x", 1), ("b", "y", 2)])
    rows.columns = ["user", "item", "day"]
    con = duckdb.connect()
    migrate(con)
    con.execute(query("ingest/staging"))
    con.register("staged", {"u": rows["user"].to_numpy(object), "i": rows["item"].to_numpy(object), "n": np.arange(5)})
    con.execute(
        "insert into staged_interaction (user_id, item_id, time, sort_key)"
        " select u, i, make_timestamp(0), -n from staged"
    )
    build_dataset(con, "test", Protocol(k_core=0, splits=("leave-one-out",)), {}, SilentProgress())
    stored = con.execute("select item from interactions where session = 'a' order by position").fetchall()
    assert [item for (item,) in stored] == ["y", "x", "z"]


@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        ("by-month", {}, "no split is called"),
        ("leave-one-out", {"targets": "all"}, "does not apply to the split leave-one-out"),
        ("users", {"test_fraction": 0.3, "validation_fraction": 0.7}, "leave no user to train on"),
        ("sessions", {"test_fraction": 1.5}, "--test-fraction is 1.5"),
        ("global-time", {"point": "soon"}, "not a point in time"),
        ("global-time", {"point": "1.2"}, "--point is 1.2"),
        ("global-time", {"targets": "some"}, "--targets is"),
        ("users", {"folds": 0}, "--folds is 0"),
        ("users", {"repeats": "maybe"}, "--repeats is"),
        ("users", {"seed": -1}, "--seed is -1"),
    ],
)
def test_a_senseless_rule_is_refused(kind, given, said):
    with pytest.raises(UsageError, match=said):
        rule_of(kind, given)


def test_a_point_among_numbers_is_no_date():
    protocol = {"kind": "global-time", "tie_break": "input", "unseen_items": "drop", "repeats": "exclude"}
    assert in_words(protocol | {"cut_at": "1970-01-01 00:08:29"}, 8).startswith("from time 509 on, last item, 8 sess")
    many = protocol | {"cut_at": "1970-01-01 00:08:29", "targets": "all"}
    assert in_words(many, 8).startswith("from time 509 on, all items, 8 items scored, input tie-break")
    assert in_words(protocol | {"cut_at": "2014-05-13 00:00:00"}, 8).startswith("from 2014-05-13 00:00:00 on")


def test_a_point_after_everything_or_before_it_is_explained():
    con = build(rows_of(1), Protocol(k_core=0, min_session=1))
    with pytest.raises(LlmseqError, match="leaves nothing to train on"):
        make_split(con, 1, "early", SplitRule("global-time", point="1960-01-01"))
    with pytest.raises(LlmseqError, match="leaves nothing to test"):
        make_split(con, 1, "late", SplitRule("global-time", point="2100-01-01"))


def test_a_dataset_with_several_splits_asks_for_one():
    con = build(rows_of(1), Protocol(k_core=0, splits=("sessions", "leave-one-out")))
    assert find_dataset(con, "test").name == "test"
    assert find_dataset(con, "/leave-one-out").name == find_dataset(con, "test/leave-one-out").name
    with pytest.raises(LlmseqError, match="several splits") as error:
        load_dataset(con, "test")
    assert "sessions, leave-one-out" in error.value.hint
    with pytest.raises(LlmseqError, match="has no split 'users'"):
        load_dataset(con, "test/users")


BEAUTY_RULES: list[dict[str, Any]] = [
    {"kind": "leave-one-out"},
    {"kind": "global-time"},
    {"kind": "global-time", "targets": "successive", "validation": "last"},
    {"kind": "users"},
]


@needs_beauty
@pytest.mark.parametrize("given", BEAUTY_RULES, ids=lambda one: "-".join(one.values()))
def test_splits_of_beauty_equal_plain_pandas(given):
    con = stage_beauty()
    rule = rule_of(given["kind"], {key: value for key, value in given.items() if key != "kind"})
    name = "-".join(given.values())
    make_split(con, 1, name, rule)
    dataset = load_dataset(con, f"beauty/{name}")
    rows = con.execute(
        'select session as "user", item, (epoch(time) // 86400)::bigint as day from interactions'
        " order by session, position"
    ).df()
    sessions, train, valid, test = parted(rows, rule)
    counts = sessions["item"].isin(set(sessions[train]["item"])) | rule.keeps_unseen
    assert len(dataset.train.items) == train.sum()
    for part, asked, targets in (("validation", valid, "last"), ("test", test, rule.chosen_targets)):
        stored = con.execute(
            'select session as "user", position, item from targets where split = ? and part = ?', [name, part]
        ).df()
        before = counts.groupby(sessions["user"]).cumsum() - counts
        possible = sessions[asked & counts & (before > 0)]
        wanted = possible.groupby("user").tail(1) if targets == "last" else possible
        wanted = wanted[["user", "position", "item"]].sort_values(["user", "position"]).reset_index(drop=True)
        pd.testing.assert_frame_equal(
            stored.sort_values(["user", "position"]).reset_index(drop=True), wanted, check_dtype=False
        )
    assert len(dataset.test) == dataset.info.statistics["evaluated_sessions"] > 0


@needs_beauty
@needs_leave_one_out
def test_the_canonical_order_is_that_of_amazons_file():
    """So `ingest --tie-break input` of the reviews makes the field's own sequences."""
    rows = pd.read_csv(f"{CANONICAL}/beauty.csv.gz").sort_values(["user", "position"])
    con = stage_beauty("input")
    stored = con.execute('select session as "user", item from interactions order by session, position').df()
    assert stored["user"].tolist() == rows["user"].tolist()
    assert stored["item"].tolist() == rows["item"].tolist()


@needs_leave_one_out
def test_the_canonical_order_of_beauty_is_split_as_the_field_does():
    rows = pd.read_csv(f"{CANONICAL}/beauty.csv.gz").rename(columns={"position": "day"})
    con = build(rows, Protocol(splits=("leave-one-out",)))
    dataset = load_dataset(con, "test")
    groups = rows.sort_values(["user", "day"]).groupby("user")["item"].agg(list)
    assert {user: (history, target) for user, history, target in named(con, dataset, "test")} == {
        user: (tuple(items[:-1]), items[-1]) for user, items in groups.items()
    }
    assert len(dataset.train.items) == len(rows) - 2 * len(groups)
    assert dataset.info.statistics["evaluated_sessions"] == 22_363
