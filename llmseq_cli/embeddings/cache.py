"""The cache of text vectors: each text is turned into a vector once per model, whichever items and datasets have it."""

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
    """Vectors that are kept for one source, model, number of dimensions and variant.

    con: a writing connection outside of a transaction; reading suffices for `known` and `refused`.
    model_id: the model's number, None while nothing has been kept for it.
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
        """The model's number, given now where it has none."""
        if self.model_id is None:
            self.model_id = self._con.execute(query("embeddings/insert_text_model"), self._key).fetchall()[0][0]
        return self.model_id

    def known(self, hashes: Sequence[str]) -> np.ndarray:
        """bool[n]: which texts have a vector that can be used."""
        known, width = np.zeros(len(hashes), dtype=bool), self.width()
        if width is not None:
            known[[place for (place,) in self._look_up("embeddings/known_texts", hashes, width=width)]] = True
        return known

    def refused(self, hashes: Sequence[str]) -> dict[int, str]:
        """The reason by place of the texts that the server refused before."""
        return dict(self._look_up("embeddings/refused_texts", hashes))

    def width(self) -> int | None:
        """Numbers in each kept vector, above 0; None where there is none yet."""
        rows = self._con.execute(query("embeddings/kept_width"), {"model_id": self.model_id}).fetchall()
        return rows[0][0] if rows else None

    def forget_unusable(self) -> int:
        """Deletes vectors that are empty, of another width than the others or not finite, so that their texts are asked
        again; returns how many. To be called before `keep`.
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
        """Keeps vectors float32[n, dim] of texts, and (texts, tokens, US dollars) of the requests that brought them, in
        one transaction.
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
        """Remembers (hash, text, reason) of texts that the server refused."""
        model_id = self.register()
        rows = [[model_id, digest, text, reason, _now()] for digest, text, reason in texts]
        if rows:
            self._con.executemany("insert into core.refused_text values (?, ?, ?, ?, ?)", rows)

    def forget_refusals(self) -> None:
        """Gives all refused texts another chance."""
        self._con.execute("delete from core.refused_text where model_id = ?", [self.model_id])

    def _look_up(self, name: str, hashes: Sequence[str], **parameters: Any) -> list[Any]:
        if self.model_id is None or not len(hashes):
            return []
        return self._with_columns(name, {"model_id": self.model_id, **parameters}, hashes)

    def _with_columns(
        self, name: str, parameters: dict[str, Any], hashes: Sequence[str], **columns: np.ndarray
    ) -> list[Any]:
        """Runs a query that reads the texts' hashes and places, and further columns, as `hash_columns`."""
        places = np.arange(len(hashes), dtype=np.int32)
        self._con.register("hash_columns", ArrowColumns({"place": places, "text_hash": hashes, **columns}))
        try:
            return self._con.execute(query(name), parameters).fetchall()
        finally:
            self._con.unregister("hash_columns")


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
