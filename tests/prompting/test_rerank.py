"""`llmseq rerank` against a loopback server: lists in a new order, stored as a run."""

import json
import math
import os
import random
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from support.chat_server import KEY
from support.prompting_steps import BASE, ON, dataset_of, prompt, rows
from support.rerank_steps import history, hits_at, lists_of, oracle, rerank, shown, truths

from llmseq_cli import IngestOptions, Protocol, TrainOptions
from llmseq_cli.data.sessions import Sessions
from llmseq_cli.errors import UsageError
from llmseq_cli.models.reranked import Reranked, RerankedSettings
from llmseq_cli.prompting.rerank.listwise import Listwise
from llmseq_cli.prompting.rerank.pairwise import Pairwise
from llmseq_cli.prompting.rerank.reading import ReadOrder, read_labels, read_titles


@pytest.mark.parametrize("words", [[], ["--window", "3", "--step", "2"], ["--shuffles", "3"], ["--method", "pairwise"]])
def test_an_oracle_reaches_the_hits_of_the_candidates(llmseq, server, ready, words):
    server.answer, top = oracle(dataset_of(ready)), 6
    made = rerank(llmseq, "llmseqsim", "--top", top, *words)
    candidates = hits_at(llmseq, "llmseqsim-1", top)
    assert 0.5 < candidates < 0.9
    assert hits_at(llmseq, made["run"], 1) == pytest.approx(candidates)
    assert (made["label"], made["settings"]["run"]) == ("LLMSeqSim reranked", "llmseqsim-1")
    assert made["figures"]["answers"] == sum(server.paid.values())
    assert not any(made["figures"].get(name) for name in ("repaired_answers", "left_out", "invented", "repeated"))
    before, after = lists_of(llmseq, "llmseqsim-1"), lists_of(llmseq, made["run"])
    assert {session: items[top:] for session, items in after.items()} == {
        session: items[top:] for session, items in before.items()
    }
    assert {session: sorted(items) for session, items in after.items()} == {
        session: sorted(items) for session, items in before.items()
    }


def test_a_random_server_falls_to_expectation(llmseq, server, ready):
    drawn = random.Random(3)
    server.answer = lambda question, sample: ", ".join(f"[{n}]" for n in drawn.sample(range(1, 7), 6))
    found = []
    for seed in range(4):
        run = rerank(llmseq, "llmseqsim", "--top", "6", "--seed", seed)["run"]
        assert hits_at(llmseq, run, 6) == hits_at(llmseq, "llmseqsim-1", 6)
        found.append(hits_at(llmseq, run, 2))
    expected, n = hits_at(llmseq, "llmseqsim-1", 6) * 2 / 6, 4 * len(dataset_of(ready).test)
    assert sum(found) / 4 == pytest.approx(expected, abs=2.5 * (expected * (1 - expected) / n) ** 0.5)


def test_a_server_that_takes_the_first_shown_learns_nothing_of_the_run_s_order(llmseq, server, ready):
    """Candidates are shown shuffled: without the shuffle it would return the run's own lists."""
    server.answer = lambda question, sample: " > ".join(f"[{label}]" for label in shown(question))
    assert "100% of answers; about 5% by chance" in llmseq("rerank", "llmseqsim", "--model", BASE).out
    unshuffled = rerank(llmseq, "llmseqsim", "--shuffles", "0")
    assert lists_of(llmseq, unshuffled["run"]) == lists_of(llmseq, "llmseqsim-1")
    assert unshuffled["ndcg@20"] > rerank(llmseq, "llmseqsim", "--shuffles", "2")["ndcg@20"] + 0.1


