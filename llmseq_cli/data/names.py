"""What a dataset, a split or a study may be called."""

from __future__ import annotations

import re

from llmseq_cli.errors import UsageError

_LONGEST = 100


def checked_name(name: str, kind: str, example: str) -> str:
    """The name as it is. Raises UsageError unless it has letters, digits, - and _ only, and dots inside.

    kind: what it names, for example "dataset". example: of the option and a good name. Only new names are checked:
    what has another name already stays readable.
    """
    if not re.fullmatch(r"[\w-]+(\.+[\w-]+)*", name) or len(name) > _LONGEST:
        shown = name if len(name) <= _LONGEST else name[:20] + "…"
        raise UsageError(
            f"'{shown}' cannot name a {kind}",
            f"use letters, digits, -, _ and . inside, {_LONGEST} characters at most, for example {example}",
        )
    return name
