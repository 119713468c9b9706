"""Parse answers into orders: map numbers in brackets, or titles, to the candidates shown."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from llmseq_cli.data.catalog import normalise_title
from llmseq_cli.finetuning.tasks.answer_text import read_list

_LABEL = re.compile(r"\[\s*(\d{1,4})\s*\]")
_BESIDE_NUMBERS = re.compile(r"[^\d\s,;>=.\[\]()]")


@dataclass(frozen=True)
class ReadOrder:
    """What an answer says of the candidates that were shown.

    named: their places, best first, each once. invented, repeated: what it names beside them.
    """

    named: list[int] = field(default_factory=list)
    invented: int = 0
    repeated: int = 0


ReadAnswer = Callable[[str, bool, list[str]], ReadOrder]
"""(answer, whether it was cut off at a limit of tokens, titles as shown) → order"""


def read_labels(text: str, cut_off: bool, titles: list[str]) -> ReadOrder:
    """Candidates that were shown as "[1] title" (without brackets in titles) by their numbers.

    An answer without brackets counts where it is nothing but numbers, else by the titles in it.
    """
    numbers = [int(label) for label in _LABEL.findall(text)]
    if not numbers and not _BESIDE_NUMBERS.search(text):
        numbers = [int(word) for word in re.findall(r"\d{1,9}", text)]
        # The last number of an answer that was cut off may lack a digit.
        numbers = numbers[:-1] if cut_off and text[-1:].isdigit() else numbers
    if not numbers:
        return read_titles(text, cut_off, titles)
    return _in_order([[number - 1] if 0 < number <= len(titles) else [] for number in numbers])


def read_titles(text: str, cut_off: bool, titles: list[str]) -> ReadOrder:
    """Candidates by their titles, one a line; those of equal titles come one after the other."""
    exact: dict[str, list[int]] = {}
    alike: dict[str, list[int]] = {}
    for place, title in enumerate(titles):
        exact.setdefault(title, []).append(place)
        alike.setdefault(normalise_title(title), []).append(place)
    alike.pop("", None)

    def places_of(said: str) -> list[int]:
        return exact.get(said) or alike.get(normalise_title(said)) or []

    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    # Lines that are titles as they stand, such as "1." or "2. Skin", are not taken for numbered ones.
    if lines and all(line in exact for line in lines):
        return _in_order([exact[line] for line in lines])
    return _in_order([places_of(" ".join(said.split())) for said in read_list(text, cut_off=cut_off)])


def _in_order(said: list[list[int]]) -> ReadOrder:
    """said: the places that each word of an answer means, none for what was not shown."""
    named: dict[int, None] = {}
    invented = repeated = 0
    for places in said:
        new = [place for place in places if place not in named]
        invented += not places
        repeated += bool(places) and not new
        named |= dict.fromkeys(new)
    return ReadOrder(list(named), invented, repeated)
