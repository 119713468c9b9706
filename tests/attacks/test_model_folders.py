"""A model's folder is data: whatever would run code is refused by one error that names the file, and nothing runs."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from support.small_bert import save_bert
from support.warm import Command

from llmseq_cli.embeddings.sources.registry import SourceOptions, make_source
from llmseq_cli.errors import LlmseqError
from llmseq_cli.language_model.chat import prompt_texts
from llmseq_cli.language_model.library import load_config, load_model, load_tokenizer, make_loading
from llmseq_cli.language_model.scratch import _make_model, _make_tokenizer
from llmseq_cli.language_model.settings import LocalTuning
from llmseq_cli.language_model.watch import Watch
from llmseq_cli.model_files import checked_model

pytest.importorskip("sentence_transformers", reason="the extra 'local' is not installed")

CODE = "import pathlib\npathlib.Path(__file__).with_name('ran').touch()\nclass Evil: pass\n"
AUTO = {"AutoConfig": "evil.Evil", "AutoModelForCausalLM": "evil.Evil", "AutoTokenizer": ["evil.Evil", None]}


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "model"
    tokenizer = _make_tokenizer(["red sock", "blue hat"], 300, [])
    _make_model(tokenizer, LocalTuning(dim=16, layers=1, heads=2, max_length=64), 0).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def model(saved, tmp_path) -> Path:
    """A small Llama in a folder, as Hugging Face lays it out."""
    return Path(shutil.copytree(saved, tmp_path / "model"))


@pytest.fixture
def adapter(model, tmp_path) -> Path:
    from peft import LoraConfig, get_peft_model

    whole = load_model(str(model), make_loading("cpu", "float32", False))
    config = LoraConfig(task_type="CAUSAL_LM", r=2, base_model_name_or_path=str(model))
    get_peft_model(whole, config).save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def change(file: Path, **news) -> None:
    file.write_text(json.dumps((json.loads(file.read_text()) if file.exists() else {}) | news))


def load(folder: Path) -> None:
    load_config(str(folder))
    load_tokenizer(str(folder))
    load_model(str(folder), make_loading("cpu", "float32", False))


def refused(folder: Path, file: str, says: str, capsys) -> None:
    with pytest.raises(LlmseqError) as caught:
        load(folder)
    assert str(folder / file) in caught.value.message
    assert says in caught.value.message
    assert caught.value.hint
    assert not list(folder.rglob("ran"))
    assert capsys.readouterr().out == ""


def test_a_plain_model_and_an_adapter_load(model, adapter, capsys):
    load(model)
    load(adapter)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("file", "news", "says"),
    [
        ("config.json", {"auto_map": AUTO, "model_type": "evil"}, "asks to run code that comes with the model"),
        ("config.json", {"auto_map": AUTO}, "asks to run code that comes with the model"),
        ("config.json", {"text_config": {"auto_map": AUTO}}, "asks to run code that comes with the model"),
        ("config.json", {"model_type": "evil"}, "a kind of model that transformers does not have: 'evil'"),
        ("config.json", {"attn_implementation": "evil/kernel"}, "asks for code from another source"),
        ("config.json", {"trust_remote_code": True}, "asks to run code"),
        ("config.json", {"custom_pipelines": {"x": {"impl": "evil.Evil"}}}, "asks to run code"),
        ("tokenizer_config.json", {"auto_map": AUTO}, "asks to run code that comes with the model"),
        ("tokenizer_config.json", {"tokenizer_class": "EvilTokenizer"}, "a tokenizer that transformers does not have"),
        ("tokenizer_config.json", {"tokenizer_class": "evil.Evil"}, "a tokenizer that transformers does not have"),
        ("generation_config.json", {"auto_map": AUTO}, "asks to run code that comes with the model"),
        ("processor_config.json", {"auto_map": AUTO}, "asks to run code that comes with the model"),
    ],
)
def test_code_in_configurations(model, file, news, says, capsys):
    change(model / file, **news)
    refused(model, file, says, capsys)


@pytest.mark.parametrize("name", ["evil.py", "pytorch_model.bin", "weights.pt", "x.pkl", "model.pth", "evil.so"])
def test_code_and_pickles_beside_the_weights(model, name, capsys):
    (model / name).write_text(CODE)
    refused(model, name, "is code" if name.endswith((".py", ".so")) else "is a pickle", capsys)


def test_pickles_in_the_place_of_weights(model, adapter, capsys):
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    refused(model, "pytorch_model.bin", "is a pickle", capsys)
    (model / "pytorch_model.bin").unlink()
    refused(model, "", "has no weights in safetensors (model.safetensors)", capsys)
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    refused(adapter, "adapter_model.bin", "is a pickle", capsys)


@pytest.mark.parametrize(
    ("news", "says"),
    [
        ({"auto_mapping": {"parent_library": "evil", "base_model_class": "Evil"}}, "asks to run code"),
        ({"megatron_config": {"a": 1}, "megatron_core": "evil"}, "asks to run code"),
        ({"base_model_name_or_path": None}, "does not name the model"),
        ({"base_model_name_or_path": 3}, "does not name the model"),
    ],
)
def test_code_in_adapters(adapter, news, says, capsys):
    (adapter / "evil").mkdir()
    change(adapter / "adapter_config.json", **news)
    refused(adapter, "adapter_config.json", says, capsys)


def test_an_adapter_of_itself_and_code_in_its_base(adapter, model):
    change(model / "config.json", auto_map=AUTO)
    with pytest.raises(LlmseqError, match="asks to run code") as caught:
        load(adapter)
    assert str(model / "config.json") in caught.value.message
    change(adapter / "adapter_config.json", base_model_name_or_path=str(adapter))
    with pytest.raises(LlmseqError, match="an adapter of an adapter"):
        load(adapter)


@pytest.mark.parametrize("content", ["{", "[" * 100_000, "[1]", "\x00", '{"a": ' * 20_000])
def test_configurations_that_are_none(model, content, capsys):
    (model / "generation_config.json").write_text(content)
    with pytest.raises(LlmseqError) as caught:
        load(model)
    assert len(caught.value.message) < 600
    assert capsys.readouterr().out == ""


def test_what_is_no_file_is_not_waited_for(model, capsys):
    os.mkfifo(model / "pipe.json")
    refused(model, "pipe.json", "is not a plain file", capsys)


@pytest.mark.parametrize(
    ("modules", "says"),
    [
        ([{"idx": 0, "name": "0", "path": "", "type": "evil.Evil"}], "asks for code that is not part of"),
        ([{"idx": 0, "name": "0", "path": "", "type": "os.system"}], "asks for code that is not part of"),
        ([{"path": "", "type": "sentence_transformers.util.import_from_string"}], "asks for code"),
        ([{"path": "../../etc", "type": "sentence_transformers.models.Transformer"}], "outside the model's folder"),
        ([3], "asks for code"),
        ({"a": 1}, "does not contain what its name says"),
    ],
)
def test_modules_of_sentence_transformers(tmp_path, modules, says, capsys):
    folder = save_bert(tmp_path / "bert")
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(LlmseqError, match=says) as caught:
        make_source("huggingface", SourceOptions(str(folder), settings={"device": "cpu"}))
    assert str(folder / "modules.json") in caught.value.message
    assert capsys.readouterr().out == ""


def test_code_inside_modules(tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense, Pooling, Transformer

    bert = Transformer(str(save_bert(tmp_path / "bert")))
    folder = tmp_path / "whole"
    SentenceTransformer(modules=[bert, Pooling(16), Dense(16, 4)], device="cpu").save(str(folder))
    settings = {"device": "cpu"}
    make_source("huggingface", SourceOptions(str(folder), settings=settings))
    config = folder / "2_Dense" / "config.json"
    plain = config.read_text()
    change(config, activation_function="os.abort")
    with pytest.raises(LlmseqError, match="asks for code from another source") as caught:
        make_source("huggingface", SourceOptions(str(folder), settings=settings))
    assert str(config) in caught.value.message
    config.write_text(plain)
    weights = folder / "2_Dense" / "model.safetensors"
    weights.rename(weights.with_name("pytorch_model.bin"))
    with pytest.raises(LlmseqError, match=r"2_Dense/pytorch_model\.bin is a pickle"):
        make_source("huggingface", SourceOptions(str(folder), settings=settings))


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "takes more than"),
        ("{{ 'a' * 10 ** 11 }}", "takes"),
        ("{% set ns = namespace(x='a') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}", "takes"),
        ("{{ 'ab' * 10 ** 6 }}", "2,000,000 characters for one question"),
        ("{{ ''.__class__.__mro__ }}", "fails"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "fails"),
        ("{{ messages.append(3) }}", "fails"),
        ("{% for", "fails"),
        ("{{ raise_exception('no') }}", "fails: no"),
    ],
)
def test_chat_templates(model, template, says, monkeypatch):
    monkeypatch.setattr(Watch.__init__, "__defaults__", (3.0,))
    (model / "chat_template.jinja").write_text(template)
    tokenizer = load_tokenizer(str(model))
    with pytest.raises(LlmseqError, match="the chat template of") as caught:
        prompt_texts(tokenizer, [("", "what next?")])
    assert says in caught.value.message
    (model / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")
    assert prompt_texts(load_tokenizer(str(model)), [("", "what next?")]) == ["what next?"]


def test_only_the_hubs_data_is_downloaded(model, monkeypatch):
    """What comes from the hub is checked as a folder is, and code and pickles in the cache are not read."""
    import huggingface_hub

    from llmseq_cli import model_files

    asked = []
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, **how: asked.append(how) or str(model))
    model_files._snapshot.cache_clear()
    (model / "modeling.py").write_text(CODE)
    (model / "pytorch_model.bin").write_text(CODE)
    load_tokenizer("nobody/model")
    load_model("nobody/model", make_loading("cpu", "float32", False))
    assert not any("py" in pattern or "bin" in pattern for pattern in asked[0]["allow_patterns"])
    assert len(asked) == 1
    change(model / "config.json", auto_map=AUTO)
    with pytest.raises(LlmseqError, match="asks to run code"):
        checked_model("nobody/model")
    model_files._snapshot.cache_clear()


def test_the_command_line_neither_asks_nor_runs(model, tmp_path):
    """With "yes" on the standard input, as a script that answers every question has it."""
    (model / "evil.py").write_text(CODE)
    change(model / "config.json", auto_map=AUTO)
    environment = os.environ | {"LLMSEQ_WORKSPACE": str(tmp_path / "ws")}
    data = tmp_path / "clicks.csv"
    rows = "".join(f"u{user},i{(user + step) % 7},{user * 100 + step}\n" for user in range(40) for step in range(5))
    data.write_text("user,item,time\n" + rows)
    items = tmp_path / "items.csv"
    items.write_text("item,title\n" + "".join(f"i{n},red sock {n}\n" for n in range(7)))
    made = Command("ingest", data, "--items", items, "--name", "shop", "--k-core", "1", env=environment)
    assert made.wait(60) == 0, made.err
    for words in (
        ["finetune", "--task", "genitem", "--provider", "local", "--model", str(model), "--prepare-only"],
        ["prompt", "--base-model", str(model), "--provider", "local", "--task", "genitem"],
        ["embed", "--source", "huggingface", "--model", str(model), "--json"],
    ):
        done = Command(*words, env=environment, said="yes\n" * 20)
        out, err = done.communicate(120)
        assert (done.returncode, out) == (1, ""), err
        assert "evil.py is code" in err or "asks to run code" in err
        assert "Traceback" not in err
    assert not list(tmp_path.rglob("ran"))
