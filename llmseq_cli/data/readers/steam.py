"""Steam reviews and games: the Python-literal dumps of Kang & McAuley."""

from __future__ import annotations

from typing import Any

from llmseq_cli.data.readers.stage_items import Item, keywords
from llmseq_cli.data.readers.stage_records import InteractionLayout, ItemLayout

_INTERACTIONS = (InteractionLayout("Steam reviews", "username", "product_id", "date"),)


def _game(record: dict[str, Any]) -> Item:
    attributes = {key: record.get(key) for key in ("tags", "genres", "developer", "publisher", "price")}
    title = record.get("title") or record.get("app_name")
    return str(record["id"]), title, keywords(record.get("genres")), attributes


_ITEMS = (ItemLayout("Steam games", ("id",), ("username",), _game, ("app_name", "developer", "early_access", "specs")),)

STEAM = (_INTERACTIONS, _ITEMS)
