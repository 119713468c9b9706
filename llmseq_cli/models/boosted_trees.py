"""Gradient-boosted trees as plain arrays: grown by scikit-learn, kept and asked without it, and without pickle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from llmseq_cli.models.saved_arrays import DamagedError, array, mask, places

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingClassifier

_PREFIX = "trees_"
_BLOCK_ROWS = 2**16


@dataclass(frozen=True)
class BoostedTrees:
    """Trees whose leaves' values are summed. All nodes stand end to end; a child comes after its parent.

    baseline: float64[1], what every row starts from.
    roots: int64[n_trees], the first node of each tree.
    feature: int64[n_nodes], the column that a node asks; n_features where it is a leaf.
    threshold: float64[n_nodes]; rows up to it go left. A leaf has 0.
    missing_left: bool[n_nodes], whether rows go left where the column is NaN.
    left, right: int64[n_nodes], the children's places; a leaf has its own.
    value: float64[n_nodes], what a leaf adds.
    """

    baseline: np.ndarray
    roots: np.ndarray
    feature: np.ndarray
    threshold: np.ndarray
    missing_left: np.ndarray
    left: np.ndarray
    right: np.ndarray
    value: np.ndarray

    @staticmethod
    def of(model: HistGradientBoostingClassifier) -> BoostedTrees:
        """The trees of a fitted classifier of two classes, without categorical features."""
        nodes = [predictor.nodes for [predictor] in model._predictors]
        roots = np.cumsum([0, *(len(one) for one in nodes)])[:-1].astype(np.int64)
        joined = np.concatenate(nodes)
        own = np.arange(len(joined), dtype=np.int64)
        root = np.repeat(roots, [len(one) for one in nodes])
        leaf = joined["is_leaf"].astype(bool)
        return BoostedTrees(
            baseline=np.asarray(model._baseline_prediction, dtype=np.float64).reshape(1),
            roots=roots,
            feature=np.where(leaf, model.n_features_in_, joined["feature_idx"]).astype(np.int64),
            # Infinite where a node only tells missing values from others.
            threshold=np.where(leaf, 0, np.minimum(joined["num_threshold"], np.finfo(np.float64).max)),
            missing_left=joined["missing_go_to_left"].astype(bool),
            left=np.where(leaf, own, joined["left"] + root),
            right=np.where(leaf, own, joined["right"] + root),
            value=joined["value"].copy(),
        )

    def scores(self, rows: np.ndarray) -> np.ndarray:
        """float64[n], bit for bit scikit-learn's `decision_function`; rows: float[n, n_features]."""
        sums = np.full(len(rows), self.baseline[0])
        for start in range(0, len(rows), _BLOCK_ROWS):
            block = rows[start : start + _BLOCK_ROWS].astype(np.float64)
            part = sums[start : start + _BLOCK_ROWS]
            for root in self.roots.tolist():
                part += self.value[self._leaves(block, root)]
        return sums

    def _leaves(self, rows: np.ndarray, root: int) -> np.ndarray:
        """int64[n], the leaf of this tree that each row comes to."""
        n_features = rows.shape[1]
        at = np.full(len(rows), root, dtype=np.int64)
        moving = np.arange(len(rows)) if self.feature[root] < n_features else np.empty(0, dtype=np.int64)
        while len(moving):
            nodes = at[moving]
            asked = rows[moving, self.feature[nodes]]
            goes_left = np.where(np.isnan(asked), self.missing_left[nodes], asked <= self.threshold[nodes])
            nodes = np.where(goes_left, self.left[nodes], self.right[nodes])
            at[moving] = nodes
            moving = moving[self.feature[nodes] < n_features]
        return at

    def arrays(self) -> dict[str, np.ndarray]:
        return {_PREFIX + one.name: getattr(self, one.name) for one in fields(self)}

    @staticmethod
    def restored(arrays: Mapping[str, np.ndarray], n_features: int) -> BoostedTrees:
        """The inverse of `arrays`. Raises DamagedError for what no training leaves."""
        n = len(array(arrays, _PREFIX + "value", "f", (None,)))
        trees = BoostedTrees(
            baseline=array(arrays, _PREFIX + "baseline", "f", (1,)),
            roots=places(arrays, _PREFIX + "roots", n),
            feature=places(arrays, _PREFIX + "feature", n_features + 1, n),
            threshold=array(arrays, _PREFIX + "threshold", "f", (n,)),
            missing_left=mask(arrays, _PREFIX + "missing_left", n),
            left=places(arrays, _PREFIX + "left", n, n),
            right=places(arrays, _PREFIX + "right", n, n),
            value=array(arrays, _PREFIX + "value", "f", (n,)),
        )
        inner, own = trees.feature < n_features, np.arange(n)
        # A row that goes on to an earlier node, or to itself, would go round and round.
        if (np.minimum(trees.left, trees.right)[inner] <= own[inner]).any():
            raise DamagedError("a node of a tree leads back")
        return trees
