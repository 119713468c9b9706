"""Replies in the store: saved as they arrive, counted, and read back."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from llmseq_cli.clients.in_flight import InFlight
from llmseq_cli.progress import Progress
from llmseq_cli.prompting.asking import MOST_TOKENS, Answered, storable
from llmseq_cli.prompting.journal import Journal
from llmseq_cli.store.queries import query, rows_of

if TYPE_CHECKING:
    import duckdb

    from llmseq_cli.store.connection import Store


_SECONDS_PER_FLUSH = 2.0
_MOST_SESSIONS, _MOST_SAMPLES = 2**31, 2**15  # what the columns hold


class ReplyStore:
    """The replies to one way of asking: about is all that decides what is asked and how, kept for users' SQL.

    Every method opens the store for itself, so that others can read while a model is waited for.
    """

    def __init__(self, store: Store, dataset_id: int, about: dict[str, Any]) -> None:
        self.store, self.dataset_id, self.about = store, dataset_id, about
        self.pending: list[dict[str, Any]] = []
        self.flushed = -float("inf")
        self.digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
        name = f"{dataset_id}-{self.digest[:24]}.jsonl"
        self.journal = Journal(store.folder / "artifacts" / "answers" / name)
        self.in_flight = InFlight(self.journal.path.with_suffix(".in-flight"))
        with store.read("looking for replies") as con:
            self.asking_id = self._find(con)

    def _find(self, con: duckdb.DuckDBPyConnection) -> int | None:
        rows = con.execute(
            query("prompting/find_asking"), {"dataset_id": self.dataset_id, "digest": self.digest}
        ).fetchall()
        return rows[0][0] if rows else None

    def _register(self, con: duckdb.DuckDBPyConnection) -> int:
        self.asking_id = self._find(con)
        if self.asking_id is None:
            new = {"dataset_id": self.dataset_id, "digest": self.digest, "about": json.dumps(self.about), "now": _now()}
            self.asking_id = con.execute(query("prompting/insert_asking"), new).fetchall()[0][0]
        return self.asking_id

    def counts(self) -> dict[tuple[int, str], int]:
        """How many replies are kept, by session id and prompt hash."""
        with self.store.read("looking for replies") as con:
            rows = con.execute(query("prompting/reply_counts"), {"asking_id": self.asking_id}).fetchall()
        return {(session_id, prompt_hash): count for session_id, prompt_hash, count in rows}

    @contextmanager
    def opened(self, progress: Progress) -> Iterator[None]:
        """While this is entered, answers may be kept; nobody else can ask the same. What an earlier program left in the
        journal is taken over first. Stored answers that cannot be used are set aside, so that they are asked again.
        """
        self.journal.open()
        try:
            set_aside = self._set_aside_rows()
            self.in_flight.hand_over(self.journal.add)
            left = self.journal.entries()
            sound = [one for one in left if _is_sound(one)]
            self.pending = _continuing(sound, self.counts())
            set_aside += len(left) - len(sound)
            if set_aside:
                progress.warn(f"{set_aside:,} stored answers cannot be used and were set aside; they are asked again")
            self.flush()
            try:
                yield
            finally:
                self.flush()
        finally:
            self.journal.close()

    def _set_aside_rows(self) -> int:
        """Deletes stored rows that cannot be used; returns how many."""
        if self.asking_id is None:
            return 0
        about = {"asking_id": self.asking_id}
        with self.store.read("looking for replies") as con:
            unusable = con.execute(query("prompting/count_unusable"), about | {"most": MOST_TOKENS}).fetchall()[0][0]
        if unusable:
            with self.store.transaction("setting unusable answers aside", wait=True) as con:
                con.execute(query("prompting/delete_unusable_replies"), about)
                con.execute(query("prompting/delete_unusable_requests"), about | {"most": MOST_TOKENS})
        return int(unusable)

    def keep(self, answers: list[Answered]) -> None:
        """Keeps answers: in the journal at once, in the store within seconds."""
        entries = [one.entry() for one in answers]
        self.journal.add(entries)
        self.pending += entries
        if time.monotonic() - self.flushed >= _SECONDS_PER_FLUSH:
            self.flush()

    def flush(self) -> None:
        """Writes what is pending into the store, in one transaction."""
        if self.pending:
            with self.store.transaction("keeping answers", wait=True) as con:
                self._insert(con, self.pending)
            self.pending = []
        self.journal.clear()
        self.flushed = time.monotonic()

    def _insert(self, con: duckdb.DuckDBPyConnection, entries: list[dict[str, Any]]) -> None:
        asking_id, now = self._register(con), _now()
        lengths = [len(one["texts"]) for one in entries]
        columns = {
            "session_id": np.repeat([one["session_id"] for one in entries], lengths).astype(np.int32),
            "sample": np.array(
                [one["first"] + place for one in entries for place in range(len(one["texts"]))], dtype=np.int16
            ),
            "prompt_hash": np.array([one["prompt_hash"] for one in entries for _ in one["texts"]], dtype=object),
            "text": np.array([text for one in entries for text in one["texts"]], dtype=object),
            "finish": np.array([finish for one in entries for finish in one["finishes"]], dtype=object),
        }
        con.register("reply_columns", columns)
        con.execute(query("prompting/insert_replies"), {"asking_id": asking_id})
        con.unregister("reply_columns")
        took = {
            "session_id": np.array([one["session_id"] for one in entries], dtype=np.int32),
            "replies": np.array(lengths, dtype=np.int16),
            "prompt_tokens": np.array([one["prompt_tokens"] for one in entries], dtype=np.int64),
            "completion_tokens": np.array([one["completion_tokens"] for one in entries], dtype=np.int64),
            "cost_usd": np.array([np.nan if one["cost_usd"] is None else one["cost_usd"] for one in entries]),
        }
        con.register("request_columns", took)
        con.execute(query("prompting/insert_requests"), {"asking_id": asking_id, "answered_at": now})
        con.unregister("request_columns")

    def forget_refused(self) -> None:
        """Gives all refused prompts another chance."""
        if self.asking_id is not None:
            with self.store.transaction("forgetting refused prompts", wait=True) as con:
                con.execute("delete from core.reply where asking_id = ? and finish = 'refused'", [self.asking_id])

    def read(self, session_ids: np.ndarray, prompt_hashes: list[str], samples: int) -> list[tuple[int, int, str, str]]:
        """(place of the prompt, sample, text, finish) of each kept reply, in this order."""
        columns = {
            "number": np.arange(len(session_ids), dtype=np.int32),
            "session_id": session_ids.astype(np.int32),
            "prompt_hash": np.array(prompt_hashes, dtype=object),
        }
        with self.store.read("reading replies") as con:
            con.register("asked_columns", columns)
            rows = con.execute(query("prompting/replies"), {"asking_id": self.asking_id, "samples": samples}).fetchall()
            con.unregister("asked_columns")
        return rows

    def usage(self, session_ids: np.ndarray) -> dict[str, Any]:
        """requests, prompt_tokens, completion_tokens and cost_usd (None if no price was known) of all replies for
        these sessions.
        """
        with self.store.read("reading replies") as con:
            con.register("asked_columns", {"session_id": session_ids.astype(np.int32)})
            [row] = rows_of(con, "prompting/usage", {"asking_id": self.asking_id})
            return row


def _is_sound(entry: Any) -> bool:
    """Whether a journal's entry is what `Answered.entry` gives, and fits into the store."""
    if not isinstance(entry, dict):
        return False
    texts, finishes, cost = entry.get("texts"), entry.get("finishes"), entry.get("cost_usd")
    return (
        _is_count(entry.get("session_id"), _MOST_SESSIONS)
        and isinstance(texts, list)
        and len(texts) > 0
        and isinstance(finishes, list)
        and len(finishes) == len(texts)
        and all(isinstance(one, str) and one == storable(one) for one in [entry.get("prompt_hash"), *texts, *finishes])
        and _is_count(entry.get("first"), _MOST_SAMPLES - len(texts))
        and _is_count(entry.get("prompt_tokens"), MOST_TOKENS)
        and _is_count(entry.get("completion_tokens"), MOST_TOKENS)
        and (cost is None or _is_cost(cost))
    )


def _is_count(value: Any, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < most


def _is_cost(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e12


def _continuing(entries: list[dict[str, Any]], counts: dict[tuple[int, str], int]) -> list[dict[str, Any]]:
    """The entries that go on where the store's samples end, each sample once. What the store took over just before a
    program was killed may be in the journal, too; entries behind a gap are left out, for their samples are asked again.
    """
    found = []
    ordered = sorted(entries, key=lambda one: (one["session_id"], one["prompt_hash"], one["first"]))
    for asked, group in groupby(ordered, key=lambda one: (one["session_id"], one["prompt_hash"])):
        count = counts.get(asked, 0)
        for entry in group:
            if entry["first"] == count:
                found.append(entry)
                count += len(entry["texts"])
    return found


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
