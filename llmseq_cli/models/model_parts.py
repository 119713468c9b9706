"""Split a trained model into metadata and arrays, for workers on other machines that reassemble it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from llmseq_cli.models.base_models import MadeOfRuns
from llmseq_cli.models.recommender import Recommender
from llmseq_cli.models.registry import model_class
from llmseq_cli.settings import parse_settings


@dataclass(frozen=True, eq=False)
class ModelParts:
    """What `Recommender.save` writes, in memory; base_models: the parts of the model's base models."""

    model: str
    settings: dict[str, Any]
    n_items: int
    arrays: dict[str, np.ndarray]
    base_models: tuple[ModelParts, ...] = ()


def take_apart(model: Recommender) -> ModelParts:
    base_models = tuple(map(take_apart, model.base_models)) if isinstance(model, MadeOfRuns) else ()
    return ModelParts(model.name, model.settings.to_dict(), model.n_items, model.arrays(), base_models)


def put_together(parts: ModelParts) -> Recommender:
    """Reassemble the model; its arrays may be read-only."""
    cls = model_class(parts.model)
    model = cls(parse_settings(cls.Settings, parts.settings, cls.name), parts.n_items)
    model.restore_arrays(parts.arrays)
    if isinstance(model, MadeOfRuns):
        model.base_models = [put_together(base_model) for base_model in parts.base_models]
    return model
