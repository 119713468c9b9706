"""Reductions that were made are kept in the workspace, and made again only of other vectors or in another way."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np

from llmseq_cli.checksums import array_checksum
from llmseq_cli.embeddings.item_embeddings import ItemEmbeddings
from llmseq_cli.embeddings.reduce import MOST_FITTED_LDA, default_method, parse_method, reduce
from llmseq_cli.errors import UsageError
from llmseq_cli.files import atomic_path
from llmseq_cli.progress import Progress

_LENGTHS = ("unit", "keep")
_SEEDED = ("random", "autoencoder")
"""The methods whose outcome depends on the seed."""

_VERSION = 1  # of what the methods compute: a new number makes kept reductions void


def reduce_kept(
    workspace: Path,
    embeddings: ItemEmbeddings,
    classes: np.ndarray,
    words: str | None,
    dim: int | None,
    seed: int,
    progress: Progress,
    *,
    lengths: str = "unit",
) -> ItemEmbeddings:
    """The embeddings reduced as a user says it, "pca" or "whiten@0.5" (None: the default), kept in the workspace."""
    if lengths not in _LENGTHS:
        raise UsageError(f"--lengths is '{lengths}'", "unit or keep")
    if words is None and embeddings.is_sparse and dim is not None:
        raise UsageError(
            "--dim needs a reduction: sparse vectors are left as they are by default",
            "add --reduce pca or --reduce whiten",
        )
    method, power = parse_method(words or default_method(embeddings))
    folder = workspace / "artifacts" / "reductions"
    return load_or_reduce(
        folder, embeddings, classes, method, dim, seed, power=power, progress=progress, lengths=lengths
    )


def load_or_reduce(
    folder: Path,
    embeddings: ItemEmbeddings,
    classes: np.ndarray,
    method: str,
    dim: int | None = None,
    seed: int = 0,
    *,
    power: float | None = None,
    progress: Progress | None = None,
    lengths: str = "unit",
) -> ItemEmbeddings:
    """What `reduce` makes, from a file of the folder if it was made before of the same vectors in the same way."""
    from safetensors import safe_open
    from safetensors.numpy import save_file

    if method == "none":
        return reduce(embeddings, classes, method, dim, seed, lengths=lengths)
    file = folder / f"{_key(embeddings, classes, method, dim, seed, power, lengths)}.safetensors"
    if file.is_file():
        # A damaged file is made again, and so is one of an older version, which has no checksum.
        with suppress(Exception), safe_open(file, framework="numpy") as kept:
            vectors, about = kept.get_tensor("vectors"), kept.metadata()
            same = about["sha256"] == array_checksum(vectors, about["reduction"])
            if same and len(vectors) == embeddings.vectors.shape[0]:
                return replace(embeddings, vectors=vectors, reduction=about["reduction"], lengths=lengths)
    made = reduce(embeddings, classes, method, dim, seed, power=power, progress=progress, lengths=lengths)
    with atomic_path(file, durable=False, make_folder=True) as partial:
        about = {"reduction": made.reduction, "sha256": array_checksum(made.vectors, made.reduction)}
        save_file({"vectors": np.ascontiguousarray(made.vectors)}, partial, metadata=about)
    return made


def _key(
    embeddings: ItemEmbeddings,
    classes: np.ndarray,
    method: str,
    dim: int | None,
    seed: int,
    power: float | None,
    lengths: str,
) -> str:
    """A hash of all that the outcome depends on."""
    v = embeddings.vectors
    parts = [v] if isinstance(v, np.ndarray) else [v.data, v.indices, v.indptr]
    about = {
        "version": _VERSION,
        "source": [embeddings.source, embeddings.model, embeddings.text, embeddings.reduction],
        "shape": list(v.shape),
        "method": [method, dim, power],
        "seed": seed if method in _SEEDED or v.shape[0] > MOST_FITTED_LDA else None,
        "classes": [str(name) for name in classes] if method == "lda" else None,
    }
    if lengths != "unit":
        about["lengths"] = lengths
    digest = sha256(json.dumps(about).encode())
    for part in parts:
        digest.update(f"{part.dtype}".encode())
        digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()
