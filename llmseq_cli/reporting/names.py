"""Metrics as tables print them."""

METRIC_NAMES = {
    "ndcg": "NDCG",
    "hr": "HR",
    "mrr": "MRR",
    "coverage": "Cov",
    "serendipity": "Ser",
    "novelty": "Nov",
}
