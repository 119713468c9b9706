"""Every command as a user types it: what it prints, what it leaves in the store, how it fails."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from llmseq_cli._version import __version__

MODELS = ["most-popular", "sknn", "v-sknn", "s-sknn", "sf-sknn"]


@pytest.fixture
def trained(shop, llmseq, prepared):
    """The shop with lexical embeddings and two runs."""

    def build(_):
        assert llmseq("embed").status == 0
        assert llmseq("train", "v-sknn", "--set", "k=20").status == 0
        assert llmseq("train", "llmseqsim", "--embeddings", "lexical").status == 0

    return prepared(shop, "neighbours-and-text", build)


def test_version(llmseq):
    assert llmseq("--version").out == f"llmseq {__version__}\n"


def test_without_arguments_help_is_shown(llmseq):
    done = llmseq()
    assert done.status == 0
    assert "Usage: llmseq" in done.out


def test_module_runs_as_a_program(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "llmseq_cli", "datasets", "--workspace", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines()[0].startswith("error: there is no workspace in")
    assert done.stderr.splitlines()[1].startswith("hint: ")


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from llmseq_cli.cli.app import run; run(['--help']);"
        "heavy = {'torch', 'sklearn', 'openai', 'google.genai', 'duckdb', 'numpy', 'scipy', 'pandas', 'transformers'};"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"--help imported {done.stderr}"


def test_every_command_has_help_with_an_example(llmseq):
    from llmseq_cli.cli.app import app

    names = [command.name for command in app.registered_commands]
    assert len(names) == len(set(names)) >= 14
    for name in names:
        done = llmseq(name, "--help")
        assert done.status == 0
        assert f"llmseq {name}" in done.out.split("Example", 1)[1], name
        assert "--json" in done.out, name
        assert all(len(line) <= 80 for line in done.out.splitlines()), name


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["reprot"], "No such command 'reprot'"),
        (["train"], "Missing argument 'MODEL'"),
        (["train", "sknn", "--bogus"], "No such option: --bogus"),
        (["train", "sasrek"], "no model is called 'sasrek'"),
        (["train", "sknn", "--set", "k"], "not of the form key=value"),
        (["train", "sknn", "--set", "kk=3"], "sknn has no setting 'kk'"),
        (["train", "sknn", "--set", "k=0"], "below its minimum"),
        (["train", "sknn", "--embeddings", "lexical"], "sknn does not use item embeddings"),
        (["train", "llmseqsim"], "llmseqsim needs item embeddings"),
        (["ingest", "x.csv", "--name", "a", "--k-core", "many"], "Invalid value for '--k-core'"),
        (["ingest", "x.csv", "--name", "a", "--tie-break", "coin"], "no tie-break is called 'coin'"),
        (["ingest", "x.csv", "--name", "a/b"], "'a/b' cannot name a dataset"),
        (["ingest", "x.csv", "--name", "a", "--k-core", "-1"], "--k-core is -1"),
        (["ingest", "x.csv", "--name", "a", "--min-session", "0"], "--min-session is 0"),
        (["ingest", "x.csv", "--name", "a", "--folds", "21"], "--folds is 21"),
        (["train", "v-sknn", "--device", "gpu"], "there is no device 'gpu'"),
        (["describe", "shop", "--dataset", "other"], "name two datasets"),
        (["train", "v-sknn", "--seed", "-1"], "Invalid value for '--seed'"),
        (["train", "v-sknn", "--seed", "99999999999999999999"], "Invalid value for '--seed'"),
        (["embed", "--text", "foo"], "the text template 'foo' names no attribute"),
        (["embed", "--text", "{title"], "is not well formed"),
        (["embed", "--text", "{title!r:>1000000000}"], "formats an attribute"),
        (["embed", "--text", "{title:>1000000000}"], "formats an attribute"),
        (["sql", " "], "the query is empty"),
        (["sql", "/* only a comment */"], "the query is empty"),
        (["report", "--k", "ten"], "'ten' is not a list of cut-offs"),
        (["sql"], "give either a query or a file"),
        (["embed", "--source", "lexcal"], "there is no embedding source 'lexcal'"),
    ],
)
def test_wrong_usage_is_status_2_and_two_lines(llmseq, shop, words, message):
    done = llmseq(*words)
    assert done.status == 2
    assert done.out == ""
    lines = done.err.splitlines()
    assert lines[0].startswith("error: ")
    assert message in lines[0]
    assert lines[1].startswith("hint: ")
    assert len(lines) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ingest", "missing.csv", "--name", "a"], "missing.csv does not exist"),
        (["ingest", "no-*.csv", "--name", "a"], "no file matches"),
        (["describe", "shoop"], "there is no dataset 'shoop'"),
        (["train", "llmseqsim", "--embeddings", "openai"], "the dataset has no embeddings 'openai'"),
        (["recommend", "latest", "i01"], "there is no run 'latest'"),
        (["sql", "select * from nothing"], "Table with name nothing does not exist"),
        (["sql", "-f", "missing.sql"], "cannot read missing.sql"),
        (["sql", "selec 1"], 'syntax error at or near "selec"'),
        (["sql", "select colour from items"], 'Referenced column "colour" not found'),
        (["embeddings", "--dataset", "shoop"], "there is no dataset 'shoop'"),
        (["embed", "--text", "{colour}"], "has the attribute 'colour'"),
    ],
)
def test_failures_are_status_1_and_two_lines(llmseq, shop, words, message):
    done = llmseq(*words)
    assert done.status == 1
    assert message in done.err.splitlines()[0]
    assert done.err.splitlines()[1].startswith("hint: ")


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["ingest", "x.csv", "--name", "a", "--map", "user"], "for example --map user=visitor,item=sku,time=ts"),
        (["ingest", "x.csv", "--name"], "see `llmseq ingest --help`"),
        (["report", "--bogus"], "see `llmseq report --help`"),
        (["sql", "select * from nothing"], '`llmseq sql "show tables"` lists tables, "describe TABLE" columns'),
        (["train", "llmseqsim", "--embeddings", "99"], "`llmseq embeddings` lists what is there"),
        (
            ["train", "llmseqsim", "--embeddings", "openai:bge"],
            "make them with `llmseq embed --source openai` and --model bge; `llmseq embeddings` lists what is there",
        ),
    ],
)
def test_hints_fit_what_was_typed(llmseq, shop, words, hint):
    assert llmseq(*words).err.splitlines()[1] == f"hint: {hint}"


def test_debug_shows_where(llmseq, shop):
    from llmseq_cli.errors import LlmseqError

    with pytest.raises(LlmseqError):
        llmseq("describe", "shoop", "--debug")


def test_ingest_prints_and_stores(llmseq, shop_files):
    clicks, items = shop_files
    done = llmseq("ingest", clicks, "--items", items, "--name", "shop", "--json")
    assert done.status == 0
    assert done.json["sessions"] == 120
    assert done.json["items"] == 40
    assert done.err == ""
    assert llmseq("sql", "select count(*) as n from interactions", "--json").json == [{"n": done.json["interactions"]}]
    assert "120, on average" in llmseq("ingest", clicks, "--name", "again").out


def test_ingest_refuses_a_taken_name_before_it_reads(llmseq, shop, shop_files):
    done = llmseq("ingest", shop_files[0], "--name", "shop")
    assert done.status == 1
    assert "there is a dataset 'shop' already" in done.err
    assert "--replace" in done.err


def test_replace_takes_runs_and_files_along(llmseq, trained, shop_files):
    runs = trained.folder / "artifacts" / "runs"
    assert len(list(runs.iterdir())) == 2
    done = llmseq("ingest", shop_files[0], "--name", "shop", "--replace", "--json").json
    assert done["runs_removed"] == 2
    assert list(runs.iterdir()) == []
    for view in ("runs", "metrics", "recommendations", "ranks", "item_embeddings"):
        assert llmseq("sql", f"select count(*) as n from {view}", "--json").json == [{"n": 0}]


def test_a_failed_ingest_leaves_no_trace(llmseq, shop, tmp_path):
    bad = tmp_path / "bad.csv"
    bad.write_text("user_id,item_id,timestamp\nu1,i1,1600000000\nu2,i2,soon\n")
    before = llmseq("describe", "shop", "--json").json
    assert llmseq("ingest", bad, "--name", "bad", "--strict", "--k-core", "0").status == 1
    assert llmseq("ingest", bad, "--name", "shop", "--replace").status == 1
    assert [row["name"] for row in llmseq("datasets", "--json").json] == ["shop"]
    assert llmseq("describe", "shop", "--json").json == before


def test_describe_has_the_keys_of_the_contract(llmseq, shop):
    facts = llmseq("describe", "--json").json
    keys = (
        "name sessions items interactions classes average_length density tie_break ties_at_end train_sessions"
        " test_sessions evaluated_sessions train_items rejected"
    )
    assert set(keys.split()) <= set(facts)
    assert facts["train_sessions"] + facts["test_sessions"] == facts["sessions"] == 120
    assert sum(row["sessions"] for row in facts["lengths"]) == 120
    assert sum(row["share"] for row in facts["popularity"]) == pytest.approx(1)
    assert "24 sessions" in llmseq("describe", "shop").out


def test_audit_counts_what_endangers_an_evaluation(llmseq, tmp_path):
    rows = ["user_id,item_id,timestamp"]
    for user in range(10):
        # Ends in a tie for even users; user 9 (in the test part) repeats an item.
        items = [0, 1, 2, 3, 3 if user == 9 else 4]
        times = [user * 10 + place for place in range(5)]
        times[4] = times[3] if user % 2 == 0 else times[4]
        rows += [f"u{user},i{item},{1_600_000_000 + time}" for item, time in zip(items, times, strict=True)]
    rows += [f"u9,new,{1_600_000_095}"]
    file = tmp_path / "clicks.csv"
    file.write_text("\n".join(rows) + "\n")
    assert llmseq("ingest", file, "--name", "small", "--k-core", "0").status == 0
    affected = {row["finding"]: row["affected"] for row in llmseq("describe", "--audit", "--json").json}
    assert affected["sessions whose last two items have the same time"] == 5
    assert affected["sessions that hold an item more than once"] == 1
    assert affected["items that occur only in test sessions"] == 1
    assert affected["test sessions that lose such items"] == 1
    assert affected["items without a title"] == 6
    assert "the tie-break decides" in " ".join(llmseq("describe", "--audit").out.split())


def test_audit_tells_what_a_k_core_over_all_time_gives_away(llmseq, tmp_path):
    """Item "late" occurs twice, as the 2-core wants, but once in training: its test session was sure to come."""
    sessions = ["a b", "b a", "a b", "b c", "c a", "a c", "b a", "a late", "b c", "c late"]
    rows = [
        f"u{n},{item},{1_600_000_000 + 10 * n + place}"
        for n, items in enumerate(sessions)
        for place, item in enumerate(items.split())
    ]
    file = tmp_path / "clicks.csv"
    file.write_text("\n".join(["user_id,item_id,timestamp", *rows]) + "\n")
    assert llmseq("ingest", file, "--name", "cut", "--k-core", "2").status == 0
    [found] = [row for row in llmseq("describe", "--audit", "--json").json if "the rarest item" in row["finding"]]
    assert (found["affected"], found["total"]) == (1, 2)
    file.write_text("\n".join(["user_id,item_id,timestamp", *rows, "u9,once,1600000099"]) + "\n")
    assert llmseq("ingest", file, "--name", "whole", "--k-core", "0", "--unseen-items", "keep").status == 0
    [found] = [row for row in llmseq("describe", "whole", "--audit", "--json").json if "the rarest" in row["finding"]]
    assert found["affected"] == 0


def test_embed_and_list(llmseq, shop):
    made = llmseq("embed", "--json").json
    assert made["sparse"] is True
    assert made["texts"] == 40
    dense = llmseq("embed", "--dimensions", "8", "--text", "{title} {brand}", "--json").json
    assert (dense["dimensions"], dense["sparse"], dense["model"]) == (8, False, "tfidf-svd-8")
    rows = llmseq("embeddings", "--json").json
    assert [(row["source"], row["items"]) for row in rows] == [("lexical", 40), ("lexical", 40)]
    assert "tfidf-svd-8" in llmseq("embeddings").out
    counted = llmseq("sql", "select count(*) as n from item_embeddings where len(vector) = 8", "--json").json
    assert counted == [{"n": 40}]
    two = "select e.template, bool_and(e.text = i.title) as plain from item_embeddings e join items i using (item)"
    two += " group by all order by 1"
    assert llmseq("sql", two, "--json").json == [
        {"template": "{title}", "plain": True}, {"template": "{title} {brand}", "plain": False}
    ]  # fmt: skip


@pytest.mark.parametrize("model", MODELS)
def test_train_stores_a_run_with_ranks_lists_and_metrics(llmseq, shop, model):
    [row] = llmseq("train", model, "--json").json
    assert row["model"] == model
    assert row["sessions"] == 24
    ranks = llmseq("sql", "select rank from ranks", "--json").json
    assert len(ranks) == 24
    found = [r["rank"] for r in ranks if r["rank"] is not None and r["rank"] <= 20]
    assert row["hr@20"] == pytest.approx(len(found) / 24)
    assert row["mrr@20"] == pytest.approx(sum(1 / rank for rank in found) / 24)
    hits = llmseq(
        "sql",
        "select count(*) as n from ranks join recommendations using (run, session)"
        " where ground_truth = item and ranks.rank = recommendations.rank",
        "--json",
    ).json
    assert hits == [{"n": sum(r["rank"] is not None for r in ranks)}]


def test_seeds_make_one_run_each(llmseq, shop):
    rows = llmseq("train", "v-sknn", "--set", "sample_size=3", "--seeds", "3", "--json").json
    assert sorted(row["seed"] for row in rows) == [0, 1, 2]


def test_report_sorts_filters_and_computes_other_cutoffs(llmseq, trained):
    rows = llmseq("report", "--json").json
    assert [row["ndcg@20"] for row in rows] == sorted((row["ndcg@20"] for row in rows), reverse=True)
    by_time = llmseq("report", "--sort", "train_seconds", "--json").json
    assert by_time[0]["train_seconds"] <= by_time[1]["train_seconds"]
    [only] = llmseq("report", "--models", "v-sknn", "--k", "1,5", "--json").json
    assert {"ndcg@1", "novelty@5"} <= set(only)
    assert "ndcg@20" not in only
    assert only["hr@1"] == only["ndcg@1"] == only["mrr@1"]
    assert llmseq("report", "--k", "400").status == 1


def test_computed_cutoffs_equal_stored_ones(llmseq, trained):
    stored = llmseq("report", "--json").json
    assert llmseq("sql", "delete from core.metric", "--write").status == 0
    computed = llmseq("report", "--json").json
    for before, after in zip(stored, computed, strict=True):
        assert {k: pytest.approx(v) for k, v in before.items() if "@" in k} == {
            k: v for k, v in after.items() if "@" in k
        }


def test_report_fits_80_columns(llmseq, trained):
    out = llmseq("report").out
    assert max(map(len, out.splitlines())) <= 80
    assert "V_SKNN" in out
    assert "NDCG@20" in out


def test_report_has_a_table_for_each_dataset(llmseq, trained, shop_files):
    clicks, items = shop_files
    assert llmseq("ingest", clicks, "--items", items, "--name", "a-rather-long-name-of-a-second-shop").status == 0
    assert llmseq("train", "sknn", "--dataset", "a-rather-long-name-of-a-second-shop").status == 0
    lines = llmseq("report").out.splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(line.startswith("run ") for line in lines) == 2
    place = [line.strip() for line in lines].index("a-rather-long-name-of-a-second-shop")
    assert lines[place + 2].startswith("sknn-")


def test_narrow_reports_show_what_they_are_sorted_by(llmseq, trained):
    out = llmseq("report", "--sort", "hr@10").out
    assert "HR@10" in out
    assert "HR@20" not in out


def test_wide_tables_become_names_and_values(llmseq, trained):
    lines = llmseq("sql", "from runs limit 1").out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].split() == ["run", "v-sknn-1"]
    assert lines[-1] == "1 row"
    assert llmseq("sql", "select run, dataset from runs limit 1").out.startswith("run       dataset")


def test_report_without_runs_says_what_to_do(llmseq, shop):
    assert "llmseq train MODEL" in llmseq("report").out
    assert llmseq("report", "--json").json == []


def test_recommend_by_id_and_title(llmseq, trained):
    rows = llmseq("recommend", "llmseqsim", "i00", "i01", "-k", "3", "--json").json
    assert [row["rank"] for row in rows] == [1, 2, 3]
    assert all({"red", "green", "blue", "sock"} & set(row["title"].split()) for row in rows)
    assert {row["item"] for row in rows}.isdisjoint({"i00", "i01"})
    by_title = llmseq("recommend", "latest", rows[0]["title"], "-k", "2")
    assert by_title.status == 0
    assert len(by_title.out.splitlines()) == 3
    missing = llmseq("recommend", "latest", "purple trousers")
    assert missing.status == 1
    assert "no item has the id or title" in missing.err


def test_recommend_takes_runs_models_and_latest(llmseq, trained):
    by_run = llmseq("recommend", "v-sknn-1", "i00", "--json").json
    assert by_run == llmseq("recommend", "v-sknn", "i00", "--json").json
    assert llmseq("recommend", "v-sknn-9", "i00").status == 1


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl"])
def test_score_writes_what_recommend_says(llmseq, trained, tmp_path, ending):
    sessions, out = tmp_path / "today.csv", tmp_path / f"out.{ending}"
    sessions.write_text("session_id,item_id,timestamp\nb,i09,2\nb,i08,1\na,i00,5\na,unheard,6\n")
    done = llmseq("score", "v-sknn", "--sessions", sessions, "--out", out, "-k", "4", "--json").json
    assert (done["sessions"], done["unknown_items"]) == (2, 1)
    import duckdb

    rows = duckdb.sql(f"select session, item from '{out}' order by session, rank").fetchall()
    expected = llmseq("recommend", "v-sknn", "i08", "i09", "-k", "4", "--json").json
    assert [item for session, item in rows if session == "b"] == [row["item"] for row in expected]
    assert llmseq("score", "v-sknn", "--sessions", sessions, "--out", tmp_path / "out.xls").status == 2


def test_score_writes_no_formula_into_csv_unless_told(llmseq, trained, tmp_path):
    sessions, out = tmp_path / "today.csv", tmp_path / "out.csv"
    sessions.write_text('session_id,item_id\n"=1+2",i09\n-7,i08\n')
    words = ["score", "v-sknn", "--sessions", sessions, "--out", out, "-k", "1"]
    assert llmseq(*words).status == 0
    assert [line.split(",")[0] for line in out.read_text().splitlines()[1:]] == ["'=1+2", "-7"]
    assert llmseq(*words, "--no-safe-cells").status == 0
    assert [line.split(",")[0] for line in out.read_text().splitlines()[1:]] == ["=1+2", "-7"]
    assert llmseq(*words[:-4], "--out", tmp_path / "x.parquet", "--safe-cells").status == 2


def test_show_has_a_column_for_each_metric_that_the_run_has(llmseq, trained):
    lines = llmseq("show", "latest").out.splitlines()
    [head] = [line for line in lines if "NDCG" in line and "MRR" in line]
    assert head.split() == ["NDCG", "HR", "MRR", "Cov", "Ser", "Nov"]
    assert not [line for line in lines if line.startswith("@") and "–" in line]


def test_a_models_name_means_its_run_on_the_dataset(llmseq, trained, tmp_path):
    clicks = tmp_path / "other.csv"
    clicks.write_text(
        "user,item,time\n" + "".join(f"u{u},x{(u + i) % 7},{9 * u + i}\n" for u in range(20) for i in range(5))
    )
    assert llmseq("ingest", clicks, "--name", "other").status == 0
    assert llmseq("train", "v-sknn", "--dataset", "other").status == 0
    items = {
        dataset: {row["item"][0] for row in llmseq("recommend", "v-sknn", item, "--dataset", dataset, "--json").json}
        for dataset, item in [("shop", "i01"), ("other", "x1")]
    }
    assert items == {"shop": {"i"}, "other": {"x"}}
    sessions = tmp_path / "today.csv"
    sessions.write_text("session,item\na,i01\n")
    words = ["--sessions", sessions, "--out", tmp_path / "out.csv", "--json"]
    assert llmseq("score", "v-sknn", *words, "--dataset", "shop").json["unknown_items"] == 0
    assert llmseq("score", "v-sknn", *words, "--dataset", "other").json["unknown_items"] == 1
    missing = llmseq("recommend", "v-sknn", "i01", "--dataset", "shoop")
    assert missing.err.splitlines()[0] == "error: there is no dataset 'shoop'"


def test_score_takes_titles_as_recommend_does(llmseq, trained, tmp_path):
    shown = llmseq("sql", "select item, title from items where title is not null order by item limit 2", "--json").json
    by_id, by_title, out = tmp_path / "ids.jsonl", tmp_path / "titles.jsonl", tmp_path / "out.csv"
    lists = []
    for path, key in ((by_id, "item"), (by_title, "title")):
        path.write_text("".join(json.dumps({"session": "s", "item": row[key]}) + "\n" for row in shown))
        done = llmseq("score", "v-sknn", "--sessions", path, "--out", out, "--json").json
        assert done["unknown_items"] == 0
        lists.append(out.read_text())
    assert lists[0] == lists[1]


def test_score_spares_its_input_and_says_which_columns_it_wants(llmseq, trained, tmp_path):
    sessions = tmp_path / "today.csv"
    sessions.write_text("session,item\na,i01\n")
    refused = llmseq("score", "v-sknn", "--sessions", sessions, "--out", sessions)
    assert refused.status == 2
    assert sessions.read_text() == "session,item\na,i01\n"
    sessions.write_text("a,b\nx,i01\n")
    unclear = llmseq("score", "v-sknn", "--sessions", sessions, "--out", tmp_path / "out.csv")
    assert unclear.err.splitlines()[1] == "hint: call its columns session and item (and time)"


def test_score_counts_sessions_that_get_nothing(llmseq, trained, tmp_path):
    sessions, out = tmp_path / "today.csv", tmp_path / "out.csv"
    sessions.write_text("session,item\na,i01\nb,unheard-of\nb,unseen\nc,i02\n")
    words = ["score", "v-sknn", "--sessions", sessions, "--out", out]
    done = llmseq(*words, "--json").json
    written = {line.split(",")[0] for line in out.read_text().splitlines()[1:]}
    assert written == {"a", "c"}
    assert (done["sessions"], done["sessions_without_recommendations"], done["unknown_items"]) == (3, 1, 2)
    assert "without recommendations   1" in llmseq(*words).out


def test_a_fallback_serves_sessions_without_history(llmseq, trained, tmp_path):
    assert llmseq("train", "most-popular").status == 0
    popular = llmseq("recommend", "most-popular", "-k", 3, "--json").json
    assert [row["rank"] for row in popular] == [1, 2, 3]
    assert llmseq("recommend", "v-sknn", "--json").json == []
    assert "--fallback most-popular" in llmseq("recommend", "v-sknn").out
    assert llmseq("recommend", "v-sknn", "-k", 3, "--fallback", "most-popular", "--json").json == popular
    known = llmseq("recommend", "v-sknn", "i01", "--json").json
    assert llmseq("recommend", "v-sknn", "i01", "--fallback", "most-popular", "--json").json == known
    sessions, out, alone = tmp_path / "today.csv", tmp_path / "out.jsonl", tmp_path / "alone.jsonl"
    sessions.write_text("session,item\na,i01\nb,unheard-of\nc,i02\n")
    words = ["score", "v-sknn", "--sessions", sessions, "-k", 3, "--json"]
    done = llmseq(*words, "--out", out, "--fallback", "most-popular").json
    assert (done["sessions_from_fallback"], done["sessions_without_recommendations"]) == (1, 0)
    llmseq(*words, "--out", alone)
    rows, of_run = ([json.loads(line) for line in file.read_text().splitlines()] for file in (out, alone))
    assert [row["item"] for row in rows if row["session"] == "b"] == [row["item"] for row in popular]
    assert [row for row in rows if row["session"] != "b"] == of_run


def test_a_file_without_sessions_is_an_error(llmseq, trained, tmp_path):
    sessions, out = tmp_path / "today.csv", tmp_path / "out.csv"
    sessions.write_text("session,item\n")
    ended = llmseq("score", "v-sknn", "--sessions", sessions, "--out", out)
    assert (ended.status, ended.out) == (1, "")
    assert [line.split(": ")[0] for line in ended.err.splitlines()] == ["error", "hint"]
    assert "today.csv holds no session" in " ".join(ended.err.split())
    assert not out.exists()


def test_long_titles_are_cut_in_hints(llmseq, tmp_path):
    title = "dry shampoo " + "for very long hair " * 20
    (tmp_path / "i.csv").write_text("item,title\n" + "".join(f"i{u},{title}{u}\n" for u in range(9)))
    (tmp_path / "c.csv").write_text(
        "user,item,time\n" + "".join(f"u{u},i{i},{9 * u + i}\n" for u in range(9) for i in range(9))
    )
    done = llmseq("ingest", tmp_path / "c.csv", "--items", tmp_path / "i.csv", "--name", "hair")
    assert done.status == 0
    assert llmseq("train", "most-popular").status == 0
    said = llmseq("recommend", "latest", "shampoo").err.splitlines()
    assert said[0] == "error: 9 titles contain 'shampoo'"
    assert len(said[1]) < 300


def test_sql_reads_but_does_not_write_unless_told(llmseq, shop, tmp_path):
    file = tmp_path / "query.sql"
    file.write_text("select dataset, count(*) as n from items group by dataset")
    assert llmseq("sql", "-f", file, "--json").json == [{"dataset": "shop", "n": 40}]
    assert "1 row" in llmseq("sql", "-f", file).out
    refused = llmseq("sql", "create table t (x integer)")
    assert refused.status == 1
    assert "only reads" in refused.err
    assert llmseq("sql", "create table t (x integer)", "--write").status == 0


def test_models_lists_settings(llmseq):
    rows = {row["model"]: row for row in llmseq("models", "--json").json}
    assert set(MODELS) <= set(rows)
    [k] = [one for one in rows["v-sknn"]["settings"] if one["name"] == "k"]
    assert k["default"] == 320
    assert k["tune"] == [50, 500]
    assert "sample_size" in llmseq("models", "sknn").out


def test_doctor_tells_keys_but_not_their_values(llmseq, shop, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    facts = llmseq("doctor", "--json")
    assert facts.json["keys"]["OPENAI_API_KEY"] is True
    assert "very-secret" not in facts.out + llmseq("doctor").out
    assert facts.json["workspace"]["problems"] == []


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_doctor_fails_where_the_workspace_cannot_be_used(llmseq, tmp_path, more):
    (tmp_path / "workspace").mkdir()
    (tmp_path / "workspace" / "llmseq.duckdb").write_text("no database" * 1000)
    done = llmseq("doctor", *more)
    assert done.status == 1
    assert "is not a DuckDB file" in done.out
    assert "duckdb" in done.out
    assert "not usable" in done.out
    assert done.err == ""


def test_doctor_finds_what_is_wrong(llmseq, trained):
    import shutil

    runs = trained.folder / "artifacts" / "runs"
    shutil.rmtree(runs / "v-sknn-1")
    (runs / "stray-7").mkdir()
    problems = llmseq("doctor", "--json").json["workspace"]["problems"]
    assert problems == [
        "run v-sknn-1 has no model files",
        "artifacts/runs/stray-7 belongs to no run and can be deleted",
    ]
    gone = llmseq("recommend", "v-sknn", "i00")
    assert gone.status == 1
    assert "files of run 'v-sknn-1' are gone" in gone.err


def test_demo_runs_to_a_leaderboard(llmseq):
    rows = llmseq("demo", "--json").json
    by_model = {row["model"]: row["ndcg@20"] for row in rows}
    assert by_model["most-popular"] < by_model["llmseqsim"] < by_model["v-sknn"]
    assert llmseq("demo").out.count("\n  llmseq ") == 5


def test_the_hints_of_the_demo_work(llmseq, tmp_path):
    import shlex

    lines = [line.strip() for line in llmseq("demo").out.splitlines() if line.startswith("  llmseq ")]
    for line in lines[:-1]:
        assert llmseq(*shlex.split(line)[1:]).status == 0, line


def test_workspace_option_before_and_after_the_command(llmseq, shop, tmp_path):
    other = tmp_path / "other"
    assert llmseq("datasets", "--workspace", other).status == 1
    assert llmseq("--workspace", other, "datasets").status == 1
    assert llmseq("datasets", "--workspace", shop.folder).status == 0


def test_no_colour_and_no_bars_off_a_terminal(llmseq, trained):
    done = llmseq("train", "sknn")
    assert "\x1b" not in done.out + done.err


def test_closed_pipe_is_no_failure(shop):
    done = subprocess.run(
        f"{sys.executable} -m llmseq_cli sql 'select range from range(20000)' | head -1",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert "error" not in done.stderr


def test_installed_program_completes(monkeypatch):
    program = Path(sys.executable).with_name("llmseq")
    if not program.exists():
        pytest.skip("the console script is not installed beside this Python")
    done = subprocess.run(
        [program],
        env={"_LLMSEQ_COMPLETE": "complete_bash", "COMP_WORDS": "llmseq repo", "COMP_CWORD": "1", "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["report"]


def test_json_documents_hold_no_nan(llmseq, shop):
    out = llmseq("sql", "select 'nan'::double as x", "--json").out
    assert json.loads(out) == [{"x": None}]


@pytest.mark.parametrize(
    ("command", "old", "new"),
    [
        (("tune", "sknn"), "--jobs", "--workers"),
        (("embed",), "--jobs", "--workers"),
        (("score", "latest"), "--jobs", "--workers"),
        (("train", "sknn"), "--depth", "--list-length"),
    ],
)
def test_an_option_that_was_renamed_says_its_new_name(llmseq, command, old, new):
    done = llmseq(*command, old, 2)
    assert (done.status, done.out) == (2, "")
    assert done.err.splitlines() == [f"error: {old} is now called {new}", f"hint: say {new}"]
