"""The shelves of the demo grocery shop, from shop.toml."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Aisle:
    """One category: every brand sells every product, in the sizes in turn.

    weight: how often people come here without a plan.
    """

    category: str
    brands: tuple[str, ...]
    products: tuple[str, ...]
    sizes: tuple[str, ...]
    weight: int


@dataclass(frozen=True)
class Mission:
    """What people come for: categories in the order in which they tend to pick them, with a weight for each season."""

    name: str
    categories: tuple[str, ...]
    spring: int
    summer: int


_SHOP = tomllib.loads(Path(__file__).with_name("shop.toml").read_text(encoding="utf-8"))

BRANDS: dict[str, str] = _SHOP["brands"]
"""What a brand writes on its packs besides its name, by its name."""

AISLES = tuple(
    Aisle(one["category"], tuple(one["brands"]), tuple(one["products"]), tuple(one["sizes"]), one["weight"])
    for one in _SHOP["aisles"]
)

MISSIONS = tuple(
    Mission(one["name"], tuple(one["categories"]), one["spring"], one["summer"]) for one in _SHOP["missions"]
)
