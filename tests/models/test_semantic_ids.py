import numpy as np
import pytest
import torch
from support.planted import LEARNING, N_ITEMS, embeddings, fitted, hit_rate, sessions

from llmseq_cli.errors import UsageError
from llmseq_cli.models.neural.item_codes import CodeTree, residual_codes
from llmseq_cli.models.neural.onnx_graph import NotExportableError, write_onnx

SMALL = {"dim": None, "codes": 2, "code_size": 6}


@pytest.fixture(scope="module")
def model():
    return fitted("semantic-ids", LEARNING | SMALL, embeddings=embeddings())[0]


def test_learns_a_planted_pattern(model):
    assert hit_rate(model) > 0.9
    assert max(entry["ndcg"] for entry in model.curve) > 0.8


def test_codes_are_unique_and_near_items_share_them():
    random = np.random.default_rng(0)
    groups = np.repeat(np.eye(4, 8, dtype=np.float32), 10, axis=0)
    vectors = groups + 0.01 * random.normal(size=groups.shape).astype(np.float32)
    vectors[1] = vectors[0]
    found = residual_codes(vectors, 2, 4, seed=0)
    assert len(np.unique(found.codes, axis=0)) == 40
    assert [len(set(found.codes[start : start + 10, 0])) for start in range(0, 40, 10)] == [1] * 4
    assert found.codes[0, :2].tolist() == found.codes[1, :2].tolist()
    assert found.codes[0, 2] != found.codes[1, 2]


def test_the_tree_leads_to_every_item_and_nowhere_else():
    codes = np.array([[0, 1, 0], [0, 1, 1], [2, 0, 0], [0, 0, 0]])
    tree = CodeTree.of(codes, [3, 2, 2])
    reached = []
    for first, second, third in np.ndindex(3, 2, 2):
        node = tree.children[0][0, first]
        node = tree.children[1][node, second] if node >= 0 else -1
        item = tree.children[2][node, third] if node >= 0 else -1
        if item >= 0:
            assert codes[item].tolist() == [first, second, third]
            reached.append(int(item))
    assert sorted(reached) == [0, 1, 2, 3]


@torch.no_grad()
def test_scores_are_the_logarithms_of_probabilities(model):
    network = model.network
    hidden = torch.randn(3, 32)
    scores = network.scores(hidden)
    for item in range(N_ITEMS):
        loss = network.loss(hidden, torch.full((3,), item))
        assert loss.item() == pytest.approx(-scores[:, item].mean().item(), rel=1e-4)
    # What is left to a whole goes to codes that no item has.
    assert (scores.exp().sum(dim=1) <= 1 + 1e-5).all()


@torch.no_grad()
def test_a_beam_of_full_width_is_the_whole_ranking_and_a_narrow_one_its_best_part(model):
    hidden = torch.randn(20, 32)
    whole, found = model.network.scores(hidden), model.network.search(hidden, N_ITEMS)
    torch.testing.assert_close(found, whole)
    narrow = model.network.search(hidden, 5)
    listed = narrow.isfinite()
    assert (listed.sum(dim=1) <= 5).all()
    assert listed.any(dim=1).all()
    torch.testing.assert_close(narrow[listed], whole[listed])


def test_a_list_of_the_beam_names_items_alone(model):
    model.settings = type(model.settings)(**(model.settings.to_dict() | {"beam": 7}))
    try:
        items = model.recommend(sessions(30, 5).histories(), 20).items
    finally:
        model.settings = type(model.settings)(**(model.settings.to_dict() | {"beam": None}))
    assert ((items >= -1) & (items < N_ITEMS)).all()
    assert 0 < (items >= 0).sum(axis=1).max() <= 7
    assert all(len(set(row[row >= 0])) == (row >= 0).sum() for row in items)


def test_the_text_itself_counts_with_rerank(model):
    test = sessions(30, 5).histories()
    plain = model.recommend(test, N_ITEMS).items
    model.settings = type(model.settings)(**(model.settings.to_dict() | {"rerank": 1000.0}))
    try:
        by_text = model.recommend(test, N_ITEMS).items
        hidden = model._encode(model._rows(test))
    finally:
        model.settings = type(model.settings)(**(model.settings.to_dict() | {"rerank": 0.0}))
    assert not np.array_equal(by_text, plain)
    likeness = (hidden @ model.network.text.T).numpy()
    known = np.flatnonzero(test.lengths)
    best = model.item_ids[np.argsort(-likeness, axis=1)[:, :3]]
    assert np.mean([by_text[row][0] in best[row] for row in known]) > 0.6


def test_what_cannot_be(model, tmp_path):
    for name, value in (("loss", "gbce"), ("layout", "paper"), ("item_vectors", "adapter"), ("item_init", "sessions")):
        with pytest.raises(UsageError, match=f"has no {name}"):
            fitted("semantic-ids", SMALL | {name: value}, embeddings=embeddings())
    with pytest.raises(NotExportableError, match="not products"):
        write_onnx(model, tmp_path / "model.onnx")
