"""Open a bundle and recommend with it. All checksums are verified before anything is read."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from llmseq_cli.bundle.layout import ABOUT, FORMAT, ITEMS, MODELS, ONNX, read_items
from llmseq_cli.checksums import MANIFEST, check_checksums
from llmseq_cli.data.moments import Moment
from llmseq_cli.data.sessions import Sessions
from llmseq_cli.errors import LlmseqError, UsageError
from llmseq_cli.machine import machine_errors
from llmseq_cli.models.recommender import Recommender
from llmseq_cli.models.registry import model_class
from llmseq_cli.training.ready import Lists, ReadyModel
from llmseq_cli.training.use import open_run

if TYPE_CHECKING:
    from llmseq_cli.store.connection import Store

_AGAIN = "copy the bundle again, or make it again with `llmseq export RUN --format bundle`"
_RUN = re.compile(r"[\w.-]*\w")  # a name, not a path


@dataclass(frozen=True)
class Bundle:
    """An opened bundle.

    about: the content of bundle.json: run, model, dataset, settings, metrics, rules, versions.
    """

    folder: Path
    about: dict[str, Any]
    ready: ReadyModel

    @classmethod
    def open(cls, folder: str | Path, *, onnx: bool = False) -> Bundle:
        """Open the bundle in a folder. onnx: compute scores with onnxruntime instead of torch.

        Raises LlmseqError if the folder is not a bundle, a file was changed or is missing, or there is no ONNX graph.
        """
        folder = Path(folder).expanduser()
        _check(folder)
        try:
            about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
            if about["format"] > FORMAT:
                raise LlmseqError(f"the bundle {folder} was made by a newer llmseq", "update llmseq")
            run, dataset, name, repeats = about["run"], about["dataset"], about["model"], about["rules"]["repeats"]
            if not all(isinstance(text, str) for text in (run, dataset, name)) or not _RUN.fullmatch(run):
                raise ValueError("a name in it is not valid")
            catalog, known = read_items(folder / ITEMS)
            longest = about["onnx"] and int(about["onnx"]["longest"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
            raise LlmseqError(f"the bundle {folder} is damaged: {str(error)[:100]}", _AGAIN) from error
        place = folder / MODELS / run
        model = _graph(folder, longest, known) if onnx else model_class(name).load(place, len(catalog))
        shown = f"{folder / ITEMS} lists the items"
        return cls(folder, about, ReadyModel(run, dataset, catalog, model, repeats == "allow", shown))

    def recommend(
        self, items: Sequence[str], *, k: int = 20, times: Sequence[Moment] | None = None
    ) -> list[dict[str, Any]]:
        """The next items for a session of ids or titles, oldest first: one dict per item, best first.

        times: of the items (dates, datetimes, or seconds since 1970), for a network trained with times; others ignore
        them.
        """
        return self.ready.next_items([items], k, [times])[0]

    def recommend_many(
        self,
        sessions: Sequence[Sequence[str]],
        *,
        k: int = 20,
        times: Sequence[Sequence[Moment] | None] | None = None,
    ) -> list[list[dict[str, Any]]]:
        """As `recommend`, for many sessions at once; times: None for a session without times."""
        return self.ready.next_items(sessions, k, times)

    def session_vector(self, items: Sequence[str]) -> np.ndarray:
        """float32[d]: the session's vector, to compare with those of vectors.safetensors or a vector store.

        Raises LlmseqError for models that do not score by dense vectors.
        """
        model = self.ready.model
        space = model.item_space() if isinstance(model, Recommender) else None
        if space is None:
            raise LlmseqError(f"{self.ready.run} has no session vectors here", "open the bundle of a network")
        vector: np.ndarray = space.of_sessions(Sessions.from_lists([[self.ready.find(text) for text in items]]))[0]
        return vector


def open_model(store: Store, name: str, dataset: str | None = None) -> ReadyModel:
    """Open a run of the workspace, or a bundle: a name with a slash, or only dots, is a folder."""
    if "/" not in name and os.sep not in name and name.strip("."):
        return open_run(store, name, dataset)
    if dataset is not None:
        raise UsageError(f"{name} is a bundle, which knows its dataset", "leave out --dataset")
    return Bundle.open(name).ready


def _graph(folder: Path, longest: int | None, known: np.ndarray) -> Lists:
    if not longest:
        raise LlmseqError(f"the bundle {folder} has no ONNX graph", "open it without onnx=True")
    from llmseq_cli.bundle.onnx_lists import OnnxLists

    return OnnxLists(folder / ONNX, known, longest)


def _check(folder: Path) -> None:
    """Raises LlmseqError unless every file to be read matches its checksum."""
    with machine_errors(folder):
        if not (folder / ABOUT).is_file():
            raise LlmseqError(
                f"{folder} is not a bundle", "make one with `llmseq export RUN --format bundle --out FOLDER`"
            )
        if not check_checksums(folder, _AGAIN):
            raise LlmseqError(f"the bundle {folder} lacks its {MANIFEST}", _AGAIN)
        listed = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["sha256"]
        for file in folder.rglob("*"):
            name = file.relative_to(folder).as_posix()
            inside = name.startswith(f"{MODELS}/") or name in (ABOUT, ITEMS, ONNX)
            if inside and file.is_file() and name not in listed:
                raise LlmseqError(f"{file} has no checksum in the bundle", _AGAIN)
            # Such a list would vouch for arrays that only compiled code can check; bundles must not contain any.
            if file.name == MANIFEST and file.parent != folder:
                raise LlmseqError(f"{file} does not belong in a bundle", _AGAIN)
