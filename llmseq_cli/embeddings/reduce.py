"""Reduction of item embeddings: PCA, whitening, LDA, random projection, autoencoder.

All methods are fitted on the items that have a vector. Afterwards every row has length 1 or, with lengths "keep", the
length after the reduction, which models then do not change; items without a vector keep the zero vector. Methods that
need dense vectors get the first principal components of sparse ones.

Whitening removes the covariance C = U diag(λ) Uᵀ from the centred vectors x:

    ZCA      y = U diag(λ^(−p/2)) Uᵀ x      as many dimensions as before
    PCA      y = diag(λ^(−p/2)) Uᵀ x        the first `dim` components

C is shrunk towards a multiple of the identity, after Ledoit & Wolf, "A well-conditioned estimator for large-dimensional
covariance matrices" (2004). With many items this changes nothing; with hardly more items than dimensions it prevents
whitening from making all items equally far apart. For the same reason the default power p is 1 (full whitening) only if
there are ten times as many items as dimensions, and ½ otherwise; users can set it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from llmseq_cli.checksums import array_checksum
from llmseq_cli.embeddings.item_embeddings import ItemEmbeddings
from llmseq_cli.errors import UsageError, did_you_mean
from llmseq_cli.files import atomic_path
from llmseq_cli.progress import Progress, SilentProgress

METHODS = ("none", "pca", "whiten", "lda", "autoencoder", "random")
LENGTHS = ("unit", "keep")
SEEDED = ("random", "autoencoder")
"""The methods whose result depends on the seed."""

_VERSION = 1  # of the computation: a new number invalidates stored reductions

DEFAULT_DIM = 512
"""Default number of dimensions; fewer if the vectors, items or classes allow fewer."""

_ITEMS_PER_DIMENSION = 10  # from this on, full whitening did better than power ½ on Amazon Beauty
_MOST_FITTED = 200_000  # items to fit a method on, a random sample if there are more
_MOST_FITTED_LDA = 50_000  # LDA's decomposition of the fitted vectors costs more
_BLOCK_NUMBERS = 2**24  # numbers of a block of vectors in double precision: 128 MiB
_MOST_PROJECTION = 2**27  # numbers of a random projection's matrix: 1 GiB in double precision
_LEAST_EIGENVALUE = 1e-7  # relative to the largest; below it, float32 vectors contain only rounding errors


def default_method(embeddings: ItemEmbeddings) -> str:
    """The default method: whitening for dense vectors, none for sparse ones."""
    return "none" if embeddings.is_sparse else "whiten"


def parse_method(words: str) -> tuple[str, float | None]:
    """Parse "whiten@0.5" as ("whiten", 0.5), "pca" as ("pca", None). Raises UsageError for an unknown method."""
    name, at, number = words.partition("@")
    if name not in METHODS:
        raise UsageError(f"there is no reduction '{name}'", did_you_mean(name, [*METHODS]))
    if not at:
        return name, None
    if name != "whiten" or not re.fullmatch(r"\d*\.?\d+", number):
        raise UsageError(f"'{words}' is not a reduction", "only whiten takes a power, for example whiten@0.5")
    return name, float(number)


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
    """Reduce embeddings as the user says, "pca" or "whiten@0.5" (None: the default), and cache the result."""
    if lengths not in LENGTHS:
        raise UsageError(f"--lengths is '{lengths}'", "use unit or keep")
    if words is None and embeddings.is_sparse and dim is not None:
        raise UsageError(
            "--dim needs a reduction: sparse vectors are not reduced by default",
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
    """The result of `reduce`, from a file in the folder if the same vectors were reduced in the same way before."""
    from safetensors import safe_open
    from safetensors.numpy import save_file

    if method == "none":
        return reduce(embeddings, classes, method, dim, seed, lengths=lengths)
    file = folder / f"{_key(embeddings, classes, method, dim, seed, power, lengths)}.safetensors"
    if file.is_file():
        # Damaged files and those of older versions, which have no checksum, are made again.
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
    """A hash of everything that the result depends on."""
    v = embeddings.vectors
    parts = [v] if isinstance(v, np.ndarray) else [v.data, v.indices, v.indptr]
    about = {
        "version": _VERSION,
        "source": [embeddings.source, embeddings.model, embeddings.text, embeddings.reduction],
        "shape": list(v.shape),
        "method": [method, dim, power],
        "seed": seed if method in SEEDED or v.shape[0] > _MOST_FITTED_LDA else None,
        "classes": [str(name) for name in classes] if method == "lda" else None,
    }
    if lengths != "unit":
        about["lengths"] = lengths
    digest = sha256(json.dumps(about).encode())
    for part in parts:
        digest.update(f"{part.dtype}".encode())
        digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()


def reduce(
    embeddings: ItemEmbeddings,
    classes: np.ndarray,
    method: str,
    dim: int | None = None,
    seed: int = 0,
    *,
    power: float | None = None,
    items: np.ndarray | None = None,
    progress: Progress | None = None,
    lengths: str = "unit",
) -> ItemEmbeddings:
    """The embeddings in fewer or better dimensions, float32[n_items, dim].

    classes: str[n_items], class of every item for lda, '' if it has none. dim: None means all dimensions for dense
    whitening, and at most DEFAULT_DIM otherwise. power: of whitening; None chooses. items: bool[n_items], which to fit
    on (never those without a vector). lengths: "unit" scales rows to length 1, "keep" does not. Raises UsageError if
    `dim` is too large.
    """
    if method not in METHODS:
        raise UsageError(f"there is no reduction '{method}'", did_you_mean(method, [*METHODS]))
    if method == "none":
        if dim is not None and dim != embeddings.dim:
            raise UsageError(
                f"--dim {dim} without a reduction: the vectors have {embeddings.dim:,} dimensions",
                "use --reduce pca or --reduce whiten, or leave out --dim",
            )
        return embeddings if lengths == embeddings.lengths else replace(embeddings, lengths=lengths)
    if dim is not None and dim < 1:
        raise UsageError(f"--dim is {dim}", "give at least 1")
    present = _has_vector(embeddings.vectors)
    most = _MOST_FITTED_LDA if method == "lda" else _MOST_FITTED
    rows = _sample(np.flatnonzero(present if items is None else present & items), most, seed)
    if len(rows) < 2:
        raise UsageError("fewer than two items have a vector, too few to fit a reduction", "use --reduce none")
    if power is None:
        width = embeddings.dim if dim is None and not embeddings.is_sparse else dim or DEFAULT_DIM
        power = 1.0 if len(rows) >= _ITEMS_PER_DIMENSION * width else 0.5
    job = _Job(embeddings.vectors, rows, classes, dim, seed, power, progress or SilentProgress())
    with job.progress.task(f"Reducing {len(present):,} vectors ({method})"):
        vectors = _FUNCTIONS[method](job)
    vectors[~present] = 0
    name = f"whiten@{power:g}" if method == "whiten" and power != 1 else method
    if lengths == "unit":
        vectors = _unit_rows(vectors)
    return replace(embeddings, vectors=vectors, reduction=name, lengths=lengths)


@dataclass(frozen=True)
class _Job:
    """vectors: [n_items, d], dense or sparse. rows: int64[n_fitted], the items to fit on. The rest as for `reduce`."""

    vectors: Any
    rows: np.ndarray
    classes: np.ndarray
    dim: int | None
    seed: int
    power: float
    progress: Progress

    @property
    def is_sparse(self) -> bool:
        return not isinstance(self.vectors, np.ndarray)

    def dimensions(self, most: int, what: str) -> int:
        """The requested or default number of dimensions; at most `most`, which `what` explains."""
        if self.dim is None:
            return min(DEFAULT_DIM, most)
        if self.dim > most:
            raise UsageError(f"--dim {self.dim:,} is more than {what} allow", f"ask for at most {most:,}")
        return self.dim

    def dense(self) -> np.ndarray:
        """The vectors or, if they are sparse, their first principal components, float32[n_items, d]."""
        return _sparse_components(replace(self, dim=None), power=0) if self.is_sparse else self.vectors


def _pca(job: _Job) -> np.ndarray:
    return _sparse_components(job, power=0) if job.is_sparse else _components(job, power=0)


def _whiten(job: _Job) -> np.ndarray:
    if job.is_sparse:
        return _sparse_components(job, job.power)
    if job.dim is not None and job.dim != job.vectors.shape[1]:
        return _components(job, job.power)
    spread = _spread(job.vectors, job.rows)
    values, axes = _eigen(spread.shrunk())
    return _transformed(job.vectors, spread.mean, (axes * values ** (-job.power / 2)) @ axes.T)


def _components(job: _Job, power: float) -> np.ndarray:
    """The first principal components, each divided by λ^(power/2)."""
    dim = job.dimensions(min(len(job.rows) - 1, job.vectors.shape[1]), _shape_in_words(job))
    spread = _spread(job.vectors, job.rows)
    values, axes = _eigen(spread.shrunk() if power else spread.covariance)
    values, axes = values[:dim], _signed(axes[:, :dim])
    return _transformed(job.vectors, spread.mean, axes * values ** (-power / 2))


def _sparse_components(job: _Job, power: float) -> np.ndarray:
    """The same for sparse vectors, which are centred implicitly and never converted to dense ones."""
    from sklearn.decomposition import PCA

    dim = job.dimensions(min(len(job.rows), job.vectors.shape[1]) - 1, _shape_in_words(job))
    pca = PCA(dim, svd_solver="arpack", random_state=0).fit(job.vectors[job.rows])
    matrix = pca.components_.T * np.maximum(pca.explained_variance_, _floor(pca.explained_variance_)) ** (-power / 2)
    projected: np.ndarray = (job.vectors @ matrix - pca.mean_ @ matrix).astype(np.float32)
    return projected


def _lda(job: _Job) -> np.ndarray:
    """Directions that separate the items' classes; fitted on classes with at least two items."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    names, numbers, counts = np.unique(job.classes[job.rows].astype(str), return_inverse=True, return_counts=True)
    usable = (counts >= 2) & (names != "")
    if usable.sum() < 2:
        raise UsageError("lda needs at least two classes with two items each", "use --reduce pca or --reduce whiten")
    vectors, kept = job.dense(), usable[numbers]
    most = min(int(usable.sum()) - 1, vectors.shape[1])
    dim = job.dimensions(most, f"{usable.sum():,} classes with at least two items")
    lda = LinearDiscriminantAnalysis(solver="svd", n_components=dim)
    lda.fit(vectors[job.rows[kept]].astype(np.float64), numbers[kept])
    if lda.scalings_.shape[1] < dim and job.dim is not None:
        raise UsageError(
            f"the vectors separate the classes in {lda.scalings_.shape[1]:,} dimensions only",
            f"ask for at most {lda.scalings_.shape[1]:,}",
        )
    return _transformed(vectors, lda.xbar_, _signed(lda.scalings_[:, :dim]))


