"""Downloads against a real server on the loopback that misbehaves on demand."""

import errno
import gzip
import hashlib
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from support.file_server import BODY, SHA256, FileServer, Recorder

from llmseq_cli.data.downloads.addresses import file_name, plain_url
from llmseq_cli.data.downloads.download import download
from llmseq_cli.data.downloads.public_datasets import PUBLIC_DATASETS, download_dataset
from llmseq_cli.data.downloads.transfer import LONGEST_PAUSE, Retries
from llmseq_cli.errors import LlmseqError, UsageError

HALF = len(BODY) // 2
QUICK = Retries(tries=4, first_wait=0.01, timeout=5)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    server = FileServer()
    yield server
    server.stop()


def fetch(server, out, path="/file.bin", **options):
    return download(server.url + path, out, **{"patience": QUICK, **options})


def leave_half(server, out):
    """A part of half the file, from a call that was cut off."""
    server.cuts = [HALF]
    with pytest.raises(LlmseqError):
        fetch(server, out, patience=Retries(tries=1))
    assert (out / "file.bin.part").stat().st_size == HALF
    server.requests.clear()
    server.sent.clear()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


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
    with pytest.raises(LlmseqError, match="already there") as caught:
        fetch(server, tmp_path)
    assert "--out" in caught.value.hint
    assert (tmp_path / "file.bin").read_text() == "mine"
    assert server.requests == []


def test_a_file_of_someone_else_counts_where_its_checksum_fits(server, tmp_path):
    (tmp_path / "file.bin").write_bytes(BODY)
    assert fetch(server, tmp_path, sha256=SHA256).from_cache
    assert server.requests == []


def test_cut_connections_are_taken_up_where_they_broke(server, tmp_path):
    server.cuts = [HALF, 1000]
    progress = Recorder()
    got = fetch(server, tmp_path, progress=progress)
    assert got.path.read_bytes() == BODY
    assert got.resumed_from == 0
    assert [headers.get("Range") for _, headers in server.requests] == [
        None,
        f"bytes={HALF}-",
        f"bytes={HALF + 1000}-",
    ]
    assert server.requests[1][1]["If-Range"] == server.etag("/file.bin")
    assert sum(server.sent.values()) == len(BODY)
    assert len(progress.tasks) == 1
    assert progress.tasks[0]["at"] == len(BODY)
    assert "the connection broke off; trying again" in progress.messages[0]


def test_later_call_resumes(server, tmp_path):
    leave_half(server, tmp_path)
    progress = Recorder()
    got = fetch(server, tmp_path, sha256=SHA256, progress=progress)
    assert got.resumed_from == HALF
    assert server.sent == {0: len(BODY) - HALF}
    assert progress.tasks[0]["at"] == len(BODY)
    assert names(tmp_path) == ["file.bin", "file.bin.download.json"]


def test_last_modified_serves_where_there_is_no_strong_etag(server, tmp_path):
    server.etags["/file.bin"] = 'W/"weak"'
    leave_half(server, tmp_path)
    assert fetch(server, tmp_path).resumed_from == HALF
    assert server.requests[0][1]["If-Range"] == server.last_modified


def test_without_any_validator_it_starts_over(server, tmp_path):
    server.etags["/file.bin"] = server.last_modified = ""
    leave_half(server, tmp_path)
    got = fetch(server, tmp_path)
    assert got.resumed_from == 0
    assert got.sha256 == SHA256
    assert "Range" not in server.requests[0][1]


def test_without_validator_a_known_checksum_lets_it_resume(server, tmp_path):
    server.etags["/file.bin"] = server.last_modified = ""
    leave_half(server, tmp_path)
    assert fetch(server, tmp_path, sha256=SHA256).resumed_from == HALF


def test_what_does_not_fit_the_checksum_is_fetched_anew_once(server, tmp_path):
    leave_half(server, tmp_path)
    part = tmp_path / "file.bin.part"
    part.write_bytes(bytes(HALF))
    got = fetch(server, tmp_path, sha256=SHA256)
    assert got.path.read_bytes() == BODY
    assert got.resumed_from == 0
    assert len(server.requests) == 2


def test_server_that_ignores_ranges(server, tmp_path):
    server.ranges = False
    leave_half(server, tmp_path)
    got = fetch(server, tmp_path)
    assert got.path.read_bytes() == BODY
    assert got.resumed_from == 0


@pytest.mark.parametrize("honest", [True, False])
def test_file_that_changed_meanwhile_is_not_patched_together(server, tmp_path, honest):
    leave_half(server, tmp_path)
    server.if_range = honest
    server.files["/file.bin"] = new = BODY[::-1]
    got = fetch(server, tmp_path)
    assert got.path.read_bytes() == new
    assert got.resumed_from == 0


def test_file_that_changes_between_tries(server, tmp_path):
    new = BODY[::-1]
    server.cuts = [HALF]

    def change():
        if len(server.requests) == 2:
            server.files["/file.bin"] = new

    server.before = change
    assert fetch(server, tmp_path).path.read_bytes() == new


