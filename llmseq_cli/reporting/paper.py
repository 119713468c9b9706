"""`--paper`: show published results with ours."""

from __future__ import annotations

from typing import Any

from llmseq_cli.reporting.names import is_metric
from llmseq_cli.reporting.published import (
    SOURCE,
    leave_one_out_dataset,
    paper_dataset,
    published_leave_one_out,
    published_results,
    same_label,
)
from llmseq_cli.reporting.report import Report


def add_paper(report: Report, *, with_others: bool = True) -> None:
    """Add "published" and "difference" (ours minus the paper's) by metric to every row.

    Tables under leave-one-out get results of other papers. with_others: put models that only papers have into
    `report.published`. If there are no published results, or only under another protocol, a note says so.
    """
    for dataset in dict.fromkeys(row["dataset"] for row in report.rows):
        about = report.datasets.get(dataset)
        kind = about["protocol"]["kind"] if about else "sessions"
        published, notes = (_leave_one_out if kind == "leave-one-out" else _of_paper)(dataset, about)
        report.notes.setdefault(dataset, []).extend(notes)
        if not published:
            continue
        rows = [row for row in report.rows if row["dataset"] == dataset]
        for row in rows:
            row["published"], row["difference"] = _beside(row, published)
            if kind == "leave-one-out":
                row.pop("best", None)  # those tables do not report the best run by test
        if any(row.get("best") and row["published"] for row in rows):
            report.notes[dataset].append(
                "best of N: the run with the best NDCG@20, chosen on test, as the paper did; differences are of means"
            )
        alone = [one for one in published if not any(same_label(row["label"], one["label"]) for row in rows)]
        if with_others:
            report.published[dataset] = [_as_row(one, dataset, report.metrics()) for one in alone]


def _of_paper(dataset: str, about: dict[str, Any] | None) -> tuple[list[dict[str, Any]], list[str]]:
    """(the paper's results on a dataset, what readers must know)."""
    known, note = paper_dataset(dataset.partition("/")[0], about["statistics"] if about else None)
    if about is not None and known is not None and (other := _other_protocol(about["protocol"])):
        note = ", ".join(part for part in (note, f"not the paper's split: {other}") if part)
    notes = [note] if note else []
    if known is None:
        return [], notes
    published = published_results(known)
    notes.append(
        f"paper: Table {published[0]['table']} of {SOURCE}, best of five trainings; its tie-break is not known"
    )
    others = published_leave_one_out(leave_one_out_dataset(about["statistics"] if about else None) or "")
    if others:
        notes.append(
            f"{len(others)} published models use leave-one-out, another protocol: "
            "`llmseq split --split leave-one-out`, then report --split leave-one-out --paper"
        )
    return published, notes


def _leave_one_out(dataset: str, about: dict[str, Any] | None) -> tuple[list[dict[str, Any]], list[str]]:
    """(results in the field's leave-one-out tables, what readers must know)."""
    known = leave_one_out_dataset(about["statistics"] if about else None)
    published = published_leave_one_out(known or "")
    if about is None or not published:
        return [], [f"no published leave-one-out results on {dataset}, only on Amazon's beauty, sports and toys"]
    sources = ", ".join(dict.fromkeys(one["source"] for one in published))
    notes = [f"paper: leave-one-out, recall@10 (the same as HR@10 here) and NDCG@10 from {sources}"]
    if about["statistics"]["ties_at_end"] and about["protocol"]["tie_break"] != "input":
        notes.append("published results keep the file order of equal times: ingest with --tie-break input")
    if about["protocol"]["repeats"] == "allow":
        notes.append("published results exclude items of the history from lists, these do not")
    if paper_dataset(dataset.partition("/")[0], about["statistics"])[0]:
        notes.append(f"the tables of {SOURCE} hold out the last sessions, another protocol, and are not shown")
    return published, notes


def _other_protocol(protocol: dict[str, Any]) -> str:
    """How a protocol differs from the paper's, as text."""
    if protocol["kind"] != "sessions":
        return "it holds out the last sessions"
    return "it drops items that training never saw" if protocol["unseen_items"] == "keep" else ""


def _beside(row: dict[str, Any], published: list[dict[str, Any]]) -> tuple[dict[str, float], dict[str, float]]:
    """(published, ours minus published) by metric; empty for a model that is not in the paper."""
    one = next((one for one in published if same_label(row["label"], one["label"])), {})
    figures = {key: value for key, value in one.items() if is_metric(key) and value is not None and key in row}
    return figures, {key: row[key] - value for key, value in figures.items()}


def _as_row(one: dict[str, Any], dataset: str, metrics: list[str]) -> dict[str, Any]:
    return {"run": "paper", "label": one["label"], "dataset": dataset, "is_published": True} | {
        key: one.get(key) for key in metrics
    }
