"""Downloads that break off: taken up where they broke, or fetched anew where the file has changed."""

import errno
import os
import signal
import subprocess
import sys
import time

import pytest
from support.downloading import HALF, QUICK, fetch, leave_half, names
from support.file_server import BODY, SHA256, FileServer, Recorder

from llmseq_cli.errors import LlmseqError


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    server = FileServer()
    yield server
    server.stop()


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
    with pytest.raises(LlmseqError, match=r"could not be downloaded from 127\.0\.0\.1"):
        fetch(server, tmp_path)
    assert len(server.requests) == QUICK.tries
    assert not (tmp_path / "file.bin").exists()


def test_fruitful_tries_start_the_count_again(server, tmp_path, monkeypatch):
    monkeypatch.setattr("llmseq_cli.data.downloads.transfer.FRUITFUL_BYTES", 20_000)
    server.cuts = [30_000] * 8
    assert fetch(server, tmp_path).sha256 == SHA256
    assert len(server.requests) == 9


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
