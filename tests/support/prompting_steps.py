"""What tests of prompting share: a dataset's arrays, a server that knows the truth, commands in one call."""

from __future__ import annotations

from support.chat_server import MODEL, session_titles

from llmseq_cli.data.dataset import load_dataset

BASE = MODEL
ON = ("--model", MODEL)
"""What `finetune` is told to start from at the loopback server."""


def dataset_of(workspace):
    with workspace.store.read("test") as con:
        return load_dataset(con, None)


def clairvoyant(dataset, wrong=()):
    """Answers with the ground truth of the session that is asked about, for a task that names one item."""
    titles, prompts, targets = dataset.catalog.titles, dataset.test.histories(), dataset.test.targets()
    known = {tuple(titles[prompts[place]]): titles[targets[place]] for place in range(len(prompts))}
    return lambda question, sample: known[tuple(session_titles(question))]


def prompt(llmseq, *arguments):
    done = llmseq("prompt", *arguments, "--json")
    assert done.status == 0, done.err
    return done.json[0]


def rows(llmseq, statement):
    return llmseq("sql", statement, "--json").json
