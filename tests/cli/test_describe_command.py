"""`llmseq describe`: what it counts, and what its audit finds."""

from __future__ import annotations

import pytest


def test_describe_has_the_keys_of_the_contract(llmseq, shop):
    facts = llmseq("describe", "--json").json
    keys = (
        "name sessions items interactions classes average_length density tie_break ties_at_end train_sessions"
        " test_sessions evaluated_sessions train_items rejected"
    )
    assert set(keys.split()) <= set(facts)
    assert facts["train_sessions"] + facts["test_sessions"] == facts["sessions"] == 120
    assert sum(row["sessions"] for row in facts["lengths"]) == 120
    assert sum(row["share"] for row in facts["popularity"]) == pytest.approx(1)
    assert "24 sessions" in llmseq("describe", "shop").out


def test_audit_counts_what_endangers_an_evaluation(llmseq, tmp_path):
    rows = ["user_id,item_id,timestamp"]
    for user in range(10):
        # Ends in a tie for even users; user 9 (in the test part) repeats an item.
        items = [0, 1, 2, 3, 3 if user == 9 else 4]
        times = [user * 10 + place for place in range(5)]
        times[4] = times[3] if user % 2 == 0 else times[4]
        rows += [f"u{user},i{item},{1_600_000_000 + time}" for item, time in zip(items, times, strict=True)]
    rows += [f"u9,new,{1_600_000_095}"]
    file = tmp_path / "clicks.csv"
    file.write_text("\n".join(rows) + "\n")
    assert llmseq("ingest", file, "--name", "small", "--k-core", "0").status == 0
    affected = {row["finding"]: row["affected"] for row in llmseq("describe", "--audit", "--json").json}
    assert affected["sessions whose last two items have the same time"] == 5
    assert affected["sessions that hold an item more than once"] == 1
    assert affected["items that occur only in test sessions"] == 1
    assert affected["test sessions that lose such items"] == 1
    assert affected["items without a title"] == 6
    assert "the tie-break decides" in " ".join(llmseq("describe", "--audit").out.split())


def test_audit_tells_what_a_k_core_over_all_time_gives_away(llmseq, tmp_path):
    """Item "late" occurs twice, as the 2-core wants, but once in training: its test session was sure to come."""
    sessions = ["a b", "b a", "a b", "b c", "c a", "a c", "b a", "a late", "b c", "c late"]
    rows = [
        f"u{n},{item},{1_600_000_000 + 10 * n + place}"
        for n, items in enumerate(sessions)
        for place, item in enumerate(items.split())
    ]
    file = tmp_path / "clicks.csv"
    file.write_text("\n".join(["user_id,item_id,timestamp", *rows]) + "\n")
    assert llmseq("ingest", file, "--name", "cut", "--k-core", "2").status == 0
    [found] = [row for row in llmseq("describe", "--audit", "--json").json if "the rarest item" in row["finding"]]
    assert (found["affected"], found["total"]) == (1, 2)
    file.write_text("\n".join(["user_id,item_id,timestamp", *rows, "u9,once,1600000099"]) + "\n")
    assert llmseq("ingest", file, "--name", "whole", "--k-core", "0", "--unseen-items", "keep").status == 0
    [found] = [row for row in llmseq("describe", "whole", "--audit", "--json").json if "the rarest" in row["finding"]]
    assert found["affected"] == 0
