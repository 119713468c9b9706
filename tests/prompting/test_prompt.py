"""`llmseq prompt` against a loopback server: from a job or a base model to a row of the leaderboard."""

import json
import signal
import time

import numpy as np
import pytest
from support.chat_server import session_titles
from support.embedding_server import KEY as EMBEDDING_KEY
from support.embedding_server import EmbeddingServer, vector_of
from support.prompting_steps import BASE, ON, clairvoyant, dataset_of, prompt, rows
from support.warm import Command

from llmseq_cli import EmbedOptions, IngestOptions, TrainOptions


def test_a_clairvoyant_fine_tuned_model_is_first_on_the_leaderboard(llmseq, server, ready):
    server.answer = clairvoyant(dataset_of(ready))
    job = llmseq("finetune", *ON, "--wait", "--json").json
    made = prompt(llmseq, job["job"], "--samples", "3")
    n = len(dataset_of(ready).test)
    assert (made["label"], made["sessions"], made["hr@10"], made["ndcg@20"]) == ("LLMSeqPromptGenItem", n, 1.0, 1.0)
    assert (made["figures"]["hallucination_rate"], made["figures"]["answers"]) == (0.0, 3 * n)
    assert llmseq("report", "--json").json[0]["run"] == made["run"]
    bodies = [body for path, body in server.bodies if path.endswith("completions")]
    assert {(body["model"], body["n"], body["temperature"], body["top_p"]) for body in bodies} == {
        (job["model"], 3, 0.25, 1.0)
    }
    kinds = rows(llmseq, "select kind, count(*) as n from answers group by all")
    assert kinds == [{"kind": "exact", "n": 3 * n}]
    usage = rows(llmseq, "select requests, replies, prompt_tokens, cost_usd from prompt_usage")
    assert (usage[0]["requests"], usage[0]["replies"]) == (n, 3 * n)
    assert made["figures"]["cost_usd"] == pytest.approx(usage[0]["cost_usd"])
    completion = made["figures"]["completion_tokens"]
    assert usage[0]["cost_usd"] == pytest.approx((usage[0]["prompt_tokens"] * 0.8 + completion * 3.2) / 1e6)


@pytest.mark.parametrize("task", ["genlist", "classify", "rank"])
def test_tasks_that_list_items_end_to_end(llmseq, server, ready, task):
    dataset = dataset_of(ready)
    titles = list(dataset.catalog.titles)

    def answer(question, sample):
        options = [line[2:] for line in question.splitlines() if line.startswith("- ")] or titles[:5]
        return "Here you are:\n" + "\n".join(f"{n}. {title}" for n, title in enumerate(options[:5][::-1], 1))

    server.answer = answer
    words = ["-k", "5", "--clusters", "8", "--task", task]
    llmseq("finetune", *ON, *words, "--wait")
    made = prompt(llmseq, "latest")
    base = prompt(llmseq, "latest", "--base-model", BASE)
    assert base["label"] == made["label"] + " (base)"
    assert (base["ndcg@20"], base["hr@20"]) == (made["ndcg@20"], made["hr@20"])
    assert made["figures"]["parse_failures"] == made["figures"]["hallucination_rate"] == 0
    said = rows(llmseq, f"select session, place, item from answers where run = '{made['run']}'")
    listed = rows(llmseq, f"select session, rank, item from recommendations where run = '{made['run']}'")
    prompts, ids = dataset.test.histories(), dataset.catalog.external_ids
    for place, session_id in enumerate(dataset.test.ids[:5]):
        name = rows(llmseq, f"select external_id from core.session where session_id = {session_id}")[0]["external_id"]
        named = [row["item"] for row in sorted(said, key=lambda row: row["place"]) if row["session"] == name]
        kept = [item for item in named if item not in set(ids[prompts[place]])]
        assert [row["item"] for row in sorted(listed, key=lambda row: row["rank"]) if row["session"] == name] == kept


def test_candidates_are_the_run_s_lists_and_the_truth_is_not_slipped_in(llmseq, server, ready):
    server.answer = lambda question, sample: "nothing"
    prompt(llmseq, "--base-model", BASE, "--task", "rank", "-k", "4")
    lists = rows(llmseq, "select session, item from recommendations where run = 'llmseqsim-1' and rank <= 4")
    dataset = dataset_of(ready)
    title_of = dict(zip(dataset.catalog.external_ids, dataset.catalog.titles, strict=True))
    wanted = {}
    for row in lists:
        wanted.setdefault(row["session"], set()).add(title_of[row["item"]])
    questions = [body["messages"][-1]["content"] for path, body in server.bodies if path.endswith("completions")]
    asked = [{line[2:] for line in question.splitlines() if line.startswith("- ")} for question in questions]
    assert sorted(map(sorted, asked)) == sorted(map(sorted, wanted.values()))


