"""Answer questions in batches of similar length, as large as the device allows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from llmseq_cli.clients.errors import FinalError
from llmseq_cli.language_model.beginning import Beginning, read_beginning
from llmseq_cli.language_model.chat import plain_tokens, prompt_tokens
from llmseq_cli.language_model.generation import Drawing, GeneratedAnswer, generate
from llmseq_cli.language_model.guide import AnswerForm, CatalogGuide
from llmseq_cli.language_model.likelihood import log_likelihoods
from llmseq_cli.language_model.messages import ChatRequest, Completions, Constraint


class Answerer:
    """Answers questions with a model. tokens_at_once: of prompts, including padding."""

    def __init__(self, model: Any, tokenizer: Any, tokens_at_once: int) -> None:
        self.model, self.tokenizer, self.tokens_at_once = model.eval(), tokenizer, tokens_at_once
        self.form: tuple[object, AnswerForm] | None = None
        ends = model.generation_config.eos_token_id
        self.ends = frozenset([tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])]) - {None}

    def answer(self, requests: Sequence[ChatRequest]) -> Iterator[list[tuple[int, Completions]]]:
        """(place of the question, answers), batch by batch, the longest questions first."""
        prompts = prompt_tokens(self.tokenizer, [(request.system, request.user) for request in requests])
        begun = read_beginning(self.model, prompts)
        places = sorted(range(len(requests)), key=lambda place: (_way(requests[place]), -len(prompts[place])))
        while places:
            way, most = _way(requests[places[0]]), max(1, self.tokens_at_once // max(1, len(prompts[places[0]])))
            batch = [place for place in places[:most] if _way(requests[place]) == way]
            try:
                asked = [requests[place] for place in batch]
                answered = self._batch(asked, [prompts[place] for place in batch], begun)
            except torch.OutOfMemoryError:
                if len(batch) == 1:
                    raise FinalError(
                        f"an answer needs more memory than {self.model.device} has", "choose a smaller model"
                    ) from None
                self.tokens_at_once = max(1, self.tokens_at_once // 2)
                continue
            yield list(zip(batch, answered, strict=True))
            places = places[len(batch) :]

    def _batch(self, requests: list[ChatRequest], prompts: list[list[int]], begun: Beginning) -> list[Completions]:
        first, seed = requests[0], _seed(requests)
        random = torch.Generator(self.model.device).manual_seed(seed)
        constraints = [request.constraint for request in requests if request.constraint is not None]
        guide, most = None, first.max_tokens
        if constraints:
            form = self._form(constraints)
            guide = CatalogGuide(form, constraints, str(self.model.device))
            most = form.most_tokens(max(constraint.names for constraint in constraints))
        drawing = Drawing(first.temperature, first.top_p, most, self.ends)
        answers = generate(self.model, prompts, [request.n for request in requests], drawing, random, guide, begun)
        shuffle = np.random.default_rng(seed)
        return [
            self._completions(request, len(prompt), of_one, shuffle)
            for request, prompt, of_one in zip(requests, prompts, answers, strict=True)
        ]

    def weigh(self, requests: Sequence[ChatRequest]) -> Iterator[list[tuple[int, Completions]]]:
        """(place of the question, log-probabilities of its answers), batch by batch, the longest questions first."""
        prompts = prompt_tokens(self.tokenizer, [(request.system, request.user) for request in requests])
        answers = [self._weighed(request) for request in requests]
        begun = read_beginning(self.model, prompts)
        lengths = [
            len(of_one) * (len(prompt) + max(len(answer) for answer in of_one))
            for prompt, of_one in zip(prompts, answers, strict=True)
        ]
        places = sorted(range(len(requests)), key=lambda place: -lengths[place])
        while places:
            batch = places[: max(1, self.tokens_at_once // lengths[places[0]])]
            try:
                found = log_likelihoods(
                    self.model, [prompts[place] for place in batch], [answers[place] for place in batch], begun
                )
            except torch.OutOfMemoryError:
                if len(batch) == 1:
                    raise FinalError(
                        f"a question needs more memory than {self.model.device} has", "choose a smaller model"
                    ) from None
                self.tokens_at_once = max(1, self.tokens_at_once // 2)
                continue
            yield [
                (place, Completions([json.dumps(weights.round(6).tolist())], ["stop"], len(prompts[place]), 0))
                for place, weights in zip(batch, found, strict=True)
            ]
            places = places[len(batch) :]

    def _weighed(self, request: ChatRequest) -> list[list[int]]:
        """Tokens of the answers to weigh for a question."""
        assert request.weighing is not None
        end = [self.tokenizer.eos_token_id] if request.weighing.whole else []
        return [[*tokens, *end] for tokens in plain_tokens(self.tokenizer, request.weighing.texts)]

    def _form(self, constraints: list[Constraint]) -> AnswerForm:
        """Titles of the catalog as tokens, created once."""
        names = max(constraint.names for constraint in constraints)
        line, separator, titles = constraints[0].line, constraints[0].separator, constraints[0].titles
        key = (line, separator, len(titles), hash(tuple(titles)), names)
        if self.form is None or self.form[0] != key:
            self.form = key, AnswerForm(self.tokenizer, line, separator, titles, names, str(self.model.device))
        return self.form[1]

    def _completions(
        self, request: ChatRequest, prompt: int, answers: list[GeneratedAnswer], shuffle: np.random.Generator
    ) -> Completions:
        texts = [text for one in answers for text in [self._text(request, one)] * one.count]
        finishes = ["stop" if one.ended else "length" for one in answers for _ in range(one.count)]
        order = shuffle.permutation(len(texts))  # equal answers were drawn as one, so their order is arbitrary
        return Completions(
            [texts[place] for place in order],
            [finishes[place] for place in order],
            prompt,
            sum(len(one.tokens) * one.count for one in answers),
        )

    def _text(self, request: ChatRequest, answer: GeneratedAnswer) -> str:
        if request.constraint is None or answer.said is None:
            return str(self.tokenizer.decode(answer.tokens, skip_special_tokens=True).strip())
        return request.constraint.answer([request.constraint.titles[place] for place in answer.said])


def _way(request: ChatRequest) -> tuple[float, float, int, bool]:
    """The properties that questions in a batch must share."""
    return request.temperature, request.top_p, request.max_tokens, request.constraint is None


def _seed(requests: Sequence[ChatRequest]) -> int:
    """The seed for a batch, from its questions and the numbers of the answers, so that later answers differ."""
    asked = "\0".join(f"{request.seed} {request.first} {request.n} {request.user}" for request in requests)
    return int.from_bytes(hashlib.blake2b(asked.encode("utf-8", "surrogatepass"), digest_size=7).digest())
