"""Which run a name means: what a run reaches on test sessions plays no part."""

from __future__ import annotations

import json

import pytest

from llmseq_cli.progress import SilentProgress
from llmseq_cli.store.connection import Store
from llmseq_cli.store.runs import find_run


class Heard(SilentProgress):
    def __init__(self) -> None:
        self.said: list[str] = []

    def message(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def con(tmp_path):
    with Store(tmp_path).write("testing") as con:
        con.execute("insert into core.dataset values (1, 'shop', now(), '{}', '{}', '{}')")
        for split in (1, 2):
            con.execute(
                "insert into core.split (split_id, dataset_id, name, kind, rule, statistics, made_at)"
                " values (?, 1, ?, 'sessions', '{}', '{}', now())",
                [split, f"s{split}"],
            )
        yield con


def add(con, number, model, test, validation=None, how="random", split=1):
    figures = {} if validation is None else {"validation_ndcg": validation}
    con.execute(
        "insert into core.run (run_id, dataset_id, split_id, model, label, status, seed, settings, environment,"
        " figures, sessions, list_length, started_at) values (?, 1, ?, ?, 'x', 'done', 0, ?, '{}', ?, 1, 20, now())",
        [number, split, model, json.dumps({"validation": how}), json.dumps(figures)],
    )
    con.execute("insert into core.metric values (?, 'ndcg', 20, ?)", [number, test])


def meant(con, name):
    heard = Heard()
    return find_run(con, name, progress=heard).run, heard.said


def test_the_best_by_validation_not_by_test(con):
    add(con, 1, "sasrec", test=0.9, validation=0.1)
    add(con, 2, "sasrec", test=0.1, validation=0.3)
    add(con, 3, "sasrec", test=0.5, validation=0.2)
    assert meant(con, "sasrec") == ("sasrec-2", ["sasrec means sasrec-2, the best by validation of its 3 runs"])


def test_without_validation_the_newest(con):
    add(con, 1, "v-sknn", test=0.9)
    add(con, 2, "v-sknn", test=0.1)
    assert meant(con, "v-sknn") == ("v-sknn-2", ["v-sknn means v-sknn-2, the newest of its 2 runs"])


def test_only_like_is_compared_with_like(con):
    add(con, 1, "sasrec", test=0.9, validation=0.9, how="temporal")
    add(con, 2, "sasrec", test=0.9, validation=0.8, split=2)
    add(con, 3, "sasrec", test=0.1, validation=0.2)
    add(con, 4, "sasrec", test=0.1, validation=0.1)
    add(con, 5, "sasrec", test=0.9)
    assert meant(con, "sasrec")[0] == "sasrec-3"


def test_names_numbers_and_latest_mean_just_that_run(con):
    add(con, 1, "sasrec", test=0.9, validation=0.9)
    add(con, 2, "sasrec", test=0.1, validation=0.2)
    for name in ("sasrec-2", "2", "latest"):
        assert meant(con, name) == ("sasrec-2", [])


def test_a_single_run_needs_no_words(con):
    add(con, 1, "sasrec", test=0.9)
    assert meant(con, "sasrec") == ("sasrec-1", [])
