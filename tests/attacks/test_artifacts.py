"""Damaged artifacts, a thousand in the slow test: each loads as it was, or an error names it; none ends the process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import damage

from llmseq_cli.checksums import check_checksums, write_checksums
from llmseq_cli.errors import LlmseqError

pytest.importorskip("transformers", reason="the extra 'local' is not installed")
pytest.importorskip("usearch", reason="the extra 'ann' is not installed")

SEED = 7


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("artifacts")
    damage.make(folder / "whole")
    return folder


@pytest.mark.parametrize("cases", [200, pytest.param(1000, marks=pytest.mark.slow)])
def test_damaged_artifacts(whole, cases):
    ends: list[dict[str, Any]] = []
    command = [sys.executable, damage.__file__, str(whole), str(SEED), "0", str(cases)]
    path = os.pathsep.join([str(Path(damage.__file__).parent.parent), *sys.path])
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path}, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    ends = [line for line in lines if line["end"] != "begun"]
    assert done.returncode == 0, f"{lines[-1:]} ended the process: {done.stderr[-2000:]}"
    assert len(ends) == cases
    counts = Counter((end["old"], end["end"]) for end in ends)
    # Without checksums a changed weight is a weight; with them nothing that was changed is used.
    wrong = [
        end for end in ends if end["end"] not in ("refused", "same") and not (end["old"] and end["end"] == "other")
    ]
    assert not wrong, "\n".join(map(str, wrong[:20]))
    assert counts[False, "refused"] > 0.4 * cases
    assert counts[True, "refused"] > 0.15 * cases


@pytest.mark.parametrize(
    ("kind", "name", "change"),
    [
        ("llmseqsim-sparse", "indices", lambda a: a.__setitem__(3, 2**30)),
        ("llmseqsim-sparse", "indices", lambda a: a.__setitem__(3, -5)),
        ("llmseqsim-sparse", "indptr", lambda a: a.__setitem__(4, 2**30)),
        ("llmseqsim-sparse", "indptr", lambda a: a.__setitem__(-1, 1)),
        ("llmseqsim-sparse", "shape", lambda a: a.__setitem__(1, 2**40)),
        ("llmseqsim-sparse", "shape", lambda a: a.__setitem__(0, 2**33)),
        ("llmseqsim-sparse", "data", lambda a: a.__setitem__(0, np.nan)),
        ("sknn-emb-sparse", "indices", lambda a: a.__setitem__(3, 2**30)),
        ("sknn", "items", lambda a: a.__setitem__(3, 2**30)),
        ("sknn", "items", lambda a: a.__setitem__(3, -1)),
        ("sknn", "offsets", lambda a: a.__setitem__(3, 2**40)),
        ("sknn", "order", lambda a: a.__setitem__(3, a[4])),
        ("most-popular", "counts", lambda a: a.__setitem__(0, -1)),
        ("sasrec", "item_ids", lambda a: a.__setitem__(0, damage.N_ITEMS)),
        ("sasrec", "item_ids", lambda a: a.__setitem__(0, a[1])),
        ("sasrec", "network.item_vectors.vectors", lambda a: a.__setitem__((0, 0), np.inf)),
        ("blend", "weights", lambda a: a.__setitem__(0, np.nan)),
        ("stack", "trees_feature", lambda a: a.__setitem__(0, 2**40)),
        ("stack", "trees_offsets", lambda a: a.__setitem__(1, 2**40)),
        ("stack", "item_traits", lambda a: a.__setitem__((0, 0), np.inf)),
    ],
)
def test_numbers_out_of_bounds_without_checksums(whole, tmp_path, kind, name, change):
    """As a version before checksums left them."""
    import shutil

    from safetensors.numpy import load_file, save_file

    for one in (kind, "sknn", "most-popular"):
        shutil.copytree(whole / "whole" / one, tmp_path / one, dirs_exist_ok=True)
    (tmp_path / kind / "checksums.json").unlink()
    file = tmp_path / kind / "model.safetensors"
    arrays = {key: array.copy() for key, array in load_file(file).items()}
    if name not in arrays:
        pytest.fail(f"{name} has no checksum {sorted(arrays)}")
    if name in ("shape",) and arrays[name].dtype != np.int64:
        arrays[name] = arrays[name].astype(np.int64)
    change(arrays[name])
    save_file(arrays, file)
    with pytest.raises(LlmseqError, match="is damaged: ") as caught:
        damage.use(kind, tmp_path)
    assert str(tmp_path / kind) in caught.value.message
    assert caught.value.hint == "train it again"


def test_a_model_of_another_catalog_is_refused(whole, monkeypatch):
    monkeypatch.setattr(damage, "N_ITEMS", 41)
    with pytest.raises(LlmseqError, match="has 40 items, and the catalog has 41"):
        damage.use("sknn", whole / "whole")


def test_an_older_artifact_loads_and_its_index_is_made_again(whole, tmp_path):
    import shutil

    expected = damage.use("llmseqsim-index", whole / "whole")()
    shutil.copytree(whole / "whole" / "llmseqsim-index", tmp_path / "llmseqsim-index")
    (tmp_path / "llmseqsim-index" / "checksums.json").unlink()
    assert damage.use("llmseqsim-index", tmp_path)() == expected


def test_checksums_name_what_is_gone_or_changed(tmp_path):
    (tmp_path / "a").write_text("1")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "b").write_text("2")
    assert not check_checksums(tmp_path, "again")
    write_checksums(tmp_path)
    assert check_checksums(tmp_path, "again")
    (tmp_path / "later").write_text("not saved with the rest")
    assert check_checksums(tmp_path, "again")
    (tmp_path / "deep" / "b").write_text("3")
    with pytest.raises(LlmseqError, match="its checksum differs") as caught:
        check_checksums(tmp_path, "again")
    assert caught.value.message.startswith(str(tmp_path / "deep" / "b"))
    (tmp_path / "deep" / "b").unlink()
    with pytest.raises(LlmseqError, match="b is missing"):
        check_checksums(tmp_path, "again")
    for content in ("", "{", "[]", '{"sha256": 3}', "[" * 90_000):
        (tmp_path / "checksums.json").write_text(content)
        with pytest.raises(LlmseqError, match=r"checksums\.json is damaged"):
            check_checksums(tmp_path, "again")


def _flipped(content: bytes) -> bytes:
    return content[:-3] + bytes([content[-3] ^ 64]) + content[-2:]


@pytest.mark.parametrize(
    "change",
    [
        lambda content: b"",
        lambda content: content[:40],
        lambda content: content[:-8],
        lambda content: content + b"\0",
        _flipped,
        lambda content: content.replace(b"(6,)", b"(5,)"),
        lambda content: content.replace(b"<i4", b"<f4"),
        lambda content: content.replace(b"(6,)", b"(9" + b"9" * 9 + b",)"),
        lambda content: b"PK\x03\x04" + content,
        lambda content: b"\x80\x04cos\nsystem\n",
    ],
)
def test_arrays_that_workers_share_are_what_they_were(tmp_path, change):
    """A study that goes on finds the files of its last run: what does not hold its array is written anew."""
    from llmseq_cli.tuning.executors import Loky

    arrays = {"train.items": np.arange(6, dtype=np.int32), "train.none": np.empty(0, dtype=np.int64)}
    Loky(2, tmp_path / "arrays").share(arrays)
    file, other = tmp_path / "arrays" / "train.items.npy", tmp_path / "arrays" / "train.none.npy"
    written = other.stat().st_mtime_ns
    file.write_bytes(change(file.read_bytes()))
    Loky(2, tmp_path / "arrays").share(arrays)
    kept = np.load(file)
    assert (kept.dtype, kept.tolist()) == (np.int32, [*range(6)])
    assert other.stat().st_mtime_ns == written, "what is whole is left alone"
