"""Questions for the test sessions: prompts as text, their hashes, and which answers are missing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.finetuning.item_lists import keyed_order
from llmseq_cli.finetuning.tasks.task import Ingredients, PromptTask, no_options
from llmseq_cli.finetuning.wording import Wording
from llmseq_cli.language_model.messages import ChatRequest, Constraint
from llmseq_cli.prompting.asking import Question

_SESSIONS_PER_BLOCK = 2048  # prompts do not depend on it


@dataclass(frozen=True)
class Sampling:
    """How answers are drawn; max_tokens: the longest answer."""

    temperature: float
    top_p: float
    samples: int
    max_tokens: int


@dataclass(frozen=True)
class Prompts:
    """What sessions are asked.

    sessions: as asked, without untitled items and, where they did not fit, without their oldest ones. options:
    int32[n, m]. hashes: of each prompt, '' where there is nothing to ask. tokens: int64[n], estimated.
    cut: how many sessions lost items to the context.
    """

    sessions: Sessions
    options: np.ndarray
    hashes: list[str]
    tokens: np.ndarray
    cut: int

    @property
    def askable(self) -> np.ndarray:
        return np.array([bool(digest) for digest in self.hashes], dtype=bool)


def choose_sessions(test: Sessions, limit: int | None, seed: int) -> Sessions:
    """At most `limit` sessions, drawn at random (a larger limit adds to a smaller one's), in their order."""
    if limit is None or limit >= len(test):
        return test
    order = np.argsort(keyed_order(seed, test.ids, np.zeros(1)), kind="stable")
    return test.take(np.sort(order[:limit]))


def make_prompts(task: PromptTask, wording: Wording, ingredients: Ingredients, prompts: Sessions, room: int) -> Prompts:
    """Prompts of a task for sessions (without their last item); see `lay_out`."""
    options = [
        task.options(prompts.slice(start, min(start + _SESSIONS_PER_BLOCK, len(prompts))), ingredients)
        for start in range(0, len(prompts), _SESSIONS_PER_BLOCK)
    ]
    return lay_out(wording, ingredients.groups, prompts, np.concatenate(options) if options else no_options(0), room)


def lay_out(wording: Wording, groups: np.ndarray, prompts: Sessions, listed: np.ndarray, room: int) -> Prompts:
    """Prompts of at most `room` tokens for sessions and what is listed to each, int32[n, m]; groups: of `title_groups`.

    A session of which nothing is left, because no item has a title or nothing fits, is not asked for.
    """
    titled = prompts.where(groups[prompts.items] >= 0)
    over = wording.question_tokens(titled, listed) - room
    fitting = _without_oldest(titled, wording, over)
    tokens = wording.question_tokens(fitting, listed)
    hashes = [
        prompt_hash(wording, fitting[place], listed[place]) if len(fitting[place]) and tokens[place] <= room else ""
        for place in range(len(fitting))
    ]
    return Prompts(fitting, listed, hashes, tokens, int((over > 0).sum()))


def _without_oldest(sessions: Sessions, wording: Wording, over: np.ndarray) -> Sessions:
    """Sessions without as many of their oldest items as hold `over` tokens (int64[n]; none where negative)."""
    total = np.cumsum(wording.item_tokens(sessions.items))
    before = np.concatenate([[0], total])[sessions.offsets[:-1]]
    dropped = total - np.repeat(before, sessions.lengths)  # tokens up to and with each item
    limit = np.repeat(np.maximum(over, 0), sessions.lengths)
    before_item = dropped - wording.item_tokens(sessions.items)
    return sessions.where(before_item >= limit)


def prompt_hash(wording: Wording, session: np.ndarray, options: np.ndarray) -> str:
    """The hash of a prompt, see `text_hash`."""
    return text_hash(wording.template.system + "\0" + wording.question(session, options))


def text_hash(text: str) -> str:
    """BLAKE2b-128 of a text as 32 hexadecimal digits."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def missing(prompts: Prompts, kept: dict[tuple[int, str], int], samples: int) -> np.ndarray:
    """How many answers each session lacks, int64[n]."""
    lacking = np.zeros(len(prompts.hashes), dtype=np.int64)
    for place, digest in enumerate(prompts.hashes):
        if digest:
            lacking[place] = max(0, samples - kept.get((int(prompts.sessions.ids[place]), digest), 0))
    return lacking


def questions(
    prompts: Prompts,
    lacking: np.ndarray,
    wording: Wording,
    model: str,
    sampling: Sampling,
    seed: int = 0,
    constrained: Callable[[np.ndarray, np.ndarray], Constraint] | None = None,
) -> Iterator[Question]:
    """One question for each session that lacks answers, put into words when it is taken.

    constrained: what may be answered to a session with options.
    """
    for place in np.flatnonzero(lacking).tolist():
        request = ChatRequest(
            model=model,
            system=wording.template.system,
            user=wording.question(prompts.sessions[place], prompts.options[place]),
            n=int(lacking[place]),
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=sampling.max_tokens,
            seed=seed,
            first=sampling.samples - int(lacking[place]),
            constraint=constrained(prompts.sessions[place], prompts.options[place]) if constrained else None,
        )
        yield Question(
            session_id=int(prompts.sessions.ids[place]),
            prompt_hash=prompts.hashes[place],
            first=sampling.samples - int(lacking[place]),
            request=request,
            prompt_tokens=int(prompts.tokens[place]),
        )
