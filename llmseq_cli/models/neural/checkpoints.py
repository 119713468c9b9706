"""Checkpoints of training: everything that an interrupted run needs to end as if it had not been.

A checkpoint is a folder `step-N` with `state.safetensors` (weights, the best weights so far, the optimizer's moments)
and `state.json` (epoch, step, curve, settings). It is written beside its place and renamed, so it is whole or not
there; the one before is removed afterwards. Randomness needs no keeping: it is drawn for every step from the seed
and the step's number.
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
    """Forget an older training, a part of which is no part of this one; or say that there is none to go on from."""
    if resume is True and (folder is None or not folder.is_dir()):
        progress.message("no checkpoint found: training starts from the beginning")
    if folder and not resume:
        shutil.rmtree(folder, ignore_errors=True)


class Checkpoints:
    """The checkpoints of one run in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def beside(self, name: str) -> Self:
        """Those of another part of the training, in a folder beside this one."""
        other = copy.copy(self)
        other.folder = self.folder.with_name(f"{self.folder.name}-{name}")
        return other

    def write(self, step: int, tensors: Mapping[str, Tensor], about: dict[str, Any]) -> None:
        """Keep the state after so many steps, and forget the one before."""
        from safetensors.torch import save_file

        older = list(self._whole())
        place = self.folder / f"step-{step:09d}"
        if place in older:  # nothing happened since
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
        """(tensors, about) of the latest, None where there is none. Raises LlmseqError for a damaged one."""
        from safetensors.torch import load_file

        for folder in sorted(self._whole(), reverse=True):
            with self.explained():
                check_checksums(folder, _HINT)
                about = json.loads((folder / "state.json").read_text(encoding="utf-8"))
                return load_file(folder / "state.safetensors", device=device), about
        return None

    @contextmanager
    def explained(self) -> Iterator[None]:
        """While a checkpoint is put to use: what is wrong with its contents becomes an LlmseqError."""
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