def test_file_that_became_shorter_is_fetched_anew(server, tmp_path):
    leave_half(server, tmp_path)
    server.if_range = False
    server.files["/file.bin"] = BODY[: HALF // 2]
    assert fetch(server, tmp_path).path.read_bytes() == BODY[: HALF // 2]


def test_part_that_is_whole_is_only_renamed(server, tmp_path):
    leave_half(server, tmp_path)
    (tmp_path / "file.bin.part").write_bytes(BODY)
    assert fetch(server, tmp_path).sha256 == SHA256
    assert server.requests == []


def test_range_behind_the_end_means_that_all_is_there(server, tmp_path):
    server.length_error = 500
    got = fetch(server, tmp_path)
    assert got.path.read_bytes() == BODY
    assert [headers.get("Range") for _, headers in server.requests] == [None, f"bytes={len(BODY)}-"]


def test_wrong_length_without_ranges_is_given_up(server, tmp_path):
    server.length_error = 500
    server.ranges = False
    with pytest.raises(LlmseqError, match=r"could not be fetched from 127\.0\.0\.1"):
        fetch(server, tmp_path)
    assert len(server.requests) == QUICK.tries
    assert not (tmp_path / "file.bin").exists()


def test_fruitful_tries_start_the_count_again(server, tmp_path, monkeypatch):
    monkeypatch.setattr("llmseq_cli.data.downloads.transfer.FRUITFUL_BYTES", 20_000)
    server.cuts = [30_000] * 8
    assert fetch(server, tmp_path).sha256 == SHA256
    assert len(server.requests) == 9


def test_busy_server_is_asked_again_when_it_says(server, tmp_path, monkeypatch):
    waited = []
    monkeypatch.setattr("llmseq_cli.data.downloads.transfer.time.sleep", waited.append)
    server.refusals = [(503, {"Retry-After": "7"}), (429, {"Retry-After": "Wed, 01 Jan 2020 00:00:00 GMT"}), (500, {})]
    progress = Recorder()
    assert fetch(server, tmp_path, progress=progress).sha256 == SHA256
    assert waited[:2] == [7.0, 0.0]
    assert 0 < waited[2] < 1
    assert "answers 503 Service Unavailable; trying again in 7 s (1 of 4)" in progress.messages[0]


def test_server_that_asks_for_a_long_pause_is_left_alone(server, tmp_path):
    server.refusals = [(503, {"Retry-After": str(int(LONGEST_PAUSE) + 1)})]
    with pytest.raises(LlmseqError, match="come back in 121 seconds"):
        fetch(server, tmp_path)
    assert len(server.requests) == 1


def test_server_that_stays_busy_is_given_up(server, tmp_path):
    server.refusals = [(503, {})] * 10
    with pytest.raises(LlmseqError, match="answers 503"):
        fetch(server, tmp_path)
    assert len(server.requests) == QUICK.tries


@pytest.mark.parametrize(("status", "words"), [(404, "has no file.bin"), (403, "does not give out"), (418, "418")])
def test_refusals_are_final_and_leave_nothing(server, tmp_path, status, words):
    server.refusals = [(status, {})]
    with pytest.raises(LlmseqError, match=words) as caught:
        fetch(server, tmp_path)
    assert caught.value.hint
    assert len(server.requests) == 1
    assert names(tmp_path) == []


def test_no_server(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    closed = FileServer()
    url = closed.url
    closed.stop()
    with pytest.raises(LlmseqError, match=r"127\.0\.0\.1:\d+ cannot be reached: .*refused"):
        download(f"{url}/file.bin", tmp_path, patience=QUICK)
    with pytest.raises(LlmseqError, match=r"nowhere\.invalid cannot be reached"):
        download("https://nowhere.invalid/file.bin", tmp_path, patience=QUICK)
    assert names(tmp_path) == []


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


def test_silent_server_is_given_up(server, tmp_path):
    server.hold_at = 1000
    with pytest.raises(LlmseqError, match="stopped sending"):
        fetch(server, tmp_path, patience=Retries(tries=2, first_wait=0.01, timeout=0.1))
    assert len(server.requests) == 2


def test_redirects_are_followed_and_the_name_is_that_of_the_address(server, tmp_path):
    server.redirects = {"/latest/data.bin": "/file.bin"}
    server.cuts = [HALF]
    got = fetch(server, tmp_path, path="/latest/data.bin")
    assert got.path.name == "data.bin"
    assert got.path.read_bytes() == BODY
    assert sum(server.sent.values()) == len(BODY)


def test_redirects_in_circles(server, tmp_path):
    server.redirects = {"/file.bin": "/file.bin"}
    with pytest.raises(LlmseqError, match="in circles"):
        fetch(server, tmp_path)


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


def test_a_login_page_is_no_gzip_file(server, tmp_path):
    server.files["/reviews.json.gz"] = b"<html>please log in</html>"
    with pytest.raises(LlmseqError, match="is no such file"):
        fetch(server, tmp_path, path="/reviews.json.gz")
    assert names(tmp_path) == []


def test_empty_file(server, tmp_path):
    server.files["/empty.csv"] = b""
    got = fetch(server, tmp_path, path="/empty.csv")
    assert (got.bytes, got.path.read_bytes()) == (0, b"")


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("https://host/a/My%20data%20%C3%A4.csv?x=1#y", "My data ä.csv"),
        ("https://host/a/%2e%2e%2fetc%2fpasswd", "passwd"),
        ("https://host/a/..%5c..%5cboot.ini", "_.._boot.ini"),
        ("https://host/%2e%2e", "download"),
        ("https://host", "download"),
        ("https://host/dir/", "dir"),
        ("https://host/a%3Ab%00c.csv", "a_b_c.csv"),
        (f"https://host/{'%E6%95%B0' * 150}.csv", "数" * 48 + ".csv"),
    ],
)
def test_names_from_addresses(address, name):
    assert file_name(address) == name


def test_long_names_can_be_written(server, tmp_path):
    path = "/" + "%E6%95%B0" * 150 + ".csv"
    server.files[path] = BODY
    got = fetch(server, tmp_path, path=path)
    assert got.path.read_bytes() == BODY


@pytest.mark.parametrize(
    "address", ["file:///etc/passwd", "ftp://host/x", "s3://b/x", "host/x", "http://", "http://h:x/"]
)
def test_only_http(address, tmp_path):
    with pytest.raises(UsageError):
        download(address, tmp_path)


def test_credentials_are_used_and_never_shown(server, tmp_path):
    address = f"http://ann:s3cret%21@127.0.0.1:{server.server_port}/file.bin?token=hush"
    assert plain_url(address) == f"{server.url}/file.bin"
    server.cuts = [HALF]
    server.refusals = [(503, {})]
    progress = Recorder()
    download(address, tmp_path, progress=progress, patience=QUICK)
    assert server.requests[0][1]["Authorization"] == "Basic YW5uOnMzY3JldCE="
    assert server.requests[0][0] == "/file.bin?token=hush"
    server.refusals = [(403, {})]
    with pytest.raises(LlmseqError) as caught:
        download(address, tmp_path / "other", patience=QUICK)
    shown = [str(caught.value), *progress.messages, (tmp_path / "file.bin.download.json").read_text()]
    leave_half(server, tmp_path / "third")
    shown += [path.read_text() for path in (tmp_path / "third").glob("*.json")]
    assert not any(secret in text for text in shown for secret in ("s3cret", "ann", "hush"))


def test_interrupt_leaves_a_part_to_resume(server, tmp_path):
    def interrupt(at):
        if at >= HALF:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(server, tmp_path, progress=Recorder(interrupt))
    there = (tmp_path / "file.bin.part").stat().st_size
    assert HALF <= there < len(BODY)
    got = fetch(server, tmp_path)
    assert got.resumed_from == there
    assert got.sha256 == SHA256


def test_killed_process_is_resumed(server, tmp_path):
    server.hold_at = HALF
    module = "llmseq_cli.data.downloads.download"
    code = f"import sys, pathlib; from {module} import download; download(sys.argv[1], pathlib.Path('.'))"
    process = subprocess.Popen([sys.executable, "-c", code, f"{server.url}/file.bin"], cwd=tmp_path)
    part = tmp_path / "file.bin.part"
    deadline = time.monotonic() + 20
    while (not part.exists() or part.stat().st_size < HALF) and time.monotonic() < deadline:
        time.sleep(0.01)
    with pytest.raises(LlmseqError, match=r"another llmseq process is downloading file\.bin"):
        fetch(server, tmp_path)
    process.send_signal(signal.SIGKILL)
    process.wait()
    server.release.set()
    server.hold_at = None
    got = fetch(server, tmp_path, sha256=SHA256)
    assert got.resumed_from == HALF
    assert server.sent[1] == len(BODY) - HALF


def test_disk_that_is_full_at_the_end(server, tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(LlmseqError, match="the disk is full") as caught:
            fetch(server, tmp_path)
    assert caught.value.hint == "free some space, then run the command again"
    assert fetch(server, tmp_path).resumed_from == len(BODY)
    assert len(server.requests) == 1


def test_part_survives_a_limit_on_file_sizes(server, tmp_path):
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (HALF, hard))
    try:
        with pytest.raises(LlmseqError, match="the file would be larger than this machine allows"):
            fetch(server, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert fetch(server, tmp_path, sha256=SHA256).resumed_from > 0


def test_folder_that_is_a_file(server, tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(LlmseqError, match="something of that name is there already") as caught:
        fetch(server, tmp_path / "out")
    assert caught.value.hint == "choose another name"


def test_certificates_that_are_not_there(server, tmp_path, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "nowhere.pem"))
    with pytest.raises(LlmseqError, match="certificates of this machine") as caught:
        fetch(server, tmp_path)
    assert "SSL_CERT_FILE" in caught.value.hint
