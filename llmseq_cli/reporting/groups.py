"""Find how runs of one model differ, and group runs that differ only in their seed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import PurePosixPath
from statistics import fmean, stdev
from typing import Any

from llmseq_cli.reporting.names import is_metric

_MEANS = ("train_seconds", "epochs", "positions_per_second", "score_seconds", "peak_memory_mb")
_SECONDARY = ("address", "template_digest", "limit", "job", "base_model", "max_tokens")
"""Settings that repeat other settings or columns; shown only if two runs differ in nothing else."""
_CHOSEN_BY = "ndcg@20"
_ABSENT = object()


def tell_apart(rows: list[dict[str, Any]]) -> None:
    """Set "differs" in every row: a short text on how it differs from other runs with the same label."""
    by_label: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        by_label.setdefault((row["dataset"], row["label"]), []).append(row)
    for alike in by_label.values():
        features = [_features(row) for row in alike]
        names = dict.fromkeys(name for one in features for name in one)
        first = [name for name in names if name not in _SECONDARY and _varies(features, name, absent=False)]
        texts = [_words(one, first) for one in features]
        if len(set(texts)) < len({_identity(one, names) for one in features}):
            more = [name for name in names if name in first or _varies(features, name, absent=True)]
            texts = [
                _words(one, more) if texts.count(text) > 1 else text for one, text in zip(features, texts, strict=True)
            ]
        for row, text in zip(alike, texts, strict=True):
            row["differs"] = text


def group_seeds(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Combine runs that differ only in their seed: means, standard deviations in "spread" and, in "best", the results
    of the run with the best NDCG@20 by test, to compare with tables that report such a best.

    Of runs with the same seed, the newest counts; "repeats" names the others. "runs" and "seeds" list the parts of the
    row; a row of a single run keeps its values and has neither spread nor "seeds".
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        about = [row["dataset"], row["label"], row["sessions"], row["list_length"], _features(row)]
        groups.setdefault(json.dumps(about, sort_keys=True, default=str), []).append(row)
    return [_merged(group) for group in groups.values()]


def short_model(source: str | None, model: str | None) -> str:
    """The name of an embedding model without organisation or folders: all-MiniLM-L6-v2."""
    if not model or source == "lexical":
        return source or ""
    parts = PurePosixPath(model).parts
    # Model folders often have such generic names.
    return parts[-2] if len(parts) > 2 and parts[-1].lower() in ("model", "snapshot", "onnx") else parts[-1]


def _merged(group: list[dict[str, Any]]) -> dict[str, Any]:
    by_seed: dict[int, dict[str, Any]] = {}
    repeats = []
    for row in sorted(group, key=lambda one: one["run_id"]):
        if row["seed"] in by_seed:
            repeats.append(by_seed[row["seed"]]["run"])
        by_seed[row["seed"]] = row
    members = [by_seed[seed] for seed in sorted(by_seed)]
    made = members[0] | {"runs": [row["run"] for row in members], "run_ids": [row["run_id"] for row in members]}
    if repeats:
        made["repeats"] = repeats
    if len(members) == 1:
        return made
    keys = [key for key in made if is_metric(key) and made[key] is not None]
    made["seed"] = None
    made["seeds"] = [row["seed"] for row in members]
    made |= {key: fmean(row[key] for row in members) for key in (*keys, *_MEANS) if made.get(key) is not None}
    best = max(members, key=lambda row: row.get(_CHOSEN_BY) or 0.0)
    made["best"] = {"run": best["run"]} | {key: best[key] for key in keys}
    made["spread"] = {key: stdev(row[key] for row in members) for key in keys}
    return made


def _features(row: dict[str, Any]) -> dict[str, Any]:
    """Everything in which runs of a model may differ, in display order."""
    own: dict[str, Any] = {}
    if row["embeddings"]:
        own["embeddings"] = (row["embeddings"], row["embeddings_model"])
        own["text"] = row["text"]
        own["reduce"] = (row["reduce"], row["dim"])
    settings = {name: value for name, value in row["settings"].items() if not (name == "dim" and value is None)}
    return own | {f"settings.{name}" if name in own else name: value for name, value in settings.items()}


def _varies(features: list[dict[str, Any]], name: str, *, absent: bool) -> bool:
    """Whether runs have different values; absent: or some have none because they are older than the setting."""
    values = [one.get(name, _ABSENT) for one in features]
    return len({repr(value) for value in values if absent or value is not _ABSENT}) > 1


def _identity(features: dict[str, Any], names: Iterable[str]) -> str:
    return repr([features.get(name) for name in names])


def _words(features: dict[str, Any], names: list[str]) -> str:
    words = []
    for name in names:
        if name not in features:
            continue
        value = features[name]
        if name == "embeddings":
            words.append(short_model(*value))
        elif name == "reduce":
            method, dim = value
            words.append(f"{method} {dim}" if method not in (None, "none") else "not reduced")
        else:
            words.append(f"{name}={_plain(value)}")
    return ", ".join(words)


def _plain(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
