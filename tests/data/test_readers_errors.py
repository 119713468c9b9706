"""What readers say of files that they cannot read, and of words that they cannot follow."""

from __future__ import annotations

import gzip
import os
import random
import re
from pathlib import Path

import pytest
import zstandard
from support.reading import read_files, write

from llmseq_cli.data.readers.files import unreadable
from llmseq_cli.errors import LlmseqError, UsageError

CSV = "user_id,item_id,timestamp\n" + "".join(f"user{n},item{n % 97},{1577836800 + n}\n" for n in range(20_000))
ARCHIVE = gzip.compress(CSV.encode(), mtime=0)


def flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 0x55]) + content[at + 1 :]


@pytest.mark.parametrize(
    ("name", "content", "message", "hint"),
    [
        ("empty.csv", b"", "is empty", "check how it was made"),
        ("utf16.csv", CSV.encode("utf-16"), "is encoded in UTF-16", "iconv -f UTF-16"),
        ("latin1.csv", "user,item,time\nGrün,é,1577836800\nÄ,ö,1577836801\n".encode("latin-1"), "not UTF-8", "iconv"),
        ("junk.csv", random.Random(0).randbytes(5000), "not|no table|cannot|damaged|empty", "."),
        ("zip.csv", b"PK\x03\x04" + b"\0" * 100, "zip archive", "unpack"),
        ("named.csv.gz", CSV.encode(), "is not compressed", "rename"),
        ("page.csv", b"<!DOCTYPE html>\n<html><body>Log in, please</body></html>\n", "is a web page", "a login"),
        ("header.csv", b"user,item,time\n", "header.csv has no rows", "how it was made"),
        (
            "r.csv",
            b"user,item,time\n1,u,i,1600000000\n2,u,j,1600000001\n",
            "names 3 columns, its rows have 4",
            "name every column",
        ),
        ("remark.csv", b"# by x\ntime,item,user\n1600000000,i,u\n", "before the column names", "tail -n"),
        ("times.csv", b"user,item,time\nu,i,x\nu,j,y\n", "contains no times such as 'x'", "--time-format"),
        ("named.csv.zst", CSV.encode(), "is not compressed", "rename"),
        ("hidden.csv", ARCHIVE, "is compressed", "rename"),
        ("short.csv.gz", ARCHIVE[: len(ARCHIVE) // 2], "is damaged", "download the file again"),
        ("tail.csv.gz", ARCHIVE[:-4], "is damaged", "download the file again"),
        ("flipped.csv.gz", flipped(ARCHIVE, len(ARCHIVE) // 2), "is damaged", "download the file again"),
        ("broken.parquet", b"PAR1 no more", "cannot read", "check the file"),
        ("one_column.csv", b"user\nu1\nu2\n", "not a table", "separate columns"),
        ("array.json", b'[{"user": "u", "item": "i", "time": 1},\n{"user": "v"\n', "not valid JSON", "fix it"),
        ("pretty.json", b'{\n  "user": "u"\n}\n', "looks like the item: user", "--map item="),
        ("unnamed.csv", b"a,b,c\nx,y,1577836800\n", "looks like the user", "--map user="),
        ("no_times.csv", b"user,item,time\nu,i,soon\nu,j,later\n", "contains no times such as 'soon'", "--map time="),
        ("endless.csv", b"user,item,time\nu,i,1e999\nu,j,inf\n", "contains no times such as '1e999'", "--map time="),
        ("all_bad.csv", b"user,item,time\n,i,2020-01-01\n,j,2020-01-01\n", r"no row can be used.*:2: no user", "--map"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path: Path, name: str, content: bytes, message: str, hint: str) -> None:
    with pytest.raises(LlmseqError, match=message) as caught:
        read_files(write(tmp_path, name, content))
    assert name in caught.value.message
    assert "\n" not in caught.value.message
    assert re.search(hint, caught.value.hint)


def test_a_damaged_archive_of_records(tmp_path: Path) -> None:
    lines = "".join(f'{{"reviewerID": "u{n}", "asin": "i{n}", "unixReviewTime": 1365984000}}\n' for n in range(20_000))
    archive = gzip.compress(lines.encode(), mtime=0)
    for broken in (archive[: len(archive) // 2], flipped(archive, len(archive) // 2)):
        with pytest.raises(LlmseqError, match="is damaged"):
            read_files(write(tmp_path, "reviews.json.gz", broken))


def test_paths_that_mean_nothing(tmp_path: Path) -> None:
    for path, message in (
        (tmp_path / "none.csv", "does not exist"),
        (tmp_path / "*.csv", "no file matches"),
        (tmp_path, "contains no file that llmseq can read"),
    ):
        with pytest.raises(LlmseqError, match=message) as caught:
            read_files(path)
        assert caught.value.hint


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_files_and_folders_without_permission(tmp_path: Path) -> None:
    path = write(tmp_path, "folder/a.csv", CSV)
    path.chmod(0)
    with pytest.raises(LlmseqError, match="Permission denied"):
        read_files(path)
    path.parent.chmod(0)
    try:
        with pytest.raises(LlmseqError, match="Permission denied"):
            read_files(path.parent)
    finally:
        path.parent.chmod(0o700)


def test_an_unknown_column_is_met_with_the_closest(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", CSV[:200].rpartition("\n")[0])
    with pytest.raises(LlmseqError, match="has no column 'user_idd'") as caught:
        read_files(path, columns={"user": "user_idd"})
    assert caught.value.hint == "did you mean 'user_id'?"
    with pytest.raises(LlmseqError, match="has no column '9'"):
        read_files(path, columns={"user": "9"})


def test_an_unknown_format_is_met_with_the_closest(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        read_files(tmp_path, format="amazn")
    assert caught.value.hint == "did you mean 'amazon'?"


@pytest.mark.parametrize("format", ["movielens", "recbole", "amazon", "steam"])
def test_a_format_that_does_not_fit(tmp_path: Path, format: str) -> None:
    with pytest.raises(LlmseqError) as caught:
        read_files(write(tmp_path, "a.csv", CSV[:200]), format=format)
    assert caught.value.hint


def test_a_slip_in_map_is_told_from_an_attribute(tmp_path):
    path = write(tmp_path, "a.csv", "visitor,sku,ts,maker\nu1,i1,1577836800,Acme\n")
    roles = {"user": "visitor", "item": "sku", "time": "ts"}
    with pytest.raises(UsageError, match="--map has no role 'usr'") as error:
        read_files(path, columns=roles | {"usr": "visitor"})
    assert error.value.hint == "did you mean 'user'?"
    assert len(read_files(path, columns=roles | {"brand": "maker"}).rows) == 1


def test_addresses_out_of_reach_are_told_in_whole_words():
    no_extension = RuntimeError(
        "An error occurred while trying to automatically install the required extension 'httpfs:\n"
        'Failed to download extension "httpfs" at URL "http://extensions.duckdb.org/httpfs.duckdb_extension.gz"'
    )
    told = unreadable("s3://bucket/x.csv", no_extension)
    assert told.message.startswith("cannot read s3://bucket/x.csv: DuckDB's extension httpfs, which reads")
    assert "network" in told.hint
    told = unreadable(
        "s3://bucket/x.csv", RuntimeError("HTTP Error: 403 (Forbidden). " + "Authentication failed " * 30)
    )
    assert told.message.endswith(("Authentication …", "failed …"))
    assert "AWS_ACCESS_KEY_ID" in told.hint
    told = unreadable(__file__, RuntimeError("something else " * 30))
    assert told.message.endswith(("else …", "something …"))


def test_broken_bytes_in_an_archive_that_is_no_text(tmp_path: Path) -> None:
    """DuckDB repeats them in its message, which Python cannot read."""
    content = zstandard.compress(b"\xff\xfe{\n")
    with pytest.raises(LlmseqError, match=r"not UTF-8 text|is not text"):
        read_files(write(tmp_path, "a.json.zst", content))