def test_answers_are_repaired_by_rule_and_counted(llmseq, server, ready):
    server.answer = lambda question, sample: "[3] > [99] > [3] > [1]"
    made = rerank(llmseq, "llmseqsim", "--top", "5", "--shuffles", "0")
    for session, items in lists_of(llmseq, "llmseqsim-1").items():
        wanted = [items[2], items[0], items[1], items[3], items[4], *items[5:]]
        assert lists_of(llmseq, made["run"])[session] == wanted
    n = len(dataset_of(ready).test)
    figures = made["figures"]
    assert (figures["answers"], figures["repaired_answers"]) == (n, n)
    assert (figures["invented"], figures["repeated"], figures["left_out"]) == (n, n, 3 * n)
    shown_in_words = llmseq("rerank", "llmseqsim", "--model", BASE, "--top", "5", "--shuffles", "0")
    assert f"{n:,} repaired" in shown_in_words.out
    told = llmseq("report", "--prompting").out
    assert made["run"] in told


def test_titles_that_look_like_answers_do_no_harm(llmseq, server, workspace_of_titles):
    titles = ["Yes", "No", "1.", "[2]", "3", "> [4] >", "2. Skin", "twin", "twin", "", "[1] > [2]"]
    workspace = workspace_of_titles(titles)
    by_label = oracle(dataset_of(workspace))

    def with_titles(question, sample):
        shown_titles = shown(question)
        labels = by_label(question, sample).split(" > ")
        return "\n".join(f"{label} {shown_titles[int(label[1:-1])]}" for label in labels)

    before = lists_of(llmseq, "most-popular-1")
    for seed, answer in enumerate((by_label, with_titles)):
        server.answer = answer
        made = rerank(llmseq, "most-popular", "--seed", seed)
        assert not any(made["figures"][name] for name in ("repaired_answers", "invented", "repeated"))
        after = lists_of(llmseq, made["run"])
        for session, items in before.items():
            assert sorted(items) == sorted(after[session])
            # An item without a title keeps its place.
            assert [n for n, item in enumerate(items) if item == "i9"] == [
                n for n, item in enumerate(after[session]) if item == "i9"
            ]
        told = rows(llmseq, f"select ground_truth, rank from ranks where run = '{made['run']}'")
        ranks = {row["ground_truth"]: set() for row in told}
        for row in told:
            ranks[row["ground_truth"]].add(row["rank"])
        # A twin of the truth cannot be told from it; one place is the untitled item's, where that stands on top.
        for item, found in ranks.items():
            assert max(found) <= 1 + (item in ("i7", "i8")) + 1 or item == "i9", (item, found)


@pytest.fixture
def workspace_of_titles(tmp_path, prepared):
    """A small dataset whose items have these titles, with a run of most-popular."""

    def make(titles):
        from llmseq_cli.workspace import Workspace

        drawn = random.Random(5)
        clicks, items = tmp_path / "titles.csv", tmp_path / "titled.csv"
        quoted = [title.replace('"', '""') for title in titles]
        items.write_text(
            "item_id,title\n" + "".join(f'i{n},"{title}"\n' for n, title in enumerate(quoted)), encoding="utf-8"
        )
        lines = ["user_id,item_id,timestamp"]
        for user in range(60):
            for step, item in enumerate(drawn.sample(range(len(titles)), 4)):
                lines.append(f"u{user},i{item},{1_600_000_000 + 3600 * user + step}")
        clicks.write_text("\n".join(lines), encoding="utf-8")
        workspace = Workspace(tmp_path / "workspace")
        workspace.ingest(IngestOptions([clicks], "odd", items=[items], protocol=Protocol(k_core=0)))
        workspace.train(TrainOptions("most-popular"))
        return workspace

    return make


def test_faults_lose_nothing_and_nothing_is_asked_twice(llmseq, server, ready, monkeypatch):
    monkeypatch.setattr("llmseq_cli.clients.retries.random.uniform", lambda low, high: 0.0)
    server.answer, server.fault_share = oracle(dataset_of(ready)), 0.2
    words = ["llmseqsim", "--top", "8", "--window", "4", "--step", "2"]
    made = rerank(llmseq, *words)
    assert hits_at(llmseq, made["run"], 1) == pytest.approx(hits_at(llmseq, "llmseqsim-1", 8))
    assert sum(server.faults.values()) > 2
    server.fault_share = 0.0
    asked = len(server.requests)
    assert rerank(llmseq, *words)["run"] == made["run"]
    assert len(server.requests) == asked
    kept = rows(llmseq, "select count(*) as n, count(distinct (session_id, prompt_hash)) as different from core.reply")
    assert kept[0]["n"] == kept[0]["different"] == made["figures"]["answers"]


