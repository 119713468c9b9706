"""Semantic IDs: an item is a short sequence of codes made from its text, and the next item is predicted code by code.

After TIGER (Rajput et al., "Recommender systems with generative retrieval", NeurIPS 2023). SASRec's transformer reads
the session; item vectors start from text vectors. With h the session's vector, the code of level l after the codes c₁ …
c_{l−1} has the probability

    softmax over codes of (h + f_l(e[c₁] + … + e[c_{l−1}])) · e_l

with a small network f_l for every level. The logits are the sum of a term for the session and a term for the codes so
far, so the probabilities of all items are a few matrix products: the whole catalog is ranked exactly or, with `beam`,
only items found by a search in the tree of existing codes. `rerank` adds the similarity to the item's text itself,
which codes only approximate (as in LIGER: Yang et al., "Unifying generative and dense retrieval for sequential
recommendation", 2024).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.errors import UsageError
from llmseq_cli.evaluation.metrics import per_session
from llmseq_cli.evaluation.ranking import NO_ITEM, Ranking
from llmseq_cli.evaluation.small_blocks import SmallBlocks
from llmseq_cli.evaluation.top_k import rank_in_blocks
from llmseq_cli.models.neural.batches import Batch
from llmseq_cli.models.neural.item_codes import CodeTree, residual_codes
from llmseq_cli.models.neural.network import Encoder, Network
from llmseq_cli.models.neural.neural_recommender import VALIDATION_DEPTH, NeuralRecommender
from llmseq_cli.models.neural.settings import TransformerSettings
from llmseq_cli.models.neural.torch_state import torch_state
from llmseq_cli.models.recommender import FitContext
from llmseq_cli.models.sasrec import SASRecEncoder
from llmseq_cli.settings import setting, with_default

_LEAST = 1e-30  # minimum of a sum of exponentials
_BLOCK = 256  # histories whose scores for all items are in memory at once
_FIXED = {"loss": "softmax", "head": "none", "layout": "ours", "item_vectors": "trained", "item_init": "random"}


@dataclass(frozen=True)
class SemanticIdsSettings(TransformerSettings):
    """Learning rate, average and dropout differ from other networks: these are better on the validation items of Amazon
    Beauty under leave-one-out."""

    dropout: float = with_default(TransformerSettings, "dropout", 0.3)
    learning_rate: float | None = setting(
        0.003, "learning rate of AdamW; none: 0.001", low=0, high=10, tune=(1e-4, 1e-2), log=True
    )
    ema_decay: float | None = setting(
        0.995,
        "decay of the moving average of the weights, which is validated and stored; 0: no average; none: 0.998",
        low=0,
        high=0.99999,
    )
    codes: int = setting(3, "codes per item, before the one that distinguishes items with equal codes", low=1, high=8)
    code_size: int = setting(256, "number of codes per level", low=2, high=65_536, tune=(64, 512), log=True)
    beam: int | None = setting(
        None, "prefixes that the search keeps; none: rank the whole catalog", low=1, high=1_000_000
    )
    rerank: float = setting(
        0.0, "weight of the similarity to the item's text vector in the score", low=0, high=1e6, tune=(0.0, 2.0)
    )


class SemanticIds(NeuralRecommender):
    name = "semantic-ids"
    title = "SemanticIDs"
    summary = "predicts the next item's codes, which are made from its text"
    Settings = SemanticIdsSettings
    embeddings_use = "required"
    data_parallel = False
    starts_warm = False
    dense_scores = False

    settings: SemanticIdsSettings
    network: CodeNetwork

    def fit(self, train: Sessions, context: FitContext) -> dict[str, float]:
        for name, value in _FIXED.items():
            if getattr(self.settings, name) != value:
                raise UsageError(f"{self.name} has no {name}={getattr(self.settings, name)}", f"leave out {name}")
        return super().fit(train, context)

    def make_encoder(self, dim: int) -> Encoder:
        return SASRecEncoder(dim, self.settings)

    def _network(self, dim: int, text: np.ndarray | None) -> CodeNetwork:
        assert text is not None, "embeddings are required"
        found = residual_codes(text, self.settings.codes, self.settings.code_size, int(torch.randint(2**31, ())))
        last = np.zeros((int(found.codes[:, -1].max()) + 1, dim), dtype=np.float32)
        return self._spelling(found.codes, [*found.centers, last], text)

    def _spelling(self, codes: np.ndarray, centers: list[np.ndarray], text: np.ndarray) -> CodeNetwork:
        self._small_blocks = SmallBlocks()
        vectors = CodeVectors(codes, centers, text)
        return CodeNetwork(vectors, self.make_encoder(text.shape[1]), self.n_seen, text)

    def restored_network(self, state: dict[str, Tensor]) -> CodeNetwork:
        n_levels = sum(name.startswith("item_vectors.levels.") for name in state)
        centers = [state[f"item_vectors.levels.{level}"].numpy() for level in range(n_levels)]
        return self._spelling(state["item_vectors.codes"].numpy(), centers, state["text"].numpy())

    def own_loss(self) -> Callable[[Any], Tensor]:
        network = self.network

        def loss(batch: Batch) -> Tensor:
            vectors = network.item_vectors()
            hidden = network.encoder.at_places(functional.embedding(batch.items, vectors), batch)
            return network.loss(hidden, batch.targets)

        return loss

    def _validator(self, held_out: Sessions, allows_repeats: bool) -> Callable[[], float]:
        histories = held_out.histories()
        targets = torch.from_numpy(held_out.targets().astype(np.int64)).to(self.device)

        @torch.inference_mode()
        def validate() -> float:
            self._settle()
            hidden, ranks = self._encode(histories), []
            for start in range(0, len(histories), _BLOCK):
                block = histories.slice(start, min(start + _BLOCK, len(histories)))
                scores = self.network.scores(hidden[start : start + len(block)])
                if not allows_repeats:
                    scores[torch.from_numpy(block.rows()), torch.from_numpy(block.items.astype(np.int64))] = -torch.inf
                own = scores.gather(1, targets[start : start + len(block), None])
                rank = (scores > own).sum(dim=1) + 1
                ranks.append(torch.where(own[:, 0].isfinite(), rank, 0).cpu().numpy())
            return float(per_session(np.concatenate(ranks), VALIDATION_DEPTH)["ndcg"].mean())

        return validate

    def recommend(self, histories: Sessions, k: int, *, exclude_history: bool = True) -> Ranking:
        with torch_state(self.settings.threads, None, self.device):
            known = self._rows(histories)
            hidden = self._encode(known)
            place = 0

            def score(block: Sessions) -> np.ndarray:
                nonlocal place
                rows = hidden.new_zeros(len(block), hidden.shape[1])
                part = hidden[place : place + len(block)]
                rows[: len(part)] = part
                place += len(block)
                scores = np.full((len(block), self.n_items), -np.inf, dtype=np.float32)
                scores[:, self.item_ids] = self._scores(rows).cpu().numpy()
                return scores

            lists = rank_in_blocks(
                histories, score, k, self.n_items, exclude_history=exclude_history, candidates=self.candidates()
            )
        nothing = known.lengths == 0
        lists.items[nothing], lists.scores[nothing] = NO_ITEM, -np.inf
        return lists

    @torch.inference_mode()
    def _scores(self, hidden: Tensor) -> Tensor:
        beam = self.settings.beam
        scores = self.network.scores(hidden) if beam is None else self.network.search(hidden, beam)
        return scores + self.settings.rerank * (hidden @ self.network.text.T) if self.settings.rerank else scores


class CodeVectors(nn.Module):
    """float32[n_rows, dim] when called: input vectors of items, which start from text vectors. levels: output vectors
    of the codes, which start at `centers`."""

    codes: Tensor

    def __init__(self, codes: np.ndarray, centers: list[np.ndarray], text: np.ndarray) -> None:
        super().__init__()
        self.read = nn.Parameter(torch.from_numpy(text.copy()))
        self.register_buffer("codes", torch.from_numpy(codes.copy()))
        self.levels = nn.ParameterList([nn.Parameter(torch.from_numpy(each.copy())) for each in centers])

    def forward(self) -> Tensor:
        return self.read


class CodeNetwork(Network):
    """text: float32[n_rows, dim], the vectors from which the codes were made."""

    text: Tensor
    item_vectors: CodeVectors  # type: ignore[assignment]

    def __init__(self, vectors: CodeVectors, encoder: Encoder, n_targets: int, text: np.ndarray) -> None:
        super().__init__(vectors, encoder, None, n_targets)  # type: ignore[arg-type]
        self.register_buffer("text", torch.from_numpy(text.copy()))
        self.after = nn.ModuleList([_after(text.shape[1]) for _ in vectors.levels])
        tree = CodeTree.of(vectors.codes.numpy(), [len(each) for each in vectors.levels])
        self.tree = {
            name: [torch.from_numpy(np.ascontiguousarray(each)) for each in getattr(tree, name)]
            for name in ("nodes", "prefixes", "children")
        }

    def loss(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Mean of −log of the probability of all codes of the targets. hidden: float32[m, dim]."""
        codes = self.item_vectors.codes[targets]
        so_far, total = torch.zeros_like(hidden), hidden.new_zeros(())
        for level, (vectors, after) in enumerate(zip(self.item_vectors.levels, self.after, strict=True)):
            total = total + functional.cross_entropy((hidden + after(so_far)) @ vectors.T, codes[:, level])
            so_far = so_far + functional.embedding(codes[:, level], vectors)
        return total

    def scores(self, hidden: Tensor) -> Tensor:
        """Log probability of every item, float32[n, n_rows]. hidden: float32[n, dim]."""
        total = hidden.new_zeros(len(hidden), len(self.item_vectors.codes))
        for level, (of_session, of_node, normalizer) in enumerate(self._levels(hidden)):
            codes, node = self.item_vectors.codes[:, level], self._tree("nodes", level, hidden)
            total += of_session[:, codes] + of_node[node, codes] - normalizer[:, node]
        return total

    def search(self, hidden: Tensor, beam: int) -> Tensor:
        """The same for items found by a search that keeps `beam` prefixes, −inf for the others."""
        node = torch.zeros(len(hidden), 1, dtype=torch.int64, device=hidden.device)
        score = hidden.new_zeros(len(hidden), 1)
        for level, (of_session, of_node, normalizer) in enumerate(self._levels(hidden)):
            children = self._tree("children", level, hidden)[node]
            there = score[..., None] + of_session[:, None] + of_node[node] - normalizer.gather(1, node)[..., None]
            there = there.masked_fill(children < 0, -torch.inf).flatten(1)
            score, best = there.topk(min(beam, there.shape[1]), dim=1)
            node = children.flatten(1).gather(1, best).clamp(min=0)
        scores = hidden.new_full((len(hidden), len(self.item_vectors.codes)), -torch.inf)
        return scores.scatter_reduce(1, node, score, "amax")

    def _levels(self, hidden: Tensor) -> Any:
        """For every level: the logits from the session [n, size] and from the codes so far [n_nodes, size], and the
        log-sum-exp of their sum [n, n_nodes]."""
        for level, (vectors, after) in enumerate(zip(self.item_vectors.levels, self.after, strict=True)):
            prefixes = self._tree("prefixes", level, hidden)
            so_far = hidden.new_zeros(len(prefixes), hidden.shape[1])
            for earlier in range(level):
                so_far = so_far + functional.embedding(prefixes[:, earlier], self.item_vectors.levels[earlier])
            of_session, of_node = hidden @ vectors.T, after(so_far) @ vectors.T
            first, second = of_session.amax(dim=1, keepdim=True), of_node.amax(dim=1, keepdim=True)
            sums = (of_session - first).exp() @ (of_node - second).exp().T
            yield of_session, of_node, sums.clamp(min=_LEAST).log() + first + second.T

    def _tree(self, name: str, level: int, like: Tensor) -> Tensor:
        each = self.tree[name]
        each[level] = each[level].to(like.device)
        return each[level]


def _after(dim: int) -> nn.Sequential:
    """The network for the codes so far; it starts at zero."""
    said = nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, dim))
    for parameter in said[2].parameters():
        nn.init.zeros_(parameter)
    return said
