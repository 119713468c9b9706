"""The paper's Table 7 for our runs: hallucinations of language models, fine-tuned and base."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmseq_cli.data.dataset import find_dataset
from llmseq_cli.reporting.leaderboard import dataset_facts, marked_rows
from llmseq_cli.reporting.published import SOURCE, paper_dataset, published_prompting
from llmseq_cli.reporting.report import Report
from llmseq_cli.store.queries import rows_of

if TYPE_CHECKING:
    import duckdb

    from llmseq_cli.store.connection import Store

_TRUTH = ("hr@20", "ndcg@20", "unique_recommendations", "hallucination_rate", "hallucination_similarity")
_TAKEN = ("parse_failures", "prompt_tokens", "completion_tokens", "cost_usd")
_NOTHING = "No language model has been prompted yet: run `llmseq prompt`."


def make_prompting_report(con: duckdb.DuckDBPyConnection, dataset: str | None, *, paper: bool, store: Store) -> Report:
    """One row per run of `llmseq prompt` or `rerank`, by task, base models before fine-tuned ones."""
    if dataset is not None:
        find_dataset(con, dataset)
    rows = rows_of(con, "report/prompting", {"dataset": dataset})
    marked = {row["run"]: row["recites"] for row in marked_rows(con, dataset) if "recites" in row}
    for row in rows:
        row["differs"] = _in_words(row)
        if row["run"] in marked:
            row["recites"] = marked[row["run"]]
    report = Report(rows, None, dataset_facts(con, dataset), sort="", store=store, layouts=_layouts(), nothing=_NOTHING)
    for name in dict.fromkeys(row["dataset"] for row in rows):
        notes = report.notes.setdefault(name, [])
        notes.append("halluc.: named titles that are not in the catalog; sim.: their similarity to the nearest item")
        if paper:
            _add_paper(report, name, notes)
    return report


def _layouts() -> list[list[str]]:
    """Column layouts, from wide to narrow terminals."""
    return [
        ["run", "task", "kind", "model", *_TRUTH, *_TAKEN],
        ["run", "task", "kind", *_TRUTH, *_TAKEN],
        ["run", "task", "kind", *_TRUTH],
        ["number", "task", "kind", *_TRUTH],
    ]


def _in_words(row: dict[str, Any]) -> str:
    """A line of text for narrow terminals, which have no columns for this."""
    cost = "" if row["cost_usd"] is None else f", ${row['cost_usd']:,.2f}"
    tokens = (row["prompt_tokens"] or 0) + (row["completion_tokens"] or 0)
    counts = {
        "not readable": row["parse_failures"],
        "repaired": row["repaired_answers"],
        "candidates left out": row["left_out"],
        "invented": row["invented"],
        "named twice": row["repeated"],
        "comparisons undecided": row["undecided_comparisons"],
    }
    told = "".join(f", {count:,} {what}" for what, count in counts.items() if count or what == "not readable")
    return f"{row['model']}: {row['answers']:,} answers{told}, {tokens:,} tokens{cost}"


def _add_paper(report: Report, dataset: str, notes: list[str]) -> None:
    about = report.datasets.get(dataset)
    known, note = paper_dataset(dataset, about["statistics"] if about else None)
    if note:
        notes.append(note)
    published = published_prompting(known) if known else []
    report.published[dataset] = [
        one
        | {
            "run": f"paper, {one['family']}",
            "task": one["label"],
            "model": one["family"],
            "dataset": dataset,
            "is_published": True,
        }
        for one in published
    ]
    if published:
        notes.append(f"paper: Table 7 of {SOURCE}")
