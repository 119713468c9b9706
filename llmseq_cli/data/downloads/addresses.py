"""Paths as users give them: what is an http(s) address is fetched, everything else stays as it is."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from llmseq_cli.progress import Progress


def fetch_all(paths: Sequence[str], folder: Path, progress: Progress) -> list[str]:
    """Local paths for all paths; addresses are downloaded below `folder`, once, and resumed where they were cut off.

    Every address has a subfolder of its own: two files of the same name stay two files.
    """
    from llmseq_cli.data.downloads.download import download, plain_url

    local = []
    for path in paths:
        if path.startswith(("http://", "https://")):
            own = hashlib.sha256(plain_url(path).encode()).hexdigest()[:12]
            path = str(download(path, folder / own, progress=progress).path)
        local.append(path)
    return local
