"""Batches submitted to a provider, as stored in the workspace: written before and after each important call."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from llmseq_cli.errors import LlmseqError
from llmseq_cli.store.queries import query, rows_of

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True)
class StoredBatch:
    """A batch. state: prepared (not sent yet), uploaded (the service may have accepted it) or submitted (it has); later
    collected, failed, lost or forgotten. texts: their number.
    """

    number: int
    state: str
    token: str
    batch_id: str | None
    texts: int


@dataclass(frozen=True)
class TextHistory:
    """A text's history in batches: whether it is in an open batch, in how many finished batches, in a refused
    request."""

    under_way: bool
    collected: int
    refused: bool


class BatchStore:
    """The batches of one model."""

    def __init__(self, con: duckdb.DuckDBPyConnection, model_id: int | None) -> None:
        self._con, self._model_id = con, model_id

    def open_batches(self) -> list[StoredBatch]:
        rows = self._con.execute(query("embeddings/open_batches"), {"model_id": self._model_id}).fetchall()
        return [StoredBatch(*row) for row in rows]

    def drop_prepared(self) -> None:
        """Release the texts of batches that an earlier run prepared but did not submit."""
        self._con.execute(query("embeddings/drop_prepared_batches"), {"model_id": self._model_id, "now": _now()})

    def histories(self) -> dict[str, TextHistory]:
        """All texts that were ever part of a batch, by hash."""
        rows = self._con.execute(query("embeddings/batch_texts"), {"model_id": self._model_id}).fetchall()
        return {digest: TextHistory(*history) for digest, *history in rows}

    def prepare(self, dataset_id: int, requests: list[list[str]]) -> StoredBatch:
        """Store a batch of requests, each a list of text hashes, before anything is sent."""
        token = uuid.uuid4().hex
        about = {"model_id": self._model_id, "dataset_id": dataset_id, "token": token, "now": _now()}
        lengths = [len(hashes) for hashes in requests]
        columns = {
            "request": np.repeat(np.arange(len(requests), dtype=np.int32), lengths),
            "place": np.concatenate([np.arange(length, dtype=np.int32) for length in lengths]),
            "text_hash": np.array([digest for hashes in requests for digest in hashes], dtype=object),
        }
        self._con.execute("begin transaction")
        try:
            number = self._con.execute(query("embeddings/insert_batch"), about).fetchall()[0][0]
            self._con.register("batch_columns", columns)
            self._con.execute(
                "insert into core.embedding_batch_text by name select *, ? as batch_number from batch_columns", [number]
            )
            self._con.unregister("batch_columns")
            self._con.execute("commit")
        except BaseException:
            self._con.execute("rollback")
            raise
        return StoredBatch(number, "prepared", token, None, sum(lengths))

    def update(
        self, batch: StoredBatch, state: str, *, file_id: str | None = None, batch_id: str | None = None
    ) -> None:
        about = {"batch_number": batch.number, "state": state, "file_id": file_id, "batch_id": batch_id}
        self._con.execute(query("embeddings/update_batch"), about | {"now": _now()})

    def requests(self, batch: StoredBatch) -> list[list[str]]:
        """Text hashes of each request of a batch."""
        given = {"batch_number": batch.number}
        rows = self._con.execute(query("embeddings/texts_of_requests"), given).fetchall()
        requests: list[list[str]] = [[] for _ in range(rows[-1][0] + 1 if rows else 0)]
        for request, digest in rows:
            requests[request].append(digest)
        return requests

    def mark_refused(self, batch: StoredBatch, request: int) -> None:
        self._con.execute(
            "update core.embedding_batch_text set refused = true where batch_number = ? and request = ?",
            [batch.number, request],
        )


def list_batches(con: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """The batches of all models that are or may be open, one dict each."""
    return rows_of(con, "embeddings/list_batches")


def forget_batch(con: duckdb.DuckDBPyConnection, number: int) -> dict[str, Any]:
    """Drop an open batch; return its entry of `list_batches`. Raises LlmseqError if it is not open."""
    about = next((row for row in list_batches(con) if row["number"] == number), None)
    if about is None:
        raise LlmseqError(f"there is no open batch {number}", "`llmseq embeddings --batches` lists open batches")
    changed = {"batch_number": number, "state": "forgotten", "file_id": None, "batch_id": None, "now": _now()}
    con.execute(query("embeddings/update_batch"), changed)
    return about


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
