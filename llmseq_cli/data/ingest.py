"""From staged rows to a dataset: k-core, order of sessions, temporal split, statistics. All set work is SQL."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from llmseq_cli.errors import LlmseqError, UsageError, did_you_mean
from llmseq_cli.progress import Progress
from llmseq_cli.store.queries import query

if TYPE_CHECKING:
    import duckdb

_INTERACTIONS_PER_BLOCK = 4_000_000  # ordered at once; more are faster by little and need more memory

TIE_BREAKS = ("random", "input", "item")
UNSEEN_ITEMS = ("drop", "keep")


@dataclass(frozen=True)
class Protocol:
    """How interactions become sessions and sessions become training and test data. Kept with the dataset.

    k_core: sessions and items with fewer interactions are removed until none is left; 0 or 1 removes nothing.
    min_session: sessions with fewer interactions are removed after that.
    deduplicate: of several interactions of a user with an item only the first counts.
    tie_break: order of interactions that bear the same time: "random" (md5 of user and item), "input", "item".
    test_fraction: share of the sessions, the last ones in time, that are held out.
    folds: temporal folds for tuning; the training sessions fall into folds + 1 equal bins.
    seed: varies the random tie-break.
    unseen_items: items of test sessions that never occur in training; "drop" takes them out, as the paper does, "keep"
        leaves them in the prompts and as ground truths.
    """

    k_core: int = 5
    min_session: int = 2
    deduplicate: bool = False
    tie_break: str = "random"
    test_fraction: float = 0.2
    folds: int = 3
    seed: int = 0
    unseen_items: str = "drop"

    def __post_init__(self) -> None:
        if self.tie_break not in TIE_BREAKS:
            raise UsageError(f"no tie-break is called '{self.tie_break}'", did_you_mean(self.tie_break, [*TIE_BREAKS]))
        if self.unseen_items not in UNSEEN_ITEMS:
            raise UsageError(f"--unseen-items is '{self.unseen_items}'", "say drop, the paper's protocol, or keep")
        if not 0 < self.test_fraction < 1:
            raise UsageError(
                f"--test-fraction is {self.test_fraction}", "give a share between 0 and 1, for example 0.2"
            )
        if self.k_core < 0:
            raise UsageError(f"--k-core is {self.k_core}", "give 0, which removes nothing, or more, for example 5")
        if self.min_session < 1:
            raise UsageError(f"--min-session is {self.min_session}", "give at least 1, for example 2")
        if not 1 <= self.folds <= 20:
            raise UsageError(f"--folds is {self.folds}", "give 1 to 20, for example 3")

    @property
    def seed_suffix(self) -> str:
        """What follows user and item in the md5 that breaks ties; seed 0 leaves the bare names."""
        return f":{self.seed}" if self.seed else ""


def build_dataset(
    con: duckdb.DuckDBPyConnection, name: str, protocol: Protocol, source: dict[str, Any], progress: Progress
) -> dict[str, Any]:
    """Turn the staged rows into a stored dataset; returns its statistics.

    The connection must be in a transaction. `source` says where the rows came from and is kept as it is.
    Raises LlmseqError where nothing is left to train on or to evaluate.
    """
    with progress.task("Naming users and items", 4, "steps") as task:
        removed = _encode(con, protocol)
        task.advance()
        task.describe("Removing what is rarer than the k-core")
        rounds = _k_core(con, protocol)
        task.advance()
        task.describe("Ordering sessions")
        least = max(protocol.k_core, protocol.min_session)
        con.execute(query("ingest/keep_sessions"), {"least": least})
        con.execute(query("ingest/keep_items"))
        task.advance()
        task.describe("Storing")
        n_sessions = _scalar(con, "select count(*) from kept_session")
        if n_sessions == 0:
            raise LlmseqError(
                f"no session is left after k-core {protocol.k_core} and --min-session {protocol.min_session}",
                "lower them, for example --k-core 0",
            )
        n_test = math.ceil(protocol.test_fraction * n_sessions - 1e-9)
        if n_test >= n_sessions:
            raise LlmseqError(f"{n_sessions} sessions are too few to hold out a test part", "ingest more data")
        statistics = _store(con, name, protocol, source, n_sessions, n_test)
    statistics |= {
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
    return statistics


def _scalar(con: duckdb.DuckDBPyConnection, sql: str, parameters: Any = None) -> Any:
    return con.execute(sql, parameters).fetchall()[0][0]


def _encode(con: duckdb.DuckDBPyConnection, protocol: Protocol) -> dict[str, int]:
    """Names become codes once; the strings are not touched again until the result is stored."""
    read = _scalar(con, "select count(*) from staged_interaction")
    if read == 0:
        raise LlmseqError("the input holds no interactions", "check the file, or --map user=…,item=…,time=…")
    salt = _name(con)
    con.execute(query("ingest/encode"), {"salt": salt})
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
    """Make user_name and item_name; returns the salt with which no two names have the same hash."""
    salt = 0
    while True:
        con.execute(query("ingest/name_users"), {"salt": salt})
        con.execute(query("ingest/name_items"), {"salt": salt})
        if not _scalar(con, query("ingest/clashing_names")):
            return salt
        salt += 1


def _k_core(con: duckdb.DuckDBPyConnection, protocol: Protocol) -> int:
    """Leave in live_user and live_item what stays; returns the rounds it took. The k-core is unique.

    Then sessions that are too short go, and items that occurred nowhere else.
    """
    rounds = 0
    while _drop_users(con, protocol.k_core) + _drop_items(con, protocol.k_core):
        rounds += 1
    _drop_users(con, protocol.min_session)
    con.execute("delete from live_item where n = 0")
    return rounds


def _drop_users(con: duckdb.DuckDBPyConnection, least: int) -> int:
    """Drop users with fewer interactions than `least` and count what is left of their items; returns how many."""
    con.execute(query("ingest/k_core_drop_users"), {"k": least})
    dropped = _scalar(con, "select count(*) from dropped_user")
    if dropped:
        con.execute("delete from live_user where n < $k", {"k": least})
        con.execute(query("ingest/k_core_recount_items"))
    return dropped


def _drop_items(con: duckdb.DuckDBPyConnection, least: int) -> int:
    """Drop items with fewer interactions than `least` and count what is left of their users; returns how many."""
    con.execute(query("ingest/k_core_drop_items"), {"k": least})
    dropped = _scalar(con, "select count(*) from dropped_item")
    if dropped:
        con.execute("delete from live_item where n < $k", {"k": least})
        con.execute(query("ingest/k_core_recount_users"))
    return dropped


def _store_interactions(con: duckdb.DuckDBPyConnection, dataset_id: int, protocol: Protocol) -> None:
    """Order the interactions of some sessions at a time: sessions are independent, and memory stays small."""
    keep = query("ingest/keep_interactions_as_input" if protocol.tie_break == "input" else "ingest/keep_interactions")
    tie_break = {"tie_break": protocol.tie_break, "seed_suffix": protocol.seed_suffix}
    blocks = con.execute(query("ingest/session_blocks"), {"size": _INTERACTIONS_PER_BLOCK}).fetchall()
    for first, last in blocks:
        con.execute(keep, {"first": first, "last": last})
        con.execute(query("ingest/store_interactions"), {"dataset_id": dataset_id} | tie_break)
    con.execute("drop table kept_interaction")
    con.execute("drop table event")


def _store(
    con: duckdb.DuckDBPyConnection,
    name: str,
    protocol: Protocol,
    source: dict[str, Any],
    n_sessions: int,
    n_test: int,
) -> dict[str, Any]:
    dataset_id = _scalar(
        con,
        "insert into core.dataset (name, ingested_at, source, protocol, statistics)"
        " values ($name, $now, $source, $protocol, '{}') returning dataset_id",
        {
            "name": name,
            "now": datetime.now(UTC).replace(tzinfo=None),
            "source": json.dumps(source),
            "protocol": json.dumps(asdict(protocol)),
        },
    )
    split = {"dataset_id": dataset_id, "train_sessions": n_sessions - n_test}
    con.execute(query("ingest/store_sessions"), split | {"bins": protocol.folds + 1})
    _store_interactions(con, dataset_id, protocol)
    con.execute(query("ingest/store_items"), split)
    con.execute(query("ingest/store_ground_truths"), {"dataset_id": dataset_id})
    con.execute("insert into core.rejection select $d, file, line, reason from staged_rejection", {"d": dataset_id})
    cursor = con.execute(query("ingest/statistics"), {"dataset_id": dataset_id})
    columns = [column[0] for column in cursor.description]
    row = cursor.fetchall()[0]
    # Sums come as Decimal or float; counts are to be plain integers in JSON.
    return {
        column: float(value) if column in ("average_length", "density", "ties_at_end") else int(value)
        for column, value in zip(columns, row, strict=True)
    }
