"""Downloads against a real server on the loopback: what is checked, recorded, kept and unpacked."""

import gzip
import hashlib
import json

import pytest
from support.downloading import QUICK, fetch, leave_half, names
from support.file_server import BODY, SHA256, FileServer, Recorder

from llmseq_cli.data.downloads.public_datasets import PUBLIC_DATASETS, download_dataset
from llmseq_cli.errors import LlmseqError


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    server = FileServer()
    yield server
    server.stop()


def test_a_failed_download_leaves_no_empty_folder(server, tmp_path):
    (tmp_path / "there").mkdir()
    for out in (tmp_path / "new" / "folder", tmp_path / "there" / "new"):
        with pytest.raises(LlmseqError):
            fetch(server, out, "/missing.bin")
        with pytest.raises(LlmseqError):
            download_dataset("beauty", out, base_url="http://127.0.0.1:9/", patience=QUICK)
    assert names(tmp_path) == ["there"]
    assert names(tmp_path / "there") == []
    leave_half(server, tmp_path / "new" / "folder")


def test_download_checks_and_records(server, tmp_path):
    progress = Recorder()
    got = fetch(server, tmp_path / "new" / "folder", sha256=SHA256.upper(), progress=progress)
    assert got.path.read_bytes() == BODY
    assert (got.bytes, got.sha256, got.resumed_from, got.from_cache) == (len(BODY), SHA256, 0, False)
    assert names(got.path.parent) == ["file.bin", "file.bin.download.json"]
    record = json.loads((got.path.parent / "file.bin.download.json").read_text())
    assert record["url"] == f"{server.url}/file.bin"
    assert (record["bytes"], record["sha256"], record["etag"]) == (len(BODY), SHA256, server.etag("/file.bin"))
    assert progress.tasks == [{"description": "file.bin", "total": len(BODY), "unit": "B", "at": len(BODY)}]
    assert server.requests[0][1]["Accept-Encoding"] == "identity"


def test_second_download_asks_nothing(server, tmp_path):
    fetch(server, tmp_path)
    progress = Recorder()
    again = fetch(server, tmp_path, progress=progress)
    assert again.from_cache
    assert (again.bytes, again.sha256) == (len(BODY), SHA256)
    assert len(server.requests) == 1
    assert progress.messages == ["file.bin is already there"]


@pytest.mark.parametrize("change", ["size", "address", "sha256"])
def test_download_again_where_the_file_is_not_what_was_kept(server, tmp_path, change):
    got = fetch(server, tmp_path)
    options = {}
    if change == "size":
        got.path.write_bytes(BODY[:-1])
    elif change == "address":
        options["path"] = "/file.bin?version=2"
    else:
        server.files["/file.bin"] = BODY[::-1]
        options["sha256"] = hashlib.sha256(BODY[::-1]).hexdigest()
    again = fetch(server, tmp_path, **options)
    assert not again.from_cache
    assert again.path.read_bytes() == server.files["/file.bin"]


def test_a_file_of_someone_else_is_not_replaced(server, tmp_path):
    (tmp_path / "file.bin").write_text("mine")
    with pytest.raises(LlmseqError, match="exists, but was not downloaded") as caught:
        fetch(server, tmp_path)
    assert "--out" in caught.value.hint
    assert (tmp_path / "file.bin").read_text() == "mine"
    assert server.requests == []


def test_a_file_of_someone_else_counts_where_its_checksum_fits(server, tmp_path):
    (tmp_path / "file.bin").write_bytes(BODY)
    assert fetch(server, tmp_path, sha256=SHA256).from_cache
    assert server.requests == []


@pytest.mark.parametrize("failure", [404, 403, 503, "refused"])
def test_where_a_dataset_can_be_fetched_by_hand_is_said(server, tmp_path, failure):
    server.refusals = [(failure, {})] * QUICK.tries
    if failure == "refused":
        server.stop()
    with pytest.raises(LlmseqError) as caught:
        download_dataset("beauty", tmp_path, None, server.url, patience=QUICK)
    assert caught.value.hint.endswith(
        f"or fetch reviews_Beauty_5.json.gz by hand, see {PUBLIC_DATASETS['beauty'].page}"
    )
    assert "\n" not in caught.value.hint


def test_amazon_releases_are_found_on_the_second_mirror_too():
    for name, first in (
        ("amazon-2018-luxury-beauty", "amazon_v2/categoryFilesSmall/Luxury_Beauty_5.json.gz"),
        ("amazon-2023-all-beauty", "amazon_2023/raw/review_categories/All_Beauty.jsonl.gz"),
    ):
        reviews, meta = PUBLIC_DATASETS[name].files
        assert [url.endswith(first) for url in reviews.urls] == [True, True]
        assert meta.name.startswith("meta_")
        assert len({url.split("/")[2] for url in meta.urls}) == 2


def test_no_two_datasets_share_a_file_name():
    """They go into one folder by default, where one release would replace another."""
    every = [file.name for dataset in PUBLIC_DATASETS.values() for file in dataset.files]
    assert len(set(every)) == len(every)


def test_wrong_checksum(server, tmp_path):
    with pytest.raises(LlmseqError, match="not the expected file"):
        fetch(server, tmp_path, sha256="0" * 64)
    assert names(tmp_path) == []


def test_gzip_files_stay_as_they_are(server, tmp_path):
    """Some servers declare a .gz as content that is encoded in transfer; a client would unpack it."""
    packed = gzip.compress(BODY)
    server.files["/reviews.json.gz"] = packed
    server.extra_headers = {"Content-Encoding": "gzip"}
    server.cuts = [len(packed) // 2]
    assert fetch(server, tmp_path, path="/reviews.json.gz").path.read_bytes() == packed


def test_what_is_compressed_on_the_way_is_unpacked(server, tmp_path):
    server.files["/table.csv"] = gzip.compress(b"user,item\n" * 1000)
    server.extra_headers = {"Content-Encoding": "gzip"}
    assert fetch(server, tmp_path, path="/table.csv").path.read_bytes() == b"user,item\n" * 1000


def test_empty_file(server, tmp_path):
    server.files["/empty.csv"] = b""
    got = fetch(server, tmp_path, path="/empty.csv")
    assert (got.bytes, got.path.read_bytes()) == (0, b"")


def test_folder_that_is_a_file(server, tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(LlmseqError, match="that name already exists") as caught:
        fetch(server, tmp_path / "out")
    assert caught.value.hint == "choose another name"
