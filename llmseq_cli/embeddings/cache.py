"""The cache of text vectors: each text is embedded once per model, even if several items and datasets share it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np

from llmseq_cli.store.arrow import ArrowColumns
from llmseq_cli.store.queries import query

if TYPE_CHECKING:
    import duckdb

    from llmseq_cli.embeddings.sources.source import EmbeddingSource


def text_hash(text: str) -> str:
    """BLAKE2b-128 of a text as 32 hexadecimal digits."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


class TextVectorCache:
    """Stored vectors of one source, model, number of dimensions and variant.

    con: a writing connection outside a transaction; a reading one is enough for `known` and `refused`.
    model_id: the model's number, None while nothing is stored for it.
    """

    def __init__(self, con: duckdb.DuckDBPyConnection, source: EmbeddingSource) -> None:
        self._con = con
        self._key = {
            "source": source.name,
            "model": source.model,
            "dimensions": source.dimensions or 0,
            "variant": source.variant,
        }
        rows = con.execute(query("embeddings/find_text_model"), self._key).fetchall()
        self.model_id: int | None = rows[0][0] if rows else None

    def register(self) -> int:
        """The model's number, assigned now if it has none."""
        if self.model_id is None:
            self.model_id = self._con.execute(query("embeddings/insert_text_model"), self._key).fetchall()[0][0]
        return self.model_id

    def known(self, hashes: Sequence[str]) -> np.ndarray:
        """bool[n]: which texts have a usable vector."""
        known, width = np.zeros(len(hashes), dtype=bool), self.width()
        if width is not None:
            known[[place for (place,) in self._look_up("embeddings/known_texts", hashes, width=width)]] = True
        return known

    def refused(self, hashes: Sequence[str]) -> dict[int, str]:
        """{place: reason} of the texts that the server refused before."""
        return dict(self._look_up("embeddings/refused_texts", hashes))

    def width(self) -> int | None:
        """Length of the stored vectors, above 0; None if there are none yet."""
        rows = self._con.execute(query("embeddings/kept_width"), {"model_id": self.model_id}).fetchall()
        return rows[0][0] if rows else None

    def forget_unusable(self) -> int:
        """Delete vectors that are empty, of a different width or not finite, so that their texts are embedded again;
        return how many. Call this before `keep`.
        """
        if self.model_id is None:
            return 0
        about = {"model_id": self.model_id, "width": self.width()}
        return len(self._con.execute(query("embeddings/delete_unusable"), about).fetchall())

    def keep(
        self,
        dataset_id: int,
        hashes: Sequence[str],
        vectors: np.ndarray,
        requests: Sequence[tuple[int, int, float | None]],
    ) -> None:
        """Store vectors float32[n, dim] of texts, and (texts, tokens, US dollars) of their requests, in one
        transaction.
        """
        model_id = self.register()
        vectors = np.asarray(vectors, dtype=np.float32)
        about = {"model_id": model_id, "dataset_id": dataset_id, "answered_at": _now()}
        usage = [
            about | {"texts": texts, "tokens": tokens, "cost_usd": cost_usd} for texts, tokens, cost_usd in requests
        ]
        self._con.execute("begin transaction")
        try:
            self._with_columns("embeddings/insert_text_vectors", {"model_id": model_id}, hashes, vector=vectors)
            if requests:
                self._con.executemany(query("embeddings/insert_request"), usage)
            self._con.execute("commit")
        except BaseException:
            self._con.execute("rollback")
            raise

    def set_aside(self, texts: Sequence[tuple[str, str, str]]) -> None:
        """Store (hash, text, reason) of texts that the server refused."""
        model_id = self.register()
        rows = [[model_id, digest, text, reason, _now()] for digest, text, reason in texts]
        if rows:
            self._con.executemany("insert into core.refused_text values (?, ?, ?, ?, ?)", rows)

    def forget_refusals(self) -> None:
        """Allow all refused texts to be sent again."""
        self._con.execute("delete from core.refused_text where model_id = ?", [self.model_id])

    def _look_up(self, name: str, hashes: Sequence[str], **parameters: Any) -> list[Any]:
        if self.model_id is None or not len(hashes):
            return []
        return self._with_columns(name, {"model_id": self.model_id, **parameters}, hashes)

    def _with_columns(
        self, name: str, parameters: dict[str, Any], hashes: Sequence[str], **columns: np.ndarray
    ) -> list[Any]:
        """Run a query that reads `hash_columns`: the texts' hashes and places, and further columns."""
        places = np.arange(len(hashes), dtype=np.int32)
        self._con.register("hash_columns", ArrowColumns({"place": places, "text_hash": hashes, **columns}))
        try:
            return self._con.execute(query(name), parameters).fetchall()
        finally:
            self._con.unregister("hash_columns")


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
