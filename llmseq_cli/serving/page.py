"""Pages for a browser: a session with the lists of the models, and the documentation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import numpy as np

from llmseq_cli.serving.options import MOST_BYTES
from llmseq_cli.serving.served import Served
from llmseq_cli.training.ready import ReadyModel

if TYPE_CHECKING:
    from jinja2 import Environment

MOST_SHOWN = 100
_EXAMPLES = 3


@dataclass(frozen=True)
class _Line:
    """A recommendation. elsewhere: its places in the other lists, as text. more: the URL with it added to the
    session."""

    title: str
    item: str
    elsewhere: str
    more: str


@dataclass(frozen=True)
class _Column:
    run: str
    dataset: str
    lines: list[_Line]
    unknown: list[str]


def items_of(text: str) -> list[str]:
    """The session that was typed in, one item per line."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def session_page(
    models: Mapping[str, Served], items: list[str], k: int, answers: Mapping[str, dict[str, Any] | None]
) -> str:
    """The page with the runs' lists; None if the session is empty."""
    first = next(iter(models.values())).ready
    titles = [_title(first, item) for item in items]
    columns = [_column(models[run].ready, answer, answers, items, k) for run, answer in answers.items()]
    examples = [(first.catalog.label(item), _address([_id(first, item)], k)) for item in _popular(first)]
    return _templates().get_template("session.html").render(
        columns=columns, items=items, titles=titles, k=k, most=MOST_SHOWN, examples=examples, asked=bool(items)
    )  # fmt: skip


def docs_page(schema: dict[str, Any], models: Mapping[str, Served], address: str) -> str:
    """The documentation page, from the OpenAPI document. address: of the service."""
    first = next(iter(models.values())).ready
    return _templates().get_template("docs.html").render(
        schema=schema,
        runs=list(models),
        address=address,
        example=[_id(first, item) for item in _popular(first)][:2],
        most_bytes=MOST_BYTES,
    )  # fmt: skip


def _column(
    ready: ReadyModel,
    answer: dict[str, Any] | None,
    answers: Mapping[str, dict[str, Any] | None],
    items: list[str],
    k: int,
) -> _Column:
    others = {run: _places(one) for run, one in answers.items() if run != ready.run}
    lines = []
    for row in (answer or {}).get("recommendations", []):
        found = {run: places[row["item"]] for run, places in others.items() if row["item"] in places}
        elsewhere = ", ".join(f"{place}" if len(others) == 1 else f"{place} in {run}" for run, place in found.items())
        lines.append(_Line(row["title"] or row["item"], row["item"], elsewhere, _address([*items, row["item"]], k)))
    return _Column(ready.run, ready.dataset, lines, (answer or {}).get("unknown", []))


def _places(answer: dict[str, Any] | None) -> dict[str, int]:
    return {row["item"]: row["rank"] for row in (answer or {}).get("recommendations", [])}


def _title(ready: ReadyModel, text: str) -> str | None:
    item = ready.catalog.known(text)
    return None if item is None else ready.catalog.label(item)


def _id(ready: ReadyModel, item: int) -> str:
    return str(ready.catalog.external_ids[item])


def _popular(ready: ReadyModel) -> list[int]:
    """Popular items, to start a session."""
    popularity = np.where(ready.catalog.in_train, ready.catalog.popularity, 0)
    return [int(item) for item in np.argsort(-popularity, kind="stable")[:_EXAMPLES]]


def _address(items: list[str], k: int) -> str:
    return "?" + urlencode({"session": "\n".join(items), "k": k})


@cache
def _templates() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("llmseq_cli.serving"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
