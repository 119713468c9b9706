"""Stack: gradient-boosted trees that rank the items of several runs' lists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.embeddings.item_embeddings import ItemEmbeddings
from llmseq_cli.errors import LlmseqError, UsageError
from llmseq_cli.evaluation.metrics import per_session
from llmseq_cli.evaluation.ranking import Ranking
from llmseq_cli.evaluation.top_k import block_size, top_k
from llmseq_cli.models.boosted_trees import MOST_LEAVES, BoostedTrees
from llmseq_cli.models.list_combiner import ListCombiner, ListCombinerSettings, held_out_of
from llmseq_cli.models.listed_items import WORDS, ItemKnowledge, ListedItems, n_features
from llmseq_cli.models.recommender import FitContext
from llmseq_cli.settings import setting

_MOST_CASES = 25_000
_MOST_JUDGED = 5_000
_CUTOFF = 20
_LEAST_LEAF = 100  # listed items per leaf


@dataclass(frozen=True)
class StackSettings(ListCombinerSettings):
    item_traits: str = setting(
        "none",
        "traits of an item that the trees use besides the lists: none, all, or some of popularity,age,text; "
        "text needs --embeddings",
    )
    trees: int = setting(150, "number of trees", low=1, high=10_000, tune=(50, 400))
    leaves: int = setting(15, "most leaves per tree", low=2, high=MOST_LEAVES, tune=(4, 31))
    learning_rate: float = setting(0.06, "weight of each tree", low=1e-4, high=1, tune=(0.02, 0.2), log=True)
    negatives: int = setting(60, "listed items to learn from besides each ground truth", low=1, high=100_000)

    def __post_init__(self) -> None:
        super().__post_init__()
        trait_words(self.item_traits)


def trait_words(words: str) -> tuple[str, ...]:
    """The selected ones of "popularity", "age", "text", in this order. Raises UsageError for others."""
    given = [word.strip() for word in words.split(",")]
    if given in (["none"], ["all"]):
        return WORDS if given == ["all"] else ()
    if wrong := [word for word in given if word not in WORDS]:
        raise UsageError(f"item_traits cannot be '{wrong[0]}'", f"use none, all, or some of {','.join(WORDS)}")
    return tuple(word for word in WORDS if word in given)


class Stack(ListCombiner):
    """The log-odds that an item is the next one, from trees over every base model's values for it.

    Trees see an item's gain, rank and score in each list, the distance to the list's best score, the share of lists
    that contain it and the length of the history; with item_traits also how popular and how new it is, and how similar
    its text is to those of the history's last three items. They learn from the split's validation cases, at most 25,000
    or, if it has none, from the latest fifth of the training sessions, at most 5,000, with base models trained without
    these, like a blend's weights. Then the base models that were trained on everything are stacked.
    """

    name = "stack"
    title = "Stack"
    summary = "gradient-boosted trees over the lists of any runs, learnt on validation cases"
    Settings = StackSettings
    embeddings_use = "optional"
    needs_dense = True
    reduced_dim = 128

    settings: StackSettings
    trees: BoostedTrees
    knowledge: ItemKnowledge

    @classmethod
    def label(cls, embeddings: ItemEmbeddings | None) -> str:
        """Always the plain name: the embeddings belong to its base models."""
        return cls.title

    def fit(self, train: Sessions, context: FitContext) -> dict[str, Any]:
        """Returns validation_ndcg, the NDCG@20 of held-out cases, each evaluated with trees that learnt from the other
        half, and the numbers of cases learnt from and evaluated."""
        self.take_base_models(context)
        words, vectors = trait_words(self.settings.item_traits), self._vectors(context)
        earlier, cases = held_out_of(train, self.n_items, context, most=_MOST_CASES)
        histories, targets = cases.histories(), cases.targets()
        rankings = [one.refitted_lists(earlier, histories, self._list_length) for one in context.base_models]
        known = ItemKnowledge.of(words, earlier, self.n_items, vectors)
        random = np.random.default_rng([context.seed, 6])
        judged = np.zeros(len(histories), dtype=bool)
        judged[random.permutation(len(histories))[:_MOST_JUDGED]] = True
        learnt, shown = self._examples(rankings, histories, targets, known, judged, random, context.allows_repeats)
        if not len(learnt.rows):
            raise LlmseqError("no list contains the ground truth of a held-out session", "use other runs")
        half = random.random(len(histories)) < 0.5
        ranks = np.zeros(len(histories), dtype=np.int64)
        with context.progress.task("Growing trees", 3, "times") as task:
            for one in (half, ~half):
                ranks += self._ranks(learnt, shown, targets, one, context.seed)
                task.advance(1)
            self.trees = self._grow(learnt, targets, context.seed)
        self.knowledge = ItemKnowledge.of(words, train, self.n_items, vectors)
        ndcg = float(per_session(ranks[judged], _CUTOFF)["ndcg"].mean())
        return {
            "validation_ndcg": ndcg,
            "validation_sessions": int(judged.sum()),
            "learnt_sessions": len(np.unique(learnt.rows)),
            "learnt_items": len(learnt.rows),
        }

    def _vectors(self, context: FitContext) -> np.ndarray | None:
        """The items' text vectors. Raises UsageError if they are needed and missing, or given and not needed."""
        if ("text" in trait_words(self.settings.item_traits)) != (context.embeddings is not None):
            if context.embeddings is None:
                raise UsageError(
                    "stack cannot compare texts without item embeddings",
                    "use --embeddings lexical, or --set item_traits=popularity,age",
                )
            raise UsageError("stack uses item embeddings only to compare texts", "use --set item_traits=all (or text)")
        return None if context.embeddings is None else np.asarray(context.embeddings.vectors)

    def _examples(
        self,
        rankings: list[Ranking],
        histories: Sessions,
        targets: np.ndarray,
        known: ItemKnowledge,
        judged: np.ndarray,
        random: np.random.Generator,
        allows_repeats: bool,
    ) -> tuple[ListedItems, ListedItems]:
        """(items to learn from, items to evaluate on), for cases whose ground truth is listed: the ground truth and
        some of the other items; and all items of the evaluated cases."""
        learnt, shown = [], []
        size = block_size(self.n_items)
        for start in range(0, len(histories), size):
            block = slice(start, min(start + size, len(histories)))
            part = [Ranking(one.items[block], one.scores[block]) for one in rankings]
            listed = ListedItems.of(
                part, histories.slice(block.start, block.stop), self.n_items, known, exclude_history=not allows_repeats
            )
            listed = ListedItems(listed.rows + start, listed.items, listed.features)
            own = listed.items == targets[listed.rows]
            count = np.bincount(listed.rows, minlength=len(histories))
            hit = np.bincount(listed.rows[own], minlength=len(histories)) > 0
            drawn = random.random(len(own)) * count[listed.rows] < self.settings.negatives
            learnt.append(listed.take(np.flatnonzero(hit[listed.rows] & (own | drawn))))
            shown.append(listed.take(np.flatnonzero((hit & judged)[listed.rows])))
        return ListedItems.concatenate(learnt), ListedItems.concatenate(shown)

    def _grow(self, learnt: ListedItems, targets: np.ndarray, seed: int) -> BoostedTrees:
        from sklearn.ensemble import HistGradientBoostingClassifier

        settings = self.settings
        model = HistGradientBoostingClassifier(
            max_iter=settings.trees,
            max_leaf_nodes=settings.leaves,
            learning_rate=settings.learning_rate,
            min_samples_leaf=_LEAST_LEAF,
            l2_regularization=1.0,
            early_stopping=False,
            random_state=seed,
        )
        own = learnt.items == targets[learnt.rows]
        if own.all():
            raise LlmseqError("the lists contain only ground truths", "use other runs, or a larger list_length")
        features = learnt.features.copy()
        features[:, np.isnan(features).all(axis=0)] = 0  # scikit-learn refuses columns without numbers
        return BoostedTrees.of(model.fit(features, own))

    def _ranks(
        self, learnt: ListedItems, shown: ListedItems, targets: np.ndarray, half: np.ndarray, seed: int
    ) -> np.ndarray:
        """int64[n_cases]: ranks of the ground truths of the other half, by trees that learn from this half; 0 for the
        rest."""
        of_half, others = np.flatnonzero(half[learnt.rows]), shown.take(np.flatnonzero(~half[shown.rows]))
        ranks = np.zeros(len(targets), dtype=np.int64)
        if not len(of_half) or not len(others.rows):
            return ranks
        scores = self._grow(learnt.take(of_half), targets, seed).scores(others.features).astype(np.float32)
        own = np.flatnonzero(others.items == targets[others.rows])
        best, item = np.full(len(targets), np.inf), np.zeros(len(targets), dtype=np.int64)
        best[others.rows[own]], item[others.rows[own]] = scores[own], others.items[own]
        ahead = (scores > best[others.rows]) | ((scores == best[others.rows]) & (others.items < item[others.rows]))
        ranks[others.rows[own]] = 1
        return ranks + np.bincount(others.rows, ahead, minlength=len(targets)).astype(np.int64)

    def _lists(self, histories: Sessions, k: int, exclude_history: bool) -> Ranking:
        # Always include history items, even if they are not wanted: the others' scores must not depend on it.
        rankings = [one.recommend(histories, self._list_length, exclude_history=False) for one in self.base_models]
        size = block_size(self.n_items)
        parts = []
        for start in range(0, max(len(histories), 1), size):
            rows = slice(start, min(start + size, len(histories)))
            block = histories.slice(rows.start, rows.stop)
            lists = [Ranking(ranking.items[rows], ranking.scores[rows]) for ranking in rankings]
            listed = ListedItems.of(lists, block, self.n_items, self.knowledge, exclude_history=exclude_history)
            scores = np.full((len(block), self.n_items), -np.inf, dtype=np.float32)
            scores[listed.rows, listed.items] = self.trees.scores(listed.features)
            parts.append(top_k(scores, k))
        return Ranking.concatenate(parts)

    def arrays(self) -> dict[str, np.ndarray]:
        return self.trees.arrays() | self.knowledge.arrays()

    def restore_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        words = trait_words(self.settings.item_traits)
        self.knowledge = ItemKnowledge.restored(words, arrays, self.n_items)
        self.trees = BoostedTrees.restored(arrays, n_features(len(self.settings.runs.split(",")), self.knowledge))
