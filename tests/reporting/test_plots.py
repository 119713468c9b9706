"""Plots of data and runs: their numbers, and how they are drawn."""

from __future__ import annotations

import sys
from xml.etree import ElementTree

import numpy as np
import pytest

from llmseq_cli import EmbedOptions, TrainOptions
from llmseq_cli.data.sessions import Sessions
from llmseq_cli.embeddings.item_embeddings import ItemEmbeddings
from llmseq_cli.reporting.analysis import diversity
from llmseq_cli.reporting.draw_files import _draw_one
from llmseq_cli.reporting.draw_text import draw_text
from llmseq_cli.reporting.make_plot import KINDS
from llmseq_cli.reporting.plot import Plot, Series, log_ticks


@pytest.fixture
def runs(shop, prepared):
    def build(workspace):
        workspace.embed(EmbedOptions("lexical"))
        workspace.train(TrainOptions("llmseqsim", embeddings="lexical"))
        workspace.train(TrainOptions("v-sknn"))

    return prepared(shop, "text-and-neighbours", build)


def test_popularity_and_lengths_count_what_is_there(llmseq, shop):
    facts = shop.describe()
    [curve] = llmseq("plot", "popularity", "--json").json["series"]
    assert (curve["x"][0], curve["x"][-1]) == (1, facts["items"])
    assert curve["y"] == sorted(curve["y"], reverse=True)
    [lengths] = llmseq("plot", "lengths", "--json").json["series"]
    assert sum(lengths["y"]) == facts["sessions"]
    assert np.dot(lengths["x"], lengths["y"]) == facts["interactions"]


def test_diversity_is_the_mean_distance_of_unit_vectors():
    vectors = np.array([[3, 0], [0, 2], [5, 0]], dtype=np.float32)
    sessions = Sessions.from_lists([[0, 1], [0, 2], [0, 1, 2]])
    [series] = diversity(sessions, ItemEmbeddings(vectors, "a", "b", "{title}"), "toy").series
    assert series.y.sum() == 3
    assert series.x[np.flatnonzero(series.y)[0]] == pytest.approx(0, abs=0.05)
    assert series.x[np.flatnonzero(series.y)[-1]] == pytest.approx(np.sqrt(2), abs=0.05)


@pytest.mark.parametrize("kind", ["hits-by-popularity", "hits-by-length"])
def test_hits_add_up_to_the_hit_rate(llmseq, runs, kind):
    made = llmseq("plot", kind, "llmseqsim", "v-sknn", "-k", "10", "--json").json
    rows = {row["run"]: row for row in runs.report()}
    _, histories = runs.sql(
        "select count(*) from ranks as r inner join splits as s on r.session = s.session group by r.run limit 1"
    )
    for series in made["series"]:
        assert len(series["x"]) <= len(made["ticks"])
        assert all(low <= y <= high for low, y, high in zip(series["low"], series["y"], series["high"], strict=True))
        hits = rows[series["name"]]["hr@10"]
        assert min(series["y"]) <= hits <= max(series["y"])
    assert histories


def test_the_whole_prompt_hits_as_often_as_in_the_report(llmseq, runs):
    made = llmseq("plot", "hits-by-position", "v-sknn", "--positions", "1", "-k", "10", "--json").json
    [row] = runs.report(models=["v-sknn"])
    assert made["series"][0]["y"] == [pytest.approx(row["hr@10"])]
    further = llmseq("plot", "hits-by-position", "v-sknn", "--positions", "3", "--json").json
    assert further["ticks"] == ["last", "2 from end", "3 from end"]
    assert len(further["series"][0]["y"]) == 3


