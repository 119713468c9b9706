"""Checkpoints of training: everything needed to continue an interrupted run with the same result.

A checkpoint is a folder `step-N` with `state.safetensors` (weights, the best weights so far, the optimizer's moments)
and `state.json` (epoch, step, curve, settings). It is written atomically; then the previous one is removed. Random
state need not be stored: every step derives it from the seed and the step's number.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Self

from torch import Tensor

from llmseq_cli.checksums import check_checksums
from llmseq_cli.errors import LlmseqError
from llmseq_cli.files import atomic_folder, write_json
from llmseq_cli.progress import Progress

Resume = bool | Literal["if-begun"]
"""Whether to go on from a checkpoint. True says so where there is none; "if-begun" takes what there is."""

_HINT = "train without --resume, or delete this folder, to start from the beginning"


def begin(folder: Path | None, resume: Resume, progress: Progress) -> None:
    """Remove checkpoints of an older training or, with resume, report if there is none to continue from."""
    if resume is True and (folder is None or not folder.is_dir()):
        progress.message("no checkpoint found: training starts from the beginning")
    if folder and not resume:
        shutil.rmtree(folder, ignore_errors=True)


class Checkpoints:
    """The checkpoints of one run in their own folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def beside(self, name: str) -> Self:
        """Checkpoints of another part of the training, in a folder next to this one."""
        other = copy.copy(self)
        other.folder = self.folder.with_name(f"{self.folder.name}-{name}")
        return other

    def write(self, step: int, tensors: Mapping[str, Tensor], about: dict[str, Any]) -> None:
        """Store the state after this many steps, and remove the previous one."""
        from safetensors.torch import save_file

        older = list(self._whole())
        place = self.folder / f"step-{step:09d}"
        if place in older:  # nothing has changed since
            return
        with atomic_folder(place, checksums=True) as partial:
            save_file(
                {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
                partial / "state.safetensors",
            )
            write_json(partial / "state.json", about, durable=False)
        for folder in older:
            shutil.rmtree(folder, ignore_errors=True)

    def read(self, device: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """(tensors, about) of the latest checkpoint, or None. Raises LlmseqError if it is damaged."""
        from safetensors.torch import load_file

        for folder in sorted(self._whole(), reverse=True):
            with self.explained():
                check_checksums(folder, _HINT)
                about = json.loads((folder / "state.json").read_text(encoding="utf-8"))
                return load_file(folder / "state.safetensors", device=device), about
        return None

    @contextmanager
    def explained(self) -> Iterator[None]:
        """While a checkpoint is being used, turn errors in its contents into LlmseqError."""
        try:
            yield
        except LlmseqError:
            raise
        except Exception as error:  # damaged files fail in a dozen ways
            said = " ".join(str(error).split())[:200] or type(error).__name__
            raise LlmseqError(f"cannot read the checkpoint in {self.folder}: {said}", _HINT) from error

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _whole(self) -> Iterator[Path]:
        return self.folder.glob("step-*")
