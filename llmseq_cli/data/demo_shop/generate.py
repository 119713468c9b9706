"""Generate a small grocery shop, so that everything can be tried without a network.

Each shopper has a mission (breakfast, pasta night, barbecue, …) that leads from category to category, a taste (organic,
vegan, a favourite brand), and picks items that are popular, that suit the taste, or that go with the previous item. So
there are patterns to find for neighbours (the mission), for text similarity (the taste, and other flavours of the same
product) and for sequence models (what goes with what, and in which order).

The bytes are the same on every machine: only the raw integers of PCG64 are used, whose stream numpy guarantees
(unlike that of the distributions of `Generator`), and all weights are integers.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llmseq_cli.data.demo_shop.shelves import AISLES, BRANDS, MISSIONS

# Monday 2024-04-29, 00:00 UTC: the season runs from spring into summer.
START = 1_714_348_800
DAYS = 90
_DAY_SECONDS = 86_400
# Sunday is partly closed, Friday and Saturday are busy.
_WEEKDAY_WEIGHTS = (10, 9, 10, 11, 15, 16, 7)
_HOUR_WEIGHTS = (0, 0, 0, 0, 0, 0, 1, 3, 6, 8, 9, 9, 10, 8, 7, 8, 10, 13, 14, 10, 6, 3, 1, 0)
# Weights of baskets with 3, 4, … 12 items.
_LENGTH_WEIGHTS = (12, 15, 16, 14, 12, 10, 8, 6, 4, 3)

# How the next category is chosen, in percent; the rest is any category of the shop.
_SAME_CATEGORY = 24
_NEXT_OF_MISSION = 46
_ANY_OF_MISSION = 20
# Percentage of next items that go with the previous item.
_COMPANION = 38
_COMPANIONS = 2
# How much more often shoppers take an item that suits their taste.
_TASTE_FACTOR = 12
_BRAND_FACTOR = 8


@dataclass(frozen=True)
class DemoFiles:
    """interactions: CSV user,item,time with Unix seconds, a user is a basket. items: CSV item,title,category,brand."""

    interactions: Path
    items: Path


@dataclass(frozen=True)
class _Shop:
    """Items in columns. `shelf[c]` holds the items of category c, padded with -1."""

    titles: list[str]
    category: np.ndarray
    brand: np.ndarray
    label: np.ndarray
    popularity: np.ndarray
    shelf: np.ndarray
    companions: np.ndarray


class _Dice:
    """Draws by integer weights from the raw stream of PCG64."""

    def __init__(self, seed: int) -> None:
        self._bits = np.random.PCG64(seed)

    def below(self, bound: np.ndarray | int, n: int) -> np.ndarray:
        """int64[n], each uniform over 0 … bound − 1 (the bias of the modulo is below 2^-40 for bounds below 2^20)."""
        raw = np.asarray(self._bits.random_raw(n), dtype=np.uint64) >> np.uint64(2)
        return raw.astype(np.int64) % bound

    def rows(self, weights: np.ndarray) -> np.ndarray:
        """int64[n]: one column for each row of `weights` (int64[n, m]), in proportion to the weights of the row."""
        cumulative = np.cumsum(weights, axis=1)
        drawn = self.below(cumulative[:, -1], len(weights))
        columns: np.ndarray = (cumulative <= drawn[:, None]).sum(axis=1)
        return columns

    def choose(self, weights: tuple[int, ...] | np.ndarray, n: int) -> np.ndarray:
        """int64[n], drawn by one list of weights."""
        cumulative = np.cumsum(np.asarray(weights, dtype=np.int64))
        return np.searchsorted(cumulative, self.below(int(cumulative[-1]), n), side="right")

    def percent(self, n: int) -> np.ndarray:
        return self.below(100, n)

    def shuffled(self, n: int) -> np.ndarray:
        return np.argsort(self.below(1 << 60, n), kind="stable")


def generate_demo(folder: Path, seed: int = 0, sessions: int = 4000) -> DemoFiles:
    """Write the two files of the demo dataset into `folder`, which is created if necessary.

    The same seed and number of sessions give the same bytes.
    """
    dice = _Dice(seed)
    shop = _stock(dice)
    starts = _start_times(dice, sessions)
    baskets, lengths = _fill_baskets(dice, shop, (starts - START) // _DAY_SECONDS)
    gaps = 8 + dice.below(75, baskets.size).reshape(baskets.shape)
    times = starts[:, None] + np.cumsum(gaps, axis=1)

    folder.mkdir(parents=True, exist_ok=True)
    files = DemoFiles(folder / "interactions.csv", folder / "items.csv")
    lines = ["user,item,time"]
    for number, (basket, when, length) in enumerate(
        zip(baskets.tolist(), times.tolist(), lengths.tolist(), strict=True), start=1
    ):
        lines += [f"b{number:05d},{_item_id(basket[i])},{when[i]}" for i in range(length)]
    _write(files.interactions, lines)
    categories, brands = [aisle.category for aisle in AISLES], list(BRANDS)
    lines = ["item,title,category,brand"]
    for item, title in enumerate(shop.titles):
        lines.append(f"{_item_id(item)},{title},{categories[shop.category[item]]},{brands[shop.brand[item]]}")
    _write(files.items, lines)
    return files


def _item_id(item: int) -> str:
    return f"p{item + 1:04d}"


def _write(path: Path, lines: list[str]) -> None:
    # Write bytes, so that line ends are the same on Windows.
    path.write_bytes(("\n".join(lines) + "\n").encode())


def _stock(dice: _Dice) -> _Shop:
    """The items: every brand of a category sells most of its products, under a title with a size."""
    brands, labels = list(BRANDS), sorted(set(BRANDS.values()))
    titles: list[str] = []
    rows: list[tuple[int, int, int]] = []
    for category, aisle in enumerate(AISLES):
        for at_brand, brand in enumerate(aisle.brands):
            for at_product, product in enumerate(aisle.products):
                size = aisle.sizes[(at_brand + at_product) % len(aisle.sizes)]
                titles.append(" ".join(f"{brand} {BRANDS[brand]} {product} {size}".split()))
                rows.append((category, brands.index(brand), labels.index(BRANDS[brand])))
    kept = np.flatnonzero(dice.percent(len(titles)) >= 6)
    category, brand, label = np.array(rows, dtype=np.int64)[kept].T
    shelf = _shelves(category)
    return _Shop(
        titles=[titles[i] for i in kept],
        category=category,
        brand=brand,
        label=label,
        popularity=_zipf(dice, shelf, len(kept)),
        shelf=shelf,
        companions=_companions(dice, shelf, len(kept)),
    )


def _shelves(category: np.ndarray) -> np.ndarray:
    """int64[n_categories, longest]: the items of each category, -1 where a shelf is shorter."""
    counts = np.bincount(category, minlength=len(AISLES))
    shelf = np.full((len(AISLES), counts.max()), -1, dtype=np.int64)
    for c, count in enumerate(counts):
        shelf[c, :count] = np.flatnonzero(category == c)
    return shelf


def _zipf(dice: _Dice, shelf: np.ndarray, n_items: int) -> np.ndarray:
    """int64[n_items]: popularity within the category falls as 1 / (rank + 3), in arbitrary order."""
    popularity = np.zeros(n_items, dtype=np.int64)
    for items in shelf:
        items = items[items >= 0]
        popularity[items[dice.shuffled(len(items))]] = 1200 // (3 + np.arange(len(items)))
    return popularity


def _companions(dice: _Dice, shelf: np.ndarray, n_items: int) -> np.ndarray:
    """int64[n_items, n_categories, _COMPANIONS]: which items of each category go with an item."""
    sizes = (shelf >= 0).sum(axis=1)
    wide = np.broadcast_to(sizes[None, :, None], (n_items, len(sizes), _COMPANIONS))
    place = dice.below(wide.reshape(-1), wide.size).reshape(wide.shape)
    companions: np.ndarray = shelf[np.arange(len(sizes))[None, :, None], place]
    return companions


def _start_times(dice: _Dice, n: int) -> np.ndarray:
    """int64[n], ascending: start times of the baskets in Unix seconds, by weekday and hour."""
    weekdays = np.array([_WEEKDAY_WEIGHTS[day % 7] for day in range(DAYS)])
    day, hour, second = dice.choose(weekdays, n), dice.choose(_HOUR_WEIGHTS, n), dice.below(3600, n)
    return np.sort(START + day * _DAY_SECONDS + hour * 3600 + second)


def _missions(dice: _Dice, day: np.ndarray) -> np.ndarray:
    """int64[n]: index into MISSIONS, with weights that move from spring to summer values."""
    spring = np.array([mission.spring for mission in MISSIONS])
    summer = np.array([mission.summer for mission in MISSIONS])
    return dice.rows(spring * (DAYS - day[:, None]) + summer * day[:, None])


def _category_weights() -> tuple[np.ndarray, np.ndarray]:
    """For each mission: transitions between its categories, and the set of its categories.

    follow: int64[n_missions, n_categories, n_categories], the category after each; from a category outside the mission,
    the first of the mission.
    members: int64[n_missions, n_categories].
    """
    place = {aisle.category: c for c, aisle in enumerate(AISLES)}
    members = np.zeros((len(MISSIONS), len(AISLES)), dtype=np.int64)
    follow = np.zeros((len(MISSIONS), len(AISLES), len(AISLES)), dtype=np.int64)
    for m, mission in enumerate(MISSIONS):
        way = [place[name] for name in mission.categories]
        members[m, way] = 1
        follow[m, :, way[0]] = 1
        for here, there in zip(way, way[1:] + way[:1], strict=True):
            follow[m, here] = 0
            follow[m, here, there] = 1
    return follow, members


def _next_category(dice: _Dice, mission: np.ndarray, category: np.ndarray) -> np.ndarray:
    """int64[n]: the same category, the next of the mission, any of the mission, or any of the shop."""
    follow, members = _category_weights()
    n = len(mission)
    way = dice.percent(n)
    edges = np.cumsum([_SAME_CATEGORY, _NEXT_OF_MISSION, _ANY_OF_MISSION])
    drawn = [
        category,
        dice.rows(follow[mission, category]),
        dice.rows(members[mission]),
        dice.choose(tuple(aisle.weight for aisle in AISLES), n),
    ]
    return np.stack(drawn)[np.searchsorted(edges, way, side="right"), np.arange(n)]


def _tastes(dice: _Dice, shop: _Shop, n: int) -> np.ndarray:
    """int64[n, n_items]: factor on popularity by each basket's taste: a label for some, a brand for most."""
    labels = sorted(set(BRANDS.values()))
    wish = dice.choose((55, 20, 17, 8), n)
    wanted = np.array([-1, labels.index("Organic"), labels.index("Vegan"), labels.index("Eco")])[wish]
    brand = np.where(dice.percent(n) < 70, dice.below(len(BRANDS), n), -1)
    factor = np.where(shop.label[None, :] == wanted[:, None], _TASTE_FACTOR, 1)
    return factor * np.where(shop.brand[None, :] == brand[:, None], _BRAND_FACTOR, 1)


