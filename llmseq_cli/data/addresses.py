"""Paths as users give them: what is an http(s) address is fetched, everything else stays as it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from llmseq_cli.progress import Progress


def fetch_all(paths: Sequence[str], folder: Path, progress: Progress) -> list[str]:
    """Local paths for all paths; addresses are downloaded into `folder`, once, and resumed where they were cut off."""
    from llmseq_cli.data.download import download

    return [
        str(download(path, folder, progress=progress).path) if path.startswith(("http://", "https://")) else path
        for path in paths
    ]
