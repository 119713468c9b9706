"""Memory probes: the question, the right answer, and a control in which memory cannot help."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from llmseq_cli.data.catalog import normalise_title
from llmseq_cli.data.dataset import Dataset
from llmseq_cli.finetuning.item_lists import keyed_order
from llmseq_cli.finetuning.tasks.answer_text import read_one
from llmseq_cli.finetuning.wording import normal_titles
from llmseq_cli.store.queries import query

if TYPE_CHECKING:
    import duckdb

    from llmseq_cli.store.connection import Store

SYSTEM = (
    "You are asked what you remember of the dataset {dataset}, which is public. Answer with the exact name of the "
    "product and nothing else. If you do not remember it, answer: unknown"
)
_FEWEST_WORDS = 4  # of a title whose beginning is shown
_MOST_ITEMS = 20  # of a history that is shown
MARKING = ("id", "session", "history")
"""Probes that answers from this dataset alone can pass; titles of products are known from everywhere."""


@dataclass(frozen=True)
class Probe:
    """Questions of one kind.

    keys: int64[n], items or sessions. questions, truths: one each. beginnings: of titles, '' where none is shown.
    control: the questions once more, with what could be remembered shuffled; None: control_truths are what the same
    answers are compared with.
    """

    name: str
    keys: np.ndarray
    questions: list[str]
    truths: list[str]
    beginnings: list[str]
    control: list[str] | None = None
    control_truths: list[str] | None = None

    def __len__(self) -> int:
        return len(self.questions)

    def is_right(self, place: int, answer: str, truth: str) -> bool:
        """Whether an answer gives the title, or goes on where the beginning ends."""
        beginning = self.beginnings[place]
        for said in [answer, *read_one(answer)]:
            whole = f"{beginning} {said}" if beginning else said
            if normalise_title(truth) in (normalise_title(said), normalise_title(whole)):
                return True
        return False


def make_probes(
    store: Store, dataset: Dataset, names: Sequence[str], sample: int, called: str, seed: int
) -> list[Probe]:
    """The probes of these names that the dataset allows, each of at most `sample` questions."""
    titles = normal_titles(dataset.catalog)
    made: list[Probe] = []
    if "title" in names:
        made.append(_of_titles(titles, sample, called, seed))
    if "id" in names:
        made.append(_of_ids(dataset, titles, sample, called, seed))
    if "session" in names:
        with store.read("reading sessions") as con:
            made.append(_of_session_ids(con, dataset, titles, sample, called, seed))
    if "history" in names:
        made.append(_of_histories(dataset, titles, sample, called, seed))
    return [probe for probe in made if len(probe) > 1]


def _of_titles(titles: list[str], sample: int, called: str, seed: int) -> Probe:
    usable = [item for item, title in enumerate(titles) if len(title.split()) >= _FEWEST_WORDS]
    items = _drawn(np.array(usable, dtype=np.int64), sample, seed)
    words = [titles[item].split() for item in items.tolist()]
    beginnings = [" ".join(one[: len(one) // 2]) for one in words]
    questions = [f"A product of {called} has a name that begins with: {one}\nHow does it go on?" for one in beginnings]
    truths = [titles[item] for item in items.tolist()]
    return Probe("title", items, questions, truths, beginnings, control_truths=_others(truths))


def _of_ids(dataset: Dataset, titles: list[str], sample: int, called: str, seed: int) -> Probe:
    """Not of items whose id is, or tells, the title."""
    ids = [str(one) for one in dataset.catalog.external_ids]
    usable = [
        item
        for item, (name, title) in enumerate(zip(ids, titles, strict=True))
        if title and normalise_title(title) not in normalise_title(name)
    ]
    items = _drawn(np.array(usable, dtype=np.int64), sample, seed)
    questions = [f"Which product of {called} has the id {ids[item]}?" for item in items.tolist()]
    truths = [titles[item] for item in items.tolist()]
    return Probe("id", items, questions, truths, [""] * len(truths), control_truths=_others(truths))


def _of_session_ids(
    con: duckdb.DuckDBPyConnection, dataset: Dataset, titles: list[str], sample: int, called: str, seed: int
) -> Probe:
    places = _sessions(dataset, titles, sample, seed)
    cases = con.execute(query("prompting/audited_sessions"), {"split_id": dataset.info.split_id}).fetchall()
    named = {case_id: (session, position) for case_id, session, position in cases}
    asked = [named[case_id] for case_id in dataset.test.ids[places].tolist()]
    questions = [
        f"Which product is number {position} in the history of the customer {session} in {called}, oldest first?"
        for session, position in asked
    ]
    truths = [titles[item] for item in dataset.test.targets()[places].tolist()]
    ids = dataset.test.ids[places]
    return Probe("session", ids, questions, truths, [""] * len(truths), control_truths=_others(truths))


def _of_histories(dataset: Dataset, titles: list[str], sample: int, called: str, seed: int) -> Probe:
    """The control shows the same items in another order: who recommends well still does, who recites does not."""
    places = _sessions(dataset, titles, sample, seed, least=2)
    shuffled = np.random.default_rng([seed, 11])
    histories = dataset.test.histories()
    questions: list[str] = []
    control: list[str] = []
    for place in places.tolist():
        items = [item for item in histories[place].tolist() if titles[item]][-_MOST_ITEMS:]
        others = _reordered(items, shuffled)
        for order, into in ((items, questions), (others, control)):
            listed = "\n".join(f"{number}. {titles[item]}" for number, item in enumerate(order, 1))
            into.append(f"A customer of {called} chose, oldest first:\n{listed}\nWhich product comes next there?")
    truths = [titles[item] for item in dataset.test.targets()[places].tolist()]
    return Probe("history", dataset.test.ids[places], questions, truths, [""] * len(truths), control)


def _sessions(dataset: Dataset, titles: list[str], sample: int, seed: int, least: int = 0) -> np.ndarray:
    """Places of test sessions whose next item has a title, and whose history has `least` different items with one."""
    titled = np.array([bool(title) for title in titles], dtype=bool)
    histories = dataset.test.histories().only(titled).last(_MOST_ITEMS)
    different = [len(set(histories[place].tolist())) >= least for place in range(len(histories))]
    usable = np.flatnonzero(titled[dataset.test.targets()] & np.array(different, dtype=bool))
    chosen = _drawn(dataset.test.ids[usable], sample, seed)
    return np.flatnonzero(np.isin(dataset.test.ids, chosen))


def _drawn(keys: np.ndarray, sample: int, seed: int) -> np.ndarray:
    """At most `sample` of the keys, drawn at random; more of them hold fewer."""
    order = np.argsort(keyed_order(seed, keys, np.zeros(1)), kind="stable")
    return np.sort(keys[order[:sample]])


def _others(truths: list[str]) -> list[str]:
    """For each title another one of them: that of the next question whose title differs; '' where none does."""
    found = []
    for place, truth in enumerate(truths):
        later = truths[place + 1 :] + truths[:place]
        found.append(next((title for title in later if normalise_title(title) != normalise_title(truth)), ""))
    return found


def _reordered(items: list[int], random: np.random.Generator) -> list[int]:
    """Another order of items, of which at least two differ."""
    while True:
        order = [items[place] for place in random.permutation(len(items))]
        if order != items:
            return order
