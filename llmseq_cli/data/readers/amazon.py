"""Amazon reviews and metadata: the 2014, 2018 and 2023 releases (2014's are JSON or Python literals)."""

from __future__ import annotations

from typing import Any

from llmseq_cli.data.readers.stage_items import Item, keywords
from llmseq_cli.data.readers.stage_records import InteractionLayout, ItemLayout

_INTERACTIONS = (
    InteractionLayout("Amazon reviews (2014, 2018)", "reviewerID", "asin", "unixReviewTime"),
    InteractionLayout("Amazon reviews (2023)", "user_id", "parent_asin", "timestamp"),
)


def _price(record: dict[str, Any]) -> Any:
    # In 2018, some prices contain style sheets instead.
    return record.get("price") if len(str(record.get("price"))) < 20 else None


def _item_2014(record: dict[str, Any]) -> Item:
    # 2014 has categories (a list of paths), 2018 category (one list).
    words = keywords(record.get("categories", record.get("category")))
    attributes = {"brand": record.get("brand"), "description": record.get("description"), "price": _price(record)}
    return str(record["asin"]), record.get("title"), words, attributes


def _item_2023(record: dict[str, Any]) -> Item:
    words = keywords(record.get("categories")) or keywords(record.get("main_category"))
    attributes = {"brand": record.get("store"), "description": record.get("description"), "price": _price(record)}
    return str(record["parent_asin"]), record.get("title"), words, attributes


_ALSO_2014 = ("categories", "salesRank", "imUrl", "category", "rank", "also_buy")
_ALSO_2023 = ("main_category", "store", "features", "average_rating")

_ITEMS = (
    ItemLayout(
        "Amazon metadata (2023)",
        ("parent_asin",),
        ("user_id",),
        _item_2023,
        _ALSO_2023,
    ),
    ItemLayout(
        "Amazon metadata (2014, 2018)",
        ("asin",),
        ("reviewerID", "user_id"),
        _item_2014,
        ("categories", "salesRank", "imUrl", "category", "rank", "also_buy"),
    ),
)

AMAZON = (_INTERACTIONS, _ITEMS)
