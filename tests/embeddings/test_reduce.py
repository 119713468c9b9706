from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_array

from llmseq_cli.embeddings import reduce as reduce_module
from llmseq_cli.embeddings.item_embeddings import ItemEmbeddings
from llmseq_cli.embeddings.nearest import nearest_items
from llmseq_cli.embeddings.reduce import METHODS, default_method, load_or_reduce, parse_method, reduce
from llmseq_cli.errors import UsageError

N, DIM = 600, 20
CLASSES = np.array([f"c{item % 7}" for item in range(N)], dtype=object)
WITHOUT = [3, 77]


def embeddings(vectors=None) -> ItemEmbeddings:
    return ItemEmbeddings(some_vectors() if vectors is None else vectors, "test", "m", "{title}")


def some_vectors(n: int = N, dim: int = DIM) -> np.ndarray:
    """Correlated, off centre, of unequal variance, with their class in them; two items have no vector."""
    random = np.random.default_rng(5)
    centres = random.normal(size=(7, dim))
    noise = random.normal(size=(n, dim)) * np.linspace(3, 0.1, dim)
    vectors = noise @ np.linalg.qr(random.normal(size=(dim, dim)))[0] + centres[np.arange(n) % 7] + 2
    vectors[WITHOUT] = 0
    return vectors.astype(np.float32)


def with_vector() -> np.ndarray:
    return np.delete(np.arange(N), WITHOUT)


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def cosines(vectors: np.ndarray) -> np.ndarray:
    return unit(vectors) @ unit(vectors).T


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("method", [m for m in METHODS if m != "none"])
def test_rows_have_length_one_and_items_without_a_vector_keep_none(method, sparse):
    given = embeddings(csr_array(some_vectors()) if sparse else None)
    made = reduce(given, CLASSES, method, 5)
    assert made.vectors.shape == (N, 5)
    assert made.vectors.dtype == np.float32
    assert np.isfinite(made.vectors).all()
    assert np.linalg.norm(made.vectors[with_vector()], axis=1) == pytest.approx(1, abs=1e-5)
    assert not made.vectors[WITHOUT].any()
    assert (made.source, made.model, made.text) == ("test", "m", "{title}")
    assert made.reduction.partition("@")[0] == method


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("method", [m for m in METHODS if m != "none"])
def test_the_same_again(method, sparse):
    given = embeddings(csr_array(some_vectors()) if sparse else None)
    first, second = (reduce(given, CLASSES, method, 4, seed=3).vectors for _ in range(2))
    assert np.array_equal(first, second)


@pytest.mark.parametrize("method", ["random", "autoencoder"])
def test_the_seed_is_the_source_of_chance(method):
    vectors = [reduce(embeddings(), CLASSES, method, 4, seed=seed).vectors for seed in (0, 1)]
    assert not np.allclose(*vectors)


def test_the_autoencoder_leaves_the_random_state_of_torch_alone():
    import torch

    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    reduce(embeddings(), CLASSES, "autoencoder", 4)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("sparse", [False, True])
def test_pca_is_that_of_scikit_learn(sparse):
    from sklearn.decomposition import PCA

    present, dense = with_vector(), some_vectors().astype(np.float64)
    expected = PCA(6, svd_solver="full").fit(dense[present]).transform(dense[present])
    made = reduce(embeddings(csr_array(some_vectors()) if sparse else None), CLASSES, "pca", 6)
    # Cosines do not depend on the signs of the components.
    assert cosines(made.vectors[present]) == pytest.approx(cosines(expected), abs=2e-4)


def test_whitening_makes_all_directions_equal(monkeypatch):
    monkeypatch.setattr(reduce_module, "_unit_rows", lambda vectors: vectors)
    monkeypatch.setattr(reduce_module._Spread, "shrunk", lambda spread: spread.covariance)
    present = with_vector()
    for dim in (None, 6):
        made = reduce(embeddings(), CLASSES, "whiten", dim, power=1).vectors[present]
        assert made.mean(axis=0) == pytest.approx(0, abs=1e-4)
        assert np.cov(made.T, bias=True) == pytest.approx(np.eye(made.shape[1]), abs=1e-3)
    raw = np.cov(some_vectors()[present].T.astype(np.float64), bias=True)
    half = np.cov(reduce(embeddings(), CLASSES, "whiten", power=0.5).vectors[present].T, bias=True)
    # Half of whitening leaves the square roots of the variances, along the same axes.
    assert np.linalg.eigvalsh(half) == pytest.approx(np.sqrt(np.linalg.eigvalsh(raw)), rel=1e-3)


def test_zca_stays_near_the_vectors_where_pca_turns_them():
    present = with_vector()
    centred = unit(some_vectors()[present] - some_vectors()[present].mean(axis=0))
    zca = reduce(embeddings(), CLASSES, "whiten", DIM, power=1)
    assert zca.reduction == "whiten"
    assert np.einsum("ij,ij->i", zca.vectors[present], centred).min() > 0