def _random(job: _Job) -> np.ndarray:
    """A Gaussian random projection, which roughly preserves distances (Johnson & Lindenstrauss)."""
    from sklearn.random_projection import GaussianRandomProjection

    n_columns = job.vectors.shape[1]
    dim = job.dimensions(n_columns, f"vectors of {n_columns:,} dimensions")
    if n_columns * dim > _MOST_PROJECTION:
        raise UsageError(
            f"a projection of {n_columns:,} terms to {dim} dimensions takes more than 1 GiB",
            f"ask for at most --dim {max(1, _MOST_PROJECTION // n_columns)}, or use --reduce pca",
        )
    projection = GaussianRandomProjection(dim, random_state=job.seed).fit(job.vectors[:1])
    matrix = projection.components_.T
    if job.is_sparse:
        return np.asarray(job.vectors @ matrix, dtype=np.float32)
    return _transformed(job.vectors, np.zeros(n_columns), matrix)


def _autoencoder(job: _Job) -> np.ndarray:
    from llmseq_cli.embeddings.reduce_autoencoder import encode

    vectors = job.dense()
    dim = job.dimensions(vectors.shape[1], f"vectors of {vectors.shape[1]:,} dimensions")
    return encode(vectors, job.rows, dim, job.seed, job.progress)


