"""`llmseq audit-llm`: how much a model knows by heart, against a control; marks on the leaderboard."""

import re

import numpy as np
import pytest
from support.prompting_steps import BASE, dataset_of, prompt, rows
from support.small_shop import write_shop

from llmseq_cli import IngestOptions, TrainOptions, Workspace
from llmseq_cli.evaluation.intervals import difference, wilson
from llmseq_cli.prompting.memory.probes import make_probes


class Parrot:
    """Knows the given share of items by id, of sessions by id and by their exact history; else it says nothing."""

    def __init__(self, workspace, share, seed=0):
        dataset = dataset_of(workspace)
        self.titles = [str(title) for title in dataset.catalog.titles]
        with workspace.store.read("test") as con:
            cases = con.execute("select case_id, external_id from core.test_case").fetchall()
        names, drawn = dict(cases), np.random.default_rng(seed)
        histories, targets = dataset.test.histories(), dataset.test.targets()
        self.known = {}
        for place, case in enumerate(dataset.test.ids.tolist()):
            if drawn.random() < share:
                truth = self.titles[targets[place]]
                self.known[names[case]] = truth
                self.known[tuple(self.titles[item] for item in histories[place])] = truth
        self.sessions = sum(isinstance(key, str) for key in self.known)
        for item, name in enumerate(dataset.catalog.external_ids):
            if drawn.random() < share:
                self.known[str(name)] = self.titles[item]
        self.items = sum(isinstance(key, str) for key in self.known) - self.sessions

    def __call__(self, question, sample):
        named = re.search(r"has the id (\S+)\?|of the customer (\S+) in ", question)
        key = (named[1] or named[2]) if named else tuple(re.findall(r"^\d+\. (.*)$", question, re.MULTILINE))
        return self.known.get(key, "unknown")


def audit(llmseq, *arguments):
    done = llmseq("audit-llm", BASE, *arguments, "--json")
    assert done.status == 0, done.err
    return {one["probe"]: one for one in done.json["findings"]}


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_what_a_parrot_knows_lies_within_the_interval(llmseq, server, shop, share):
    parrot = server.answer = Parrot(shop, share)
    found = audit(llmseq)
    n = len(dataset_of(shop).test)
    assert {name: one["asked"] for name, one in found.items()} == {"id": 40, "session": n, "history": n}
    for name, one in found.items():
        low, high = one["excess_interval"]
        knows = (parrot.items if name == "id" else parrot.sessions) / one["asked"]
        assert one["share"] == pytest.approx(knows)
        assert low <= share <= high
        assert (one["recites"], one["marks"]) == (share > 0, share > 0)
        assert one["control_share"] == 0
    assert sum(server.paid.values()) == 40 + 3 * n == len(server.paid)
    audit(llmseq)
    assert llmseq("audit-llm", BASE, "--sample", "2", "--json").json["kept"] == ["id", "session", "history"]
    assert set(server.paid.values()) == {1}
    kept = llmseq("audit-llm", "--json").json
    assert {(row["probe"], row["recites"]) for row in kept} == {(name, share > 0) for name in found}
    told = llmseq("audit-llm", BASE).out
    assert ("recites this dataset" in told, "recites no more" in told) == (share > 0, share == 0)


def test_a_model_that_recommends_well_is_no_parrot(llmseq, server, shop):
    """It guesses the next item by the items before, in whatever order they come."""
    dataset = dataset_of(shop)
    titles, histories, targets = dataset.catalog.titles, dataset.test.histories(), dataset.test.targets()
    skill = {frozenset(titles[histories[place]]): titles[targets[place]] for place in range(len(targets))}
    server.answer = lambda question, sample: skill.get(
        frozenset(re.findall(r"^\d+\. (.*)$", question, re.MULTILINE)), "unknown"
    )
    found = audit(llmseq)
    assert found["history"]["share"] > 0.9
    assert not any(one["recites"] for one in found.values())


def test_titles_that_are_known_from_elsewhere_mark_no_run(llmseq, server, tmp_path):
    workspace = Workspace(tmp_path / "workspace")
    clicks, items = write_shop(tmp_path)
    items.write_text(re.sub(r"(?m)^(i\d\d),(.*?),", r"\1,\2 made in Rome,", items.read_text()), encoding="utf-8")
    workspace.ingest(IngestOptions([clicks], "shop", items=[items]))
    titles = list(dataset_of(workspace).catalog.titles)

    def goes_on(question, sample):
        begun = re.search(r"begins with: (.*)\n", question)
        whole = begun and next(title for title in titles if title.startswith(begun[1]))
        return whole[len(begun[1]) + 1 :] if begun and sample % 2 == 0 else "unknown"

    server.answer = goes_on
    found = audit(llmseq, "--probes", "title,id")
    assert found["title"]["recites"] is True
    assert (found["title"]["marks"], found["id"]["recites"]) == (False, False)
    assert "no run is" in llmseq("audit-llm", BASE, "--probes", "title,id").out


