"""The demo shop: the same bytes everywhere, believable items, and something to find for every kind of model."""

import csv
import hashlib
from collections import Counter, defaultdict

import numpy as np
import pytest

from llmseq_cli.data.demo_shop.generate import DAYS, START, generate_demo
from llmseq_cli.data.demo_shop.shelves import AISLES, BRANDS, MISSIONS


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return generate_demo(tmp_path_factory.mktemp("demo") / "made")


@pytest.fixture(scope="module")
def items(files):
    with files.items.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def baskets(files):
    by_user = defaultdict(list)
    with files.interactions.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            by_user[row["user"]].append((int(row["time"]), row["item"]))
    return list(by_user.values())


def _sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_bytes_are_the_same_on_every_machine(files):
    assert _sha256(files.interactions) == "db7e14d74053bdcc19f1c00a2adb59e18a1ab6875e156ef3f1b5871681d5276b"
    assert _sha256(files.items) == "a19161b0f551ebe46c7a7a65df5476dd9c5438c1274ac7d7c79727cf7353da4c"


def test_another_seed_is_another_shop(tmp_path, files):
    other = generate_demo(tmp_path, seed=1)
    assert _sha256(other.interactions) != _sha256(files.interactions)


@pytest.mark.parametrize("sessions", [1, 50])
def test_number_of_sessions_is_as_asked(tmp_path, sessions):
    lines = generate_demo(tmp_path, sessions=sessions).interactions.read_text().splitlines()[1:]
    assert len({line.split(",")[0] for line in lines}) == sessions


def test_items_are_complete_and_their_titles_distinct(items):
    assert 600 <= len(items) <= 900
    assert len({item["title"] for item in items}) == len(items)
    assert len({item["item"] for item in items}) == len(items)
    assert {item["category"] for item in items} == {aisle.category for aisle in AISLES}
    for item in items:
        assert item["title"].startswith(f"{item['brand']} {BRANDS[item['brand']]}".strip() + " ")


def test_baskets_are_sessions_of_distinct_items_in_time(baskets, items):
    known = {item["item"] for item in items}
    assert len(baskets) == 4000
    assert {len(basket) for basket in baskets} == set(range(3, 13))
    for basket in baskets:
        times = [time for time, _ in basket]
        bought = {item for _, item in basket}
        assert times == sorted(set(times))
        assert times[0] >= START
        assert times[0] < START + DAYS * 86_400
        assert len(bought) == len(basket)
        assert bought <= known


def test_few_baskets_end_at_the_same_time(baskets):
    ends = {basket[-1][0] for basket in baskets}
    assert len(baskets) - len(ends) <= 10


def test_popularity_is_skewed_and_nearly_every_item_survives_a_5_core(baskets, items):
    counts = Counter(item for basket in baskets for _, item in basket)
    ordered = sorted(counts.values(), reverse=True)
    assert sum(ordered[: len(items) // 5]) > 0.4 * sum(ordered)
    assert sum(count >= 5 for count in ordered) > 0.97 * len(items)


def test_barbecue_is_for_summer(baskets, items):
    category = {item["item"]: item["category"] for item in items}
    halves = [Counter(), Counter()]
    for basket in baskets:
        halves[basket[0][0] >= START + DAYS * 43_200].update(category[item] for _, item in basket)
    assert halves[1]["Barbecue"] > 1.3 * halves[0]["Barbecue"]


def test_baskets_follow_missions_made_of_known_categories():
    known = {aisle.category for aisle in AISLES}
    for mission in MISSIONS:
        assert len(set(mission.categories)) == len(mission.categories) >= 3
        assert set(mission.categories) <= known
        assert min(mission.spring, mission.summer) > 0


def test_order_neighbours_and_text_each_beat_popularity(baskets, items):
    """Hit rate at 20 of four simple recommenders, fitted on the first 80 percent of the baskets."""
    index = {item["item"]: i for i, item in enumerate(items)}
    sessions = [[index[item] for _, item in basket] for basket in baskets]
    train, test = sessions[:3200], sessions[3200:]
    last = np.array([session[-2] for session in test])
    targets = np.array([session[-1] for session in test])
    popularity = np.bincount(np.concatenate(train), minlength=len(items)) / 1e6
    follows, together = np.zeros((len(items), len(items))), np.zeros((len(items), len(items)))
    for session in train:
        np.add.at(follows, (session[:-1], session[1:]), 1)
        together[np.ix_(session, session)] += 1
    words = sorted({word for item in items for word in item["title"].split()})
    bag = np.array([[word in item["title"].split() for word in words] for item in items], dtype=float)
    bag *= np.log(len(items) / bag.sum(axis=0))
    bag /= np.linalg.norm(bag, axis=1, keepdims=True)
    histories = [session[:-1] for session in test]

    def hit_rate(scores):
        scores = scores + popularity
        for row, history in enumerate(histories):
            scores[row, history] = -1
        better = (scores > scores[np.arange(len(targets)), targets][:, None]).sum(axis=1)
        return (better < 20).mean()

    popular = hit_rate(np.zeros((len(test), len(items))))
    text = hit_rate(np.array([bag[history].mean(axis=0) for history in histories]) @ bag.T)
    neighbours = hit_rate(np.array([together[history].sum(axis=0) for history in histories]))
    order = hit_rate(follows[last])
    assert 0.04 < popular < 0.12
    assert text > 1.5 * popular
    assert neighbours > 2 * popular
    assert order > neighbours
    assert order < 0.6
