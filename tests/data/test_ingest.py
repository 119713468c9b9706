"""The SQL of ingest against the same protocol written out in plain Python."""

from __future__ import annotations

import hashlib
import math
from collections import Counter

import duckdb
import numpy as np
import pytest

from llmseq_cli.data.dataset import item_texts, load_dataset
from llmseq_cli.data.ingest import Protocol, build_dataset
from llmseq_cli.errors import LlmseqError, UsageError
from llmseq_cli.progress import SilentProgress
from llmseq_cli.store.migrations import migrate
from llmseq_cli.store.queries import query

Row = tuple[str, str, int]


def build(rows: list[Row], protocol: Protocol) -> duckdb.DuckDBPyConnection:
    con = duckdb.connect()
    migrate(con)
    con.execute("begin transaction")  # as the product does
    con.execute(query("ingest/staging"))
    staged = {
        "u": np.array([r[0] for r in rows], dtype=object),
        "i": np.array([r[1] for r in rows], dtype=object),
        "t": np.array([r[2] for r in rows], dtype=np.int64),
    }
    con.register("staged", staged)
    con.execute(
        "insert into staged_interaction (user_id, item_id, time) select u, i, make_timestamp(t * 1000000) from staged"
    )
    build_dataset(con, "test", protocol, {}, SilentProgress())
    con.execute("commit")
    return con


def expected(rows: list[Row], protocol: Protocol) -> tuple[list[list[str]], list[list[str]]]:
    """(training sessions, evaluated sessions) as lists of external item ids."""
    numbered = [(u, i, t, n) for n, (u, i, t) in enumerate(rows)]
    if protocol.deduplicate:
        first: dict[tuple[str, str], tuple[str, str, int, int]] = {}
        for row in sorted(numbered, key=lambda r: (r[2], r[3])):
            first.setdefault((row[0], row[1]), row)
        numbered = list(first.values())
    while True:
        users, items = Counter(r[0] for r in numbered), Counter(r[1] for r in numbered)
        kept = [r for r in numbered if users[r[0]] >= protocol.k_core and items[r[1]] >= protocol.k_core]
        if len(kept) == len(numbered):
            break
        numbered = kept

    def md5(text: str) -> str:
        return hashlib.md5(text.encode()).hexdigest()

    def tie(row: tuple[str, str, int, int]) -> str:
        if protocol.tie_break == "random":
            return md5(row[0] + row[1] + protocol.seed_suffix)
        return row[1] if protocol.tie_break == "item" else ""

    sessions: dict[str, list[tuple[str, str, int, int]]] = {}
    for row in sorted(numbered, key=lambda r: (r[2], tie(r), r[3])):
        sessions.setdefault(row[0], []).append(row)
    long = [s for s in sessions.values() if len(s) >= protocol.min_session]
    ordered = sorted(long, key=lambda s: (s[-1][2], md5(s[0][0])))
    n_train = len(ordered) - math.ceil((protocol.test_fraction or 0.2) * len(ordered))
    train = [[row[1] for row in s] for s in ordered[:n_train]]
    known = {item for session in train for item in session}
    kept_too = protocol.unseen_items == "keep"
    test = [[row[1] for row in s if kept_too or row[1] in known] for s in ordered[n_train:]]
    return train, [s for s in test if len(s) >= 2]


def random_rows(seed: int, users: int = 60, items: int = 40, n: int = 700, days: int = 20) -> list[Row]:
    random = np.random.default_rng(seed)
    return [
        (f"u{int(u)}", f"i{int(i * i // items)}", 86_400 * int(day))
        for u, i, day in zip(
            random.integers(users, size=n), random.integers(items, size=n), random.integers(days, size=n), strict=True
        )
    ]


@pytest.mark.parametrize(
    "protocol",
    [
        Protocol(),
        Protocol(seed=7),
        Protocol(tie_break="input"),
        Protocol(tie_break="item", test_fraction=0.33),
        Protocol(deduplicate=True, k_core=3),
        Protocol(k_core=0, min_session=4),
        Protocol(k_core=9),
        Protocol(k_core=0, unseen_items="keep"),
    ],
    ids=str,
)
@pytest.mark.parametrize("seed", [1, 2])
def test_ingest_equals_the_protocol_written_out(protocol, seed):
    rows = random_rows(seed)
    dataset = load_dataset(build(rows, protocol), "test")
    names = dataset.catalog.external_ids
    train, test = expected(rows, protocol)
    assert [[names[i] for i in dataset.train[s]] for s in range(len(dataset.train))] == train
    assert [[names[i] for i in dataset.test[s]] for s in range(len(dataset.test))] == test


