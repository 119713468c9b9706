"""How long a server asks to wait, however it says it."""

import time
from email.utils import formatdate

import pytest

from llmseq_cli.clients.retry_after import retry_after, retry_info


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": " 0.03 "}, 0.03),
        ({"retry-after": "0"}, 0),
        ({"retry-after-ms": "0", "retry-after": "9"}, 0),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "2"}, 2),
        ({"retry-after": "Wed, 01 Jan 2020 00:00:00 GMT"}, 0),
        *(({"retry-after": wrong}, None) for wrong in ("soon", "", "-1", "nan", "inf", "1e400", "9" * 400, "7 days")),
        ({"retry-after": "Wed, 01 Jan 99999 00:00:00 GMT"}, None),
    ],
)
def test_headers(headers, seconds):
    assert retry_after(headers) == seconds


@pytest.mark.parametrize("zone", ["GMT", "-0000", "+0000"])
def test_dates(zone):
    date = formatdate(time.time() + 6000, usegmt=True).replace("GMT", zone)
    assert retry_after({"retry-after": date}) == pytest.approx(6000, abs=3)


def info(delay):
    return {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}


@pytest.mark.parametrize(
    ("document", "seconds"),
    [
        ({"error": {"details": [{"@type": "x"}, info("30s")]}}, 30),
        ({"details": [info("1.5s")]}, 1.5),
        ({"error": {"details": [info("0s")]}}, 0),
        ({"error": {"details": [info("soon")]}}, None),
        ({"error": {"details": [info({"seconds": 3})]}}, None),
        ({"error": {"details": [info(None), 3]}}, None),
        *((shape, None) for shape in (None, "x", [], {}, {"error": "x"}, {"error": {"details": 7}}, {"details": None})),
    ],
)
def test_google_s_retry_info(document, seconds):
    assert retry_info(document) == seconds