def test_more_sessions_and_shuffles_add_to_what_is_there(llmseq, server, ready):
    server.answer = oracle(dataset_of(ready))
    first = rerank(llmseq, "llmseqsim", "--limit", "5")
    assert (first["sessions"], sum(server.paid.values())) == (5, 5)
    n = len(dataset_of(ready).test)
    rerank(llmseq, "llmseqsim")
    assert sum(server.paid.values()) == n
    rerank(llmseq, "llmseqsim", "--shuffles", "2")
    assert sum(server.paid.values()) == 2 * n
    assert set(server.paid.values()) == {1}


def test_the_plan_and_the_cap(llmseq, server, ready):
    server.answer = lambda question, sample: "nothing " * 60
    plan = llmseq("rerank", "llmseqsim", "--model", BASE, "--top", "30", "--dry-run", "--json").json
    n = len(dataset_of(ready).test)
    assert (plan["requests"], plan["rounds"], plan["sessions"]) == (2 * n, 2, n)
    assert plan["cost_usd"] == pytest.approx((plan["prompt_tokens"] * 0.4 + plan["completion_tokens"] * 1.6) / 1e6)
    assert server.requests == []
    words = ["llmseqsim", "--top", "30", "--max-cost", plan["cost_usd"] / 3, "--concurrency", "1", "--model", BASE]
    ended = llmseq("rerank", *words)
    assert (ended.status, "stopped before --max-cost" in ended.err) == (1, True), ended.err
    assert 0 < sum(server.paid.values()) < 2 * n
    assert llmseq("rerank", "llmseqsim", "--model", "unknown", "--max-cost", 1).status == 2


def test_killed_while_asking(llmseq, server, ready, tmp_path):
    server.answer, server.latency = oracle(dataset_of(ready)), 0.1
    words = ["rerank", "llmseqsim", "--model", BASE, "--top", "8", "--window", "4", "--step", "4"]
    environment = os.environ | {"OPENAI_API_KEY": KEY, "LLMSEQ_WORKSPACE": str(tmp_path / "workspace")}
    child = subprocess.Popen([sys.executable, "-m", "llmseq_cli", *words, "--concurrency", "1"], env=environment,
                             stderr=subprocess.DEVNULL)  # fmt: skip
    n = len(dataset_of(ready).test)
    deadline = time.monotonic() + 60
    while sum(server.paid.values()) < n + 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    time.sleep(0.3)
    server.latency = 0
    paid = sum(server.paid.values())
    kept = 2 * n - llmseq(*words, "--dry-run", "--json").json["requests"]
    assert n < kept <= paid <= kept + 1
    made = llmseq(*words, "--json").json[0]
    assert sum(server.paid.values()) == 2 * n + paid - kept
    assert made["figures"]["repaired_answers"] == 0


def test_a_fine_tuned_model_is_asked_in_the_words_it_learnt(llmseq, server, ready):
    dataset = dataset_of(ready)
    by_title = {str(title): n for n, title in enumerate(dataset.catalog.titles)}

    def answer(question, sample):
        listed = [line[2:] for line in question.splitlines() if line.startswith("- ")]
        return "\n".join(f"{n}. {title}" for n, title in enumerate(sorted(listed, key=by_title.get), 1))

    server.answer = answer
    llmseq("finetune", "--task", "rank", *ON, "--wait")
    made = rerank(llmseq, "llmseqsim", "--top", "6", model="rank-1")
    assert made["settings"]["job"] == "rank-1"
    assert {body["model"] for path, body in server.bodies if path.endswith("completions")} == {
        made["settings"]["model"]
    }
    for items in lists_of(llmseq, made["run"]).values():
        assert items[:6] == sorted(items[:6])
    assert made["figures"]["repaired_answers"] == 0