def test_names_that_share_a_hash_are_told_apart(monkeypatch):
    def clashing(name: str) -> str:
        # With salt 0 all names fall on five codes.
        return query(name).replace("_id, $salt)", "_id, $salt) % case when $salt = 0 then 5 else 1000000007 end")

    monkeypatch.setattr("llmseq_cli.data.ingest.query", clashing)
    rows = random_rows(1)
    dataset = load_dataset(build(rows, Protocol()), "test")
    names = dataset.catalog.external_ids
    train, _ = expected(rows, Protocol())
    assert [[names[i] for i in dataset.train[s]] for s in range(len(dataset.train))] == train


def test_catalog_is_ordered_and_counted():
    rows = random_rows(3)
    dataset = load_dataset(build(rows, Protocol()), "test")
    catalog = dataset.catalog
    assert list(catalog.external_ids) == sorted(catalog.external_ids)
    assert catalog.popularity.sum() == dataset.info.statistics["interactions"]
    assert np.array_equal(catalog.in_train, dataset.train.counts(len(catalog)) > 0)


def test_the_ground_truth_in_the_store_is_the_last_known_item():
    con = build(random_rows(4, items=200, n=500), Protocol(k_core=0))
    dataset = load_dataset(con, "test")
    stored = con.execute("select item_id from core.target where part = 'test' order by session_id")
    assert [row[0] for row in stored.fetchall()] == dataset.test.targets().tolist()
    assert dataset.info.statistics["evaluated_sessions"] == len(dataset.test)
    assert dataset.info.statistics["train_items"] < dataset.info.statistics["items"]


def test_unseen_items_are_kept_where_they_are_asked_for():
    rows = random_rows(4, items=200, n=500)
    dropped, kept = (
        load_dataset(build(rows, Protocol(k_core=0, unseen_items=one)), "test") for one in ("drop", "keep")
    )
    assert [list(session) for session in kept.train] == [list(session) for session in dropped.train]
    assert (dropped.info.keeps_unseen, kept.info.keeps_unseen) == (False, True)
    assert dropped.catalog.in_train[dropped.test.items].all()
    unseen = ~kept.catalog.in_train
    assert unseen[kept.test.targets()].any()
    assert unseen[kept.test.histories().items].any()
    assert len(kept.test) == kept.info.statistics["evaluated_sessions"] > len(dropped.test)


def test_bins_are_equal_and_temporal():
    con = build(random_rows(5), Protocol(folds=3))
    rows = con.execute(
        "select bin, count(*), min(session_id), max(session_id) from core.split_session where part = 'train'"
        " group by bin order by bin"
    ).fetchall()
    assert [row[0] for row in rows] == [1, 2, 3, 4]
    assert max(row[1] for row in rows) - min(row[1] for row in rows) <= 1
    assert all(before[3] < after[2] for before, after in zip(rows, rows[1:], strict=False))


def test_positions_count_from_one_without_gaps():
    con = build(random_rows(6, days=3), Protocol())
    broken = con.execute(
        "select session_id from core.interaction group by session_id"
        " having count(distinct position) <> count(*) or min(position) <> 1 or max(position) <> count(*)"
    ).fetchall()
    assert broken == []


def test_ties_at_end_counts_sessions_whose_last_two_times_are_equal():
    rows = [(f"u{u}", f"i{i}", 100 + u * 10 + (0 if u % 2 else i)) for u in range(10) for i in range(5)]
    con = build(rows, Protocol())
    assert load_dataset(con, "test").info.statistics["ties_at_end"] == pytest.approx(0.5)


def test_nothing_left_is_explained():
    with pytest.raises(LlmseqError, match="no session is left after k-core 5") as error:
        build([("u", "i", 1), ("u", "j", 2)], Protocol())
    assert "--k-core 0" in error.value.hint


@pytest.mark.parametrize(
    "options",
    [
        {"tie_break": "randon"},
        {"test_fraction": 0},
        {"test_fraction": 1.0},
        {"k_core": -1},
        {"folds": 0},
        {"unseen_items": "yes"},
    ],
)
def test_a_senseless_protocol_is_refused(options):
    with pytest.raises(UsageError):
        Protocol(**options)


def test_texts_come_from_a_template():
    con = build(random_rows(8), Protocol())
    con.execute("""update core.item set title = 'Tea', fields = '{"brand": "Acme"}' where item_id = 0""")
    info = load_dataset(con, "test").info
    assert item_texts(con, info, "{title} by {brand}")[:2] == ["Tea by Acme", "by"]
    with pytest.raises(LlmseqError, match="has the attribute 'colour'"):
        item_texts(con, info, "{colour}")
    for wrong in ("{title", "plain", "{}", "{title.upper}"):
        with pytest.raises(LlmseqError, match="template"):
            item_texts(con, info, wrong)
