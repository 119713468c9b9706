"""What a dataset may be called."""

import pytest

from llmseq_cli.data.names import checked_name
from llmseq_cli.errors import UsageError

GOOD = ["beauty", "Beauty-2014_5core", "a", "7", "v1.2", "a..b", "_x", "x-", "café", "x" * 100]
BAD = [
    "",
    " ",
    "a b",
    "a/b",
    "a\\b",
    ".a",
    "a.",
    ".",
    "..",
    "a\n",
    "a\tb",
    "a\x1b[31m",
    "a:b",
    "a*",
    "a'b",
    "x" * 101,
    "a,b",
]


@pytest.mark.parametrize("name", GOOD)
def test_names_that_are_accepted(name):
    assert checked_name(name, "dataset", "--name beauty") == name


@pytest.mark.parametrize("name", BAD)
def test_names_that_are_not(llmseq, name):
    with pytest.raises(UsageError, match="is not a valid name for a dataset") as error:
        checked_name(name, "dataset", "--name beauty")
    assert error.value.hint == (
        "use letters, digits, -, _ and . inside, 100 characters at most, for example --name beauty"
    )
    done = llmseq("ingest", "x.csv", "--name", name)
    assert (done.status, "is not a valid name for a dataset" in done.err) == (2, True)
    assert len(done.err) < 300


def test_a_dataset_with_an_older_name_stays_readable(llmseq, shop):
    with shop.store.transaction("testing") as con:
        con.execute("update core.dataset set name = 'my old shop'")
    assert llmseq("describe", "my old shop", "--json").json["name"] == "my old shop"
    assert llmseq("train", "most-popular", "--dataset", "my old shop").status == 0