def test_a_blend_of_a_re_ranked_run(llmseq, server, ready):
    server.answer = oracle(dataset_of(ready))
    ready.train(TrainOptions("v-sknn"))
    run = rerank(llmseq, "llmseqsim")["run"]
    refused = llmseq("train", "blend", "--runs", f"v-sknn,{run}")
    assert (refused.status, "--validation" in refused.err) == (2, True), refused.err
    given = llmseq("train", "blend", "--runs", f"v-sknn,{run}", "--set", "weights=0.01,0.99", "--json")
    assert given.status == 0, given.err
    assert given.json[0]["hr@10"] >= hits_at(llmseq, run, 10) - 0.1

    def fair(question, sample):
        candidates = shown(question)
        return " > ".join(f"[{label}]" for label in sorted(candidates, key=candidates.get))

    server.answer = fair
    made = rerank(llmseq, "llmseqsim", "--validation", "--seed", "1")
    assert 0 <= made["figures"]["validation_ndcg"] <= 1
    learnt = llmseq("train", "blend", "--runs", f"v-sknn,{made['run']}", "--json")
    assert learnt.status == 0, learnt.err
    assert learnt.json[0]["sessions"] == made["sessions"]


def test_other_uses_of_a_re_ranked_run(llmseq, server, ready, tmp_path):
    server.answer = oracle(dataset_of(ready))
    run = rerank(llmseq, "llmseqsim")["run"]
    for words in (["recommend", run, "i00"], ["export", run, "--format", "bundle", "--out", tmp_path / "b"],
                  ["finetune", "--task", "rank", "--candidates", run, "--show", "1"],
                  ["train", "rerank", "--runs", "llmseqsim"]):  # fmt: skip
        refused = llmseq(*words)
        assert (refused.status, "hint" in refused.err) == (2, True), (words, refused.err)
    assert "llmseq rerank RUN" in refused.err
    exported = llmseq("export", run, "--format", "csv", "--out", tmp_path / "lists.csv")
    assert exported.status == 0, exported.err
    assert (tmp_path / "lists.csv").stat().st_size > 0
    again = rerank(llmseq, run, "--top", "5")
    assert (again["settings"]["run"], again["label"]) == (run, "LLMSeqSim reranked reranked")
    assert llmseq("show", run).status == 0
    assert ready.health() == []


def test_runs_of_language_models_are_put_in_order_too(llmseq, server, ready):
    titles = list(dataset_of(ready).catalog.titles)
    server.answer = lambda question, sample: titles[sample % 7]
    asked = prompt(llmseq, "--base-model", BASE, "--limit", "6")
    server.answer = oracle(dataset_of(ready))
    made = rerank(llmseq, asked["run"], "--top", "5")
    assert (made["sessions"], hits_at(llmseq, made["run"], 1)) == (6, hits_at(llmseq, asked["run"], 5))
    assert llmseq("rerank", asked["run"], "--model", BASE, "--validation").status == 2


def test_wrong_words_are_explained(llmseq, server, ready, monkeypatch):
    told = [
        (["nothing", "--model", BASE], 1, "there is no run"),
        (["llmseqsim", "--model", BASE, "--top", "101"], 2, "--top 100"),
        (["llmseqsim", "--model", BASE, "--method", "listwize"], 2, "listwise"),
        (["llmseqsim", "--model", BASE, "--step", "30"], 2, "--window"),
        (["llmseqsim", "--model", BASE, "--rounds", "2"], 2, "pairwise"),
        (["llmseqsim", "--model", BASE, "--template", "none.toml"], 2, "none.toml"),
        (["llmseqsim"], 2, "--model"),
        (["llmseqsim", "--model", "gpt-0"], 1, "gpt-0"),
    ]
    for words, status, said in told:
        ended = llmseq("rerank", *words)
        assert (ended.status, said in ended.err) == (status, True), (words, ended.err)
    server.answer = lambda question, sample: "nothing"
    empty = prompt(llmseq, "--base-model", BASE, "--samples", "1", "--context", "40", "--max-tokens", "30")["run"]
    ended = llmseq("rerank", empty, "--model", BASE)
    assert (ended.status, "no recommendations" in ended.err) == (2, True), ended.err
    monkeypatch.delenv("OPENAI_API_KEY")
    ended = llmseq("rerank", "llmseqsim", "--model", BASE)
    assert (ended.status, "OPENAI_API_KEY" in ended.err) == (1, True), ended.err


