import numpy as np
import pytest

from llmseq_cli.data.catalog import Catalog, normalise_title
from llmseq_cli.errors import LlmseqError


@pytest.fixture
def catalog() -> Catalog:
    titles = ["Green Tea 20 bags", "Oat Milk", "oat  milk!", "", "Black Tea"]
    return Catalog(
        external_ids=np.array(["a1", "b2", "c3", "d4", "e5"], dtype=object),
        titles=np.array(titles, dtype=object),
        classes=np.array([""] * 5, dtype=object),
        popularity=np.array([5, 1, 9, 2, 3]),
        in_train=np.ones(5, dtype=bool),
    )


def test_find_by_id_and_by_title(catalog):
    assert catalog.find("d4") == 3
    assert catalog.find("black TEA") == 4


def test_the_most_popular_item_answers_to_a_shared_title(catalog):
    assert catalog.find("Oat Milk") == 2


def test_part_of_a_title_is_enough_where_it_is_unique(catalog):
    assert catalog.find("green") == 0


def test_ambiguous_part_names_the_candidates(catalog):
    with pytest.raises(LlmseqError, match="2 titles contain 'tea'") as error:
        catalog.find("tea")
    assert "a1 = Green Tea 20 bags" in error.value.hint


def test_unknown_item_suggests_the_closest(catalog):
    with pytest.raises(LlmseqError, match="no item has the id or title") as error:
        catalog.find("blakc tea")
    assert "black tea" in error.value.hint


def test_label_falls_back_to_the_id(catalog):
    assert catalog.label(3) == "d4"
    assert catalog.label(1) == "Oat Milk"


def test_normalise_title():
    assert normalise_title("  L&#39;Oréal &amp; Co. — 50ml ") == "l oréal co 50ml"


def test_a_title_typed_in_the_other_form_of_unicode_is_found(catalog):
    named = Catalog(catalog.external_ids, catalog.titles.copy(), catalog.classes, catalog.popularity, catalog.in_train)
    named.titles[4] = "Caf\u00e9"
    assert named.find("cafe\u0301") == 4
    assert named.known("no such thing") is None
