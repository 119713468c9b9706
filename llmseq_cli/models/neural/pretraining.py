"""Self-supervised pre-training of S3-Rec: four tasks that relate items, attributes, contexts and segments.

Zhou et al., "S3-Rec: Self-supervised learning for sequential recommendation with mutual information maximization" (CIKM
2020). Every task raises InfoNCE, a lower bound of the mutual information of two views, with a bilinear critic xᵀWy:

    AAP  an item                       and its attributes
    MIP  a context with a masked item  and the item
    MAP  a context with a masked item  and the item's attributes
    SP   a context with a segment out  and the segment

There are few attributes and an item has several, so AAP and MAP are binary cross-entropies over all of them. The paper
contrasts the masked item with one random item; here MIP is the softmax over the whole catalog, the same bound with all
other items as negatives (tighter, and cheap with the chunked softmax), or over sampled ones if the setting `loss` says
so. SP uses the segments of a step's other sessions as negatives.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from llmseq_cli.models.neural.batches import Batch, on_device
from llmseq_cli.models.neural.losses import sampled_softmax_loss
from llmseq_cli.models.neural.network import Network
from llmseq_cli.models.neural.ranks import ALONE, Ranks

TASKS = ("aap", "mip", "map", "sp")
_ATTRIBUTE_TASKS = ("aap", "map")
_MOST_ATTRIBUTES = 1000  # so that free-text classes do not fill the memory


@dataclass(frozen=True)
class Attributes:
    """The keywords of items, stored by class, because there are many items but few classes.

    names: the keywords, sorted. class_of: int64[n_rows], the class of every row.
    of_class: bool[n_classes, n_attributes], which keywords a class has; a class without keywords means unknown.
    """

    names: list[str]
    class_of: np.ndarray
    of_class: np.ndarray

    @classmethod
    def of(cls, classes: np.ndarray, most: int = _MOST_ATTRIBUTES) -> Attributes:
        """classes: str[n_rows], keywords joined by "_"; '' means unknown. most: number of keywords to keep, the most
        frequent ones."""
        known, class_of, sizes = np.unique(classes.astype(str), return_inverse=True, return_counts=True)
        keywords = [sorted({word for word in name.split("_") if word}) for name in known]
        names, places = np.unique([word for words in keywords for word in words], return_inverse=True)
        rows = np.repeat(np.arange(len(known)), [len(words) for words in keywords])
        have = np.bincount(places, weights=sizes[rows], minlength=len(names))
        kept = np.sort(np.argsort(-have, kind="stable")[:most])
        column = np.full(len(names), -1)
        column[kept] = np.arange(len(kept))
        told = column[places] >= 0
        of_class = np.zeros((len(known), len(kept)), dtype=bool)
        of_class[rows[told], column[places][told]] = True
        return cls(names[kept].tolist(), class_of.astype(np.int64), of_class)

    def log_odds(self) -> np.ndarray:
        """Log-odds of every keyword among the rows with keywords, float32[n_attributes]."""
        rows = np.bincount(self.class_of, minlength=len(self.of_class)) * self.of_class.any(axis=1)
        have = rows @ self.of_class
        weights: np.ndarray = np.log((have + 0.5) / (rows.sum() - have + 0.5)).astype(np.float32)
        return weights


@dataclass(frozen=True)
class PretrainingBatch(Batch):
    """places, targets: of the masked items. segment: bool[n, length], the items that SP removes."""

    segment: Tensor

    def share(self, rank: int, size: int) -> Self:
        part = super().share(rank, size)
        return replace(part, segment=self.segment[part.sessions])


def mask_items_and_segment(
    items: np.ndarray, lengths: np.ndarray, random: np.random.Generator, share: float, device: str
) -> PretrainingBatch:
    """Mask this share of a session's items, at least one, and remove a segment of up to half of the items.

    items: int64[n, length]. lengths: int64[n], at least 2.
    """
    steps = np.arange(items.shape[1])
    draws = np.where(steps < lengths[:, None], random.random(items.shape), 2.0)
    masked = (draws < share) | (draws == draws.min(axis=1, keepdims=True))
    size = random.integers(1, lengths // 2, endpoint=True)
    start = random.integers(0, lengths - size, endpoint=True)
    segment = (steps >= start[:, None]) & (steps < (start + size)[:, None])
    batch = on_device(items, lengths, np.flatnonzero(masked), items[masked], device)
    return PretrainingBatch(**vars(batch), segment=torch.from_numpy(segment).to(device))


class Pretraining(nn.Module):
    """The network plus the parts only used in pre-training: the mask, attribute vectors and the critics' matrices.

    both_ways: the network's encoder, in which every position sees its whole session: (float32[n, length, dim], lengths
    int64[n]) → float32[n, length, dim]. weights: of the tasks (see `TASKS`) in the sum; tasks with weight 0 are not
    computed.
    attributes: None leaves out the tasks about them. item_loss: of MIP, (hidden float32[m, dim], items float32[n_rows,
    dim], targets int64[m]) → mean loss. ranks: processes that share the batches.
    """

    class_of: Tensor
    of_class: Tensor

    def __init__(
        self,
        network: Network,
        both_ways: Callable[[Tensor, Tensor], Tensor],
        weights: Mapping[str, float],
        attributes: Attributes | None,
        item_loss: Callable[[Tensor, Tensor, Tensor], Tensor],
        ranks: Ranks = ALONE,
    ) -> None:
        super().__init__()
        self.ranks = ranks
        dim = network.item_vectors().shape[1]
        left_out = () if attributes else _ATTRIBUTE_TASKS
        self.weights = {task: weights[task] for task in TASKS if weights[task] > 0 and task not in left_out}
        self.network, self.both_ways, self.item_loss = network, both_ways, item_loss
        self.mask = nn.Parameter(0.02 * torch.randn(dim))
        self.critics = nn.ModuleDict({task: _critic(dim) for task in self.weights})
        if attributes:
            self.attributes = nn.Parameter(torch.randn(len(attributes.names), dim) / dim**0.5)
            self.frequency = nn.Parameter(torch.from_numpy(attributes.log_odds()))
            self.register_buffer("class_of", torch.from_numpy(attributes.class_of))
            self.register_buffer("of_class", torch.from_numpy(attributes.of_class))

    def forward(self, batch: PretrainingBatch) -> Tensor:
        """The weighted sum of the tasks' losses."""
        total = torch.stack([self.weights[task] * loss for task, loss in self.losses(batch).items()]).sum()
        return total if batch.weight else 0.0 * total

    def losses(self, batch: PretrainingBatch) -> dict[str, Tensor]:
        """The mean loss of every task: in nats per item (AAP), per masked item (MIP, MAP) or per session (SP).

        For a share of a batch: its contribution to the means over the whole batch.
        """
        items = self.network.item_vectors()
        vectors = functional.embedding(batch.items, items)
        inside, whole = _inside(batch), batch.whole or batch
        losses = {}
        if "aap" in self.weights:
            views = self.critics["aap"](vectors[inside])
            losses["aap"] = self._attribute_loss(views, batch.items[inside], whole.items[_inside(whole)])
        if "mip" in self.weights or "map" in self.weights:
            masked = torch.zeros_like(batch.items, dtype=torch.bool).view(-1).index_fill(0, batch.places, True)
            context = self._encode(vectors, masked.view_as(inside), batch.lengths).flatten(0, 1)[batch.places]
        if "mip" in self.weights:
            losses["mip"] = self.item_loss(self.critics["mip"](context), items, batch.targets) * batch.weight
        if "map" in self.weights:
            losses["map"] = self._attribute_loss(self.critics["map"](context), batch.targets, whole.targets)
        if "sp" in self.weights:
            losses["sp"] = self._segment_loss(vectors, batch)
        return losses

    def _encode(self, vectors: Tensor, masked: Tensor, lengths: Tensor) -> Tensor:
        """masked: bool[n, length]."""
        return self.both_ways(torch.where(masked[..., None], self.mask, vectors), lengths)

    def _attribute_loss(self, views: Tensor, rows: Tensor, whole: Tensor | None = None) -> Tensor:
        """Mean cross-entropy of all attributes over the rows with known attributes.

        rows: int64[m] of the views. whole: int64[n], rows of the whole batch for the mean; None: the same.
        """
        has = self.of_class[self.class_of[rows]]
        logits = torch.addmm(self.frequency, views, self.attributes.T)
        each = functional.binary_cross_entropy_with_logits(logits, has.to(logits.dtype), reduction="none").sum(dim=1)
        known = has.any(dim=1)
        counted = known if whole is None or len(whole) == len(rows) else self.of_class[self.class_of[whole]].any(dim=1)
        return (each * known).sum() / counted.sum().clamp(min=1)

    def _segment_loss(self, vectors: Tensor, batch: PretrainingBatch) -> Tensor:
        """A session's view is the output at its last position, as in the paper."""
        masked = torch.cat([batch.segment, ~batch.segment])
        hidden = self._encode(vectors.repeat(2, 1, 1), masked, batch.lengths.repeat(2))
        last = hidden[torch.arange(len(hidden), device=hidden.device), batch.lengths.repeat(2) - 1]
        contexts, segments = last.chunk(2)
        n, own = len(contexts), torch.arange(len(contexts), device=contexts.device)
        if batch.whole is not None and batch.sessions is not None:
            n, own = len(batch.whole.lengths), batch.sessions
            segments = self.ranks.gather(segments, n)
        # Both are outputs of a layer norm, so their products grow with the dimensions.
        logits = self.critics["sp"](contexts) @ segments.T / contexts.shape[1] ** 0.5
        return functional.cross_entropy(logits, own) * (len(own) / n)


def _inside(batch: Batch) -> Tensor:
    """bool[n, length]: positions with an item of the session."""
    return torch.arange(batch.items.shape[1], device=batch.items.device) < batch.lengths[:, None]


def drawn_softmax_loss(hidden: Tensor, items: Tensor, targets: Tensor, negatives: int) -> Tensor:
    """The sampled softmax with this many negatives, drawn uniformly by torch's generator."""
    drawn = torch.randint(len(items), (negatives,), device=items.device)
    expected = torch.full((negatives,), math.log(negatives / len(items)), device=items.device)
    return sampled_softmax_loss(hidden, items, targets, drawn, expected)


def _critic(dim: int) -> nn.Linear:
    """The matrix W of a bilinear critic, initialised as the identity."""
    critic = nn.Linear(dim, dim, bias=False)
    nn.init.eye_(critic.weight)
    return critic
