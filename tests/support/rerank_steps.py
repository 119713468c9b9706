"""What tests of re-ranking share: a server that puts candidates in order as a test says, and runs in one call."""

from __future__ import annotations

import re

from support.prompting_steps import BASE, rows

SHOWN = re.compile(r"^\[(\d+)\] (.*)$", re.MULTILINE)


def shown(question):
    """{label: title} of the candidates of a question, in the order shown."""
    return {int(label): title for label, title in SHOWN.findall(question)}


def history(question, before="Candidates:"):
    """Titles of the session that a question is about; before: what follows them."""
    return tuple(re.findall(r"^- (.*)$", question.partition(before)[0], re.MULTILINE))


def truths(dataset):
    """By the titles of its history the title of each test session's next item."""
    titles = [" ".join(str(title).split()).replace("[", "(").replace("]", ")") for title in dataset.catalog.titles]
    histories, targets = dataset.test.histories(), dataset.test.targets()
    return {
        tuple(titles[item] for item in histories[place] if titles[item]): titles[targets[place]]
        for place in range(len(histories))
    }


def oracle(dataset):
    """Puts the truth first, the rest as shown."""
    known = truths(dataset)

    def answer(question, sample):
        candidates, truth = shown(question), known[history(question)]
        return " > ".join(f"[{label}]" for label in sorted(candidates, key=lambda label: candidates[label] != truth))

    return answer


def rerank(llmseq, *arguments, model=BASE):
    done = llmseq("rerank", *arguments, "--model", model, "--json")
    assert done.status == 0, done.err
    return done.json[0]


def lists_of(llmseq, run):
    """{session: items, best first} of a run."""
    listed = rows(llmseq, f"select session, item from recommendations where run = '{run}' order by session, rank")
    found = {}
    for row in listed:
        found.setdefault(row["session"], []).append(row["item"])
    return found


def hits_at(llmseq, run, k):
    """The share of sessions whose ground truth is among the first k items of their lists."""
    [row] = rows(llmseq, f"select avg(if(rank <= {k}, 1.0, 0.0)) as share from ranks where run = '{run}'")
    return row["share"]
