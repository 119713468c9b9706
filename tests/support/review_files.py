"""A small folder of reviews in Amazon's format, for pages that read one; they reach past April 2014, as Beauty does."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np

ITEM = "B0043OYFKU"


def write_reviews(folder: Path) -> None:
    """Reviews and metadata of 60 items and 150 users, as Amazon's release of 2014 has them."""
    random = np.random.default_rng(3)
    words = ["rose", "olive", "mint", "night", "repair", "gentle", "daily", "bright"]
    items = [ITEM, *(f"B{place:09d}" for place in range(59))]
    folder.mkdir(parents=True)
    with gzip.open(folder / "meta_Beauty.json.gz", "wt") as file:
        for place, item in enumerate(items):
            title = " ".join(words[(place + step) % 8] for step in range(3)) + f" cream {place % 12}"
            print({"asin": item, "title": title, "categories": [["Beauty", f"Shelf {place % 5}"]]}, file=file)
    with gzip.open(folder / "reviews_Beauty_5.json.gz", "wt") as file:
        for user in range(150):
            shelf = int(random.integers(5))
            for step, place in enumerate(random.choice(12, size=6, replace=False)):
                review = {"reviewerID": f"A{user}", "asin": items[shelf + 5 * int(place)]}
                print(json.dumps(review | {"unixReviewTime": 1_387_700_000 + 86_400 * (user + step)}), file=file)
