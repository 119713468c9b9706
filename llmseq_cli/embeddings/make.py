"""Make embeddings of a dataset's items and keep them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from llmseq_cli.data.dataset import find_dataset, item_texts
from llmseq_cli.embeddings.base import ItemEmbeddings
from llmseq_cli.embeddings.stored import save_embeddings
from llmseq_cli.errors import LlmseqError, UsageError, did_you_mean
from llmseq_cli.progress import Progress
from llmseq_cli.settings import parse_settings

if TYPE_CHECKING:
    from llmseq_cli.store.connection import Store

SOURCES = ("lexical",)


def embed_dataset(
    store: Store,
    dataset: str | None,
    *,
    source: str,
    text: str,
    dimensions: int | None,
    settings: dict[str, Any],
    seed: int,
    progress: Progress,
) -> dict[str, Any]:
    """Vectors of all items of a dataset; see `Workspace.embed` for the arguments. Returns what was made."""
    if source not in SOURCES:
        raise UsageError(f"there is no embedding source '{source}'", did_you_mean(source, [*SOURCES]))
    from llmseq_cli.embeddings.lexical import LexicalSettings, embed_texts

    parsed = parse_settings(LexicalSettings, settings, source)
    with store.read("reading item texts") as con:
        info = find_dataset(con, dataset)
        texts = item_texts(con, info, text)
    n_texts = sum(bool(one) for one in texts)
    if not n_texts:
        raise LlmseqError(f"no item of '{info.name}' has a text", "ingest it with --items, or give another --text")
    clock = time.perf_counter()
    with progress.task(f"Embedding {n_texts:,} texts"):
        vectors = embed_texts(texts, parsed, dimensions, seed)
    seconds = time.perf_counter() - clock
    model = "tfidf" if dimensions is None else f"tfidf-svd-{vectors.shape[1]}"
    made = ItemEmbeddings(vectors, source, model, text)
    with store.transaction(f"storing embeddings of '{info.name}'", wait=True) as con, progress.task("Storing vectors"):
        number = save_embeddings(con, info.dataset_id, made, parsed.to_dict() | {"seed": seed}, seconds)
    return {
        "number": number,
        "dataset": info.name,
        "source": source,
        "model": model,
        "text": text,
        "dimensions": made.dim,
        "sparse": made.is_sparse,
        "texts": n_texts,
        "items_without_text": len(texts) - n_texts,
        "seconds": seconds,
    }