def test_only_what_is_missing_is_asked(llmseq, server, ready):
    server.answer = clairvoyant(dataset_of(ready))
    words = ["--base-model", BASE, "--samples", "2"]
    first = prompt(llmseq, *words, "--limit", "5")
    assert (first["sessions"], sum(server.paid.values())) == (5, 10)
    assert prompt(llmseq, *words, "--limit", "5")["run"] == first["run"]
    assert sum(server.paid.values()) == 10
    n = len(dataset_of(ready).test)
    prompt(llmseq, *words)
    assert sum(server.paid.values()) == 2 * n
    prompt(llmseq, "--base-model", BASE, "--samples", "3")
    assert sum(server.paid.values()) == 3 * n
    assert set(server.paid.values()) == {3}


def test_faults_in_one_call_of_five_lose_nothing(llmseq, server, ready, monkeypatch):
    monkeypatch.setattr("llmseq_cli.clients.retries.random.uniform", lambda low, high: 0.0)
    server.answer, server.fault_share = clairvoyant(dataset_of(ready)), 0.2
    made = prompt(llmseq, "--base-model", BASE, "--samples", "4")
    n = len(dataset_of(ready).test)
    assert (made["hr@20"], made["figures"]["answers"]) == (1.0, 4 * n)
    samples = rows(llmseq, "select session_id, count(distinct sample) as n from core.reply group by all")
    assert {row["n"] for row in samples} == {4}
    assert sum(server.faults.values()) > 2


@pytest.mark.parametrize("how", ["one at a time", "refuses n", "other word for the limit"])
def test_servers_that_speak_a_dialect(llmseq, server, ready, how):
    server.answer = clairvoyant(dataset_of(ready))
    server.most_choices = 1 if how == "one at a time" else 128
    server.refuses_n = how == "refuses n"
    server.most_choices = 1 if server.refuses_n else server.most_choices
    server.wants = "max_completion_tokens" if how == "other word for the limit" else "max_tokens"
    made = prompt(llmseq, "--base-model", BASE, "--samples", "3")
    assert made["hr@20"] == 1.0
    assert set(server.paid.values()) == {3}


def test_refused_prompts_are_counted_and_asked_again_on_demand(llmseq, server, ready):
    dataset = dataset_of(ready)
    server.answer = clairvoyant(dataset)
    server.forbidden = (dataset.catalog.titles[dataset.test.histories()[0][0]],)
    words = ["--base-model", BASE, "--samples", "2", "--concurrency", "1"]
    made = prompt(llmseq, *words)
    refused = made["figures"]["refused_answers"]
    assert refused >= 2
    assert made["hr@20"] == pytest.approx(1 - refused / 2 / len(dataset.test))
    before = len(server.requests)
    assert prompt(llmseq, *words)["run"] == made["run"]
    assert len(server.requests) == before
    server.forbidden = ()
    assert prompt(llmseq, *words, "--retry-refused")["hr@20"] == 1.0
    assert set(server.paid.values()) == {2}


def test_every_prompt_refused_ends_it(llmseq, server, ready):
    server.forbidden = ("Which",)
    ended = llmseq("prompt", "--base-model", BASE)
    assert (ended.status, "refuses every prompt" in ended.err) == (1, True)
    server.forbidden, server.answer = (), clairvoyant(dataset_of(ready))
    assert prompt(llmseq, "--base-model", BASE, "--samples", "1")["hr@20"] == 1.0


def test_empty_and_wrong_answers_are_misses_and_counted(llmseq, server, ready):
    title = dataset_of(ready).catalog.titles[3]
    said = ["", f'**"{title.upper()}!"**', f"a {title} of sorts", "§§§"]
    server.answer = lambda question, sample: said[sample % 4]
    made = prompt(llmseq, "--base-model", BASE, "--samples", "4")
    n = len(dataset_of(ready).test)
    kinds = rows(llmseq, "select kind, count(*) as n from answers group by all order by kind")
    assert {row["kind"]: row["n"] for row in kinds} == {"empty": 2 * n, "nearest": n, "normalised": n}
    figures = made["figures"]
    assert (figures["empty_answers"], figures["parse_failures"]) == (n, 0)
    assert figures["hallucination_rate"] == pytest.approx(2 / 3)
    assert 0 < figures["hallucination_similarity"] < 1
    assert figures["unique_recommendations"] == 3
    nothing = rows(llmseq, "select count(*) as n from answers where kind = 'empty' and item is not null")
    assert nothing == [{"n": 0}]


