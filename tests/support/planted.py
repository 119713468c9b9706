"""Sessions with a pattern that every sequential model can learn: each item is followed by one certain other."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

from llmseq_cli.data.catalog import Catalog
from llmseq_cli.data.sessions import Sessions
from llmseq_cli.embeddings.item_embeddings import ItemEmbeddings
from llmseq_cli.models.recommender import FitContext
from llmseq_cli.models.registry import model_class

N_ITEMS = 40
DAY = 86_400_000_000
MODELS = ["gru4rec", "sasrec", "bert4rec", "s3rec"]
SMALL = {"dim": 32, "batch_size": 16, "dropout": 0.1, "learning_rate": 0.005, "threads": 1}
# Enough to learn the pattern.
LEARNING = {"epochs": 20, "patience": 5, "learning_rate": 0.01, "refit": False}


def following(item):
    return (item + 7) % N_ITEMS


def sessions(n: int = 300, seed: int = 0) -> Sessions:
    random = np.random.default_rng(seed)
    lists = []
    for _ in range(n):
        items = [int(random.integers(N_ITEMS))]
        for _ in range(int(random.integers(1, 9))):
            items.append(following(items[-1]))
        lists.append(items)
    return Sessions.from_lists(lists)


def timed(n: int = 300, seed: int = 0) -> Sessions:
    """What comes next tells the pause before the last item: 3 numbers on after ten days, 7 after a minute."""
    random = np.random.default_rng(seed)
    lists, times = [], []
    for _ in range(n):
        long = random.random(int(random.integers(2, 6))) < 0.5
        steps = np.concatenate([[random.integers(N_ITEMS), 7], np.where(long[:-1], 3, 7)])
        lists.append(np.cumsum(steps) % N_ITEMS)
        times.append(np.concatenate([[0], np.cumsum(np.where(long, 10 * DAY, DAY // 1440))]))
    return replace(Sessions.from_lists(lists), times=np.concatenate(times))


def catalog(n: int = N_ITEMS) -> Catalog:
    names = np.array([f"i{item}" for item in range(n)], dtype=object)
    classes = np.array([f"even_{item % 5}" if item % 2 == 0 else f"odd_{item % 5}" for item in range(n)], dtype=object)
    return Catalog(names, names, classes, np.ones(n, dtype=np.int64), np.ones(n, dtype=bool))


def embeddings(n: int = N_ITEMS, dim: int = 32) -> ItemEmbeddings:
    vectors = np.random.default_rng(7).normal(size=(n, dim)).astype(np.float32)
    return ItemEmbeddings(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), "test", "m", "{title}")


def fitted(
    name: str, settings: dict | None = None, *, train: Sessions | None = None, n_items: int = N_ITEMS, **context
):
    """(model, figures) of a model that was trained on the pattern."""
    cls = model_class(name)
    small = SMALL | ({"pretrain_epochs": 2} if name == "s3rec" else {})
    model = cls(cls.Settings(**(small | (settings or {}))), n_items)
    figures = model.fit(train or sessions(), FitContext(catalog(n_items), **context))
    return model, figures


@cache
def fitted_once(name: str, **settings):
    """(model, figures) of a model that several tests look at and none changes."""
    return fitted(name, settings)


def hit_rate(model, n: int = 100) -> float:
    """Share of histories whose next item comes first."""
    histories = sessions(n, seed=9)
    expected = following(histories.targets())
    first = model.recommend(histories, 1).items[:, 0]
    return float((first == expected).mean())
