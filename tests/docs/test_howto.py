"""The commands of the how-to pages run as they stand there; links of all pages lead somewhere."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from support.chat_server import KEY, ChatServer
from support.doc_pages import DOCS, blocks, commands, run
from support.embedding_server import KEY as EMBEDDING_KEY
from support.embedding_server import EmbeddingServer
from support.review_files import write_reviews
from support.small_shop import write_shop
from support.vertex_server import write_service_account
from support.vertex_tuning_server import VertexTuningServer

from llmseq_cli import EmbedOptions, TrainOptions
from llmseq_cli.finetuning import jobs

NEW = ["i00", "i01", "new", "i02", "i03"]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def runs(shop, prepared):
    def build(workspace):
        workspace.embed(EmbedOptions("lexical"))
        workspace.train(TrainOptions("llmseqsim", embeddings="lexical"))
        workspace.train(TrainOptions("v-sknn"))

    return prepared(shop, "text-and-neighbours", build)


def renamed(file: Path, names: dict[str, str]) -> None:
    """Gives columns of a CSV file other names."""
    with file.open(newline="", encoding="utf-8") as source:
        head, *rows = csv.reader(source)
    with file.open("w", newline="", encoding="utf-8") as target:
        csv.writer(target).writerows([[names.get(name, name) for name in head], *rows])


def test_your_data(llmseq, tmp_path):
    clicks, items = write_shop(tmp_path)
    renamed(clicks, {"user_id": "visitor", "item_id": "sku", "timestamp": "ts"})
    renamed(items, {"item_id": "sku", "title": "name", "category": "department"})
    items.rename("products.csv")
    Path("today.csv").write_text("visitor,sku,ts\nv1,i03,1\nv1,i04,2\n", encoding="utf-8")
    for command in commands("howto/your-data.md"):
        run(llmseq, command)
    assert Path("recommendations.parquet").stat().st_size > 0


def test_keep_fresh(llmseq, shop):
    rows = [f"n{user},{item},{1_700_000_000 + 100 * user + step}" for user in range(9) for step, item in enumerate(NEW)]
    Path("this-week.csv").write_text("\n".join(["user_id,item_id,timestamp", *rows]), encoding="utf-8")
    Path("new-products.csv").write_text("item_id,title\nnew,red wool cape\n", encoding="utf-8")
    shop.embed(EmbedOptions("lexical"))
    shop.train(TrainOptions("sasrec", embeddings="lexical", settings={"epochs": 2}, device="cpu"))
    grown, *_, old = [run(llmseq, command) for command in commands("howto/keep-fresh.md")]
    assert "shop@1" in grown
    assert "SASRec" in old


def test_embedding_server(llmseq, shop, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", EMBEDDING_KEY)
    server = EmbeddingServer()
    server.model = "my-model"
    printed = []
    for command in commands("howto/embedding-server.md"):
        printed.append(run(llmseq, command.replace("http://localhost:8080/v1", server.url)))
        if len(printed) == 2:
            asked = len(server.requests)
    server.stop()
    assert asked == len(server.requests) > 0
    assert "LLMSeqSim" in printed[-1]


def test_embed(llmseq, shop, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", EMBEDDING_KEY)
    server = EmbeddingServer()
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    printed = {line: run(llmseq, line) for line in commands("howto/embed.md")}
    server.stop()
    assert server.requests
    assert "openai" in printed["llmseq embeddings"]
    assert "LLMSeqSim" in printed["llmseq train llmseqsim --embeddings lexical --permute"]


def test_train(llmseq, shop):
    shop.embed(EmbedOptions("lexical"))
    printed = {line: run(llmseq, line) for line in commands("howto/train.md")}
    assert (
        "LLM2GRU4Rec"
        in printed["llmseq train gru4rec --embeddings lexical --set item_vectors=adapter+free --set epochs=2"]
    )
    assert "Blend" in printed["llmseq train blend --runs llmseqsim,v-sknn"]


def test_reports(llmseq, runs):
    printed = {line: run(llmseq, line) for line in commands("howto/reports.md")}
    assert "only by" in printed["llmseq compare llmseqsim v-sknn"]
    assert Path("report.html").stat().st_size > 0
    assert len(list(Path("trec").iterdir())) == 3  # two runs and the ground truths


def test_fine_tuning(llmseq, runs, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr(jobs, "_POLL_SECONDS", 0.01)
    server = ChatServer()
    server.models.add("gpt-6-luna")
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    small = "--provider local " + " ".join(f"--set {one}" for one in ("dim=16", "epochs=1", "title_epochs=0"))
    lines = [line.replace("--provider local", small) for line in commands("howto/fine-tuning.md", without="vertex")]
    printed = [run(llmseq, line) for line in lines[:-1]]
    assert "LLMSeqPromptRank" in printed[-1]
    monkeypatch.delenv("OPENAI_BASE_URL")
    server.models.add("Qwen/Qwen3-0.6B")
    [own] = commands("howto/fine-tuning.md", having="localhost")
    asked = run(llmseq, own.replace("http://localhost:8000/v1", server.url))
    server.stop()
    assert server.paid
    assert "LLMSeqPromptRank (base)" in asked


def test_train_elsewhere(llmseq, runs):
    [printed] = [run(llmseq, command) for command in commands("howto/train-elsewhere.md")]
    assert "genitem-trl/README.md" in printed
    assert "sft.yaml" in printed


def test_fine_tuning_on_vertex(llmseq, runs, monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith(("GOOGLE_", "GEMINI_", "GCLOUD_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(jobs, "_POLL_SECONDS", 0.01)
    server = VertexTuningServer()
    server.buckets.add("my-bucket")
    (tmp_path / "keys").mkdir()
    file, server.private_key, server.public_key = write_service_account(tmp_path / "keys", server.token_uri)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("GOOGLE_VERTEX_BASE_URL", server.url)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
    printed = [run(llmseq, command) for command in commands("howto/fine-tuning.md", having="vertex")]
    server.stop()
    assert len(server.jobs) == 1
    assert "LLMSeqPromptRank" in printed[-1]


@pytest.fixture
def luna(monkeypatch, tmp_path):
    """A chat server that answers as the model of the pages, whose price is known."""
    prices = tmp_path / "prices.toml"
    prices.write_text('["openai:gpt-6-luna"]\ninput = 1\noutput = 2\n', encoding="utf-8")
    monkeypatch.setenv("LLMSEQ_PRICES", str(prices))
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server = ChatServer()
    server.models.add("gpt-6-luna")
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    yield server
    server.stop()


def test_rerank(llmseq, runs, luna):
    luna.answer = lambda question, sample: "[2] > [1]"
    printed = [run(llmseq, command) for command in commands("howto/rerank.md")]
    assert "repaired" in printed[1]
    assert "V_SKNN reranked" in printed[2]
    assert "blend" in printed[4]
    assert luna.paid


def test_memorisation(llmseq, shop, luna, tmp_path):
    clicks, items = write_shop(tmp_path)
    clicks.rename("clicks.csv")
    items.rename("products.csv")
    luna.answer = lambda question, sample: "unknown"
    printed = [run(llmseq, command) for command in commands("howto/memorisation.md")]
    assert "recites no more" in printed[1]
    assert "neutral titles" in printed[-1]


def test_gpu(llmseq, shop):
    before, *printed = [run(llmseq, command) for command in commands("howto/gpu.md")]
    assert "torch" in before
    assert len(printed) == 3


def test_cluster(llmseq, shop, tmp_path):
    _, items = write_shop(tmp_path)
    items.rename("products.csv")
    *printed, _ = [run(llmseq, command) for command in commands("howto/cluster.md")]
    assert "SASRec" in printed[2]
    assert Path("node-1.parquet").stat().st_size > 0
    header, row = Path("node-1.csv").read_text(encoding="utf-8").splitlines()
    assert row.split(",")[header.split(",").index("model")] == "v-sknn"


def test_tuning(llmseq, shop):
    printed = {line: run(llmseq, line.replace("24", "6")) for line in commands("howto/tuning.md")}
    assert "NDCG@20" in printed["llmseq report --tuning"]
    assert "settings of trial" in printed["llmseq train sknn --from-tuning --study wide"]
    assert "LLM2GRU4Rec" in printed["llmseq train gru4rec --from-tuning --embeddings lexical"]


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
def test_train_on_ray(llmseq, shop, cluster):
    [printed] = [run(llmseq, command) for command in commands("howto/train-on-ray.md")]
    assert "SASRec" in printed


def test_use_elsewhere(llmseq, runs):
    printed = [run(llmseq, command) for command in commands("howto/use-elsewhere.md")]
    assert Path("v-sknn-bundle/README.md").is_file()
    [code] = blocks("howto/use-elsewhere.md", "python")
    names: dict[str, Any] = {}
    exec(compile(code, "use-elsewhere.md", "exec"), names)  # noqa: S102 our own file
    assert len(names["bundle"].recommend(["i01", "i02"], k=5)) == 5
    assert names["bundle"].recommend(["i01", "i02"], k=1)[0]["item"] in printed[1]


def test_serve(llmseq, runs, monkeypatch):
    pytest.importorskip("fastapi")
    from starlette.testclient import TestClient

    from llmseq_cli.serving import serve

    answers = []

    def ask(app, *others):
        """Instead of serving: what the page says to send, by clients that it says may."""
        headers = {"authorization": f"Bearer {os.environ.get('LLMSEQ_SERVE_TOKEN')}"}
        with TestClient(app(), base_url="http://localhost:8000", headers=headers) as client:
            answers.append((client.post("/recommend", json=sent), client.get("/")))
        ready = next(one for one in others if callable(one))
        ready()

    monkeypatch.setattr(serve, "run_here", ask)
    monkeypatch.setattr(serve, "run_workers", ask)
    _, curl, _, token = blocks("howto/serve.md", "sh")
    sent = json.loads(re.search(r"-d '(.*)'", curl).group(1))
    monkeypatch.setenv("LLMSEQ_SERVE_TOKEN", "")
    for command in commands("howto/serve.md"):
        if command in token:
            monkeypatch.setenv("LLMSEQ_SERVE_TOKEN", "of sixteen signs")
        told = run(llmseq, f"{command} --port 0")
        [one] = answers[-1][0].json()["lists"]
        assert len(one["recommendations"]) == 5
        assert "v-sknn-2" in told
    assert [("llmseqsim-1" in page.text) for _, page in answers] == [False, True, False]
    [shown] = blocks("howto/serve.md", "json")
    assert set(json.loads(shown)["lists"][0]["recommendations"][0]) == set(one["recommendations"][0])


def test_recipes(llmseq, shop):
    Path("shop.toml").write_text(blocks("howto/recipes.md", "toml")[0])
    printed = [run(llmseq, command) for command in commands("howto/recipes.md", without="reproduce")]
    assert "LLMSeqSim&Sequential" in printed[1]
    assert "best-beauty" in printed[3]


def test_the_papers_tables(llmseq, tmp_path):
    """The recipe's quickest rows, on files of Beauty's formats, with vectors that need no download."""
    write_reviews(tmp_path / "data" / "beauty")
    plan, whole = commands("howto/recipes.md", having="reproduce")
    assert "sasrec" in run(llmseq, plan)
    short = whole.replace("huggingface", "lexical") + " --models most-popular,v-sknn,llmseqsim"
    assert "LLMSeqSim" in run(llmseq, short)


def test_leaderboard_sql(llmseq, runs):
    printed = [run(llmseq, command) for command in commands("howto/leaderboard-sql.md")]
    assert "LLMSeqSim" in printed[1]
    assert Path("table.md").read_text(encoding="utf-8").startswith(("|", "**", "#"))


def test_python(tmp_path):
    _, items = write_shop(tmp_path)
    items.rename("products.csv")
    [code] = blocks("howto/python.md", "python")
    names: dict[str, object] = {}
    exec(compile(code, "python.md", "exec"), names)  # noqa: S102 our own file
    assert names["columns"] == ["run", "value"]
    assert len(names["runs"]) == 2  # type: ignore[arg-type]


@pytest.mark.parametrize("page", sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")))
def test_links_lead_somewhere(page):
    text = (DOCS / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        if not target.startswith("http"):
            assert ((DOCS / page).parent / target).exists(), f"{page}: {target}"
