"""Training that goes on from a run: what has not changed scores the same, new items have their place."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from llmseq_cli import AppendOptions, EmbedOptions, LlmseqError, TrainOptions
from llmseq_cli.data.dataset import load_dataset
from llmseq_cli.data.sessions import Sessions
from llmseq_cli.models.recommender import FitContext
from llmseq_cli.models.registry import model_class
from llmseq_cli.settings import parse_settings
from llmseq_cli.store.runs import find_run
from llmseq_cli.training.warm import open_start

SMALL = {"epochs": 2, "dim": 8, "patience": 0}
KINDS = {
    "chance": SMALL,
    "trained": SMALL,
    "text+free": SMALL | {"item_vectors": "text+free"},
    "adapter": SMALL | {"item_vectors": "adapter"},
    "adapter+free": SMALL | {"item_vectors": "adapter+free", "head": "projection"},
}


@pytest.fixture
def weeks(tmp_path):
    """Two files of new sessions with new items, of which the first week's are old enough to be trained on later."""
    files = []
    for week in range(2):
        file = tmp_path / f"week-{week}.csv"
        with file.open("w", newline="", encoding="utf-8") as lines:
            writer = csv.writer(lines)
            writer.writerow(["user_id", "item_id", "timestamp"])
            for user in range(40):
                for step, item in enumerate(["i00", "i01", "new", "i02", "i03"]):
                    writer.writerow([f"w{week}u{user}", item, 1_700_000_000 + 10**6 * week + 100 * user + step])
        files.append(file)
    (tmp_path / "new-items.csv").write_text("item_id,title,category\nnew,red wool sock,sock\n", encoding="utf-8")
    return files


@pytest.fixture
def grown(shop, prepared, weeks, tmp_path):
    def build(workspace):
        workspace.embed(EmbedOptions("lexical"))
        for kind, settings in KINDS.items():
            text = {} if kind == "chance" else {"embeddings": "lexical", "reduce": "whiten", "dim": 8}
            workspace.train(TrainOptions("sasrec", settings=settings, device="cpu", **text))
        workspace.append(AppendOptions([weeks[0]], "shop", items=[tmp_path / "new-items.csv"]))
        workspace.embed(EmbedOptions("lexical", dataset="shop"))

    return prepared(shop, "shop-grown", build)


@pytest.mark.parametrize("number", range(1, len(KINDS) + 1), ids=list(KINDS))
def test_scores_of_what_has_not_changed_are_equal_before_training(grown, number):
    with grown.store.read("testing") as con:
        dataset = load_dataset(con, "shop")
        info = find_run(con, str(number))
        loaded = None
        if info.embeddings:
            from llmseq_cli.embeddings.stored import load_embeddings

            loaded = load_embeddings(con, dataset.info.dataset_id, "lexical", len(dataset.catalog))
    if loaded is not None:
        from llmseq_cli.embeddings.reduce import reduce_kept

        loaded = reduce_kept(grown.folder, loaded, dataset.catalog.classes, "whiten", 8, 0, grown.progress)
    warm = open_start(grown.store, info, dataset)
    cls = model_class("sasrec")
    model = cls(parse_settings(cls.Settings, info.settings | {"warm": info.run}, "sasrec"), len(dataset.catalog))
    model.start(dataset.train, FitContext(dataset.catalog, loaded, warm=warm))
    old_numbers = np.flatnonzero(warm.items >= 0)
    sessions = [old_numbers[[place, place + 7, place + 3]] for place in range(20)]
    before = warm.model.recommend(Sessions.from_lists(sessions), 30)
    after = model.recommend(Sessions.from_lists([warm.items[one] for one in sessions]), 31)
    new = dataset.catalog.find("new")
    for old_items, old_scores, items, scores in zip(
        before.items, before.scores, after.items, after.scores, strict=True
    ):
        known = items != new
        np.testing.assert_array_equal(items[known][:30], warm.items[old_items])
        np.testing.assert_array_equal(scores[known][:30], old_scores)
    assert new in model.item_ids
    if loaded is not None:  # a red wool sock stands nearer to socks than to gloves
        vectors = model.item_space().vectors
        classes = dataset.catalog.classes
        near = {kind: vectors[classes == kind].mean(axis=0) @ vectors[new] for kind in ("sock", "glove")}
        assert near["sock"] > near["glove"]


def test_the_command_takes_settings_and_embeddings_of_the_run(llmseq, grown):
    done = llmseq("train", "sasrec", "--dataset", "shop", "--warm", "sasrec-2", "--set", "epochs=1", "--json")
    assert done.status == 0, done.err
    [row] = done.json
    shown = llmseq("show", row["run"], "--json").json
    assert shown["settings"] == llmseq("show", "sasrec-2", "--json").json["settings"] | {
        "epochs": 1,
        "warm": "sasrec-2",
    }
    assert shown["embeddings"] == llmseq("show", "sasrec-2", "--json").json["embeddings"]
    assert llmseq("recommend", row["run"], "new", "i00", "--json").json
    # One that is asked for again is not trained again; without --warm it is another.
    words = ["train", "sasrec", "--dataset", "shop", "--set", "epochs=1", "--resume", "--json"]
    assert llmseq(*words, "--warm", "sasrec-2").json[0]["run"] == row["run"]
    assert llmseq(*words, "--set", "dim=8").json[0]["run"] != row["run"]


def test_words_that_are_off(llmseq, grown, shop_files):
    for words, said in [
        (["v-sknn", "--warm", "sasrec-1"], "cannot start from another run"),
        (["gru4rec", "--warm", "sasrec-1"], "a run of sasrec, not of gru4rec"),
        (["sasrec", "--warm", "sasrec-1", "--from-tuning"], "use one of them"),
        (["sasrec", "--set", "warm=sasrec-1"], "use --warm sasrec-1"),
        (["sasrec", "--warm", "sasrec-1", "--set", "layers=2"], "the network differs from sasrec-1's"),
        (["sasrec", "--warm", "sasrec-1", "--set", "dim=16"], None),
    ]:
        done = llmseq("train", *words, "--dataset", "shop")
        if said is not None:
            assert (done.status, said in done.err) == (2, True), (words, done.err)
    assert llmseq("train", "sasrec", "--warm", "none-such", "--dataset", "shop").status == 1


def test_a_run_that_was_trained_on_what_is_tested_is_refused(llmseq, grown):
    assert llmseq("split", "shop", "--split", "leave-one-out", "--as", "last").status == 0
    done = llmseq("train", "sasrec", "--dataset", "shop/last", "--warm", "sasrec-1", "--set", "epochs=1")
    assert done.status == 1
    assert "of the items that shop/last tests" in done.err


def test_tuning_does_not_start_from_a_run(grown):
    with grown.store.read("testing") as con:
        dataset = load_dataset(con, "shop")
    cls = model_class("sasrec")
    model = cls(parse_settings(cls.Settings, {"warm": "sasrec-1"}, "sasrec"), len(dataset.catalog))
    with pytest.raises(LlmseqError, match="cannot start from a run here"):
        model.fit(dataset.train, FitContext(dataset.catalog))