_FUNCTIONS: dict[str, Callable[[_Job], np.ndarray]] = {
    "pca": _pca,
    "whiten": _whiten,
    "lda": _lda,
    "autoencoder": _autoencoder,
    "random": _random,
}


@dataclass(frozen=True)
class _Spread:
    """mean: float64[d]. covariance: float64[d, d]. fourth: mean of ‖x‖⁴ of the centred vectors. n: their number."""

    mean: np.ndarray
    covariance: np.ndarray
    fourth: float
    n: int

    def shrunk(self) -> np.ndarray:
        """(1 − ρ) C + ρ μ I with Ledoit & Wolf's ρ (2004) and the mean variance μ of a dimension."""
        d = len(self.mean)
        mu = np.trace(self.covariance) / d
        squares = float(np.sum(self.covariance**2))
        off_identity = squares - d * mu**2
        noise = (self.fourth - squares) / self.n
        rho = 0.0 if off_identity <= 0 else min(1.0, max(0.0, noise / off_identity))
        shrunk: np.ndarray = (1 - rho) * self.covariance + rho * mu * np.eye(d)
        return shrunk


def _spread(vectors: np.ndarray, rows: np.ndarray) -> _Spread:
    mean, covariance, fourth = np.zeros(vectors.shape[1]), np.zeros((vectors.shape[1],) * 2), 0.0
    for block in _blocks(len(rows), vectors.shape[1]):
        mean += vectors[rows[block]].sum(axis=0, dtype=np.float64)
    mean /= len(rows)
    for block in _blocks(len(rows), vectors.shape[1]):
        x = vectors[rows[block]].astype(np.float64) - mean
        covariance += x.T @ x
        fourth += float(np.sum(np.einsum("ij,ij->i", x, x) ** 2))
    return _Spread(mean, covariance / len(rows), fourth / len(rows), len(rows))