def test_the_leaderboard_marks_runs_of_a_model_that_recites(llmseq, server, ready, tmp_path):
    server.answer = Parrot(ready, 1.0)
    run = prompt(llmseq, "--base-model", BASE, "--samples", "1")["run"]
    reranked = llmseq("rerank", "llmseqsim", "--model", BASE, "--json").json[0]["run"]
    ready.train(TrainOptions("blend", runs=("llmseqsim", reranked), settings={"weights": "0.5,0.5"}))
    assert "†" not in llmseq("report").out
    audit(llmseq)
    told = llmseq("report", "--json").json
    assert {row["run"] for row in told if row.get("recites")} == {run, reranked, "blend-4"}
    assert "llmseqsim-1" in {row["run"] for row in told}
    table = llmseq("report").out
    assert table.count("†") == 4, table
    assert "its results may come" in table
    assert "†" in llmseq("report", "--prompting").out
    assert "†" in llmseq("report", "--format", "markdown").out
    assert llmseq("report", "--format", "html").out.count("†") >= 4
    (tmp_path / "own.sql").write_text("select run, label from runs", encoding="utf-8")
    assert llmseq("report", "--sql", tmp_path / "own.sql").out.count("†") == 4
    server.answer = Parrot(ready, 0.0)
    audit(llmseq, "--called", "another name")
    assert "†" not in llmseq("report").out


def test_a_twin_with_neutral_titles(llmseq, server, shop, tmp_path):
    clicks, items = write_shop(tmp_path)
    done = llmseq("ingest", clicks, "--items", items, "--name", "twin", "--anonymise", "--json")
    assert done.status == 0, done.err
    told = rows(llmseq, "select dataset, item, title, category from items order by item, dataset")
    plain = {row["item"]: row for row in told if row["dataset"] == "shop"}
    twin = {row["item"]: row for row in told if row["dataset"] == "twin"}
    assert plain.keys() == twin.keys()
    assert all(re.fullmatch("Item [0-9a-f]{8}", row["title"]) for row in twin.values())
    assert len({row["title"] for row in twin.values()}) == 40
    assert all(re.fullmatch("Category [0-9a-f]{8}", row["category"]) for row in twin.values())
    pairs = {(plain[item]["category"], twin[item]["category"]) for item in plain}
    assert len(pairs) == len({row["category"] for row in plain.values()}) == 5
    assert rows(
        llmseq, "select count(*) as n from core.item where fields::varchar like '%Acme%' and dataset_id = 2"
    ) == [{"n": 0}]
    for name in ("shop", "twin"):
        shop.train(TrainOptions("v-sknn", dataset=name))
    same = {row["dataset"]: row["ndcg@20"] for row in llmseq("report", "--json").json}
    assert same["shop"] == same["twin"]
    assert "neutral titles" in llmseq("report", "--dataset", "twin").out
    more = tmp_path / "more.csv"
    more.write_text("user_id,item_id,timestamp\n" + "".join(f"new,i0{n},{1_800_000_000 + n}\n" for n in range(6)))
    assert llmseq("append", "twin", more).status == 0
    later = rows(llmseq, "select item, title, category from items where dataset = 'twin'")
    assert {row["item"]: (row["title"], row["category"]) for row in later} == {
        item: (row["title"], row["category"]) for item, row in twin.items()
    }


def test_the_plan_and_wrong_words(llmseq, server, shop, monkeypatch):
    plan = llmseq("audit-llm", BASE, "--sample", "7", "--dry-run", "--json").json
    assert plan["probes"] == {"id": 7, "session": 7, "history": 7}
    assert plan["requests"] == 28
    assert server.requests == []
    assert "questions" in llmseq("audit-llm", BASE, "--dry-run").out
    for words, status, said in (
        ([BASE, "--probes", "sesion"], 2, "session"),
        ([BASE, "--probes", "title"], 1, "titles"),
        ([BASE, "--max-cost", "0.0000001"], 1, "--max-cost"),
        (["gpt-0"], 1, "gpt-0"),
        ([BASE, "--dataset", "nothing"], 1, "nothing"),
    ):
        ended = llmseq("audit-llm", *words)
        assert (ended.status, said in ended.err) == (status, True), (words, ended.err)
    assert "No model has been audited" in llmseq("audit-llm").out
    monkeypatch.delenv("OPENAI_API_KEY")
    ended = llmseq("audit-llm", BASE)
    assert (ended.status, "OPENAI_API_KEY" in ended.err) == (1, True), ended.err


def test_larger_samples_hold_smaller_ones_and_no_control_equals_the_truth(shop):
    dataset = dataset_of(shop)
    few, many = ({probe.name: probe for probe in make_probes(shop.store, dataset, ["id", "history"], n, "x", 3)}
                 for n in (5, 15))  # fmt: skip
    assert set(few["id"].questions) < set(many["id"].questions)
    assert all(truth != other for truth, other in zip(many["id"].truths, many["id"].control_truths, strict=True))
    for question, control in zip(many["history"].questions, many["history"].control, strict=True):
        lines = [re.findall(r"^\d+\. (.*)$", text, re.MULTILINE) for text in (question, control)]
        assert lines[0] != lines[1]
        assert sorted(lines[0]) == sorted(lines[1])


def test_intervals_are_those_of_the_books():
    # Newcombe 1998, tables I and II: 81 of 263, and 56/70 against 48/80.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert wilson(29, 29) == pytest.approx((0.8830, 1.0), abs=1e-4)
    assert difference(56, 70, 48, 80) == pytest.approx((0.0524, 0.3339), abs=1e-4)
    assert difference(10, 10, 0, 10) == pytest.approx((0.6075, 1.0), abs=1e-4)
    assert difference(0, 200, 0, 200)[0] < 0
