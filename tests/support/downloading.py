"""Downloads of a file from a server on the loopback, whole or cut off."""

import pytest
from support.file_server import BODY

from llmseq_cli.data.downloads.download import download
from llmseq_cli.data.downloads.transfer import Retries
from llmseq_cli.errors import LlmseqError

HALF = len(BODY) // 2
QUICK = Retries(tries=4, first_wait=0.01, timeout=5)


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