def _fill_baskets(dice: _Dice, shop: _Shop, day: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Items int64[n, longest] and lengths int64[n]; no item twice in a basket. Each step adds one item to all
    baskets."""
    n = len(day)
    lengths = 3 + dice.choose(_LENGTH_WEIGHTS, n)
    mission = _missions(dice, day)
    weight = _tastes(dice, shop, n) * shop.popularity
    every = np.arange(n)
    _, members = _category_weights()
    category = dice.rows(members[mission])
    baskets = np.zeros((n, int(lengths.max())), dtype=np.int64)
    for step in range(baskets.shape[1]):
        if step:
            category = _next_category(dice, mission, category)
        shelf = shop.shelf[category]
        left = np.where(shelf >= 0, weight[every[:, None], shelf], 0)
        sold_out = left.sum(axis=1) == 0
        left[sold_out, 0] = 1
        item = shelf[every, dice.rows(left)]
        # If the basket has the whole shelf, take the favourite among all items not in it.
        item[sold_out] = weight[sold_out].argmax(axis=1)
        category = np.where(sold_out, shop.category[item], category)
        if step:
            before = baskets[:, step - 1]
            companion = shop.companions[before, category, dice.below(_COMPANIONS, n)]
            fits = (dice.percent(n) < _COMPANION) & (weight[every, companion] > 0)
            item = np.where(fits, companion, item)
        baskets[:, step] = item
        weight[every, item] = 0
    return baskets, lengths
