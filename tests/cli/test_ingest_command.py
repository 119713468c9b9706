"""What `ingest`, `datasets` and `describe` show of the data that was read."""

from __future__ import annotations

from pathlib import Path

from support.reading import write

ROWS = "user,item,time\nu,a,1600000000\nu,b,1600086400\nv,a,1600000000\nv,b,1600172800\n"


def test_first_and_last_time_are_shown_everywhere(llmseq, tmp_path: Path) -> None:
    done = llmseq("ingest", write(tmp_path, "a.csv", ROWS), "--name", "few", "--k-core", 0)
    assert "2020-09-13 12:26:40 to 2020-09-15 12:26:40" in done.out
    assert "2020-09-13 12:26:40 to 2020-09-15 12:26:40" in llmseq("describe").out
    assert llmseq("datasets").out.splitlines()[1].split()[4:6] == ["2020-09-13", "2020-09-15"]
    for shown in (llmseq("describe", "--json").json, llmseq("datasets", "--json").json[0]):
        assert (shown["first_time"], shown["last_time"]) == ("2020-09-13T12:26:40", "2020-09-15T12:26:40")


def test_rows_without_times_have_no_first_and_last_day(llmseq, tmp_path: Path) -> None:
    done = llmseq("ingest", write(tmp_path, "a.csv", "user,item\nu,a\nu,b\nv,a\nv,b\n"), "--name", "few", "--k-core", 0)
    assert "none, the interactions are numbered" in done.out
    assert llmseq("datasets").out.splitlines()[1].split()[4:6] == ["–", "–"]


def test_one_of_a_thing_is_named_as_one(llmseq, tmp_path: Path) -> None:
    done = llmseq("ingest", write(tmp_path, "a.csv", ROWS + "w,a,never\n"), "--name", "few", "--k-core", 0)
    assert "1 bad row was set aside" in done.err
    assert "1 bad row set aside" in done.out
    assert "1 session, 1 item to predict" in done.out
