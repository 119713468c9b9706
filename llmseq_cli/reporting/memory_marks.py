"""Marks for runs of language models that have memorised a dataset, according to `llmseq audit-llm`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmseq_cli.store.queries import rows_of

if TYPE_CHECKING:
    import duckdb

MARK = "†"
_WORDS = {
    "id": "titles by the item's id",
    "session": "next items by the session's id",
    "history": "next items by the history",
}


def marked_runs(con: duckdb.DuckDBPyConnection, runs: list[dict[str, Any]]) -> dict[str, str]:
    """A note for each run in which a reciting model, or a model made from it, takes part; by the run's name.

    runs: with run, dataset and settings, including the base runs of blends and re-ranked runs.
    """
    found: dict[tuple[str, str, str], list[str]] = {}
    for row in rows_of(con, "report/marking_audits", {}):
        key = row["dataset"], row["provider"], row["model"]
        found.setdefault(key, []).append(f"{row['share']:.0%} of {_WORDS[row['probe']]}")
    if not found:
        return {}
    marked: dict[str, str] = {}
    for row in sorted(runs, key=lambda one: int(one["run_id"])):  # base runs are older
        settings = row["settings"]
        for model in (settings.get("model"), settings.get("base_model")):
            said = found.get((row["dataset"], settings.get("provider"), model))
            if said:
                marked[row["run"]] = (
                    f"{model} recites this dataset ({', '.join(said)}, above a permuted control): its results may come "
                    "from memory"
                )
                break
        else:
            parts = [*str(settings.get("runs") or "").split(","), str(settings.get("run") or "")]
            of_parts = [marked[part.strip()] for part in parts if part.strip() in marked]
            if of_parts:
                marked[row["run"]] = of_parts[0]
    return marked


def add_marks(con: duckdb.DuckDBPyConnection, rows: list[dict[str, Any]]) -> None:
    """Set "recites" in marked rows."""
    marked = marked_runs(con, rows)
    for row in rows:
        if row["run"] in marked:
            row["recites"] = marked[row["run"]]