def test_shrinkage_is_that_of_scikit_learn():
    from sklearn.covariance import ledoit_wolf

    x = some_vectors(100, 40)[4:60].astype(np.float64)
    expected, shrinkage = ledoit_wolf(x)
    assert shrinkage > 0.01
    assert reduce_module._spread(x, np.arange(len(x))).shrunk() == pytest.approx(expected)


def test_whitening_few_items_of_many_dimensions_keeps_what_is_alike():
    random = np.random.default_rng(2)
    pairs = np.repeat(random.normal(size=(30, 384)), 2, axis=0) + 0.3 * random.normal(size=(60, 384))
    made = reduce(embeddings(pairs.astype(np.float32)), np.full(60, ""), "whiten")
    assert made.reduction == "whiten@0.5"
    nearest = (made.vectors @ made.vectors.T - 2 * np.eye(60)).argmax(axis=1)
    assert np.array_equal(nearest, np.arange(60) ^ 1)


def test_whitening_in_full_where_items_are_many():
    assert reduce(embeddings(), CLASSES, "whiten").reduction == "whiten"
    assert reduce(embeddings(), CLASSES, "whiten", 8).reduction == "whiten"
    assert reduce(embeddings(), CLASSES, "whiten", power=0.25).reduction == "whiten@0.25"
    assert reduce(embeddings(), CLASSES, "whiten", 8, power=0.25).reduction == "whiten@0.25"


def test_directions_without_variance_stay_finite():
    vectors = some_vectors()
    vectors[:, 4], vectors[:, 5] = 1, vectors[:, 6]
    vectors[WITHOUT] = 0
    for method in ("whiten", "pca", "autoencoder"):
        assert np.isfinite(reduce(embeddings(vectors), CLASSES, method, power=1).vectors).all()


def test_lda_tells_classes_apart():
    made = reduce(embeddings(), CLASSES, "lda", 3).vectors
    present = with_vector()
    same = CLASSES[present][:, None] == CLASSES[present]
    similar = made[present] @ made[present].T
    raw = cosines(some_vectors()[present])
    assert similar[same].mean() - similar[~same].mean() > 2 * (raw[same].mean() - raw[~same].mean())


def test_lda_leaves_classes_of_one_item_and_items_without_class_out():
    classes = CLASSES.copy()
    classes[:4] = ["alone", "", "lonely", "c0"]
    assert reduce(embeddings(), classes, "lda").vectors.shape == (N, 6)
    with pytest.raises(UsageError, match="--dim 7 is more than 7 classes with at least two items allow") as error:
        reduce(embeddings(), classes, "lda", 7)
    assert error.value.hint == "ask for at most 6"
    with pytest.raises(UsageError, match="at least two classes"):
        reduce(embeddings(), np.full(N, ""), "lda", 2)


def test_random_projection_about_keeps_distances():
    vectors = np.random.default_rng(0).normal(size=(50, 2000)).astype(np.float32)
    made = reduce(embeddings(vectors), np.full(50, ""), "random", 1000)
    assert np.abs(made.vectors @ made.vectors.T - cosines(vectors)).max() < 0.2


def test_none_leaves_vectors_as_they_are():
    sparse = embeddings(csr_array(some_vectors()))
    assert reduce(sparse, CLASSES, "none") is sparse
    assert default_method(sparse) == "none"
    assert default_method(embeddings()) == "whiten"
    with pytest.raises(UsageError, match="without a reduction"):
        reduce(embeddings(), CLASSES, "none", 5)


@pytest.mark.parametrize(
    ("method", "dim", "message"),
    [
        ("pca", 21, "--dim 21 is more than 598 vectors of 20 dimensions allow"),
        ("whiten", 21, "--dim 21 is more"),
        ("random", 21, "--dim 21 is more"),
        ("autoencoder", 21, "--dim 21 is more"),
        ("pca", 0, "--dim is 0"),
        ("pcs", 5, "there is no reduction 'pcs'"),
    ],
)
def test_what_cannot_be_is_refused(method, dim, message):
    with pytest.raises(UsageError, match=message) as error:
        reduce(embeddings(), CLASSES, method, dim)
    assert error.value.hint


def test_nothing_to_fit_on():
    with pytest.raises(UsageError, match="fewer than two items"):
        reduce(embeddings(np.zeros((5, 3), dtype=np.float32)), np.full(5, ""), "pca", 2)
    with pytest.raises(UsageError, match="all vectors are equal"):
        reduce(embeddings(np.ones((50, 3), dtype=np.float32)), np.full(50, ""), "whiten")


def test_fitted_on_the_items_named():
    half = np.arange(N) < N // 2
    alone = replace(embeddings(), vectors=some_vectors() * half[:, None])
    for method in ("pca", "whiten", "lda"):
        named = reduce(embeddings(), CLASSES, method, 4, items=half, power=1).vectors
        assert np.allclose(named[half], reduce(alone, CLASSES, method, 4, power=1).vectors[half], atol=1e-5)
        assert named[~half].any()


