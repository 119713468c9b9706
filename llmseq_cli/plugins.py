"""Models, embedding sources and providers of other packages, which name them as entry points.

A package's pyproject.toml says, for example, `[project.entry-points."llmseq.models"]` and below it
`recent = "my_package:Recent"`. Modules are imported when a plug-in is asked for by name, not before.
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
    """The class that the plug-in of this name gives.

    Raises LlmseqError that names its package where it cannot be imported, or is no class of this kind with this name.
    """
    entry = _found(group)[name]
    package = entry.dist.name if entry.dist else entry.value
    hint = f"update or uninstall {package}"
    try:
        found = entry.load()
    except Exception as error:  # somebody else's code fails in any way
        said = " ".join(str(error).split())[:200]
        raise LlmseqError(
            f"the plug-in '{name}' of {package} cannot be loaded: {type(error).__name__}: {said}", hint
        ) from error
    if not isinstance(found, type) or not issubclass(found, kind):
        raise LlmseqError(f"the plug-in '{name}' of {package} is no {kind.__name__}", hint)
    if getattr(found, "name", None) != name:
        raise LlmseqError(
            f"the plug-in '{name}' of {package} calls itself {getattr(found, 'name', None)!r}",
            "entry point and class must have the same name",
        )
    return found


@cache
def _found(group: str) -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=group)}
