"""Items as short sequences of codes: residual k-means over their vectors, and the tree of the codes.

The first code of an item is the cluster of its vector, the next the cluster of the residual, and so on. A last code
numbers items with otherwise equal codes, so that no two items have the same codes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_ITERATIONS = 50


@dataclass(frozen=True)
class Quantized:
    """codes: int64[n_items, levels + 1], all rows distinct. centers: float32[size, dim] for every level except the
    last."""

    codes: np.ndarray
    centers: list[np.ndarray]


def residual_codes(vectors: np.ndarray, levels: int, size: int, seed: int) -> Quantized:
    """vectors: float32[n_items, dim]. size: clusters per level, fewer if there are fewer vectors."""
    from sklearn.cluster import KMeans

    rest = vectors.astype(np.float32)
    codes, centers = [], []
    for level in range(levels):
        n = min(size, len(np.unique(rest, axis=0)))
        found = KMeans(n, n_init=1, max_iter=_ITERATIONS, random_state=(seed + level) % 2**31).fit(rest)
        codes.append(found.labels_.astype(np.int64))
        centers.append(found.cluster_centers_.astype(np.float32))
        rest = rest - centers[-1][codes[-1]]
    return Quantized(np.stack([*codes, _numbers(np.stack(codes, axis=1))], axis=1), centers)


def _numbers(codes: np.ndarray) -> np.ndarray:
    """Numbers 0, 1, … within every group of equal rows, int64[n]."""
    _, group = np.unique(codes, axis=0, return_inverse=True)
    group = group.reshape(-1)
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], group[order])
    numbers = np.empty(len(group), dtype=np.int64)
    numbers[order] = np.arange(len(group)) - starts
    return numbers


@dataclass(frozen=True)
class CodeTree:
    """Prefixes of all items' codes: node v of level l is the v-th distinct sequence of l codes.

    nodes: for every level int64[n_items], the node of each item; level 0 has one node.
    prefixes: for every level int64[n_nodes, l], the codes that lead to a node.
    children: for every level int64[n_nodes, size], the node of the next level for each code, −1 if no item has these
    codes. After the last code come the items themselves.
    """

    nodes: list[np.ndarray]
    prefixes: list[np.ndarray]
    children: list[np.ndarray]

    @classmethod
    def of(cls, codes: np.ndarray, sizes: list[int]) -> CodeTree:
        n_items, levels = codes.shape
        nodes, prefixes, children = [np.zeros(n_items, dtype=np.int64)], [codes[:1, :0]], []
        for level, size in enumerate(sizes):
            keys = nodes[level] * size + codes[:, level]
            different, first, node = np.unique(keys, return_index=True, return_inverse=True)
            table = np.full((len(prefixes[level]), size), -1, dtype=np.int64)
            table.ravel()[different] = first if level == levels - 1 else np.arange(len(different))
            children.append(table)
            nodes.append(node.reshape(-1))
            prefixes.append(codes[first, : level + 1])
        return cls(nodes[:-1], prefixes[:-1], children)