def test_many_vectors_go_through_in_blocks(monkeypatch):
    whole = reduce(embeddings(), CLASSES, "whiten", 6).vectors
    monkeypatch.setattr(reduce_module, "_BLOCK_NUMBERS", 7 * DIM)
    assert np.allclose(reduce(embeddings(), CLASSES, "whiten", 6).vectors, whole, atol=1e-5)


def test_words():
    assert parse_method("pca") == ("pca", None)
    assert parse_method("whiten@.5") == ("whiten", 0.5)
    for words in ("whiten@", "whiten@x", "pca@0.5"):
        with pytest.raises(UsageError, match="is not a reduction"):
            parse_method(words)
    with pytest.raises(UsageError, match="there is no reduction 'whitne'") as error:
        parse_method("whitne")
    assert "whiten" in error.value.hint


def test_made_once_and_kept(tmp_path, monkeypatch):
    first = load_or_reduce(tmp_path, embeddings(), CLASSES, "whiten", 6, power=0.5)
    (file,) = tmp_path.iterdir()
    assert file.suffix == ".safetensors"
    with monkeypatch.context() as patched:
        patched.setattr(reduce_module, "reduce", None)
        again = load_or_reduce(tmp_path, embeddings(), CLASSES, "whiten", 6, seed=4, power=0.5)
    assert again.reduction == first.reduction == "whiten@0.5"
    assert np.array_equal(again.vectors, first.vectors)
    file.write_bytes(file.read_bytes()[:100])
    assert np.array_equal(
        load_or_reduce(tmp_path, embeddings(), CLASSES, "whiten", 6, power=0.5).vectors, first.vectors
    )
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_anything_else_is_another_reduction(tmp_path):
    other = some_vectors()
    other[0, 0] += 1
    classes = CLASSES.copy()
    classes[0] = "c5"
    load_or_reduce(tmp_path, embeddings(), CLASSES, "lda", 3)
    load_or_reduce(tmp_path, embeddings(), classes, "lda", 3)
    load_or_reduce(tmp_path, embeddings(), CLASSES, "lda", 2)
    load_or_reduce(tmp_path, embeddings(other), CLASSES, "lda", 3)
    load_or_reduce(tmp_path, embeddings(), CLASSES, "random", 3)
    load_or_reduce(tmp_path, embeddings(), CLASSES, "random", 3, seed=1)
    load_or_reduce(tmp_path, embeddings(csr_array(some_vectors())), CLASSES, "random", 3)
    assert len(list(tmp_path.iterdir())) == 7


@pytest.mark.parametrize("sparse", [False, True])
def test_nearest_items(sparse):
    vectors = np.array([[1, 0], [2, 0.1], [0, 5], [0, 0], [1, 1]], dtype=np.float32)
    near = nearest_items(embeddings(csr_array(vectors) if sparse else vectors), 0, 4)
    assert near.items.tolist() == [[1, 4, 2, -1]]
    assert near.scores[0, :3].tolist() == pytest.approx([0.99875, 0.70711, 0], abs=1e-4)
    assert (nearest_items(embeddings(csr_array(vectors) if sparse else vectors), 3, 4).items == -1).all()


@pytest.mark.parametrize("method", ["pca", "whiten", "lda", "random"])
def test_lengths_are_kept_where_that_is_asked_for(method, tmp_path):
    classes = np.array([f"c{number % 4}" for number in range(N)], dtype=object)
    dim = 3 if method == "lda" else 5
    one = reduce(embeddings(), classes, method, dim)
    kept = load_or_reduce(tmp_path, embeddings(), classes, method, dim, lengths="keep")
    norms = np.linalg.norm(kept.vectors[with_vector()], axis=1)
    assert norms.std() > 0.01
    present = with_vector()
    np.testing.assert_allclose(unit(kept.vectors[present]), one.vectors[present], atol=1e-5)
    assert not kept.vectors[WITHOUT].any()
    assert (one.lengths, kept.lengths) == ("unit", "keep")
    assert (one.describe().get("lengths"), kept.describe()["lengths"]) == (None, "keep")
    again = load_or_reduce(tmp_path, embeddings(), classes, method, dim, lengths="keep")
    assert again.lengths == "keep"
    np.testing.assert_array_equal(again.vectors, kept.vectors)
    assert len(list(tmp_path.iterdir())) == 1
    load_or_reduce(tmp_path, embeddings(), classes, method, dim)
    assert len(list(tmp_path.iterdir())) == 2


def test_pca_keeps_the_lengths_of_scikit_learn():
    from sklearn.decomposition import PCA

    vectors, present = some_vectors(), with_vector()
    kept = reduce(embeddings(vectors), CLASSES, "pca", 5, lengths="keep").vectors[present]
    expected = PCA(5, svd_solver="full").fit_transform(vectors[present].astype(np.float64))
    np.testing.assert_allclose(np.linalg.norm(kept, axis=1), np.linalg.norm(expected, axis=1), rtol=1e-4)
