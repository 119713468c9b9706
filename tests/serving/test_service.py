"""The service answers what `recommend` does, and nothing to those it should not answer."""

from __future__ import annotations

import base64
import json

import pytest

from llmseq_cli import IngestOptions, TrainOptions, Workspace
from llmseq_cli.data.ingest import Protocol
from llmseq_cli.serving import guards
from llmseq_cli.serving.options import MOST_BYTES, MOST_ITEMS, MOST_RECOMMENDATIONS, MOST_SESSIONS

TOKEN = "0123456789abcdef"
SESSIONS = [["i01", "i02"], ["i09"], ["i33", "i34", "i35"], ["i17"] * 3]


def test_lists_are_those_of_recommend(service, trained):
    client = service("v-sknn", "sasrec")
    for run in ("v-sknn-1", "sasrec-2"):
        wanted = [trained.recommend(run, session, k=7) for session in SESSIONS]
        answer = client.post("/recommend", json={"sessions": SESSIONS, "k": 7, "run": run})
        assert answer.status_code == 200, answer.text
        assert answer.json()["run"] == run
        assert [one["recommendations"] for one in answer.json()["lists"]] == wanted
        alone = client.post("/recommend", json={"session": SESSIONS[0], "k": 7, "run": run}).json()
        assert [one["recommendations"] for one in alone["lists"]] == wanted[:1]
    assert client.post("/recommend", json={"session": ["i01"]}).json()["run"] == "v-sknn-1"
    assert client.post("/recommend", json={"sessions": []}).json()["lists"] == []


def test_times_of_sessions(service, tmp_path):
    workspace = Workspace(tmp_path / "ws")
    rows = [
        f"u{user},i{(user + place) % 40:02},{10**6 * user + 10 * place**2}" for user in range(50) for place in range(4)
    ]
    (tmp_path / "clicks.csv").write_text("\n".join(["user,item,timestamp", *rows]) + "\n")
    workspace.ingest(IngestOptions([tmp_path / "clicks.csv"], "clicks", protocol=Protocol(k_core=0)))
    workspace.train(TrainOptions("v-sknn"))
    workspace.train(TrainOptions("sasrec", settings={"epochs": 1, "dim": 8, "time": "both"}, device="cpu"))
    client = service("sasrec", "v-sknn", folder=workspace.folder)
    times = [["2024-05-01", 1714694400], None, [0, 5, 100.5], [7, 17, 57]]
    wanted = [workspace.recommend("sasrec", one, k=7, times=when) for one, when in zip(SESSIONS, times, strict=True)]
    asked = {"sessions": SESSIONS, "k": 7, "times": times}
    lists = [one["recommendations"] for one in client.post("/recommend", json=asked).json()["lists"]]
    assert lists == wanted
    without = [
        one["recommendations"] for one in client.post("/recommend", json=asked | {"times": None}).json()["lists"]
    ]
    assert [a == b for a, b in zip(lists, without, strict=True)] == [False, True, False, False]
    # An item that is not known goes with its time.
    alone = {"session": ["i33", "?", "i34", "i35"], "k": 7, "times": [0, 1, 5, 100.5]}
    assert client.post("/recommend", json=alone).json()["lists"][0]["recommendations"] == wanted[2]
    [blind] = client.post("/recommend", json=alone | {"run": "v-sknn-1"}).json()["lists"]
    assert blind["recommendations"] == workspace.recommend("v-sknn", SESSIONS[2], k=7)


def test_items_by_title_and_unknown_ones(service):
    client = service("v-sknn")
    [by_id], [by_title] = (
        client.post("/recommend", json={"session": session}).json()["lists"]
        for session in (["i01"], ["Green  BLUE sock", "no such thing", 17])
    )
    assert by_title["recommendations"] == by_id["recommendations"]
    assert (by_id["unknown"], by_title["unknown"]) == ([], ["no such thing", "17"])


def test_another_run_where_there_is_nothing_to_recommend(service, trained):
    asked = {"sessions": [[], ["zzz"], ["i01"]], "k": 3}
    empty = service("v-sknn").post("/recommend", json=asked).json()["lists"]
    assert [len(one["recommendations"]) for one in empty] == [0, 0, 3]
    filled = service("v-sknn", fallback="most-popular").post("/recommend", json=asked).json()["lists"]
    popular = trained.recommend("most-popular", [], k=3)
    assert [one["recommendations"] for one in filled] == [popular, popular, empty[2]["recommendations"]]
    assert filled[1]["unknown"] == ["zzz"]


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({}, "session or sessions"),
        ({"session": ["i01"], "sessions": [["i01"]]}, "session or sessions"),
        ({"session": "i01"}, "session"),
        ({"session": [["i01"]]}, "session.0"),
        ({"session": [None]}, "session.0"),
        ({"session": ["i01"], "k": 0}, "k"),
        ({"session": ["i01"], "k": MOST_RECOMMENDATIONS + 1}, "k"),
        ({"session": ["i01"], "k": "many"}, "k"),
        ({"session": ["i01"], "top": 3}, "top"),
        ({"session": ["i01"], "run": "sasrec-2"}, "the run 'sasrec-2' is not served"),
        ({"session": ["i01"] * (MOST_ITEMS + 1)}, "session"),
        ({"sessions": [["i01"]] * (MOST_SESSIONS + 1)}, "sessions"),
        ({"session": ["i01"], "times": "2024-05-01"}, "times"),
        ({"session": ["i01"], "times": [True]}, "times"),
        ({"session": ["i01"], "times": ["soon"]}, "'soon' is no time"),
        ({"session": ["i01"], "times": [["2024-05-01"]]}, "times hold lists for one session"),
        ({"session": ["i01"], "times": []}, "0 times for 1 item"),
        ({"session": ["i01", "i02"], "times": [2, 1]}, "2.0 is followed by 1.0"),
        ({"sessions": [["i01"]], "times": [5]}, "times hold no list for each session"),
        ({"sessions": [["i01"]], "times": [[5], [6]]}, "times for 2 of 1 sessions"),
        ({"session": ["i01"], "times": [5] * (MOST_ITEMS + 1)}, "times"),
        ([], "the body"),
    ],
)
def test_requests_that_are_off(service, body, word):
    answer = service("v-sknn").post("/recommend", json=body)
    assert answer.status_code == 422
    assert answer.json()["error"].startswith(word) or word in answer.json()["error"]
    assert answer.json()["hint"]


