"""Turn staged rows into a dataset: k-core, order of sessions, splits, statistics. All set work is SQL."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from llmseq_cli.data.splits import SplitRule, make_split, option_names, rules_of
from llmseq_cli.errors import LlmseqError, UsageError, did_you_mean
from llmseq_cli.progress import Progress
from llmseq_cli.store.queries import query, rows_of

if TYPE_CHECKING:
    import duckdb

_INTERACTIONS_PER_BLOCK = 4_000_000  # sorted at once; more are hardly faster and need more memory

TIE_BREAKS = ("random", "input", "item")


@dataclass(frozen=True)
class Protocol:
    """How interactions become sessions, and how these are split. Stored with the dataset.

    k_core: sessions and items with fewer interactions are removed until nothing changes; 0 or 1 removes nothing. None:
    5, or 0 if the parts come from files.
    min_session: sessions with fewer interactions are removed after that. None: 2, or 1 if the parts come from files.
    deduplicate: keep only the first of several interactions of a user with an item. anonymise: replace titles and
    categories with neutral ones and remove other attributes, so that a language model cannot recognise anything.
    tie_break: order of interactions with equal times: "random" (md5 of user and item), "input", "item".
    seed: of the random tie-break and random splits.
    splits: kinds of splits to make; the dataset's name alone means the first. The other fields are those of
    `SplitRule`; None uses the default of the kind.
    """

    k_core: int | None = None
    min_session: int | None = None
    deduplicate: bool = False
    anonymise: bool = False
    tie_break: str = "random"
    test_fraction: float | None = None
    folds: int | None = None
    seed: int = 0
    unseen_items: str | None = None
    splits: tuple[str, ...] = ("sessions",)
    point: str | None = None
    targets: str | None = None
    validation: str | None = None
    validation_fraction: float | None = None
    repeats: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "splits", tuple(self.splits))  # a recipe has a list
        has_parts = "files" in self.splits
        object.__setattr__(self, "k_core", (0 if has_parts else 5) if self.k_core is None else self.k_core)
        object.__setattr__(
            self, "min_session", (1 if has_parts else 2) if self.min_session is None else self.min_session
        )
        if self.tie_break not in TIE_BREAKS:
            raise UsageError(f"there is no tie-break '{self.tie_break}'", did_you_mean(self.tie_break, [*TIE_BREAKS]))
        if self.core < 0:
            raise UsageError(f"--k-core is {self.k_core}", "give 0 (remove nothing) or more, for example 5")
        if self.least < 1:
            raise UsageError(f"--min-session is {self.min_session}", "give at least 1, for example 2")
        if not self.splits:
            raise UsageError("no split is given", "for example --split sessions,leave-one-out")
        self.rules()

    @property
    def core(self) -> int:
        return self.k_core or 0

    @property
    def least(self) -> int:
        return self.min_session if self.min_session is not None else 2

    def rules(self) -> list[SplitRule]:
        """A rule for each kind of split. Raises UsageError for options that no kind uses."""
        given = {name: getattr(self, name) for name in option_names() if name != "seed"}
        return rules_of(self.splits, given | {"seed": self.seed})

    def to_dict(self) -> dict[str, Any]:
        """The part stored with the dataset; rules are stored with the splits."""
        names = ("k_core", "min_session", "deduplicate", "tie_break", "seed")
        return {name: getattr(self, name) for name in names} | ({"anonymise": True} if self.anonymise else {})

    @property
    def seed_suffix(self) -> str:
        """The text after user and item in the md5 that breaks ties; empty for seed 0."""
        return f":{self.seed}" if self.seed else ""


def build_dataset(
    con: duckdb.DuckDBPyConnection,
    name: str,
    protocol: Protocol,
    source: dict[str, Any],
    progress: Progress,
    splits: Sequence[tuple[str, SplitRule]] = (),
) -> dict[str, Any]:
    """Turn the staged rows into a stored dataset; returns its statistics.

    The connection must be in a transaction. source: where the rows came from; stored unchanged. splits: names and rules
    of splits to make instead of the protocol's. Raises LlmseqError if nothing is left to train on or to evaluate.
    """
    with progress.task("Naming users and items", 4, "steps") as task:
        removed = _encode(con, protocol)
        task.advance()
        task.describe("Removing users and items below the k-core")
        rounds = _k_core(con, protocol)
        task.advance()
        task.describe("Ordering sessions")
        least = max(protocol.core, protocol.least)
        con.execute(query("ingest/keep_sessions"), {"least": least})
        con.execute(query("ingest/keep_items"))
        task.advance()
        task.describe("Storing")
        n_sessions = _scalar(con, "select count(*) from kept_session")
        if n_sessions == 0:
            raise LlmseqError(
                f"no session is left after k-core {protocol.k_core} and --min-session {protocol.min_session}",
                "lower them, for example --k-core 0"
                if protocol.k_core
                else "check which columns are users and sessions; a longer --session-gap makes longer sessions",
            )
        dataset_id, statistics = _store(con, name, protocol, source)
        task.advance()
        made = {}
        for split, rule in splits or [(rule.kind, rule) for rule in protocol.rules()]:
            task.describe(f"Splitting: {split}")
            made[split] = make_split(con, dataset_id, split, rule)
    [(first, last)] = con.execute(query("dataset/time_span"), {"dataset_id": dataset_id}).fetchall()
    statistics |= {
        "first_time": first.isoformat(),
        "last_time": last.isoformat(),
        "read": removed["read"],
        "duplicates_removed": removed["duplicates"],
        "below_core_removed": removed["read"] - removed["duplicates"] - statistics["interactions"],
        "k_core_rounds": rounds,
        "rejected": _scalar(con, "select count(*) from staged_rejection"),
        "described_but_unused": _scalar(con, query("ingest/described_but_unused")),
    }
    con.execute(
        "update core.dataset set statistics = $s where name = $name", {"s": json.dumps(statistics), "name": name}
    )
    return statistics | next(iter(made.values())) | {"splits": made}


def _scalar(con: duckdb.DuckDBPyConnection, sql: str, parameters: Any = None) -> Any:
    return con.execute(sql, parameters).fetchall()[0][0]


def _encode(con: duckdb.DuckDBPyConnection, protocol: Protocol) -> dict[str, int]:
    """Turn names into codes once; the strings are not used again until the result is stored."""
    read = _scalar(con, "select count(*) from staged_interaction")
    if read == 0:
        raise LlmseqError("the input has no interactions", "check the file, or --map user=…,item=…,time=…")
    salt = _name(con)
    [(in_parts, has_keys)] = con.execute(query("ingest/order_given")).fetchall()
    if "files" in protocol.splits and not in_parts:
        raise LlmseqError(
            "the file names do not show which part is for training and which for testing",
            "name them like x.train.inter, x.valid.inter, x.test.inter or train.csv, valid.csv, test.csv",
        )
    in_parts = in_parts and "files" in protocol.splits
    encode = query("ingest/encode_with_order" if has_keys else "ingest/encode")
    con.execute(encode, {"salt": salt, "in_parts": in_parts})
    con.execute("drop table staged_interaction")
    if not protocol.deduplicate:
        con.execute("create or replace temp table live_user as select user_code, n from user_name")
        con.execute("create or replace temp table live_item as select item_code, n from item_name")
        return {"read": read, "duplicates": 0}
    con.execute(query("ingest/deduplicate"))
    con.execute(query("ingest/count_users"))
    con.execute(query("ingest/count_items"))
    return {"read": read, "duplicates": read - _scalar(con, "select count(*) from event")}


def _name(con: duckdb.DuckDBPyConnection) -> int:
    """Make user_name and item_name; return a salt with which no two names have the same hash."""
    salt = 0
    while True:
        con.execute(query("ingest/name_users"), {"salt": salt})
        con.execute(query("ingest/name_items"), {"salt": salt})
        if not _scalar(con, query("ingest/clashing_names")):
            return salt
        salt += 1


def _k_core(con: duckdb.DuckDBPyConnection, protocol: Protocol) -> int:
    """Reduce live_user and live_item to the k-core, which is unique; return the number of rounds.

    Then remove sessions that are too short, and items that occur nowhere else.
    """
    rounds = 0
    while _drop_users(con, protocol.core) + _drop_items(con, protocol.core):
        rounds += 1
    _drop_users(con, protocol.least)
    con.execute("delete from live_item where n = 0")
    return rounds


def _drop_users(con: duckdb.DuckDBPyConnection, least: int) -> int:
    """Drop users with fewer interactions than `least` and recount their items; return how many were dropped."""
    con.execute(query("ingest/k_core_drop_users"), {"k": least})
    dropped: int = _scalar(con, "select count(*) from dropped_user")
    if dropped:
        con.execute("delete from live_user where n < $k", {"k": least})
        con.execute(query("ingest/k_core_recount_items"))
    return dropped


def _drop_items(con: duckdb.DuckDBPyConnection, least: int) -> int:
    """Drop items with fewer interactions than `least` and recount their users; return how many were dropped."""
    con.execute(query("ingest/k_core_drop_items"), {"k": least})
    dropped: int = _scalar(con, "select count(*) from dropped_item")
    if dropped:
        con.execute("delete from live_item where n < $k", {"k": least})
        con.execute(query("ingest/k_core_recount_users"))
    return dropped


def _store_interactions(con: duckdb.DuckDBPyConnection, dataset_id: int, protocol: Protocol) -> None:
    """Sort the interactions a block of sessions at a time: sessions are independent, and this needs little memory."""
    keep = query("ingest/keep_interactions_as_input" if protocol.tie_break == "input" else "ingest/keep_interactions")
    tie_break = {"tie_break": protocol.tie_break, "seed_suffix": protocol.seed_suffix}
    con.execute("drop table if exists session_parts")
    if "files" in protocol.splits:
        con.execute("create temp table session_parts (session_id integer, train bigint, valid bigint, test bigint)")
    blocks = con.execute(query("ingest/session_blocks"), {"size": _INTERACTIONS_PER_BLOCK}).fetchall()
    for first, last in blocks:
        con.execute(keep, {"first": first, "last": last})
        if "files" in protocol.splits:
            con.execute(query("ingest/session_parts"))
        con.execute(query("ingest/store_interactions"), {"dataset_id": dataset_id} | tie_break)
    con.execute("drop table kept_interaction")
    con.execute("drop table event")


def _store(
    con: duckdb.DuckDBPyConnection, name: str, protocol: Protocol, source: dict[str, Any]
) -> tuple[int, dict[str, Any]]:
    """(the dataset's number, its statistics)."""
    dataset_id = _scalar(
        con,
        query("ingest/insert_dataset"),
        {
            "name": name,
            "now": datetime.now(UTC).replace(tzinfo=None),
            "source": json.dumps(source),
            "protocol": json.dumps(protocol.to_dict()),
        },
    )
    con.execute(query("ingest/store_sessions"), {"dataset_id": dataset_id})
    _store_interactions(con, dataset_id, protocol)
    con.execute(query("ingest/store_items"), {"dataset_id": dataset_id})
    if protocol.anonymise:
        con.execute(query("ingest/anonymise_items"), {"dataset_id": dataset_id})
    con.execute("insert into core.rejection select $d, file, line, reason from staged_rejection", {"d": dataset_id})
    [row] = rows_of(con, "ingest/statistics", {"dataset_id": dataset_id})
    # Sums are Decimal or float; JSON needs plain integers.
    return dataset_id, {
        column: float(value) if column in ("average_length", "density", "ties_at_end") else int(value)
        for column, value in row.items()
    }