def test_a_tournament_counts_answers_that_depend_on_the_order(llmseq, server, ready):
    server.answer = lambda question, sample: "[1]"
    made = rerank(llmseq, "llmseqsim", "--top", "5", "--method", "pairwise", "--rounds", "2")
    assert lists_of(llmseq, made["run"]) == lists_of(llmseq, "llmseqsim-1")
    figures, n = made["figures"], len(dataset_of(ready).test)
    assert figures["comparisons"] == figures["undecided_comparisons"] == 4 * n
    assert figures["answers"] == 8 * n == sum(server.paid.values())


def test_yes_by_its_log_probability(llmseq, server, ready):
    known = truths(dataset_of(ready))

    def first_tokens(question):
        is_truth = re.search(r"in question:\n- (.*)\n", question)[1] == known[history(question, before="The product")]
        return [("Sure", -0.1), (" yes", -0.2 if is_truth else -3.0), ("No", -2.5), ("NO", -2.5)]

    server.first_tokens, server.most_logprobs = first_tokens, 5
    words = ["llmseqsim", "--top", "6", "--method", "pointwise-yes"]
    made = rerank(llmseq, *words)
    assert hits_at(llmseq, made["run"], 1) == hits_at(llmseq, "llmseqsim-1", 6)
    n = len(dataset_of(ready).test)
    assert (made["figures"]["answers"], made["figures"]["left_out"]) == (6 * n, 0)
    [kept] = rows(llmseq, "select text, count(*) as n from core.reply where text like '[-0.2%' group by all")
    assert json.loads(kept["text"]) == pytest.approx([-0.2, math.log(2 * math.exp(-2.5))], abs=1e-5)
    body = server.bodies[-1][1]
    assert (body["logprobs"], body["top_logprobs"], body["max_tokens"]) == (True, 5, 1)
    server.first_tokens = lambda question: []
    ended = llmseq("rerank", *words, "--seed", "1", "--temperature", "1", "--model", BASE)
    assert (ended.status, "listwise" in ended.err) == (1, True), ended.err
    by_title = llmseq("rerank", "llmseqsim", "--method", "pointwise-title", "--model", BASE)
    assert (by_title.status, "pointwise-yes" in by_title.err) == (2, True), by_title.err


def test_a_local_model_by_the_exact_log_probability_of_titles(llmseq, ready):
    words = ["--provider", "local", "--set", "dim=16", "--set", "layers=1", "--set", "heads=2", "--top", "4"]
    words += ["--set", "title_epochs=0", "--set", "vocabulary=300"]
    made = rerank(llmseq, "llmseqsim", *words, "--method", "pointwise-title", "--limit", "6", model="scratch")
    told = rows(llmseq, "select session_id, text from core.reply")
    assert len(told) == made["sessions"] == 6
    before, after = lists_of(llmseq, "llmseqsim-1"), lists_of(llmseq, made["run"])
    for row in told:
        [name] = rows(llmseq, f"select external_id from core.session where session_id = {row['session_id']}")
        values, session = json.loads(row["text"]), name["external_id"]
        order = sorted(range(4), key=lambda place: -values[place])
        assert after[session][:4] == [before[session][place] for place in order]
        assert all(value < 0 for value in values)


