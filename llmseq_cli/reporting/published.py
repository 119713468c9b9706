"""Published results: the paper's Tables 4 to 7, and leave-one-out tables of other papers.

Boz et al., "Improving Sequential Recommendations with LLMs" (arXiv:2402.01339). Its results are in published.csv and
published_prompting.csv, as printed: three digits, the best of five trainings. published_leave_one_out.csv contains
results of other papers under leave-one-out, with their sources.
"""

from __future__ import annotations

import csv
import re
from functools import cache
from importlib.resources import files
from typing import Any

from llmseq_cli.reporting.names import is_metric

SOURCE = "arXiv:2402.01339"

_COUNTS = {"beauty": (22_363, 12_101), "delivery-hero": (258_710, 38_246), "steam": (279_290, 11_784)}
"""Sessions and items of the paper's datasets (Table 2)."""

_LEAVE_ONE_OUT_COUNTS = {"beauty": (22_363, 12_101), "sports": (35_598, 18_357), "toys": (19_412, 11_924)}
"""Names of the 5-core Amazon datasets of 2014 that leave-one-out tables use."""


@cache
def published_results(dataset: str) -> list[dict[str, Any]]:
    """One dict per model of the paper's table: label, table, and metrics by name, None if missing.

    dataset: beauty, delivery-hero or steam; an empty list for any other.
    """
    rows = [row for row in _read("published.csv") if row["dataset"] == dataset]
    return [
        {"label": row["model"], "table": int(row["table"])}
        | {key: float(value) if value else None for key, value in row.items() if is_metric(key)}
        for row in rows
    ]


@cache
def published_leave_one_out(dataset: str) -> list[dict[str, Any]]:
    """One dict per model of the field's leave-one-out tables: label, source, hr@10 (they call it recall) and ndcg@10.

    dataset: beauty, sports or toys; an empty list for any other.
    """
    return [
        {
            "label": row["model"],
            "source": row["source"],
            "hr@10": float(row["recall@10"]),
            "recall@10": float(row["recall@10"]),
            "ndcg@10": float(row["ndcg@10"]),
        }
        for row in _read("published_leave_one_out.csv")
        if row["dataset"] == dataset
    ]


def leave_one_out_dataset(statistics: dict[str, Any] | None) -> str | None:
    """The name of our dataset in the field's leave-one-out tables, recognised by its numbers of sessions and items."""
    counts = (statistics["sessions"], statistics["items"]) if statistics else None
    return next((known for known, theirs in _LEAVE_ONE_OUT_COUNTS.items() if counts == theirs), None)


@cache
def published_prompting(dataset: str) -> list[dict[str, Any]]:
    """One dict per line of the paper's Table 7: label, family (GPT or PaLM), kind (base or fine-tuned), metrics."""
    words = ("dataset", "label", "family", "kind")
    return [
        {key: value if key in words else float(value) for key, value in row.items()}
        for row in _read("published_prompting.csv")
        if row["dataset"] == dataset
    ]


def paper_dataset(name: str, statistics: dict[str, Any] | None) -> tuple[str | None, str]:
    """(the paper's name of our dataset or None, a note on how they differ).

    A dataset is the paper's if its numbers of sessions and items match, or else its name.
    """
    counts = (statistics["sessions"], statistics["items"]) if statistics else None
    for known, of_paper in _COUNTS.items():
        if counts == of_paper:
            return known, ""
    named = next((known for known in _COUNTS if _folded(known) in _folded(name)), None)
    if named is None:
        return None, f"the paper has no results on {name}, only on {', '.join(_COUNTS)}"
    if counts is None:
        return named, ""
    theirs = _COUNTS[named]
    return named, (
        f"not the paper's data: {counts[0]:,} sessions and {counts[1]:,} items instead of {theirs[0]:,} and "
        f"{theirs[1]:,}"
    )


def same_label(ours: str, published: str) -> bool:
    """Whether two labels mean the same model, such as V_SKNN and V-SKNN."""
    return _folded(ours) == _folded(published)


def _folded(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def _read(name: str) -> list[dict[str, str]]:
    text = files("llmseq_cli.reporting").joinpath(name).read_text(encoding="utf-8")
    return list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))
