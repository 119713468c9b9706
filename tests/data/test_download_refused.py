"""Servers that refuse, stay silent, send on, or send something else; names that addresses give."""

import pytest
from support.downloading import HALF, QUICK, fetch, leave_half, names
from support.file_server import BODY, SHA256, FileServer, Recorder

from llmseq_cli.data.downloads.addresses import file_name, plain_url
from llmseq_cli.data.downloads.download import download
from llmseq_cli.data.downloads.transfer import LONGEST_PAUSE, Retries
from llmseq_cli.errors import LlmseqError, UsageError


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    server = FileServer()
    yield server
    server.stop()


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


@pytest.mark.parametrize(("status", "words"), [(404, "has no file.bin"), (403, "does not provide"), (418, "418")])
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


def test_a_login_page_is_no_gzip_file(server, tmp_path):
    server.files["/reviews.json.gz"] = b"<html>please log in</html>"
    with pytest.raises(LlmseqError, match="is not the file"):
        fetch(server, tmp_path, path="/reviews.json.gz")
    assert names(tmp_path) == []


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


def test_certificates_that_are_not_there(server, tmp_path, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "nowhere.pem"))
    with pytest.raises(LlmseqError, match="certificates of this machine") as caught:
        fetch(server, tmp_path)
    assert "SSL_CERT_FILE" in caught.value.hint
