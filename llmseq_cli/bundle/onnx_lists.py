"""Recommend with a network in onnxruntime, by the same rules as the model it was exported from."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.errors import LlmseqError, NotInstalledError
from llmseq_cli.evaluation.ranking import NO_ITEM, Ranking
from llmseq_cli.evaluation.small_blocks import SmallBlocks
from llmseq_cli.evaluation.top_k import block_size, rank_in_blocks


class OnnxLists:
    """known: bool[n_items], items that the network reads and can recommend. longest: most items of a session it
    reads."""

    def __init__(self, file: Path, known: np.ndarray, longest: int) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise NotInstalledError("onnxruntime is not installed", "onnx") from error
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises many classes of errors
            raise LlmseqError(f"onnxruntime cannot read {file}", "make the bundle again") from error
        self.known, self.longest = known, longest
        self._small_blocks = SmallBlocks()

    def recommend(self, histories: Sessions, k: int, *, exclude_history: bool = True) -> Ranking:
        n_items = len(self.known)
        size = self._small_blocks.size(len(histories), block_size(n_items), "scores", self._some_scores)
        lists = rank_in_blocks(
            histories, self._scores, k, n_items, exclude_history=exclude_history, candidates=self.known, size=size
        )
        nothing = histories.only(self.known).lengths == 0
        lists.items[nothing], lists.scores[nothing] = NO_ITEM, -np.inf
        return lists

    def _scores(self, block: Sessions) -> np.ndarray:
        read = block.only(self.known).last(self.longest)
        items = np.zeros((len(read), self.longest), dtype=np.int64)
        items[np.arange(self.longest) < read.lengths[:, None]] = read.items
        return self._run(items, np.maximum(read.lengths, 1))

    def _run(self, items: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        [scores] = self._session.run(["scores"], {"items": items, "lengths": lengths})
        return np.array(scores, dtype=np.float32)

    def _some_scores(self, rows: int) -> np.ndarray:
        """Scores of sample histories, for `SmallBlocks`."""
        drawn = np.random.default_rng(0)
        n = block_size(len(self.known))
        items = drawn.choice(np.flatnonzero(self.known), (n, self.longest)).astype(np.int64)
        return self._run(items[:rows], drawn.integers(1, self.longest + 1, n)[:rows])
