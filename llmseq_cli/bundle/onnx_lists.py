"""Lists of a network that runs in onnxruntime, under the rules of the model that it was made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.errors import LlmseqError
from llmseq_cli.evaluation.ranking import NO_ITEM, Ranking
from llmseq_cli.evaluation.top_k import rank_in_blocks


class OnnxLists:
    """known: bool[n_items], the items that the network reads and may recommend. longest: items that it reads."""

    def __init__(self, file: Path, known: np.ndarray, longest: int) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise LlmseqError("onnxruntime is not installed", "pip install 'llmseq[onnx]'") from error
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own errors are of many classes
            raise LlmseqError(f"onnxruntime cannot read {file}", "make the bundle again") from error
        self.known, self.longest = known, longest

    def recommend(self, histories: Sessions, k: int, *, exclude_history: bool = True) -> Ranking:
        lists = rank_in_blocks(
            histories, self._scores, k, len(self.known), exclude_history=exclude_history, candidates=self.known
        )
        nothing = histories.only(self.known).lengths == 0
        lists.items[nothing], lists.scores[nothing] = NO_ITEM, -np.inf
        return lists

    def _scores(self, block: Sessions) -> np.ndarray:
        read = block.only(self.known).last(self.longest)
        items = np.zeros((len(read), self.longest), dtype=np.int64)
        items[np.arange(self.longest) < read.lengths[:, None]] = read.items
        given = {"items": items, "lengths": np.maximum(read.lengths, 1)}
        [scores] = self._session.run(["scores"], given)
        return np.array(scores, dtype=np.float32)
