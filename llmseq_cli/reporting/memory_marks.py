"""Marks for runs of language models that know a dataset by heart, as `llmseq audit-llm` found."""

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
    """What to say of each run that a reciting model, or one made of it, has a part in; by the run's name.

    runs: with run, dataset and settings, those that blends and re-ranked runs are made of among them.
    """
    found: dict[tuple[str, str, str], list[str]] = {}
    for row in rows_of(con, "report/marking_audits", {}):
        key = row["dataset"], row["provider"], row["model"]
        found.setdefault(key, []).append(f"{row['share']:.0%} of {_WORDS[row['probe']]}")
    if not found:
        return {}
    marked: dict[str, str] = {}
    for row in sorted(runs, key=lambda one: int(one["run_id"])):  # what a run is made of is older
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
    """Sets "recites" of the rows that are marked."""
    marked = marked_runs(con, rows)
    for row in rows:
        if row["run"] in marked:
            row["recites"] = marked[row["run"]]
