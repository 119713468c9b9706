"""For real, without a server: a model from scratch on a slice of Amazon Beauty, the nail polishes and what goes with
them that are bought most.
"""

import pytest
from support.beauty_split import FOLDER, needs_beauty
from support.prompting_steps import prompt

pytestmark = [needs_beauty, pytest.mark.beauty]

_NAILS = "dataset = 'beauty' and category like '%Nail%'"


def test_fine_tuning_beats_its_base_and_constrained_answers_are_all_true(llmseq, tmp_path):
    clicks, items = tmp_path / "clicks.csv", tmp_path / "items.csv"
    assert llmseq("ingest", FOLDER, "--name", "beauty").status == 0
    slices = {
        clicks: f"select session as user, item, time from interactions join items using (dataset, item) where {_NAILS}",
        items: f"select item, title, category from items where {_NAILS}",
    }
    for file, select in slices.items():
        assert llmseq("sql", "--write", f"copy ({select}) to '{file}'").status == 0
    assert llmseq("ingest", clicks, "--items", items, "--name", "nails", "--k-core", "6").status == 0
    llmseq("embed", "--source", "lexical", "--dataset", "nails")
    where = ["--dataset", "nails"]
    fewer = ["--set", "epochs=8", "--set", "title_epochs=8"]
    assert llmseq("finetune", "--provider", "local", *fewer, *where, "--json").json["status"] == "succeeded"
    where += ["--temperature", "1"]
    base = prompt(llmseq, "latest", "--base-model", "scratch", *where)
    tuned = prompt(llmseq, "latest", *where)
    held = prompt(llmseq, "latest", "--constrain", *where)
    figures = {
        name: (run["ndcg@20"], run["figures"]["hallucination_rate"])
        for name, run in (("base", base), ("tuned", tuned), ("held", held))
    }
    assert figures["tuned"][0] > 1.5 * figures["base"][0], figures
    assert figures["tuned"][1] < 0.5 * figures["base"][1], figures
    assert figures["held"][1] == 0, figures
    assert figures["held"][0] > 1.5 * figures["base"][0], figures
