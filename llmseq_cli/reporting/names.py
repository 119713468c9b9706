"""Names of columns in printed tables."""

import re

METRIC_NAMES = {
    "ndcg": "NDCG",
    "hr": "HR",
    "recall": "Recall",
    "mrr": "MRR",
    "coverage": "Cov",
    "serendipity": "Ser",
    "novelty": "Nov",
}

PAPER_NAMES = {
    "ndcg": "nDCG",
    "hr": "HR",
    "mrr": "MRR",
    "coverage": "CatCov",
    "serendipity": "Seren",
    "novelty": "Novel",
}
"""As in the header of the paper's Tables 4 to 6."""

_HEADINGS = {
    "number": "run",
    "label": "model",
    "differs": "with",
    "train_seconds": "train s",
    "score_seconds": "score s",
    "positions_per_second": "positions/s",
    "peak_memory_mb": "memory MB",
    "unique_recommendations": "unique",
    "hallucination_rate": "halluc.",
    "hallucination_similarity": "sim.",
    "parse_failures": "failures",
    "prompt_tokens": "tokens in",
    "completion_tokens": "tokens out",
    "cost_usd": "US$",
}


SEGMENTS = ("warm", "tail", "cold")
"""Sessions by their ground truth, see `segments`."""


def is_metric(key: str) -> bool:
    """Whether a column is a metric at a cut-off, such as "ndcg@20", or "cold_ndcg@20" of a segment."""
    return re.fullmatch(rf"(?:(?:{'|'.join(SEGMENTS)})_)?({'|'.join(METRIC_NAMES)})@\d+", key) is not None


def heading(key: str) -> str:
    """The heading of a column: NDCG@20 for ndcg@20, NDCG cold for cold_ndcg@20, model for label."""
    if not is_metric(key):
        return _HEADINGS.get(key, key)
    metric, _, k = key.partition("@")
    segment, underscore, metric_of_segment = metric.partition("_")
    return f"{METRIC_NAMES[metric_of_segment]} {segment}" if underscore else f"{METRIC_NAMES[metric]}@{k}"