@pytest.mark.parametrize(
    ("text", "cut_off", "named", "invented", "repeated"),
    [
        ("[2] > [1]", False, [1, 0], 0, 0),
        ("2, 1, 3", False, [1, 0, 2], 0, 0),
        ("2, 1, 3", True, [1, 0], 0, 0),
        ("Sure! [3] Soap [9] [3]", False, [2], 1, 1),
        ("1. Soap\n2. Yes", False, [2, 0], 0, 0),
        ("Yes", False, [0], 0, 0),
        ("twin\nYES!", False, [3, 4, 0], 0, 0),
        ("none of them", False, [], 1, 0),
        ("", False, [], 0, 0),
        ("[[[", False, [], 1, 0),
        ("1.", False, [0], 0, 0),
    ],
)
def test_answers_are_read(text, cut_off, named, invented, repeated):
    read = read_labels(text, cut_off, ["Yes", "1.", "Soap", "twin", "twin"])
    assert read == ReadOrder(named, invented, repeated)


def test_titles_are_read_as_they_stand():
    titles = ["1.", "2. Skin", "Skin", "No"]
    assert read_titles("2. Skin\n1.\nNo", False, titles).named == [1, 0, 3]
    assert read_titles("1. Skin\n2. No", False, titles).named == [2, 3]


def test_windows_slide_from_the_end_to_the_top():
    lists = np.arange(20, dtype=np.int32).reshape(2, 10)
    lists[1, 7:] = -1
    method = Listwise(lists, np.array([5, 6]), [str(n) for n in range(20)], read_labels, 4, 2, 0, 0)
    assert (method.starts, method.rounds) == ([6, 4, 2, 0], 4)
    for round in range(method.rounds):
        shown = method.show(round)
        items = shown.items(lists)
        # The highest number is always named first, and nothing else.
        answers = [(row, f"[{int(np.argmax(one)) + 1}]", "stop") for row, one in enumerate(items)]
        method.take(shown, answers)
    order = np.take_along_axis(lists, method.order(), axis=1)
    assert order[0].tolist() == [9, 0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert order[1].tolist() == [16, 10, 11, 12, 13, 14, 15, -1, -1, -1]


def test_a_tournament_finds_the_best_whoever_wins_the_other_games():
    random_numbers = np.random.default_rng(4)
    for n in (2, 3, 7, 16, 20, 33):
        lists = np.tile(np.arange(n, dtype=np.int32), (8, 1))
        strength = random_numbers.permutation(n)
        titles = [str(item) for item in range(n)]
        method = Pairwise(lists, titles, read_labels, None)
        met = set()
        for round in range(method.rounds):
            shown = method.show(round)
            items = shown.items(lists)
            pairs = {(row, *sorted(pair)) for row, pair in zip(shown.rows.tolist(), items.tolist(), strict=True)}
            assert not pairs & met
            met |= pairs
            best = np.where(strength[items[:, 0]] > strength[items[:, 1]], 1, 2)
            method.take(shown, [(place, f"[{label}]", "stop") for place, label in enumerate(best)])
        assert (method.order()[:, 0] == strength.argmax()).all()
        assert method.rounds == max(1, math.ceil(math.log2(n)))


def test_kept_lists_are_found_by_session_and_history_alone(tmp_path):
    sessions = Sessions.from_lists([[1, 2], [2, 1], [], [3, 3, 3]])
    model = Reranked(RerankedSettings(runs="v-sknn-1"), 9)
    model.keep([(sessions, np.array([[5, 6], [7, -1], [8, 5], [6, 7]], dtype=np.int32))])
    model.save(tmp_path)
    loaded = Reranked.load(tmp_path, 9)
    assert loaded.recommend(sessions.take(np.array([3, 1])), 3).items.tolist() == [[6, 7, -1], [7, -1, -1]]
    for other in (Sessions.from_lists([[1, 3]]), Sessions.from_lists([[2, 1]])):
        with pytest.raises(UsageError, match="only for the sessions"):
            loaded.recommend(other, 3)


def test_the_first_of_several_splits(llmseq, server, ready):
    server.answer = lambda question, sample: "[2] > [1]"
    assert llmseq("split", "shop", "--split", "users").status == 0
    assert rerank(llmseq, "llmseqsim-1", "--top", "3")["dataset"] == "shop"
