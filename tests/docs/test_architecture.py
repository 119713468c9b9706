"""The page on the architecture names files and rooms that exist, and every room."""

from __future__ import annotations

import re

from support.doc_pages import DOCS

PACKAGE = DOCS.parent / "llmseq_cli"


def test_every_file_that_the_page_names_exists():
    named = re.findall(r"`([\w/]+(?:\.py|\.sql|/))`", (DOCS / "architecture.md").read_text(encoding="utf-8"))
    assert len(named) > 30
    inside = [PACKAGE, PACKAGE / "data", PACKAGE / "models", DOCS.parent]
    missing = [name for name in named if not any((folder / name).exists() for folder in inside)]
    assert not missing


def test_every_room_is_named():
    page = (DOCS / "architecture.md").read_text(encoding="utf-8")
    rooms = [folder.name for folder in PACKAGE.iterdir() if (folder / "__init__.py").is_file()]
    assert len(rooms) > 10
    assert not [room for room in rooms if f"| `{room}/` |" not in page]