def test_a_language_model_s_run_recommends_for_no_other_session(llmseq, server, ready):
    run = prompt(llmseq, "--base-model", BASE, "--samples", "1")["run"]
    for words in (["recommend", run, "i00"], ["train", "blend", "--runs", f"llmseqsim-1,{run}"]):
        refused = llmseq(*words)
        assert (refused.status, "name the run of a trained model" in refused.err) == (2, True), refused.err


def test_money_runs_out(llmseq, server, ready, tmp_path):
    server.answer = lambda question, sample: "nothing " * 50
    plan = llmseq("prompt", "--base-model", BASE, "--dry-run", "--json").json
    n = len(dataset_of(ready).test)
    assert (plan["requests"], plan["answers"]) == (n, 20 * n)
    assert plan["cost_usd"] == pytest.approx((plan["prompt_tokens"] * 0.4 + plan["completion_tokens"] * 1.6) / 1e6)
    assert server.requests == []
    ended = llmseq("prompt", "--base-model", BASE, "--max-cost", plan["cost_usd"] / 3, "--concurrency", "1")
    assert (ended.status, "stopped before --max-cost" in ended.err) == (1, True)
    assert 0 < sum(server.paid.values()) < 20 * n
    prompt(llmseq, "--base-model", BASE, "--max-cost", plan["cost_usd"] * 20)
    assert set(server.paid.values()) == {20}
    assert llmseq("prompt", "--base-model", "unknown", "--max-cost", 1).status == 2


def test_wrong_keys_models_and_words_are_explained(llmseq, server, ready, monkeypatch):
    unknown = llmseq("prompt", "--base-model", "gpt-0")
    assert (unknown.status, "gpt-0" in unknown.err) == (1, True)
    assert llmseq("prompt").status == 2
    llmseq("finetune", *ON)
    unfinished = llmseq("prompt", "latest", "--limit", "2")
    assert (unfinished.status, "jobs wait genitem-1" in unfinished.err) == (1, True)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong-key-123456")
    ended = llmseq("prompt", "--base-model", BASE)
    assert (ended.status, "does not accept the key" in ended.err, "sk-wrong" in ended.err) == (1, True, False)


def test_prompts_that_do_not_fit_lose_their_oldest_items(llmseq, server, ready):
    server.answer = lambda question, sample: "nothing"
    whole = llmseq("prompt", "--base-model", BASE, "--dry-run", "--json").json
    assert (whole["cut"], whole["unasked"]) == (0, 0)
    made = prompt(llmseq, "--base-model", BASE, "--samples", "1", "--max-tokens", "30", "--context", "120")
    assert made["figures"]["cut_sessions"] > 0
    dataset = dataset_of(ready)
    newest = {dataset.catalog.titles[dataset.test.histories()[place][-1]] for place in range(len(dataset.test))}
    questions = [body["messages"][-1]["content"] for path, body in server.bodies if path.endswith("completions")]
    assert {session_titles(question)[-1] for question in questions} <= newest
    none = prompt(llmseq, "--base-model", BASE, "--samples", "1", "--max-tokens", "30", "--context", "40")
    assert none["figures"]["unasked_sessions"] == none["sessions"]
    assert none["hr@20"] == 0


def test_the_template_of_tallrec(llmseq, server, ready):
    server.answer = clairvoyant(dataset_of(ready))
    made = prompt(llmseq, "--base-model", BASE, "--template", "tallrec", "--samples", "1")
    assert (made["label"], made["hr@20"]) == ("TALLRec (base)", 1.0)
    body = server.bodies[-1][1]
    assert [message["role"] for message in body["messages"]] == ["user"]
    assert body["messages"][0]["content"].endswith("### Response:")


def test_unknown_answers_are_embedded_by_the_items_source(llmseq, server, shop, monkeypatch):
    embedder = EmbeddingServer()
    try:
        monkeypatch.setenv("OPENAI_API_KEY", EMBEDDING_KEY)
        shop.embed(EmbedOptions("openai", base_url=embedder.url))
        server.key, server.answer = EMBEDDING_KEY, lambda question, sample: f"invented thing {sample % 2}"
        embedder.paid.clear()
        made = prompt(llmseq, "--base-model", BASE, "--samples", "4", "--base-url", server.url)
        assert embedder.paid == {"invented thing 0": 1, "invented thing 1": 1}
        prompt(llmseq, "--base-model", BASE, "--samples", "5", "--base-url", server.url)
        assert set(embedder.paid.values()) == {1}
    finally:
        embedder.stop()
    catalog = dataset_of(shop).catalog
    vectors = np.stack([vector_of(title, 16) for title in catalog.titles])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[~catalog.in_train] = -vectors[~catalog.in_train]
    said = rows(llmseq, f"select distinct text, item, similarity from answers where run = '{made['run']}'")
    for row in said:
        vector = vector_of(row["text"], 16)
        products = np.where(catalog.in_train, vectors @ (vector / np.linalg.norm(vector)), -np.inf)
        assert catalog.external_ids[products.argmax()] == row["item"]
        assert row["similarity"] == pytest.approx(products.max(), abs=1e-5)


