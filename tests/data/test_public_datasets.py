"""Public datasets from a server of our own: files, mirrors, archives."""

import errno
import gzip
import hashlib
import io
import os
import zipfile
from urllib.parse import urlsplit

import pytest
from support.file_server import FileServer, Recorder

from llmseq_cli.data.downloads import public_datasets
from llmseq_cli.data.downloads.public_datasets import PublicDataset, PublicFile, dataset_names, download_dataset
from llmseq_cli.data.downloads.transfer import Retries
from llmseq_cli.errors import LlmseqError, UsageError

QUICK = Retries(tries=2, first_wait=0.01, timeout=5)
RATINGS = b"userId,movieId,rating,timestamp\n1,2,3.0,1000\n" * 500


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    server = FileServer()
    yield server
    server.stop()


def packed(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def movielens(version="ml-latest-small", **more):
    names = {f"{version}/ratings.csv": RATINGS, f"{version}/movies.csv": b"movieId,title,genres\n"}
    return packed(**names, **{f"{version}/README.txt": b"cite us", f"{version}/tags.csv": b"unused"}, **more)


def fetch(name, out, base_url=None, progress=None):
    return download_dataset(name, out, progress, base_url, patience=QUICK)


def test_every_address_and_page_is_complete():
    assert {"beauty", "steam", "movielens-1m", "movielens-32m"} <= set(dataset_names())
    for dataset in public_datasets.PUBLIC_DATASETS.values():
        assert dataset.format in ("amazon", "steam", "movielens", "table")
        assert urlsplit(dataset.page).scheme == "https"
        for file in dataset.files:
            assert all(urlsplit(url).netloc and url.endswith(f"/{file.name}") for url in file.urls)
            # What comes without encryption must be recognised by its checksum.
            assert file.sha256 or all(url.startswith("https://") for url in file.urls)
            assert file.sha256 is None or len(bytes.fromhex(file.sha256)) == 32


def test_sequences_of_the_fields_tables_can_be_ingested(llmseq, server, tmp_path):
    lines = "".join(f"{u} {' '.join(str((u + i) % 7 + 1) for i in range(5 + u % 3))}\n" for u in range(1, 41))
    lines += "\n99\n"  # a blank line, and a user without items
    server.files["/Beauty.txt"] = lines.encode()
    done = llmseq("download", "beauty-s3rec", "--out", tmp_path / "data", "--base-url", server.url)
    assert (done.status, done.out.strip()) == (0, str(tmp_path / "data" / "Beauty.txt"))
    assert "--format table --name beauty-s3rec --k-core 5" in " ".join(done.err.split())
    words = ["--format", "table", "--name", "b", "--split", "leave-one-out"]
    made = llmseq("ingest", tmp_path / "data" / "Beauty.txt", *words, "--json").json
    assert (made["sessions"], made["items"], made["evaluated_sessions"]) == (40, 7, 40)
    [one] = llmseq("sql", "select item from targets where part = 'test' and session = '3'", "--json").json
    assert one["item"] == "1"  # user 3: 4 5 6 7 1


def test_unknown_name_is_answered_with_the_closest(tmp_path):
    with pytest.raises(UsageError) as caught:
        download_dataset("movielens-1", tmp_path)
    assert caught.value.hint == "did you mean 'movielens-1m'?"


def test_files_from_a_mirror_of_ones_own(server, tmp_path):
    reviews, meta = gzip.compress(b"reviews"), gzip.compress(b"meta")
    server.files = {"/mirror/reviews_Beauty_5.json.gz": reviews, "/mirror/meta_Beauty.json.gz": meta}
    got = fetch("beauty", tmp_path / "data", f"{server.url}/mirror/")
    assert [path.name for path in got.paths] == ["reviews_Beauty_5.json.gz", "meta_Beauty.json.gz"]
    assert [path.read_bytes() for path in got.paths] == [reviews, meta]
    assert (got.format, got.k_core) == ("amazon", 5)
    assert got.page.startswith("https://")
    progress = Recorder()
    assert fetch("beauty", tmp_path / "data", f"{server.url}/mirror", progress) == got
    assert len(server.requests) == 2
    assert progress.messages == ["reviews_Beauty_5.json.gz is already there", "meta_Beauty.json.gz is already there"]


def test_archive_is_unpacked_but_for_what_is_not_used(server, tmp_path):
    evil = {"../evil.txt": b"evil", "/evil.txt": b"evil", "ml-latest-small/../../evil.txt": b"evil"}
    server.files = {"/ml-latest-small.zip": movielens(**evil)}
    out = tmp_path / "data"
    got = fetch("movielens-latest-small", out, server.url)
    assert got.paths == [out / "ml-latest-small" / "ratings.csv", out / "ml-latest-small" / "movies.csv"]
    assert got.paths[0].read_bytes() == RATINGS
    assert sorted(path.name for path in (out / "ml-latest-small").iterdir()) == [
        "README.txt",
        "movies.csv",
        "ratings.csv",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    got.paths[0].write_bytes(b"cut off")
    assert fetch("movielens-latest-small", out, server.url).paths[0].read_bytes() == RATINGS
    assert len(server.requests) == 1


@pytest.mark.parametrize("damage", ["content", "members"])
def test_damaged_archive(server, tmp_path, damage):
    body = movielens() if damage == "content" else packed(other=b"")
    if damage == "content":
        middle = body.index(b"ratings.csv") + 60
        body = body[:middle] + bytes(20) + body[middle + 20 :]
    server.files = {"/ml-latest-small.zip": body}
    with pytest.raises(LlmseqError, match="damaged or not the expected archive") as caught:
        fetch("movielens-latest-small", tmp_path, server.url)
    assert "delete" in caught.value.hint
    assert not list(tmp_path.glob("ml-latest-small/*"))


def test_frozen_files_are_checked_from_any_mirror(server, tmp_path):
    server.files = {"/ml-1m.zip": movielens("ml-1m")}
    with pytest.raises(LlmseqError, match="not the expected file"):
        fetch("movielens-1m", tmp_path, server.url)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def mirrored(server, monkeypatch):
    """A dataset of one file on two mirrors, /a and /b of the server; its body."""
    body = gzip.compress(bytes(range(256)) * 100, mtime=0)
    server.files = {"/a/x.json.gz": body, "/b/x.json.gz": body}
    file = PublicFile((f"{server.url}/a/x.json.gz", f"{server.url}/b/x.json.gz"))
    dataset = PublicDataset((file,), "steam", 5, "https://example.org")
    monkeypatch.setitem(public_datasets.PUBLIC_DATASETS, "mirrored", dataset)
    return body


def test_second_mirror_where_the_first_fails(server, mirrored, tmp_path):
    del server.files["/a/x.json.gz"]
    progress = Recorder()
    got = fetch("mirrored", tmp_path, progress=progress)
    assert got.paths[0].read_bytes() == mirrored
    assert f"trying {server.url}/b/x.json.gz" in progress.messages[0]
    server.files["/a/x.json.gz"] = mirrored
    assert fetch("mirrored", tmp_path).paths == got.paths
    assert [path for path, _ in server.requests] == ["/a/x.json.gz", "/b/x.json.gz"]


def test_no_mirror_has_it(server, mirrored, tmp_path):
    server.files.clear()
    with pytest.raises(LlmseqError, match="has no"):
        fetch("mirrored", tmp_path)
    assert len(server.requests) == 2


def test_a_part_is_taken_up_at_the_mirror_that_it_came_from(server, mirrored, tmp_path):
    server.files = {"/b/x.json.gz": mirrored}
    server.cuts = [100, 0]
    with pytest.raises(LlmseqError, match="after the 100 bytes received"):
        fetch("mirrored", tmp_path)
    server.files["/a/x.json.gz"] = mirrored
    server.requests.clear()
    assert fetch("mirrored", tmp_path).paths[0].read_bytes() == mirrored
    assert [(path, headers["Range"]) for path, headers in server.requests] == [("/b/x.json.gz", "bytes=100-")]


def test_a_full_disk_is_no_reason_to_try_another_mirror(server, mirrored, tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(LlmseqError, match="the disk is full"):
        fetch("mirrored", tmp_path)
    assert len(server.requests) == 1


def test_checksum_of_the_file_is_recorded(server, mirrored, tmp_path):
    path = fetch("mirrored", tmp_path).paths[0]
    record = path.with_name("x.json.gz.download.json").read_text()
    assert hashlib.sha256(mirrored).hexdigest() in record
