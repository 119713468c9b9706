"""The unit of work: one configuration learns from one fold and is measured on what comes after.

Workers get arrays by name and return numbers; they never open the store.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from llmseq_cli.data.catalog import Catalog
from llmseq_cli.data.sessions import Sessions
from llmseq_cli.embeddings.item_embeddings import ItemEmbeddings
from llmseq_cli.evaluation.metrics import per_session
from llmseq_cli.models.recommender import BaseRun, FitContext
from llmseq_cli.models.registry import model_class
from llmseq_cli.settings import parse_settings
from llmseq_cli.tuning.folds import Fold

K = 20
"""The objective is NDCG at this cutoff."""

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class VectorArrays:
    """Where the arrays of item embeddings are found, and what they are (see `ItemEmbeddings`)."""

    name: str
    source: str
    model: str
    text: str
    reduction: str
    shape: tuple[int, int]
    sparse: bool

    def arrays(self) -> list[str]:
        parts = ("data", "indices", "indptr") if self.sparse else ("vectors",)
        return [f"{self.name}.{part}" for part in parts]


@dataclass(frozen=True, eq=False)
class Unit:
    """One fold of one trial. threads: that it may compute with; None for all of the process.

    keeps_unseen: whether its held-out sessions hold items that the fold has not seen. validates: whether the model
    stops by the held-out cases, too, as it does where the split hands them out. allows_repeats: whether lists may hold
    items of their history. split: the kind of split, whose defaults count for what is not in `settings`. pause: stop
    learning after so many epochs; None: learn to the end. checkpoints: the folder in which what was learnt until the
    pause before lies, and is kept; None: begin anew.
    """

    trial: int
    fold: int
    model: str
    settings: dict[str, Any]
    vectors: VectorArrays | None
    seed: int
    device: str
    threads: int | None = None
    keeps_unseen: bool = False
    validates: bool = False
    allows_repeats: bool = False
    split: str | None = None
    pause: int | None = None
    checkpoints: str | None = None

    def arrays(self) -> list[str]:
        """The names of the arrays that it reads."""
        about = [f"catalog.{name}" for name in _CATALOG]
        read = (*_SESSIONS, _TIMES) if self.needs_times() else _SESSIONS
        folds = [f"fold{self.fold}.{part}.{name}" for part in ("train", "held_out") for name in read]
        return about + folds + (self.vectors.arrays() if self.vectors else [])

    def needs_times(self) -> bool:
        cls = model_class(self.model)
        return cls.needs_times(parse_settings(cls.Settings, self.settings, self.model, self.split))


@dataclass(frozen=True)
class Measured:
    """ndcg: NDCG@20 on the held-out sessions. seconds: of learning and ranking. epochs: until learning stopped."""

    ndcg: float
    seconds: float
    epochs: float = 0


_SESSIONS, _TIMES = ("items", "offsets", "ids"), "times"
_CATALOG = ("classes", "popularity", "in_train")


def catalog_arrays(catalog: Catalog) -> dict[str, np.ndarray]:
    """What models read of a catalog; texts enter as embeddings, and stay at home."""
    return {
        "catalog.classes": catalog.classes.astype(np.str_),
        "catalog.popularity": catalog.popularity,
        "catalog.in_train": catalog.in_train,
    }


def fold_arrays(number: int, fold: Fold) -> dict[str, np.ndarray]:
    parts = {"train": fold.train, "held_out": fold.held_out}
    names = (*_SESSIONS, _TIMES)
    return {f"fold{number}.{part}.{name}": getattr(s, name) for part, s in parts.items() for name in names}


def vector_arrays(name: str, embeddings: ItemEmbeddings) -> tuple[VectorArrays, dict[str, np.ndarray]]:
    """Where embeddings will be found under this name, and their arrays."""
    v: Any = embeddings.vectors
    sparse = not isinstance(v, np.ndarray)
    shape = (int(v.shape[0]), int(v.shape[1]))
    about = VectorArrays(
        name, embeddings.source, embeddings.model, embeddings.text, embeddings.reduction, shape, sparse
    )
    if sparse:
        return about, {f"{name}.data": v.data, f"{name}.indices": v.indices, f"{name}.indptr": v.indptr}
    return about, {f"{name}.vectors": v}


def measure(unit: Unit, arrays: Arrays, base_models: tuple[BaseRun, ...] = ()) -> Measured:
    """Learn and rank. Raises LlmseqError if the settings cannot be: heads that do not divide dimensions, say."""
    if unit.threads:
        _use_threads(unit.threads)
    clock = time.perf_counter()
    cls = model_class(unit.model)
    catalog = _catalog(arrays)
    model = cls(parse_settings(cls.Settings, unit.settings, unit.model, unit.split), len(catalog))
    embeddings = _embeddings(unit.vectors, arrays) if unit.vectors else None
    timed = unit.needs_times()
    train, held_out = (_sessions(arrays, f"fold{unit.fold}.{part}", timed) for part in ("train", "held_out"))
    context = FitContext(
        catalog,
        embeddings,
        unit.seed,
        unit.device,
        base_models=base_models,
        keeps_unseen=unit.keeps_unseen,
        validation=held_out if unit.validates else None,
        allows_repeats=unit.allows_repeats,
        pause=unit.pause,
        checkpoints=Path(unit.checkpoints) if unit.checkpoints else None,
        resume=unit.checkpoints is not None,
    )
    figures = model.fit(train, context)
    lists = model.recommend(held_out.histories(), K, exclude_history=not unit.allows_repeats)
    ranks = lists.ranks(held_out.targets())
    ndcg = float(per_session(ranks, K)["ndcg"].mean())
    return Measured(ndcg, time.perf_counter() - clock, figures.get("epochs", 0))


def _use_threads(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)


def _catalog(arrays: Arrays) -> Catalog:
    popularity = arrays["catalog.popularity"]
    nameless = np.full(len(popularity), "", dtype=object)
    classes = arrays["catalog.classes"].astype(object)
    return Catalog(nameless, nameless, classes, popularity, arrays["catalog.in_train"])


def _sessions(arrays: Arrays, part: str, timed: bool) -> Sessions:
    return Sessions(*(arrays[f"{part}.{name}"] for name in ((*_SESSIONS, _TIMES) if timed else _SESSIONS)))


def _embeddings(about: VectorArrays, arrays: Arrays) -> ItemEmbeddings:
    vectors: Any
    if about.sparse:
        from scipy.sparse import csr_array

        data, indices, offsets = (arrays[name] for name in about.arrays())
        vectors = csr_array((data, indices, offsets), shape=about.shape)
    else:
        vectors = arrays[f"{about.name}.vectors"]
    return ItemEmbeddings(vectors, about.source, about.model, about.text, about.reduction)


FoldBaseRuns = Callable[[int], tuple[BaseRun, ...]]
"""The base models of a fold, by its number, of a model that is made of others."""
