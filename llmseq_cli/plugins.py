"""Models, embedding sources and providers from other packages, registered as entry points.

A package's pyproject.toml says, for example, `[project.entry-points."llmseq.models"]` and below it `recent =
"my_package:Recent"`. A module is imported when its plug-in is used, not before.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TypeVar

from llmseq_cli.errors import LlmseqError

MODELS = "llmseq.models"
EMBEDDING_SOURCES = "llmseq.embedding_sources"
PROVIDERS = "llmseq.providers"

Kind = TypeVar("Kind")


def plugin_names(group: str) -> list[str]:
    """The names of the plug-ins of a group, sorted."""
    return sorted(_found(group))


def load_plugin(group: str, name: str, kind: type[Kind]) -> type[Kind]:
    """The class of the plug-in with this name.

    Raises LlmseqError naming its package if it cannot be imported, or is not a class of this kind and name.
    """
    entry = _found(group)[name]
    package = entry.dist.name if entry.dist else entry.value
    hint = f"update or uninstall {package}"
    try:
        found = entry.load()
    except Exception as error:  # other people's code can fail in any way
        said = " ".join(str(error).split())[:200]
        raise LlmseqError(
            f"the plug-in '{name}' of {package} cannot be loaded: {type(error).__name__}: {said}", hint
        ) from error
    if not isinstance(found, type) or not issubclass(found, kind):
        raise LlmseqError(f"the plug-in '{name}' of {package} is not a {kind.__name__}", hint)
    if getattr(found, "name", None) != name:
        raise LlmseqError(
            f"the plug-in '{name}' of {package} calls itself {getattr(found, 'name', None)!r}",
            "entry point and class must have the same name",
        )
    return found


@cache
def _found(group: str) -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=group)}