def test_killed_while_asking(llmseq, server, ready, tmp_path):
    """kill -9 in the middle: what was answered and written stays, and only the rest is asked for."""
    server.answer, server.latency = clairvoyant(dataset_of(ready)), 0.15
    child = Command("prompt", "--base-model", BASE, "--samples", "2", "--concurrency", "1")
    deadline = time.monotonic() + 60
    while sum(server.paid.values()) < 10 and time.monotonic() < deadline:
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    time.sleep(0.4)
    server.latency = 0
    paid = sum(server.paid.values())
    n = len(dataset_of(ready).test)
    kept = 2 * n - llmseq("prompt", "--base-model", BASE, "--samples", "2", "--dry-run", "--json").json["answers"]
    assert 8 <= kept <= paid <= kept + 2  # both answers to the question that was under way
    made = prompt(llmseq, "--base-model", BASE, "--samples", "2")
    assert made["hr@20"] == 1.0
    assert sum(server.paid.values()) == 2 * n + paid - kept
    left = (tmp_path / "workspace" / "artifacts" / "answers").iterdir()
    assert {file.suffix for file in left} <= {".lock"}


def test_the_workspace_is_healthy_and_answers_go_with_their_dataset(llmseq, server, ready, shop_files):
    server.answer = clairvoyant(dataset_of(ready))
    prompt(llmseq, "--base-model", BASE, "--samples", "1")
    assert ready.health() == []
    clicks, items = shop_files
    ready.ingest(IngestOptions([clicks], "shop", items=[items], replace=True))
    assert rows(llmseq, "select count(*) as n from core.answer") == [{"n": 0}]
    assert json.dumps(rows(llmseq, "select count(*) as n from answers")) == '[{"n": 0}]'


def test_two_programs_never_ask_the_same(llmseq, server, ready):
    server.answer = clairvoyant(dataset_of(ready))
    seen = []

    def meanwhile(path):
        if path.endswith("completions") and not seen:
            seen.append(None)
            other = Command("prompt", "--base-model", BASE, "--wait-for-lock")
            seen.append((other.wait(60), other.err))

    server.after = meanwhile
    prompt(llmseq, "--base-model", BASE, "--concurrency", "1")
    assert seen[1][0] == 1
    assert "another llmseq process is running this prompt job" in seen[1][1]
    assert set(server.paid.values()) == {20}


def test_without_embeddings_nothing_is_asked(llmseq, server, shop):
    ended = llmseq("prompt", "--base-model", BASE)
    assert (ended.status, "llmseq embed" in ended.err) == (1, True)
    assert server.requests == []


def test_answers_without_a_choice_are_not_waited_for_forever(llmseq, server, ready, monkeypatch):
    monkeypatch.setattr("llmseq_cli.clients.retries.random.uniform", lambda low, high: 0.0)
    server.script = [(200, {"choices": []}), (200, {"choices": [{"text": "x"}]}), (200, {"choices": None})] * 9
    ended = llmseq("prompt", "--base-model", BASE, "--concurrency", "1")
    assert (ended.status, "makes no sense" in ended.err, "check the model" in ended.err) == (1, True, True)
    assert len(server.requests) <= 6  # three of each of two questions


def test_a_job_says_what_is_asked(llmseq, server, ready):
    llmseq("finetune", *ON, "--wait")
    for words in (["-k", "5"], ["--template", "tallrec"], ["--task", "rank"], ["--seed", "3"]):
        assert llmseq("prompt", "latest", *words).status == 2, words
    assert llmseq("prompt", "latest", "--task", "genitem", "--embeddings", "lexical", "--dry-run").status == 0


def test_candidates_of_models_that_know_the_sessions_are_pointed_out(llmseq, ready):
    ready.train(TrainOptions("sknn"))
    told = llmseq("finetune", "--task", "rank", "--candidates", "sknn", "--show", "1")
    assert (told.status, "was trained on these sessions" in told.err) == (0, True)
    assert "was trained on" not in llmseq("finetune", "--task", "rank", "--show", "1").err


def test_more_samples_than_an_answer_holds(llmseq, server, ready):
    server.answer = clairvoyant(dataset_of(ready))
    made = prompt(llmseq, "--base-model", BASE, "--samples", "150", "--limit", "2")
    assert made["figures"]["answers"] == 300
    assert sorted(body["n"] for path, body in server.bodies if path.endswith("completions")) == [22, 22, 128, 128]
