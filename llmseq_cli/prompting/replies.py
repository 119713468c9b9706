"""Replies in the store: kept as they come, counted, and read again."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from llmseq_cli.prompting.asking import Answered
from llmseq_cli.prompting.journal import Journal
from llmseq_cli.store.queries import query

if TYPE_CHECKING:
    import duckdb

    from llmseq_cli.store.connection import Store


_SECONDS_PER_FLUSH = 2.0


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
    def opened(self) -> Iterator[None]:
        """While this is entered, answers may be kept; nobody else can ask the same. What an earlier program left in the
        journal is taken over first.
        """
        self.journal.open()
        try:
            counts = self.counts()
            left = self.journal.entries()
            # What was taken over just before a program was killed may stand in the journal, too.
            self.pending = [
                one for one in left if one["first"] >= counts.get((one["session_id"], one["prompt_hash"]), 0)
            ]
            self.flush()
            try:
                yield
            finally:
                self.flush()
        finally:
            self.journal.close()

    def keep(self, answers: list[Answered]) -> None:
        """Keeps answers: in the journal at once, in the store within seconds."""
        entries = [_entry(one) for one in answers]
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
        """requests, prompt_tokens, completion_tokens and cost_usd (None where no price was known) of all replies for
        these sessions.
        """
        with self.store.read("reading replies") as con:
            con.register("asked_columns", {"session_id": session_ids.astype(np.int32)})
            cursor = con.execute(query("prompting/usage"), {"asking_id": self.asking_id})
            names = [column[0] for column in cursor.description]
            return dict(zip(names, cursor.fetchall()[0], strict=True))


def _entry(answered: Answered) -> dict[str, Any]:
    return {
        "session_id": answered.question.session_id,
        "prompt_hash": answered.question.prompt_hash,
        "first": answered.question.first,
        "texts": [_storable(text) for text in answered.texts],
        "finishes": answered.finishes,
        "prompt_tokens": answered.prompt_tokens,
        "completion_tokens": answered.completion_tokens,
        "cost_usd": answered.cost_usd,
    }


def _storable(text: str) -> str:
    """The text without what no UTF-8 column holds: lone surrogates and zero characters."""
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
