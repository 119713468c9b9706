"""Sessions scored a second by SKNN and V-SKNN, beside the usual way of walking candidate sessions in Python.

On Beauty where LLMSEQ_BEAUTY names it, else on the demo's shop.
"""

from __future__ import annotations

import random
import tempfile
from argparse import Namespace
from collections import defaultdict
from pathlib import Path

from measure import median_seconds
from support.beauty_split import FOLDER, load_beauty, measure
from threadpoolctl import threadpool_limits

from llmseq_cli import IngestOptions
from llmseq_cli.data.dataset import Dataset, load_dataset
from llmseq_cli.data.sessions import Sessions
from llmseq_cli.models.recommender import FitContext
from llmseq_cli.models.session_knn import SKNN, VSKNN

_WALKED = 100  # histories that the slow peer is measured on


class Walker:
    """SKNN as the session-rec library and the paper's code have it: sets, dicts and loops."""

    def __init__(self, train: Sessions, k: int, sample: int, recent: bool, decay: bool) -> None:
        self.k, self.sample, self.recent, self.decay = k, sample, recent, decay
        self.items = [set(train[session].tolist()) for session in range(len(train))]
        self.sessions: dict[int, set[int]] = defaultdict(set)
        for session, items in enumerate(self.items):
            for item in items:
                self.sessions[item].add(session)

    def recommend(self, history: list[int], k: int) -> list[int]:
        candidates = set().union(*(self.sessions[item] for item in history))
        if len(candidates) > self.sample:
            chosen = sorted(candidates, reverse=True)[: self.sample] if self.recent else None
            candidates = set(chosen or random.sample(sorted(candidates), self.sample))
        n = len(history)
        weights = {item: 1 / (n - place) if self.decay else 1.0 for place, item in enumerate(history)}
        near = []
        for session in candidates:
            shared = sum(weights[item] for item in self.items[session] & weights.keys())
            near.append((shared if self.decay else shared / (n * len(self.items[session])) ** 0.5, session))
        near.sort(reverse=True)
        scores: dict[int, float] = defaultdict(float)
        for similarity, session in near[: self.k]:
            for item in self.items[session]:
                scores[item] += similarity
        ranked = sorted((item for item in scores if item not in weights), key=lambda item: -scores[item])
        return ranked[:k]


def _dataset() -> Dataset:
    if FOLDER:
        return load_beauty()
    from llmseq_cli.data.demo_shop.generate import generate_demo
    from llmseq_cli.workspace import Workspace

    with tempfile.TemporaryDirectory() as folder:
        files = generate_demo(Path(folder))
        workspace = Workspace(Path(folder) / "workspace")
        workspace.ingest(IngestOptions([files.interactions], "demo", items=[files.items]))
        with workspace.store.read("benchmark") as con:
            return load_dataset(con, "demo")


def run(options: Namespace) -> None:
    dataset = _dataset()
    histories = dataset.test.histories()
    print(
        f"{dataset.info.name}: {len(dataset.train):,} training sessions, {len(histories):,} histories, "
        "one thread, top 20"
    )
    for cls, recent, decay in ((SKNN, True, False), (VSKNN, False, True)):
        model = cls(cls.Settings(), len(dataset.catalog))
        model.fit(dataset.train, FitContext(dataset.catalog))
        with threadpool_limits(1):
            seconds = median_seconds(lambda model=model: model.recommend(histories, 20))
        walker = Walker(dataset.train, model.settings.k, model.settings.sample_size, recent, decay)
        few = [histories[number].tolist() for number in range(min(_WALKED, len(histories)))]
        walked = median_seconds(
            lambda few=few, walker=walker: [walker.recommend(history, 20) for history in few], runs=3
        )
        ours, theirs = len(histories) / seconds, len(few) / walked
        quality = measure(dataset, model.recommend(histories, 20))
        print(
            f"{cls.title}: {ours:,.0f} sessions/s, walking in Python {theirs:,.0f}, ratio {ours / theirs:.0f};"
            f" NDCG@20 {quality['ndcg']:.4f}, HR@20 {quality['hr']:.4f}"
        )
