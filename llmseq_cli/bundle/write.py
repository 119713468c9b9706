"""Write a stored run as a bundle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from llmseq_cli._version import __version__
from llmseq_cli.bundle.layout import ABOUT, FORMAT, ITEMS, MODELS, ONNX, README, VECTORS, is_bundle, write_items
from llmseq_cli.bundle.readme import readme
from llmseq_cli.data.dataset import find_dataset, load_catalog
from llmseq_cli.errors import UsageError
from llmseq_cli.files import atomic_folder
from llmseq_cli.models.base_models import MadeOfRuns
from llmseq_cli.models.recommender import ItemSpace, Recommender
from llmseq_cli.store.runs import find_run, run_details
from llmseq_cli.training.stored_runs import load_model

if TYPE_CHECKING:
    import duckdb

    from llmseq_cli.data.catalog import Catalog
    from llmseq_cli.store.connection import Store


def write_bundle(store: Store, run: str, out: Path, dataset: str | None = None) -> dict[str, Any]:
    """Write everything needed to recommend to a new folder, atomically; returns run, files, and "onnx": why there is no
    ONNX graph (None if there is one).

    run: see `find_run`. An existing bundle is replaced. Raises UsageError for any other folder that is not empty.
    """
    check_place(out)
    with store.read("reading a run") as con:
        info = find_run(con, run, dataset, store.progress)
        about = _details(con, info.run_id)
        of = find_dataset(con, info.dataset)
        catalog = load_catalog(con, of)
    model = load_model(store.folder, info.run, info.model, len(catalog))
    if _knows_some_sessions_alone(model):
        raise UsageError(
            f"{info.run} consists of a language model's answers, which exist for the test sessions only",
            "choose the run of a trained model",
        )
    space = model.item_space()
    with atomic_folder(out, checksums=True) as folder, store.progress.task(f"Writing {info.run}"):
        _save_models(model, info.run, folder / MODELS)
        write_items(catalog, catalog.in_train if space is None else space.candidates, folder / ITEMS)
        if space is not None:
            _save_vectors(space, folder / VECTORS)
        onnx, why_not = _write_graph(model, folder / ONNX)
        about |= {
            "format": FORMAT,
            "llmseq": __version__,
            "items": len(catalog),
            "rules": {
                "repeats": "allow" if of.allows_repeats else "exclude",
                "ties": "scores are rounded to 18 bits; equal ones are in the order of items.jsonl",
                "known": "only items with known=true are recommended",
            },
            "similarity": None if space is None else space.similarity,
            "onnx": onnx,
        }
        (folder / ABOUT).write_text(json.dumps(about, indent=1, default=str) + "\n", encoding="utf-8")
        (folder / README).write_text(readme(about, _examples(catalog)), encoding="utf-8")
        files = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
    return {"run": info.run, "out": str(out), "files": files, "onnx": why_not}


def check_place(out: Path) -> None:
    """Raises UsageError if there is something that a bundle must not replace."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file", "a bundle is a folder: choose another name")
    if out.is_dir() and any(out.iterdir()) and not is_bundle(out):
        raise UsageError(f"the folder {out} is not empty", "choose a new folder")


def _knows_some_sessions_alone(model: Recommender) -> bool:
    base_models = model.base_models if isinstance(model, MadeOfRuns) else []
    return not model.refits or any(map(_knows_some_sessions_alone, base_models))


def _details(con: duckdb.DuckDBPyConnection, run_id: int) -> dict[str, Any]:
    details = run_details(con, run_id)
    return {name: value for name, value in details.items() if name not in ("run_id", "list_length")}


def _save_models(model: Recommender, run: str, folder: Path) -> None:
    """Save the model and its base models side by side, as in a workspace. Arrays that only compiled code can check are
    left out: they are rebuilt when the bundle is opened."""
    from safetensors.numpy import save_file

    target = folder / run
    target.mkdir(parents=True)
    model.save(target)
    if model.unsafe_arrays:
        kept = {name: array for name, array in model.arrays().items() if name not in model.unsafe_arrays}
        save_file({name: np.ascontiguousarray(array) for name, array in kept.items()}, target / "model.safetensors")
    if isinstance(model, MadeOfRuns):
        for name, base_model in zip(model.settings.runs.split(","), model.base_models, strict=True):
            if not (folder / name).exists():
                _save_models(base_model, name, folder)


def _save_vectors(space: ItemSpace, file: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"vectors": np.ascontiguousarray(space.vectors, dtype=np.float32)}, file)


def _write_graph(model: Recommender, file: Path) -> tuple[dict[str, Any] | None, str | None]:
    """(facts about the graph, None), or (None, why there is none)."""
    if not model.uses_device:
        return None, f"{model.name} is not a network"
    from llmseq_cli.models.neural.neural_recommender import NeuralRecommender
    from llmseq_cli.models.neural.onnx_graph import NotExportableError, write_onnx

    if not isinstance(model, NeuralRecommender):
        return None, f"{model.name} is not one of llmseq's own networks"
    try:
        write_onnx(model, file)
    except NotExportableError as error:
        file.unlink(missing_ok=True)
        return None, str(error)
    return {"longest": model.history_length(), "inputs": ["items", "lengths"], "outputs": ["session", "scores"]}, None


def _examples(catalog: Catalog) -> list[str]:
    """The ids of the two most popular training items."""
    order = np.argsort(-np.where(catalog.in_train, catalog.popularity, 0), kind="stable")[:2]
    return [str(catalog.external_ids[item]) for item in order]
