"""Shutdown dates: the table that ships, what a server tells, and what the commands say before money is spent."""

from __future__ import annotations

from datetime import date

import pytest
from support.chat_server import MODEL
from support.prompting_steps import ON

from llmseq_cli.clients import retirements
from llmseq_cli.clients.errors import FinalError
from llmseq_cli.clients.retirements import check_model, check_tuning, retirement, tuning_end

OFFICIAL = "https://api.openai.com/v1"


@pytest.fixture
def on(monkeypatch):
    """Sets the day."""

    def set_day(day: str) -> None:
        monkeypatch.setattr(retirements, "today", lambda: date.fromisoformat(day))

    return set_day


@pytest.mark.parametrize(
    ("service", "model", "shutdown", "instead"),
    [
        ("openai", "gpt-4.1-mini", "2027-01-14", "gpt-6-luna"),
        ("openai", "gpt-4.1-mini-2025-04-14", "2027-01-14", "gpt-6-luna"),
        ("openai", "ft:gpt-4.1-mini-2025-04-14:org:shop:id", "2027-01-14", "gpt-6-luna"),
        ("openai", "gpt-4o-2024-05-13", "2026-10-23", "gpt-5.6-sol"),
        ("openai", "gpt-5.1", "2027-04-01", None),
        ("vertex", "gemini-2.5-pro", "2026-10-16", "gemini-3.5-flash"),
    ],
)
def test_what_is_announced(service, model, shutdown, instead):
    found = retirement(service, model)
    assert (found.on, found.instead, found.model) == (date.fromisoformat(shutdown), instead, model)


@pytest.mark.parametrize(
    ("service", "model"),
    [("openai", "gpt-6-luna"), ("openai", "gpt-4.1x"), ("vertex", "gpt-4.1"), ("", "gpt-4.1"), ("openai", "ft:")],
)
def test_nothing_is_announced_of_others(service, model):
    assert retirement(service, model) is None


def test_what_the_service_tells_goes_before_the_table():
    assert retirement("openai", "gpt-4.1", "2027-03-01").on == date(2027, 3, 1)
    assert retirement("openai", "gpt-4.1", "2027-03-01").instead == "gpt-6-luna"
    assert retirement("", "mine", "2027-03-01").on == date(2027, 3, 1)
    for told in ("soon", "", None, "2027-13-01"):
        assert retirement("", "mine", told) is None
        assert retirement("openai", "gpt-4.1", told).on == date(2027, 1, 14)


@pytest.mark.parametrize(
    ("day", "to_tune", "refused"),
    [
        ("2026-10-01", True, False),
        ("2026-10-17", True, True),  # 89 days before
        ("2026-10-17", False, False),
        ("2027-01-13", False, False),
        ("2027-01-14", False, True),
        ("2027-02-01", True, True),
    ],
)
def test_a_model_is_refused_from_its_day_on_and_for_tuning_90_days_before(on, day, to_tune, refused):
    on(day)
    told: list[str] = []
    found = retirement("openai", "gpt-4.1")
    if refused:
        with pytest.raises(FinalError, match="14 January 2027") as caught:
            check_model(found, told.append, sure=False, to_tune=to_tune)
        advice = "--provider local" if to_tune else "gpt-6-luna"
        assert (advice in caught.value.hint, "--yes" in caught.value.hint) == (True, True)
        assert told == []
    else:
        check_model(found, told.append, sure=False, to_tune=to_tune)
    check_model(found, told.append, sure=True, to_tune=to_tune)
    assert "gpt-6-luna" in told[-1]


@pytest.mark.parametrize(("day", "refused"), [("2027-01-06", False), ("2027-01-07", True)])
def test_the_last_day_of_tuning(on, day, refused):
    on(day)
    told: list[str] = []
    if refused:
        with pytest.raises(FinalError, match="since 6 January 2027") as caught:
            check_tuning(tuning_end("openai"), told.append, sure=False)
        assert "--provider local" in caught.value.hint
    else:
        check_tuning(tuning_end("openai"), told.append, sure=False)
        assert told == [
            "openai accepts new fine-tuning jobs until 6 January 2027; accounts that have not fine-tuned before are "
            "refused already"
        ]
    assert tuning_end("vertex") is None


