"""The same verbs from Python."""

import pytest

from llmseq_cli import EmbedOptions, IngestOptions, LlmseqError, TrainOptions, Workspace, __version__
from llmseq_cli.errors import UsageError


def test_a_notebook_session(shop):
    made = shop.embed(EmbedOptions(dataset="shop"))
    assert made["items_without_text"] == 0
    [run] = shop.train(TrainOptions("llmseqsim", embeddings="lexical", settings={"pooling": "mean"}))
    [row] = shop.report("shop")
    assert row["run"] == run
    assert row["settings"]["pooling"] == "mean"
    assert shop.recommend(run, ["i00"], k=2)[0]["rank"] == 1
    columns, rows = shop.sql("select dataset, run from runs")
    assert (columns, rows) == (["dataset", "run"], [("shop", run)])


def test_workspace_is_a_context_manager_and_leaves_no_lock(shop):
    with Workspace(shop.folder) as first, Workspace(shop.folder) as second:
        assert first.datasets() == second.datasets()


def test_what_a_run_was_made_with_is_kept(shop):
    shop.train(TrainOptions("v-sknn", seed=3))
    _, [(environment, figures, seed)] = shop.sql("select environment, figures, seed from runs")
    import json

    assert json.loads(environment)["versions"]["llmseq"] == __version__
    assert json.loads(figures)["train_seconds"] >= 0
    assert seed == 3


def test_a_dataset_replaced_while_a_model_trains_is_noticed(shop, shop_files, monkeypatch):
    from llmseq_cli.models.session_knn import SKNN

    fit = SKNN.fit

    def fit_meanwhile(self, train, context):
        Workspace(shop.folder).ingest(IngestOptions([shop_files[0]], "shop", replace=True))
        return fit(self, train, context)

    monkeypatch.setattr(SKNN, "fit", fit_meanwhile)
    with pytest.raises(LlmseqError, match="was replaced while the model trained"):
        shop.train(TrainOptions("sknn"))
    assert shop.report() == []
    assert shop.health() == []


def test_other_processes_can_read_while_a_model_trains(shop, monkeypatch):
    import subprocess
    import sys

    from llmseq_cli.models.session_knn import SKNN

    fit, outputs = SKNN.fit, []

    def fit_meanwhile(self, train, context):
        command = [sys.executable, "-m", "llmseq_cli", "datasets", "--json", "--workspace", str(shop.folder)]
        outputs.append(subprocess.run(command, capture_output=True, text=True, check=False).stdout)
        return fit(self, train, context)

    monkeypatch.setattr(SKNN, "fit", fit_meanwhile)
    shop.train(TrainOptions("sknn"))
    assert '"shop"' in outputs[0]


def test_an_unknown_list_length_is_refused(shop):
    with pytest.raises(LlmseqError, match="--list-length is 0"):
        shop.train(TrainOptions("sknn", list_length=0))


@pytest.mark.parametrize("words", [{"seed": -1}, {"seed": 2**40}, {"seed": 2**31 - 1, "seeds": 2}, {"seeds": 0}])
def test_seeds_out_of_range_are_refused(shop, words):
    with pytest.raises(UsageError, match=r"--seeds? is"):
        shop.train(TrainOptions("most-popular", **words))
    assert shop.train(TrainOptions("most-popular", seed=2**31 - 1)) == ["most-popular-1"]


@pytest.mark.parametrize("model", ["most-popular", "sknn", "gru4rec"])
def test_a_device_that_does_not_exist_is_refused_by_all_models(shop, model):
    with pytest.raises(UsageError, match="there is no device 'gpu'"):
        shop.train(TrainOptions(model, device="gpu"))


def test_lists_are_as_long_as_was_asked(shop):
    [run] = shop.train(TrainOptions("most-popular", list_length=5))
    _, [(deepest,)] = shop.sql(f"select max(rank) from recommendations where run = '{run}'")
    assert deepest == 5
    [row] = shop.report(cutoffs=(5,), sort="ndcg@5")
    assert row["list_length"] == 5


def test_option_classes_are_what_their_signature_says():
    import inspect

    import llmseq_cli

    verbs = {"ingest", "embed", "plan_embed", "train", "tune", "finetune", "prompt", "plan_prompt", "score"}
    for name, method in inspect.getmembers(Workspace, inspect.isfunction):
        signature = inspect.signature(method)
        kinds = {parameter.kind for parameter in signature.parameters.values()}
        assert inspect.Parameter.VAR_KEYWORD not in kinds, f"an editor cannot complete Workspace.{name}"
        assert inspect.Parameter.VAR_POSITIONAL not in kinds or name == "__exit__", name
        if name in verbs:
            assert str(signature.parameters["options"].annotation) in llmseq_cli.__all__
    with pytest.raises(TypeError, match="unexpected keyword argument 'epoch'"):
        TrainOptions("sasrec", epoch=3)


def test_options_can_be_imported_without_the_heavy_libraries():
    import subprocess
    import sys

    code = (
        "import sys, llmseq_cli as one\n"
        "made = [one.TrainOptions('sasrec'), one.TuneOptions('sknn'), one.EmbedOptions(), one.FinetuneOptions(),\n"
        "        one.PromptOptions('latest'), one.ScoreOptions('latest', 'a', 'b'), one.IngestOptions(['a'], 'b')]\n"
        "print(sorted({'numpy', 'torch', 'duckdb', 'sklearn'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
