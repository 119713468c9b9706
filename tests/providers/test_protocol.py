"""What is sent to servers of OpenAI's protocol is what OpenAI's own description, as its package has it, allows."""

from __future__ import annotations

from typing import get_type_hints

from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from openai.types.fine_tuning.job_create_params import JobCreateParams
from pydantic import TypeAdapter
from support.prompting_steps import BASE, ON


def check(kind, body):
    assert set(body) <= set(get_type_hints(kind)), "a field that is not described"
    TypeAdapter(kind).validate_python(body)


def test_jobs_and_chats_are_as_described(llmseq, server, ready):
    llmseq("finetune", *ON, "--set", "epochs=2", "--set", "batch_size=4", "--suffix", "shop", "--wait")
    llmseq("prompt", "--base-model", BASE, "--samples", "2", "--limit", "3", "--set", "reasoning=low")
    kinds = {"/v1/fine_tuning/jobs": JobCreateParams, "/v1/chat/completions": CompletionCreateParamsNonStreaming}
    seen = {path for path, _ in server.bodies}
    assert seen == set(kinds)
    for path, body in server.bodies:
        check(kinds[path], body)


def test_a_server_that_keeps_no_metadata_finds_the_job_by_its_file(llmseq, server, ready):
    create = server.create_job

    def forgetful(asked):
        status, job = create(asked)
        return status, job | {"metadata": job.pop("metadata") and {}}

    server.create_job = forgetful
    server.script = [None] * 7 + ["reset after"]  # uploads, a look at jobs and files, then the answer that is lost
    made = llmseq("finetune", *ON, "--wait", "--json")
    assert (made.status, made.json["status"], len(server.jobs), server.script) == (0, "succeeded", 1, []), made.err