def test_finetune_tells_before_it_sends(llmseq, server, ready, on):
    on("2030-01-01")
    server.shutdowns[MODEL] = "2030-02-01"
    refused = llmseq("finetune", *ON)
    assert (refused.status, "on 1 February 2030 and what is fine-tuned" in " ".join(refused.err.split())) == (1, True)
    assert llmseq("jobs", "--json").json == []
    assert server.requests == []
    made = llmseq("finetune", *ON, "--yes")
    assert (made.status, "1 February 2030" in made.err) == (0, True)
    assert len(server.jobs) == 1
    on("2030-03-01")  # what was submitted is only waited for
    assert llmseq("finetune", *ON, "--wait").status == 0
    gone = llmseq("prompt", "latest")
    assert (gone.status, gone.err) == (0, gone.err)  # the server says nothing of the tuned model


def test_prompt_and_embed_warn_and_refuse(llmseq, server, ready, on):
    server.shutdowns[MODEL] = "2030-02-01"
    words = ["prompt", "--base-model", MODEL, "--limit", "2", "--samples", "1"]
    on("2030-02-01")
    assert (llmseq(*words).status, server.requests) == (1, [])
    on("2030-01-31")
    warned = llmseq(*words)
    assert (warned.status, "will be shut down by its provider on 1 February 2030" in warned.err) == (0, True)
    on("2030-02-02")
    again = llmseq(*words)  # nothing is asked any more
    assert (again.status, "shut down" in again.err) == (0, False)
    server.models.add("vectors")
    server.shutdowns["vectors"] = "2030-02-01"
    embedded = llmseq("embed", "--source", "openai", "--model", "vectors")
    assert (embedded.status, "vectors was shut down" in embedded.err, server.requests[-1][0]) == (1, True, "POST")
    assert not any("embeddings" in path for _, path in server.requests)


def test_plans_and_doctor_say_it(llmseq, server, ready, on, monkeypatch):
    on("2026-11-01")
    monkeypatch.setenv("OPENAI_BASE_URL", OFFICIAL)
    old = ["--model", "gpt-4.1-mini"]
    plan = llmseq("finetune", *old, "--dry-run", "--json").json
    assert plan["retirement"] == {"model": "gpt-4.1-mini", "shutdown": "2027-01-14", "instead": "gpt-6-luna"}
    assert plan["tuning_end"] == "2027-01-06"
    printed = llmseq("finetune", *old, "--dry-run").out
    assert "on 2027-01-14; its provider suggests gpt-6-luna" in " ".join(printed.split())
    assert llmseq("prompt", "--base-model", "gpt-4.1", "--dry-run", "--json").json["retirement"]["instead"]
    assert llmseq("prompt", "--base-model", "gpt-6-luna", "--dry-run", "--json").json["retirement"] is None
    assert llmseq("embed", "--source", "openai", "--dry-run", "--json").json["retirement"] is None
    llmseq("finetune", *old, "--prepare-only")
    doctor = llmseq("doctor")
    assert "the model of genitem-1 ends on 2027-01-14; instead of gpt-4.1-mini" in doctor.out
    assert [job["job"] for job in llmseq("doctor", "--json").json["retiring"]] == ["genitem-1"]
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    llmseq("jobs", "cancel", "genitem-1")
    assert llmseq("doctor", "--json").json["retiring"] == []


def test_the_model_has_to_be_named_where_none_lasts(llmseq, server, ready):
    failed = llmseq("finetune")
    assert (failed.status, "no model is given for openai to start from" in failed.err, "--model" in failed.err) == (
        2,
        True,
        True,
    )


def test_no_default_is_in_the_table():
    from llmseq_cli.embeddings.sources.openai import DEFAULT_MODEL
    from llmseq_cli.embeddings.sources.vertex import VertexSource
    from llmseq_cli.providers.registry import PROVIDER_NAMES, provider_class

    assert retirement("openai", DEFAULT_MODEL) is None
    assert retirement("vertex", VertexSource().model) is None
    for name in PROVIDER_NAMES:
        default = provider_class(name).default_model
        assert default is None or retirement(name, default) is None, name
