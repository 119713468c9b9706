"""A model from scratch, without a server, learns who chooses what: on sessions with a planted pattern, and on a part of
Amazon Beauty, the nail polishes and what goes with them that are bought most.
"""

import numpy as np
import pytest
from support.beauty_split import FOLDER, needs_beauty
from support.planted import N_ITEMS, following
from support.prompting_steps import prompt
from support.small_shop import titles

_NAILS = "dataset = 'beauty' and category like '%Nail%'"


def check_what_tuning_brings(llmseq, dataset, *settings):
    """Fine-tuning beats its base, and constrained answers are all true."""
    assert llmseq("embed", "--source", "lexical", "--dataset", dataset).status == 0
    words = [word for setting in settings for word in ("--set", setting)]
    assert (
        llmseq("finetune", "--provider", "local", *words, "--dataset", dataset, "--json").json["status"] == "succeeded"
    )
    latest = ["latest", "--dataset", dataset, "--temperature", "1"]
    base = prompt(llmseq, *latest, "--base-model", "scratch")
    tuned = prompt(llmseq, *latest)
    held = prompt(llmseq, *latest, "--constrain")
    figures = {
        name: (run["ndcg@20"], run["figures"]["hallucination_rate"])
        for name, run in (("base", base), ("tuned", tuned), ("held", held))
    }
    assert figures["tuned"][0] > 1.5 * figures["base"][0], figures
    assert figures["tuned"][1] < 0.5 * figures["base"][1], figures
    assert figures["held"][1] == 0, figures
    assert figures["held"][0] > 1.5 * figures["base"][0], figures


def test_on_a_planted_pattern(llmseq, tmp_path):
    """Every item of a session is followed by one certain other."""
    random = np.random.default_rng(0)
    clicks, items = ["user,item,time"], ["item,title,category"]
    items += [f"i{item},{title},{title.split()[-1]}" for item, title in enumerate(titles())]
    assert len(items) == N_ITEMS + 1
    for session in range(200):
        item = int(random.integers(N_ITEMS))
        for _ in range(int(random.integers(3, 7))):
            clicks.append(f"u{session},i{item},{len(clicks)}")
            item = following(item)
    (tmp_path / "clicks.csv").write_text("\n".join(clicks), encoding="utf-8")
    (tmp_path / "items.csv").write_text("\n".join(items), encoding="utf-8")
    ingest = ["ingest", tmp_path / "clicks.csv", "--items", tmp_path / "items.csv", "--name", "planted"]
    assert llmseq(*ingest, "--k-core", "0").status == 0
    check_what_tuning_brings(llmseq, "planted", "dim=64", "layers=1", "heads=2", "title_epochs=8", "epochs=12")


@needs_beauty
@pytest.mark.beauty
@pytest.mark.slow
def test_on_beauty(llmseq, tmp_path):
    clicks, items = tmp_path / "clicks.csv", tmp_path / "items.csv"
    assert llmseq("ingest", FOLDER, "--name", "beauty").status == 0
    slices = {
        clicks: f"select session as user, item, time from interactions join items using (dataset, item) where {_NAILS}",
        items: f"select item, title, category from items where {_NAILS}",
    }
    for file, select in slices.items():
        assert llmseq("sql", "--write", f"copy ({select}) to '{file}'").status == 0
    assert llmseq("ingest", clicks, "--items", items, "--name", "nails", "--k-core", "6").status == 0
    check_what_tuning_brings(llmseq, "nails", "epochs=8", "title_epochs=8")
