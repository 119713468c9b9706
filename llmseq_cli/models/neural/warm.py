"""Start a network from another one's weights, with rows for items that the other does not know."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from llmseq_cli.errors import UsageError
from llmseq_cli.models.neural.network import Network

_RIDGE = 1e-3  # relative to the mean square of the vectors' numbers

MakeNetwork = Callable[[int, np.ndarray | None], Network]


def grown(
    old: dict[str, torch.Tensor], rows: np.ndarray, text: np.ndarray | None, make: MakeNetwork, run: str
) -> Network:
    """A network with the old one's weights.

    old: its state. rows: int64[n_rows], the row of an item in it, −1 for new items. text: float32[n_rows, d], vectors
    of the items' texts, or None. make: (dim, text vectors) → an untrained network. run: the old one's name.

    A new item starts at its text vector under a linear map, fitted from text vectors of known items to their learnt
    vectors; the map accounts for changes by training, another reduction or another vocabulary. Without text it starts
    at random.
    """
    known = rows >= 0
    state = dict(old)
    placed = {}
    for name in ("item_vectors.text", "item_vectors.vectors"):
        if name in old:
            has_own = name.endswith("vectors") and "item_vectors.text" in old  # an item's own part, besides its text
            learnt = old[name][torch.from_numpy(rows[known])]
            table = torch.zeros(len(rows), learnt.shape[1])
            table[torch.from_numpy(known)] = learnt
            if text is not None and not has_own and known.any():
                new = torch.from_numpy(_mapped(text[known], learnt.numpy(), text[~known]))
                table[torch.from_numpy(~known)] = new
            placed[name] = state[name] = table
    if "head.bias" in old:
        bias = torch.zeros(len(rows), 1)
        bias[torch.from_numpy(known)] = old["head.bias"][torch.from_numpy(rows[known])]
        state["head.bias"] = bias
    kept = placed.get("item_vectors.text")
    adapter = old.get("item_vectors.adapter.weight")
    dim = old["item_vectors.vectors"].shape[1] if adapter is None else adapter.shape[0]
    network = make(dim, None if kept is None else kept.numpy())
    fresh = network.state_dict()
    _check_same(fresh, state, run)
    if kept is None:  # items without text start at random, as in a new network
        unplaced = torch.from_numpy(~known if text is None else ~known & ~text.any(axis=1))
        state["item_vectors.vectors"][unplaced] = fresh["item_vectors.vectors"][unplaced]
    network.load_state_dict(state)
    return network


def transferred(old: dict[str, torch.Tensor], text: np.ndarray | None, make: MakeNetwork, run: str) -> Network:
    """A network for items of another dataset, with the old one's weights except those of its own items.

    text: float32[n_rows, d], the items' text vectors in the old network's space. The items' own vectors and biases
    start at 0.
    """
    name = "item_vectors.text"
    if name not in old:
        raise UsageError(
            f"{run} knows its items by their own vectors, not by their texts",
            "train it with --embeddings and --set item_vectors=adapter",
        )
    if text is None or text.shape[1] != old[name].shape[1]:
        raise UsageError(f"the embeddings are not those of {run}", "use the same --embeddings, --reduce and --dim")
    adapter = old.get("item_vectors.adapter.weight")
    network = make(text.shape[1] if adapter is None else adapter.shape[0], text)
    fresh = network.state_dict()
    own = {key: torch.zeros_like(fresh[key]) for key in ("item_vectors.vectors", "head.bias") if key in fresh}
    state = old | {name: fresh[name]} | own
    _check_same(fresh, state, run)
    network.load_state_dict(state)
    return network


def _check_same(fresh: dict[str, torch.Tensor], state: dict[str, torch.Tensor], run: str) -> None:
    wrong = sorted(set(fresh) ^ set(state)) or [name for name in state if fresh[name].shape != state[name].shape]
    if wrong:
        raise UsageError(
            f"with these settings the network differs from {run}'s: {wrong[0]}",
            "only change settings of training with --set",
        )


def _mapped(text: np.ndarray, learnt: np.ndarray, new: np.ndarray) -> np.ndarray:
    """new @ W, where W is the ridge regression from text vectors to learnt vectors."""
    x = text.astype(np.float64)
    square = x.T @ x
    square[np.diag_indices_from(square)] += _RIDGE * max(np.trace(square) / len(square), 1e-12)
    return (new.astype(np.float64) @ np.linalg.solve(square, x.T @ learnt.astype(np.float64))).astype(np.float32)
