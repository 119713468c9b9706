"""The shelves of the demo grocery shop, from shop.toml."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Aisle:
    """One category: every brand sells every product, in alternating sizes.

    weight: how often shoppers come here without a plan.
    """

    category: str
    brands: tuple[str, ...]
    products: tuple[str, ...]
    sizes: tuple[str, ...]
    weight: int


@dataclass(frozen=True)
class Mission:
    """A reason to shop: categories in the usual order of picking, with a weight for each season."""

    name: str
    categories: tuple[str, ...]
    spring: int
    summer: int


_SHOP = tomllib.loads(Path(__file__).with_name("shop.toml").read_text(encoding="utf-8"))

BRANDS: dict[str, str] = _SHOP["brands"]
"""The label that a brand prints on its packs besides its name, by name."""

AISLES = tuple(
    Aisle(one["category"], tuple(one["brands"]), tuple(one["products"]), tuple(one["sizes"]), one["weight"])
    for one in _SHOP["aisles"]
)

MISSIONS = tuple(
    Mission(one["name"], tuple(one["categories"]), one["spring"], one["summer"]) for one in _SHOP["missions"]
)
