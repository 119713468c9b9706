"""Splits of a dataset into training, validation and test parts. Each kind of split is one SQL file."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from llmseq_cli.data.names import checked_name
from llmseq_cli.errors import LlmseqError, UsageError, did_you_mean
from llmseq_cli.settings import LARGEST_SEED
from llmseq_cli.store.queries import query, rows_of

if TYPE_CHECKING:
    import duckdb

    from llmseq_cli.progress import Progress
    from llmseq_cli.store.connection import Store

_QUERIES = {
    "sessions": "splits/sessions",
    "leave-one-out": "splits/leave_one_out",
    "global-time": "splits/global_time",
    "users": "splits/users",
    "files": "splits/files",
}
KINDS = tuple(_QUERIES)
UNSEEN_ITEMS = ("drop", "keep")
REPEATS = ("exclude", "allow")
TARGETS = ("last", "first", "random", "successive", "all")
VALIDATIONS = ("latest", "last", "users")

_MANY = ("successive", "all")
_COMMON = ("kind", "folds", "unseen_items", "repeats")
_OWN = {
    "sessions": ("test_fraction",),
    "leave-one-out": (),
    "global-time": ("point", "targets", "validation", "validation_fraction", "seed"),
    "users": ("test_fraction", "validation_fraction", "seed"),
    "files": ("targets", "seed"),
}
_KEEPS_UNSEEN = ("leave-one-out", "files")  # the field's tables count every user


@dataclass(frozen=True)
class SplitRule:
    """How to split a dataset. Which fields apply depends on `kind`; only these are stored.

    kind: "sessions" holds out the last sessions; "leave-one-out" tests the last item of every session and validates on
    the one before; "global-time" trains on interactions before one point in time and tests those after it; "users"
    holds out random sessions; "files" uses the parts as they were read. test_fraction: share of sessions to hold out
    (sessions, users). point: for global-time, a date or time, or the share of interactions before it, such as "0.9".
    targets: which of a session's items after the point (or in the test file) are predicted: "last", "first", "random"
        (one), "successive" (each, from all items before it) or "all" (each, from the items before the point).
        None: last, or for files successive.
    validation: for global-time: "latest" (models hold out the latest training sessions themselves), "last" (the last
        training item of every session) or "users" (some sessions, whole).
    validation_fraction: share of sessions to validate on (users, and global-time with validation "users"). folds:
    temporal folds for tuning, if the split has no validation items. unseen_items: items that are never trained on:
    "drop" removes them from histories and targets, "keep" keeps them. None: keep for leave-one-out and files, drop for
    the others. repeats: whether a list may contain items of the history: "exclude" or "allow". seed: of random choices.
    """

    kind: str = "sessions"
    test_fraction: float = 0.2
    point: str = "0.9"
    targets: str | None = None
    validation: str = "latest"
    validation_fraction: float = 0.1
    folds: int = 3
    unseen_items: str | None = None
    repeats: str = "exclude"
    seed: int = 0

    def __post_init__(self) -> None:
        _one_of(self.kind, KINDS, "no split is called")
        _one_of(self.unseen_items, UNSEEN_ITEMS, "--unseen-items is")
        _one_of(self.repeats, REPEATS, "--repeats is")
        _one_of(self.targets, TARGETS, "--targets is")
        _one_of(self.validation, VALIDATIONS, "--validation is")
        _share("--test-fraction", self.test_fraction, 0.2)
        _share("--validation-fraction", self.validation_fraction, 0.1)
        if self.kind == "users" and self.test_fraction + self.validation_fraction >= 1:
            raise UsageError(
                f"--test-fraction {self.test_fraction:g} and --validation-fraction {self.validation_fraction:g} leave"
                " no user to train on",
                "their sum must be below 1",
            )
        if not 1 <= self.folds <= 20:
            raise UsageError(f"--folds is {self.folds}", "give 1 to 20, for example 3")
        if not 0 <= self.seed <= LARGEST_SEED:
            raise UsageError(f"--seed is {self.seed}", f"seeds are numbers between 0 and {LARGEST_SEED}")
        parse_point(self.point)

    @property
    def keeps_unseen(self) -> bool:
        return (self.unseen_items or ("keep" if self.kind in _KEEPS_UNSEEN else "drop")) == "keep"

    @property
    def chosen_targets(self) -> str:
        return self.targets or ("successive" if self.kind == "files" else "last")

    def to_dict(self) -> dict[str, Any]:
        """The fields to store: those that apply to this kind."""
        plain = replace(self, unseen_items="keep" if self.keeps_unseen else "drop", targets=self.chosen_targets)
        # The dataset stores its own seed, that of the tie-break.
        stored = {name: getattr(plain, name) for name in (*_COMMON, *_OWN[self.kind])}
        return {"split_seed" if name == "seed" else name: value for name, value in stored.items()}


def rule_of(kind: str, given: dict[str, Any]) -> SplitRule:
    """A rule of this kind with the user's options (None: not given). Raises UsageError for options that do not
    apply."""
    asked = {name: value for name, value in given.items() if value is not None}
    _one_of(kind, KINDS, "no split is called")
    for name in asked:
        if name not in (*_COMMON, *_OWN[kind]):
            kinds = ", ".join(one for one in KINDS if name in _OWN[one])
            raise UsageError(f"--{name.replace('_', '-')} does not apply to the split {kind}", f"it is for {kinds}")
    return SplitRule(kind, **asked)


def rules_of(kinds: tuple[str, ...], given: dict[str, Any]) -> list[SplitRule]:
    """A rule for each kind. An option goes to the kinds that have it. Raises UsageError if none does, except for the
    seed, which has other uses.
    """
    if len(set(kinds)) < len(kinds):
        raise UsageError("a split is given twice", "to make two of a kind, use `llmseq split NAME --as OTHER`")
    for kind in kinds:
        _one_of(kind, KINDS, "no split is called")
    for name, value in given.items():
        if value is not None and name not in (*_COMMON, "seed") and not any(name in _OWN[kind] for kind in kinds):
            rule_of(kinds[0], {name: value})
    return [
        rule_of(kind, {name: value for name, value in given.items() if name in (*_COMMON, *_OWN[kind])})
        for kind in kinds
    ]


def parse_point(words: str) -> float | datetime:
    """A share of the interactions, or a point in time (UTC). Raises UsageError for anything else."""
    hint = "give a share such as 0.9, or a date such as 2014-04-01"
    try:
        share = float(words)
    except ValueError:
        try:
            point = datetime.fromisoformat(words)
        except ValueError:
            raise UsageError(f"'{words}' is not a point in time", hint) from None
        return point.astimezone(UTC).replace(tzinfo=None) if point.tzinfo else point
    if not 0 < share < 1:
        raise UsageError(f"--point is {words}", hint)
    return share


def in_words(protocol: dict[str, Any], cases: int) -> str:
    """A stored protocol on one line, for the header of a table. cases: how many were scored."""
    share = f"{protocol.get('test_fraction', 0):.0%}"
    kind, targets = protocol["kind"], protocol.get("targets", "last")
    held_out = {
        "sessions": f"last {share} held out",
        "leave-one-out": "leave-one-out: the last item of each session",
        "global-time": f"from {_moment(protocol)} on, {targets} item{'s' if targets in _MANY else ''}",
        "users": f"{share} of the users held out",
        "files": f"parts as read, {targets} item{'s' if targets in _MANY else ''}",
    }[kind]
    ties = f"{protocol['tie_break']} tie-break"
    if protocol["tie_break"] == "random":
        ties += f", seed {protocol['seed']}"
    scored = "items" if targets in _MANY else "sessions"  # a session counts as often as items of it are predicted
    unseen = ", items unseen in training kept" if protocol["unseen_items"] == "keep" else ""
    repeats = "allowed" if protocol["repeats"] == "allow" else "excluded"
    neutral = ", neutral titles" if protocol.get("anonymise") else ""
    return f"{held_out}, {cases:,} {scored} scored, {ties}{unseen}, repeats {repeats}{neutral}"


def _moment(protocol: dict[str, Any]) -> str:
    """The point in time of a stored protocol; a number if interactions are only numbered."""
    cut = str(protocol.get("cut_at", ""))
    if not "1970" <= cut < "1973":
        return cut
    return f"time {datetime.fromisoformat(cut).replace(tzinfo=UTC).timestamp():g}"


def rule_of_stored(text: str) -> SplitRule:
    """The rule from its stored form, see `SplitRule.to_dict`."""
    stored = json.loads(text)
    known = {"seed" if name == "split_seed" else name: value for name, value in stored.items()}
    return SplitRule(**{name: value for name, value in known.items() if name in ("kind", *option_names())})


def make_split(con: duckdb.DuckDBPyConnection, dataset_id: int, name: str, rule: SplitRule) -> dict[str, Any]:
    """Split a stored dataset; return the statistics of the split. The connection must be in a transaction.

    Raises LlmseqError if nothing is left to train on or to evaluate.
    """
    checked_name(name, "split", "--as by-month")
    [(n_sessions,)] = con.execute("select count(*) from core.session where dataset_id = ?", [dataset_id]).fetchall()
    cut = _cut(con, dataset_id, rule, n_sessions)
    split_id = con.execute(
        query("splits/insert_split"),
        {
            "dataset_id": dataset_id,
            "name": name,
            "kind": rule.kind,
            "rule": json.dumps(rule.to_dict() | cut),
            "now": datetime.now(UTC).replace(tzinfo=None),
        },
    ).fetchall()[0][0]
    ids = {"split_id": split_id, "dataset_id": dataset_id}
    con.execute(query("splits/store_sessions"), ids | {"bins": rule.folds + 1})
    con.execute(query("splits/store_items"), ids)
    con.execute(query("splits/macros"))
    for part in ("validation", "test"):
        _store_targets(con, ids, part, rule)
    con.execute("drop table split_cut")
    [counts] = rows_of(con, "splits/statistics", {"split_id": split_id})
    statistics = {key: int(value or 0) for key, value in counts.items()}
    if not statistics["train_interactions"]:
        raise LlmseqError(f"the split {name} leaves nothing to train on", _hint(rule))
    if not statistics["test_sessions"]:
        raise LlmseqError(f"the split {name} leaves nothing to test", _hint(rule))
    con.execute("update core.split set statistics = ? where split_id = ?", [json.dumps(statistics), split_id])
    return statistics


def add_split(store: Store, dataset: str | None, name: str, rule: SplitRule, progress: Progress) -> dict[str, Any]:
    """Add another split to a stored dataset; return the names of both, the rule as text, and statistics."""
    from llmseq_cli.data.dataset import find_dataset

    checked_name(name, "split", "--as by-month")
    with store.read("looking for a dataset") as con:
        info = find_dataset(con, dataset)
    with store.transaction(f"splitting '{info.dataset}'") as con:
        names = [row[0] for row in con.execute(query("splits/names"), {"dataset_id": info.dataset_id}).fetchall()]
        if name in names:
            raise LlmseqError(f"'{info.dataset}' already has a split '{name}'", "give another name with --as")
        with progress.task(f"Splitting {info.dataset}: {name}"):
            statistics = make_split(con, info.dataset_id, name, rule)
        protocol = find_dataset(con, f"{info.dataset}/{name}").protocol
    words = in_words(protocol, statistics["evaluated_sessions"])
    return {"dataset": info.dataset, "split": name, "rule": words} | statistics


def _cut(con: duckdb.DuckDBPyConnection, dataset_id: int, rule: SplitRule, n_sessions: int) -> dict[str, Any]:
    """Make split_cut; return facts found on the way that are worth storing."""
    given: dict[str, Any] = {"dataset_id": dataset_id}
    found: dict[str, Any] = {}
    if rule.kind == "sessions":
        given["in_training"] = n_sessions - _held_out(rule.test_fraction, n_sessions, n_sessions)
    elif rule.kind == "users":
        held_out = _held_out(rule.test_fraction, n_sessions, n_sessions)
        validated = _held_out(rule.validation_fraction, n_sessions, n_sessions - held_out)
        given |= {"held_out": held_out, "validated": validated, "seed": rule.seed}
    elif rule.kind == "global-time":
        point = _point(con, dataset_id, rule)
        found["cut_at"] = point.isoformat(sep=" ")
        held_out = math.ceil(rule.validation_fraction * n_sessions - 1e-9)
        given |= {"point": point, "validation": rule.validation, "held_out": held_out, "seed": rule.seed}
    elif rule.kind == "files" and not _has_parts(con):
        raise LlmseqError(
            "the split 'files' takes parts from files while they are read", "use `llmseq ingest --split files`"
        )
    con.execute(query(_QUERIES[rule.kind]), given)
    return found


def _has_parts(con: duckdb.DuckDBPyConnection) -> bool:
    return bool(con.execute("select 1 from duckdb_tables() where table_name = 'session_parts'").fetchall())


def _held_out(share: float, n_sessions: int, most: int) -> int:
    n = math.ceil(share * n_sessions - 1e-9)
    if n >= most:
        shown = "1 session is" if n_sessions == 1 else f"{n_sessions} sessions are"
        raise LlmseqError(f"{shown} too few to hold out a test part", "ingest more data")
    return n


def _point(con: duckdb.DuckDBPyConnection, dataset_id: int, rule: SplitRule) -> datetime:
    point = parse_point(rule.point)
    if isinstance(point, datetime):
        return point
    moment: datetime = con.execute(query("splits/point"), {"dataset_id": dataset_id, "share": point}).fetchall()[0][0]
    return moment


def _store_targets(con: duckdb.DuckDBPyConnection, ids: dict[str, int], part: str, rule: SplitRule) -> None:
    # In a validation range only the last item counts, but a validation file is treated like the test file.
    targets = rule.chosen_targets if part == "test" or rule.kind == "files" else "last"
    given = ids | {"part": part, "keep": rule.keeps_unseen}
    if targets == "last":
        con.execute(query("splits/store_last_targets"), given)
    elif targets in _MANY:
        con.execute(query("splits/store_targets"), given | {"targets": targets})
    else:
        con.execute(query("splits/store_one_target"), given | {"targets": targets, "seed": rule.seed})


def _hint(rule: SplitRule) -> str:
    return {
        "global-time": "give another --point; `llmseq describe` shows the times",
        "files": "the test part must be in a file named test: x.test.inter or test.csv",
        "leave-one-out": "sessions need two items besides the test item: ingest with --min-session 3",
    }.get(rule.kind, "ingest more data")


def option_names() -> list[str]:
    """The fields of a rule that a user may set."""
    return [field.name for field in fields(SplitRule) if field.name != "kind"]


def _one_of(value: str | None, allowed: tuple[str, ...], wrong: str) -> None:
    if value is not None and value not in allowed:
        raise UsageError(f"{wrong} '{value}'", did_you_mean(value, [*allowed]))


def _share(option: str, value: float, example: float) -> None:
    if not 0 < value < 1:
        raise UsageError(f"{option} is {value}", f"give a share between 0 and 1, for example {example}")