def test_requests_that_are_no_json_or_lead_nowhere(service):
    client = service("v-sknn")
    broken = client.post("/recommend", content=b'{"session": [')
    assert broken.status_code == 422
    form = client.post("/recommend", data={"session": "i01"})
    assert (form.status_code, form.json()["error"]) == (422, "the body is not a JSON object")
    assert "Content-Type" in form.json()["hint"]
    lone = client.post("/recommend", content=rb'{"session": ["\ud800"]}', headers={"content-type": "application/json"})
    assert lone.json()["lists"][0]["unknown"] == ["\ud800"]
    assert client.get("/recommend").json() == {"error": "Method Not Allowed", "hint": "/docs lists all routes"}
    assert client.get("/../../etc/passwd").status_code == 404
    assert client.get("/?k=0").status_code == client.get("/?k=1000").status_code == 422
    assert client.get("/", params={"session": "i01\n" * 1001}).status_code == 422


def test_large_bodies(service):
    client = service("v-sknn")
    large = json.dumps({"session": ["x" * MOST_BYTES]}).encode()
    assert client.post("/recommend", content=large).status_code == 413
    in_parts = client.post("/recommend", content=(large[start : start + 9999] for start in range(0, len(large), 9999)))
    assert in_parts.status_code == 413
    assert client.post("/recommend", content=b"", headers={"content-length": "nonsense"}).status_code == 413
    assert client.post("/recommend", json={"session": ["i01"]}).status_code == 200


def test_a_token(service):
    client = service("v-sknn", token=TOKEN, hosts=None)
    basic = base64.b64encode(f"me:{TOKEN}".encode()).decode()
    for value, status in (
        (None, 401),
        ("Bearer 0123456789abcdee", 401),
        (f"Bearer {TOKEN}x", 401),
        ("Bearer", 401),
        ("Basic ???", 401),
        (f"Bearer {TOKEN}", 200),
        (f"bearer {TOKEN}", 200),
        (f"Basic {basic}", 200),
    ):
        headers = {"authorization": value} if value else {}
        for path in ("/", "/docs", "/openapi.json"):
            answer = client.get(path, headers=headers)
            assert answer.status_code == status, value
            assert TOKEN not in answer.text + str(answer.headers)
    assert client.get("/").headers["www-authenticate"].startswith("Basic ")
    assert client.post("/recommend", json={"session": ["i01"]}).status_code == 401
    assert client.get("/health").json() == {"status": "ok"}


def test_pages_of_other_sites_reach_it_by_no_name_of_theirs(service):
    client = service("v-sknn", hosts=("localhost", "::1"))
    for host, status in (("localhost:8000", 200), ("[::1]:8000", 200), ("evil.example", 421), ("", 421)):
        assert client.get("/docs", headers={"host": host}).status_code == status, host


def test_too_many_requests(service):
    client = service("v-sknn", rate=2)
    answers = [client.post("/recommend", json={"session": ["i01"]}) for _ in range(4)]
    assert [answer.status_code for answer in answers[:2]] == [200, 200]
    assert answers[-1].status_code == 429
    assert answers[-1].headers["retry-after"] == "1"
    assert client.get("/health").status_code == 200


def test_the_rate_limit_fills_up_again(monkeypatch):
    now = 100.0
    monkeypatch.setattr(guards.time, "monotonic", lambda: now)
    rate = guards.RateLimit(0.5)
    assert rate.seconds_to_wait() == 0
    assert rate.seconds_to_wait() == 2
    now += 1
    assert rate.seconds_to_wait() == 1
    now += 1000
    assert [rate.seconds_to_wait() for _ in range(2)] == [0, 2]


def test_what_it_says_of_itself(service):
    client = service("v-sknn")
    schema = client.get("/openapi.json").json()
    assert set(schema["paths"]) == {"/recommend", "/health"}
    page = client.get("/docs")
    for word in ("POST /recommend", "list of Recommendation", "Ids or titles", "v-sknn-1"):
        assert word in page.text
    for text in (page.text, client.get("/?session=i01").text):
        assert "<script" not in text
        assert "src=" not in text
        assert 'href="http' not in text
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
