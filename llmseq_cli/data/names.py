"""Valid names for datasets, splits and studies."""

from __future__ import annotations

import re

from llmseq_cli.errors import UsageError

_LONGEST = 100


def checked_name(name: str, kind: str, example: str) -> str:
    """The name unchanged. Raises UsageError unless it has only letters, digits, - and _, and dots inside.

    kind: what it names, for example "dataset". example: the option with a valid name. Only new names are checked, so
    that existing data stays readable.
    """
    if not re.fullmatch(r"[\w-]+(\.+[\w-]+)*", name) or len(name) > _LONGEST:
        shown = name if len(name) <= _LONGEST else name[:20] + "…"
        raise UsageError(
            f"'{shown}' is not a valid name for a {kind}",
            f"use letters, digits, -, _ and . inside, {_LONGEST} characters at most, for example {example}",
        )
    return name
