"""The commands of the page on scaling run as they stand there, on a cluster of this machine's own."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from support.doc_pages import commands, run
from support.small_bert import save_bert


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
def test_scaling(llmseq, shop, cluster, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_bert(Path("my-model"))
    Path("today.csv").write_text("session,item\nv1,i03\nv1,i04\n", encoding="utf-8")
    address = " --ray-address 10.0.0.1:6379"
    printed = [run(llmseq, command.replace(address, "")) for command in commands("scaling.md")]
    assert "huggingface:my-model" in printed[0]
    assert Path("lists.parquet").stat().st_size > 0
    assert "index_recall@20" in printed[-1]
