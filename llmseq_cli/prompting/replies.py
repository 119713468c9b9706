"""Replies in the store: kept as they come, counted, and read again."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from llmseq_cli.prompting.asking import Answered
from llmseq_cli.store.queries import query

if TYPE_CHECKING:
    import duckdb

    from llmseq_cli.store.connection import Store


class ReplyStore:
    """The replies to one way of asking: about is all that decides what is asked and how, kept for users' SQL.

    Every method opens the store for itself, so that others can read while a model is waited for.
    """

    def __init__(self, store: Store, dataset_id: int, about: dict[str, Any]) -> None:
        self.store, self.dataset_id, self.about = store, dataset_id, about
        self.digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
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

    def keep(self, answers: list[Answered]) -> None:
        """Keeps answers, and what they took, in one transaction."""
        lengths = [len(one.texts) for one in answers]
        columns = {
            "session_id": np.repeat([one.question.session_id for one in answers], lengths).astype(np.int32),
            "sample": np.array(
                [one.question.first + place for one in answers for place in range(len(one.texts))], dtype=np.int16
            ),
            "prompt_hash": np.array([one.question.prompt_hash for one in answers for _ in one.texts], dtype=object),
            "text": np.array([text.replace("\0", "") for one in answers for text in one.texts], dtype=object),
            "finish": np.array([finish for one in answers for finish in one.finishes], dtype=object),
        }
        with self.store.transaction("keeping answers", wait=True) as con:
            asking_id = self._register(con)
            con.register("reply_columns", columns)
            con.execute(query("prompting/insert_replies"), {"asking_id": asking_id})
            con.unregister("reply_columns")
            con.executemany(
                "insert into core.reply_request values (?, ?, ?, ?, ?, ?, ?)",
                [
                    [
                        asking_id,
                        one.question.session_id,
                        len(one.texts),
                        one.prompt_tokens,
                        one.completion_tokens,
                        one.cost_usd,
                        _now(),
                    ]
                    for one in answers
                ],
            )

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


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
