"""`Recommender`: the interface of all models."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from llmseq_cli.checksums import check_checksums
from llmseq_cli.errors import LlmseqError, UsageError
from llmseq_cli.progress import Progress, SilentProgress
from llmseq_cli.settings import Settings, parse_settings

if TYPE_CHECKING:
    from llmseq_cli.data.catalog import Catalog
    from llmseq_cli.data.sessions import Sessions
    from llmseq_cli.embeddings.item_embeddings import ItemEmbeddings
    from llmseq_cli.evaluation.ranking import Ranking
    from llmseq_cli.models.neural.checkpoints import Resume
    from llmseq_cli.models.neural.ranks import Ranks

_TRAIN_AGAIN = "train it again"


@dataclass(frozen=True)
class BaseRun:
    """A trained run used as a base model of another model.

    run: its name, for example "sasrec-3". model: the trained model.
    refitted_lists: (train, histories, k) → lists of the same model (settings, embeddings, seed) trained again on
    `train` only, including items of the histories.
    """

    run: str
    model: Recommender
    refitted_lists: Callable[[Sessions, Sessions, int], Ranking]


@dataclass(frozen=True)
class ItemSpace:
    """The vectors by which a model scores: an item's score is the similarity of its vector to the session's.

    vectors: float32[n_items, d]. candidates: bool[n_items], items that may be recommended; only their rows are
    meaningful.
    similarity: "dot", "cosine" or "euclidean". of_sessions: float32[n, d], the vectors of sessions.
    """

    vectors: np.ndarray
    candidates: np.ndarray
    similarity: str
    of_sessions: Callable[[Sessions], np.ndarray]


@dataclass(frozen=True)
class WarmStart:
    """A trained run to continue training from.

    run: its name. model: the trained model. items: int64[n], the catalog number of each of its items, −1 for items that
    no longer exist. elsewhere: the run is on another dataset and knows items only by their texts; embeddings are in the
    run's space.
    """

    run: str
    model: Recommender
    items: np.ndarray
    elsewhere: bool = False


@dataclass(frozen=True)
class FitContext:
    """What a model may need besides the training sessions.

    seed: the source of all of a model's randomness.
    device: "cpu", "cuda" or "mps".
    checkpoints: folder to continue an interrupted training from; None stores nothing.
    resume: continue from there instead of starting from the beginning.
    pause: stop after this many epochs, with a checkpoint to continue from, for models with `pauses`; None: do not stop.
    base_models: the trained runs to combine.
    keeps_unseen: whether test sessions contain items that never occur in training; sessions that a model holds out of
    training should be similar.
    validation: the split's validation cases, each a history and its target as last item; None if a model must hold out
    training sessions itself.
    allows_repeats: whether lists may contain items of their history.
    refits_validation: whether the validation cases may be trained on after all choices; not where others are judged or
    learnt by them.
    ranks: the processes that train a data-parallel model; whoever starts them calls `checkpoints.begin`.
    warm: the run to start from, for models with `starts_warm`.
    """

    catalog: Catalog
    embeddings: ItemEmbeddings | None = None
    seed: int = 0
    device: str = "cpu"
    progress: Progress = field(default_factory=SilentProgress)
    checkpoints: Path | None = None
    resume: Resume = False
    pause: int | None = None
    base_models: tuple[BaseRun, ...] = ()
    keeps_unseen: bool = False
    validation: Sessions | None = None
    allows_repeats: bool = False
    refits_validation: bool = False
    ranks: Ranks | None = None
    warm: WarmStart | None = None


class Recommender(ABC):
    """A model that ranks the whole catalog for a history (a session so far).

    A subclass sets `name` and `Settings`, and implements `fit`, `recommend`, `arrays` and `restore_arrays`.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    """The name in reports, as in the paper."""
    summary: ClassVar[str]
    """One line for `llmseq models`."""
    Settings: ClassVar[type[Settings]]
    embeddings_use: ClassVar[str] = "none"
    """Whether the model takes item embeddings: "none", "optional" or "required"."""

    base_models_use: ClassVar[str] = "none"
    """Whether the model is made of trained runs (see `base_models.MadeOfRuns`): "none" or "required"."""

    uses_device: ClassVar[bool] = False
    """Whether the model computes with torch, on the user's device."""

    data_parallel: ClassVar[bool] = False
    """Whether several processes can train the model together, each on its share of every batch."""

    starts_warm: ClassVar[bool] = False
    """Whether training can continue from the weights of an earlier run, see `WarmStart`."""

    pauses: ClassVar[bool] = False
    """Whether the model trains by epochs and can stop after some of them, see `FitContext.pause`."""

    needs_dense: ClassVar[bool] = False
    """Whether sparse embeddings must be reduced before the model can take them."""

    reduced_dim: ClassVar[int | None] = None
    """Default number of dimensions for reducing embeddings; None for all."""

    unsafe_arrays: ClassVar[tuple[str, ...]] = ()
    """Arrays that only compiled code can read and check: they are used only with a checksum, and otherwise rebuilt."""

    refits: ClassVar[bool] = True
    """Whether the model can be trained on other sessions; if not, it only has lists for some sessions."""

    free_to_change: ClassVar[tuple[str, ...]] = ()
    """Settings that may change between an interrupted training and its resumption."""

    def __init__(self, settings: Any, n_items: int) -> None:
        self.settings = settings
        self.n_items = n_items

    @classmethod
    def label(cls, embeddings: ItemEmbeddings | None) -> str:
        """The name in reports: LLM2X for a model X that starts from a language model's item embeddings."""
        if embeddings is None:
            return cls.title
        origin = "BERT2" if "bert" in embeddings.model.lower() else "LLM2"
        permuted = " (permuted)" if embeddings.permuted else ""
        return f"{origin if cls.embeddings_use == 'optional' else ''}{cls.title}{permuted}"

    @classmethod
    def needs_times(cls, settings: Any) -> bool:
        """Whether training sessions must come with the times of their interactions."""
        return False

    @abstractmethod
    def fit(self, train: Sessions, context: FitContext) -> dict[str, float]:
        """Learn from the training sessions; return figures to store with the run (may be empty)."""

    @abstractmethod
    def recommend(self, histories: Sessions, k: int, *, exclude_history: bool = True) -> Ranking:
        """The k best items for every history: Ranking of [n_histories, k].

        Items that never occur in training are only recommended by models that know their text, with the setting
        `cold_items`; items of the history only with `exclude_history` False. Lists are padded with NO_ITEM if the model
        knows too few items.
        """

    @abstractmethod
    def arrays(self) -> dict[str, np.ndarray]:
        """Everything learnt, as named arrays."""

    @abstractmethod
    def restore_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        """The inverse of `arrays`."""

    def item_space(self) -> ItemSpace | None:
        """The vectors that the model scores by; None for models that do not score by dense vectors."""
        return None

    def save(self, folder: Path) -> None:
        """Write model.safetensors (arrays) and model.json (name, settings) into an existing folder."""
        from safetensors.numpy import save_file

        save_file({k: np.ascontiguousarray(v) for k, v in self.arrays().items()}, folder / "model.safetensors")
        about = {"model": self.name, "n_items": self.n_items, "settings": self.settings.to_dict()}
        (folder / "model.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, n_items: int | None = None) -> Recommender:
        """Load the model that `save` wrote. n_items: size of the catalog that it must fit.

        Raises LlmseqError if files are missing or damaged.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        verified = check_checksums(folder, _TRAIN_AGAIN)
        try:
            about = json.loads((folder / "model.json").read_text(encoding="utf-8"))
            arrays = load_file(folder / "model.safetensors")
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, SafetensorError) as error:
            raise LlmseqError(f"cannot read the model in {folder}: {error}", _TRAIN_AGAIN) from error
        if not isinstance(about, dict) or not isinstance(about.get("settings", {}), dict):
            raise LlmseqError(f"cannot read the model in {folder}: model.json is damaged", _TRAIN_AGAIN)
        try:
            model = cls(parse_settings(cls.Settings, about["settings"], cls.name), about["n_items"])
        except (KeyError, UsageError) as error:
            said = error.message if isinstance(error, UsageError) else f"it lacks {error}"
            raise LlmseqError(
                f"the model in {folder} was saved by another version of llmseq: {said}", _TRAIN_AGAIN
            ) from error
        _check_size(model.n_items, n_items, folder)
        if not verified:
            for name in cls.unsafe_arrays:
                arrays.pop(name, None)
        try:
            model.restore_arrays(arrays)
        except LlmseqError:
            raise
        except Exception as error:  # damaged arrays fail in a dozen ways
            said = " ".join(str(error).split())[:200] or type(error).__name__
            raise LlmseqError(f"the model in {folder} is damaged: {said}", _TRAIN_AGAIN) from error
        return model


def _check_size(found: Any, wanted: int | None, folder: Path) -> None:
    if not isinstance(found, int) or not 0 <= found < 2**31 or (wanted is not None and found != wanted):
        fits = f", and the catalog has {wanted:,}" if wanted is not None else ""
        raise LlmseqError(f"the model in {folder} has {str(found)[:40]} items{fits}", _TRAIN_AGAIN)