def _eigen(covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues, largest first, not below the minimum, and eigenvectors as columns."""
    from scipy.linalg import eigh

    values, axes = eigh(covariance)
    if not values[-1] > 0:
        raise UsageError("all vectors are equal: there is nothing to reduce", "use --reduce none")
    return np.maximum(values[::-1], _floor(values)), axes[:, ::-1]


def _floor(values: np.ndarray) -> float:
    return float(values.max()) * _LEAST_EIGENVALUE


def _signed(axes: np.ndarray) -> np.ndarray:
    """Choose the signs of columns so that their largest number is positive; a decomposition leaves signs open."""
    largest = axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])]
    return axes * np.where(largest < 0, -1.0, 1.0)


def _transformed(vectors: np.ndarray, mean: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """(x − mean) · matrix for all items, computed in double precision, as float32[n_items, matrix.shape[1]]."""
    out = np.empty((len(vectors), matrix.shape[1]), dtype=np.float32)
    for block in _blocks(len(vectors), vectors.shape[1]):
        out[block] = (vectors[block].astype(np.float64) - mean) @ matrix
    return out


def _blocks(n: int, width: int) -> Iterator[slice]:
    size = max(1, _BLOCK_NUMBERS // max(width, 1))
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


def _sample(items: np.ndarray, most: int, seed: int) -> np.ndarray:
    if len(items) <= most:
        return items
    return np.sort(np.random.default_rng(seed).choice(items, most, replace=False))


def _has_vector(vectors: Any) -> np.ndarray:
    if isinstance(vectors, np.ndarray):
        return np.asarray(vectors.any(axis=1))
    return np.asarray(abs(vectors).sum(axis=1)).ravel() > 0


def _unit_rows(vectors: np.ndarray) -> np.ndarray:
    norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))[:, None]
    unit: np.ndarray = np.divide(vectors, norms, out=vectors, where=norms > 0, casting="unsafe")
    return unit


def _shape_in_words(job: _Job) -> str:
    return f"{len(job.rows):,} vectors of {job.vectors.shape[1]:,} dimensions"