def test_training_curves_of_runs_that_have_them(llmseq, runs):
    assert "none of these runs was trained in epochs" in llmseq("plot", "training").err
    runs.train(TrainOptions("gru4rec", settings={"epochs": 3, "dim": 8, "hidden": 8, "patience": 0}))
    losses = llmseq("plot", "training", "--json").json
    assert losses["y"] == "loss"
    assert losses["series"][0]["x"] == [1, 2, 3]
    assert losses["series"][0]["y"][0] > losses["series"][0]["y"][-1] > 0
    runs.train(TrainOptions("sasrec", settings={"epochs": 2, "dim": 8}))
    made = llmseq("plot", "training", "--json").json
    assert made["y"] == "NDCG@20, held out"
    assert [(one["name"], one["x"]) for one in made["series"]] == [("sasrec-4", [1, 2])]


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (1, 12_101, [1, 10, 100, 1000, 10_000]),
        (137, 641, [200, 500]),
        (0.002, 7, [0.01, 0.1, 1]),
        (5, 5, [5]),
        (6, 7, [6]),
    ],
)
def test_logarithmic_axes_have_numbers_within(low, high, ticks):
    assert log_ticks(low, high) == pytest.approx(ticks)


def test_a_histogram_in_the_terminal_counts_from_nothing(monkeypatch):
    series = Series("toy", np.array([2.0, 3.0, 9.0]), np.array([100.0, 1.0, 10.0]))
    drawn = draw_text(Plot("lengths", "Toy", "", "items", "sessions", (series,), "bars", y_log=True), 60, color=False)
    body = [line[line.index("│") + 1 :] if "│" in line else line for line in drawn.splitlines()[2:17]]
    filled = [sum(line.startswith("█") for line in body), sum(line.rstrip("│").endswith(("█", "▌")) for line in body)]
    assert filled[0] > filled[1] > 0
    assert all(place not in drawn for place in ("0.5", "1,000"))
    assert all("█" not in line[25:45] for line in body), "nothing has 4 to 8 items"


def test_names_of_points_do_not_hide_one_another():
    from matplotlib.figure import Figure as Canvas

    ax = Canvas(figsize=(6.4, 4.4), layout="constrained").subplots()
    places = {"embedding-ensemble-13": (0.995, 0.073), "llmseqsim-6": (0.996, 0.07), "most-popular-1": (0.03, 0.02)}
    series = tuple(Series(name, np.array([x]), np.array([y])) for name, (x, y) in places.items())
    _draw_one(Plot("coverage", "Toy", "", "coverage", "NDCG", series, "points"), ax)
    ax.figure.canvas.draw()
    boxes = [text.get_window_extent() for text in ax.texts]
    assert len(boxes) == 3
    assert not any(one.overlaps(other) for place, one in enumerate(boxes) for other in boxes[:place])
    assert all(ax.bbox.x0 <= one.x0 and one.x1 <= ax.bbox.x1 for one in boxes)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "training"])
def test_every_kind_fits_the_terminal(llmseq, runs, kind):
    drawn = llmseq("plot", kind)
    assert drawn.status == 0, drawn.err
    assert max(len(line.rstrip()) for line in drawn.out.splitlines()) <= 80
    assert "\x1b" not in drawn.out


def test_files(llmseq, runs, tmp_path):
    assert llmseq("plot", "coverage", "--out", tmp_path / "c.svg").status == 0
    root = ElementTree.parse(tmp_path / "c.svg").getroot()
    assert "v-sknn-2" in "".join(root.itertext())
    assert llmseq("describe", "--plot", tmp_path / "d.png").status == 0
    assert (tmp_path / "d.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["plot", "hits"], 2, "there is no plot 'hits'"),
        (["plot", "popularity", "v-sknn"], 2, "of a dataset, not of runs"),
        (["plot", "coverage", "--out", "x.gif"], 2, ".png or .svg"),
        (["describe", "--plot", "x"], 2, ".png or .svg"),
        (["plot", "hits-by-length", "v-sknn", "-k", "5000"], 1, "hold 100 items"),
        (["plot", "hits-by-position", "v-sknn", "--positions", "90"], 2, "--positions"),
        (["plot", "hits-by-length", "sasrec"], 1, "sasrec"),
    ],
)
def test_bad_wishes(llmseq, runs, words, status, said):
    refused = llmseq(*words)
    assert refused.status == status
    assert said in refused.err


def test_without_the_libraries(llmseq, runs, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "plotext", None)
    for words in (["plot", "coverage"], ["plot", "coverage", "--out", tmp_path / "c.png"]):
        refused = llmseq(*words)
        assert (refused.status, "llmseq[plots]" in refused.err) == (1, True)
    assert not (tmp_path / "c.png").exists()
