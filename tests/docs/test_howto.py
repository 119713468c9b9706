"""The commands of the how-to pages run as they stand there; links of all pages lead somewhere."""

from __future__ import annotations

import csv
import importlib.util
import re
from pathlib import Path

import pytest
from chat_server import KEY, ChatServer
from doc_pages import DOCS, blocks, commands, run
from embedding_server import KEY as EMBEDDING_KEY
from embedding_server import EmbeddingServer
from small_shop import write_shop

from llmseq_cli.prompting import jobs


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def runs(shop):
    shop.embed(source="lexical")
    shop.train("llmseqsim", embeddings="lexical")
    shop.train("v-sknn")
    return shop


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


def test_fine_tuning(llmseq, runs, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr(jobs, "_POLL_SECONDS", 0.01)
    server = ChatServer()
    server.models.add("gpt-4.1-mini")
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    printed = [run(llmseq, command) for command in commands("howto/fine-tuning.md")]
    server.stop()
    assert server.paid
    assert "LLMSeqPromptRank" in printed[-1]


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


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
def test_train_on_ray(llmseq, shop, monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")  # its sockets' paths must be short
    monkeypatch.setenv("RAY_worker_niceness", "0")  # 15 otherwise: beside other tests they would starve
    [printed] = [run(llmseq, command) for command in commands("howto/train-on-ray.md")]
    assert "SASRec" in printed


def test_recipes(llmseq, shop):
    Path("shop.toml").write_text(blocks("howto/recipes.md", "toml")[0])
    printed = [run(llmseq, command) for command in commands("howto/recipes.md")]
    assert "LLMSeqSim&Sequential" in printed[1]
    assert "best-beauty" in printed[3]


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
