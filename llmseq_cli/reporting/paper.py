"""`--paper`: the published figures beside ours."""

from __future__ import annotations

from typing import Any

from llmseq_cli.reporting.names import is_metric
from llmseq_cli.reporting.published import SOURCE, paper_dataset, published_figures, same_label
from llmseq_cli.reporting.report import Report


def add_paper(report: Report, *, with_others: bool = True) -> None:
    """Gives every row "published" and "difference", ours minus the paper's, by metric.

    with_others: models that only the paper has go into `report.published`. Datasets that the paper has not get a note.
    """
    for dataset in dict.fromkeys(row["dataset"] for row in report.rows):
        about = report.datasets.get(dataset)
        known, note = paper_dataset(dataset, about["statistics"] if about else None)
        if about is not None and known is not None and (other := _other_protocol(about["protocol"])):
            note = ", ".join(part for part in (note, f"not the paper's split: {other}") if part)
        if note:
            report.notes.setdefault(dataset, []).append(note)
        if known is None:
            continue
        figures = published_figures(known)
        rows = [row for row in report.rows if row["dataset"] == dataset]
        for row in rows:
            row["published"], row["difference"] = _beside(row, figures)
        alone = [one for one in figures if not any(same_label(row["label"], one["label"]) for row in rows)]
        if with_others:
            report.published[dataset] = [_as_row(one, dataset, report.metrics()) for one in alone]
        report.notes.setdefault(dataset, []).append(
            f"paper: Table {figures[0]['table']} of {SOURCE}, best of five trainings, its tie-break is not known"
        )


def _other_protocol(protocol: dict[str, Any]) -> str:
    """What of a protocol is not the paper's, in words."""
    if protocol["kind"] != "sessions":
        return "it holds out the last sessions"
    return "it drops items that training never saw" if protocol["unseen_items"] == "keep" else ""


def _beside(row: dict[str, Any], figures: list[dict[str, Any]]) -> tuple[dict[str, float], dict[str, float]]:
    """(published, ours minus published) by metric; empty for a model that the paper has not."""
    one = next((one for one in figures if same_label(row["label"], one["label"])), {})
    published = {key: value for key, value in one.items() if is_metric(key) and value is not None and key in row}
    return published, {key: row[key] - value for key, value in published.items()}


def _as_row(one: dict[str, Any], dataset: str, metrics: list[str]) -> dict[str, Any]:
    return {"run": "paper", "label": one["label"], "dataset": dataset, "is_published": True} | {
        key: one.get(key) for key in metrics
    }
