"""Gradient-boosted trees as plain arrays: trained by scikit-learn, stored and evaluated without it and without pickle.

Trees are evaluated as in Lucchese et al., "QuickScorer" (SIGIR 2015): leaves are bits, numbered from left to right; a
node whose condition is false removes the leaves to its left, and the row ends at the first remaining leaf. So every
node is one comparison of a whole column, and no row walks down a tree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from llmseq_cli.models.saved_arrays import DamagedError, array, mask, offsets, places

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingClassifier

MOST_LEAVES = 64

_PREFIX = "trees_"
_BLOCK_ROWS = 2**15
_ALL = 2**64 - 1


@dataclass(frozen=True)
class BoostedTrees:
    """Trees whose leaf values are summed. The inner nodes of all trees are concatenated.

    baseline: float64[1], the start value of every row.
    offsets: int64[n_trees + 1], the start of each tree's nodes. feature: int64[n_nodes], the column that a node tests.
    threshold: float64[n_nodes]; rows up to it go left. missing_left: bool[n_nodes], whether rows go left if the column
    is NaN.
    kept: uint64[n_nodes], the remaining leaves of a row that goes right, as bits.
    values: float64[n_trees, most leaves], what each leaf adds.
    """

    baseline: np.ndarray
    offsets: np.ndarray
    feature: np.ndarray
    threshold: np.ndarray
    missing_left: np.ndarray
    kept: np.ndarray
    values: np.ndarray

    @staticmethod
    def of(model: HistGradientBoostingClassifier) -> BoostedTrees:
        """The trees of a fitted two-class classifier without categorical features and with at most 64 leaves."""
        trees = [predictor.nodes for [predictor] in model._predictors]
        ordered = [_leaves_and_kept(nodes) for nodes in trees]
        values = np.zeros((len(trees), max((len(leaves) for leaves, _ in ordered), default=1)))
        for tree, (nodes, (leaves, _)) in enumerate(zip(trees, ordered, strict=True)):
            values[tree, : len(leaves)] = nodes["value"][leaves]
        inner = [nodes[~nodes["is_leaf"].astype(bool)] for nodes in trees]
        joined = np.concatenate(inner)
        return BoostedTrees(
            baseline=np.asarray(model._baseline_prediction, dtype=np.float64).reshape(1),
            offsets=np.cumsum([0, *(len(nodes) for nodes in inner)], dtype=np.int64),
            feature=joined["feature_idx"].astype(np.int64),
            # Infinite if a node only separates missing values from others.
            threshold=np.minimum(joined["num_threshold"], np.finfo(np.float64).max),
            missing_left=joined["missing_go_to_left"].astype(bool),
            kept=np.concatenate([kept for _, kept in ordered]),
            values=values,
        )

    def scores(self, rows: np.ndarray) -> np.ndarray:
        """float64[n], identical to scikit-learn's `decision_function`; rows: float[n, n_features], finite or NaN."""
        sums = np.full(len(rows), self.baseline[0])
        for start in range(0, len(rows), _BLOCK_ROWS):
            columns = np.ascontiguousarray(rows[start : start + _BLOCK_ROWS].T, dtype=np.float64)
            part = sums[start : start + _BLOCK_ROWS]
            for tree, values in enumerate(self.values):
                part += values[self._leaves(columns, tree)]
        return sums

    def _leaves(self, columns: np.ndarray, tree: int) -> np.ndarray:
        """int64[n], each row's leaf in this tree; columns: float64[n_features, n]."""
        n_leaves = self.values.shape[1]
        bits: Any = np.uint16 if n_leaves <= 16 else np.uint32 if n_leaves <= 32 else np.uint64
        every = np.iinfo(bits).max
        left: Any = np.full(columns.shape[1], every, dtype=bits)
        for node in range(self.offsets[tree], self.offsets[tree + 1]):
            asked, threshold = columns[self.feature[node]], self.threshold[node]
            goes_left = ~(asked > threshold) if self.missing_left[node] else asked <= threshold
            left &= np.where(goes_left, bits(every), self.kept[node].astype(bits))
        first = (left & (~left + bits(1))).astype(np.float64)  # a power of 2; its exponent is the leaf
        leaves: np.ndarray = (first.view(np.int64) >> 52) - 1023
        return leaves

    def arrays(self) -> dict[str, np.ndarray]:
        return {_PREFIX + one.name: getattr(self, one.name) for one in fields(self)}

    @staticmethod
    def restored(arrays: Mapping[str, np.ndarray], n_features: int) -> BoostedTrees:
        """The inverse of `arrays`. Raises DamagedError for arrays that no training produces."""
        values = array(arrays, _PREFIX + "values", "f", (None, None))
        n_trees, n_leaves = values.shape
        n = len(array(arrays, _PREFIX + "threshold", "f", (None,)))
        kept = array(arrays, _PREFIX + "kept", "u", (n,)).astype(np.uint64)
        # The last leaf is never left of a node, so at least one leaf always remains.
        if not 1 <= n_leaves <= MOST_LEAVES or not (kept >> np.uint64(n_leaves - 1) & np.uint64(1)).all():
            raise DamagedError("a tree leads to no leaf")
        return BoostedTrees(
            baseline=array(arrays, _PREFIX + "baseline", "f", (1,)),
            offsets=offsets(arrays, _PREFIX + "offsets", n_trees, n),
            feature=places(arrays, _PREFIX + "feature", n_features, n),
            threshold=array(arrays, _PREFIX + "threshold", "f", (n,)),
            missing_left=mask(arrays, _PREFIX + "missing_left", n),
            kept=kept,
            values=values,
        )


def _leaves_and_kept(nodes: np.ndarray) -> tuple[list[int], np.ndarray]:
    """(a tree's leaves from left to right; uint64 per inner node: the leaves outside its left subtree)."""
    leaves: list[int] = []
    kept: dict[int, int] = {}

    def visit(node: int) -> None:
        if nodes[node]["is_leaf"]:
            leaves.append(node)
            return
        first = len(leaves)
        visit(int(nodes[node]["left"]))
        kept[node] = _ALL & ~((1 << len(leaves)) - (1 << first))
        visit(int(nodes[node]["right"]))

    visit(0)
    return leaves, np.array([kept[node] for node in sorted(kept)], dtype=np.uint64)
