"""Parts of local models: the trie, generation, the loss."""

import json
import warnings
from collections import Counter

import numpy as np
import pytest
import torch

from llmseq_cli.finetuning.templates import Template
from llmseq_cli.language_model.answering import Answerer
from llmseq_cli.language_model.chat import Encoded, plain_tokens, prompt_texts
from llmseq_cli.language_model.generation import Drawing, generate
from llmseq_cli.language_model.guide import AnswerForm, CatalogGuide
from llmseq_cli.language_model.likelihood import log_likelihoods
from llmseq_cli.language_model.messages import ChatRequest, Constraint, Weighing
from llmseq_cli.language_model.scratch import _make_model, _make_tokenizer
from llmseq_cli.language_model.settings import LocalTuning
from llmseq_cli.language_model.training import Course, Trainer, batches_of
from llmseq_cli.language_model.trie import ROOT, TitleTrie, remaining_counts

TITLES = ["red wool sock", "red wool sock long", "red silk", "blue", "blue hat, warm", "3. Kind hat", "red"]


@pytest.fixture(scope="module")
def tokenizer():
    return _make_tokenizer(TITLES, 400, ["Chosen so far"])


@pytest.fixture(scope="module")
def model(tokenizer):
    return _make_model(tokenizer, LocalTuning(dim=32, layers=2, heads=2, max_length=256), seed=3).eval()


def test_the_trie_allows_what_sets_of_prefixes_allow():
    random = np.random.default_rng(0)
    titles = sorted({tuple(random.integers(0, 4, size=random.integers(1, 6)).tolist()) for _ in range(60)})
    random.shuffle(titles)
    trie = TitleTrie.build(titles, vocabulary=4)
    for _ in range(20):
        wanted = random.random(len(titles)) < 0.3
        wanted[0] = True
        remaining = remaining_counts(torch.from_numpy(wanted)[trie.order][None])
        left = [title for title, keep in zip(titles, wanted, strict=True) if keep]
        nodes, zero = torch.tensor([ROOT]), torch.tensor([0])
        prefix: tuple[int, ...] = ()
        while True:
            _, tokens = trie.continuations(nodes, remaining, zero)
            expected = {title[len(prefix)] if len(title) > len(prefix) else trie.end
                        for title in left if title[: len(prefix)] == prefix}  # fmt: skip
            assert set(tokens.tolist()) == expected
            token = int(random.choice(tokens.numpy()))
            nodes = trie.child(nodes, torch.tensor([token]))
            if token == trie.end:
                assert titles[int(trie.order[trie.title(nodes)])] == prefix
                break
            prefix = (*prefix, token)


def prompts_of(tokenizer):
    return plain_tokens(tokenizer, ["red wool sock", "blue", "red silk blue hat, warm blue hat, warm"])


def test_greedy_answers_are_those_of_transformers(tokenizer, model):
    drawing = Drawing(0.0, 1.0, 12, frozenset([tokenizer.eos_token_id]))
    prompts = prompts_of(tokenizer)
    made = generate(model, prompts, [2, 1, 1], drawing, torch.Generator())
    for prompt, [answer] in zip(prompts, made, strict=True):
        whole = model.generate(torch.tensor([prompt]), max_new_tokens=12, do_sample=False)[0, len(prompt) :].tolist()
        ended = tokenizer.eos_token_id in whole
        assert answer.ended == ended
        assert answer.tokens == (whole[: whole.index(tokenizer.eos_token_id)] if ended else whole)
    assert [one.count for [one] in made] == [2, 1, 1]


def test_what_all_prompts_begin_with_is_read_once(tokenizer, model, monkeypatch):
    from llmseq_cli.language_model.beginning import NOTHING, read_beginning, shared_tokens

    shared = plain_tokens(tokenizer, ["blue hat, warm red silk red wool sock"])[0]
    prompts = [shared + rest for rest in prompts_of(tokenizer)]
    assert len(shared) >= 8
    assert shared_tokens(prompts) == len(shared)
    assert (shared_tokens(prompts[:1]), shared_tokens([[1, 2], [1, 2]]), shared_tokens([[1], [2]])) == (0, 1, 0)
    begun = read_beginning(model, prompts)
    assert begun.length == len(shared)
    drawing = Drawing(0.0, 1.0, 12, frozenset([tokenizer.eos_token_id]))
    alone = generate(model, prompts, [2, 1, 1], drawing, torch.Generator())
    assert generate(model, prompts, [2, 1, 1], drawing, torch.Generator(), begun=begun) == alone
    answers = [plain_tokens(tokenizer, TITLES[:3])] * 3
    weighed = log_likelihoods(model, prompts, answers, begun)
    for prompt, values in zip(prompts, weighed, strict=True):
        assert values == pytest.approx([plain_log_likelihood(model, prompt, one) for one in answers[0]], abs=1e-4)
    assert read_beginning(model, prompts_of(tokenizer)) is NOTHING
    monkeypatch.setattr("transformers.cache_utils.DynamicLayer", type("Another", (), {}))  # as of sliding windows
    assert read_beginning(model, prompts) is NOTHING


def test_equal_beginnings_are_drawn_as_often_as_alone(tokenizer, model):
    """Two tokens drawn 20,000 times: shares are the products of the model's own probabilities."""
    prompt, n = prompts_of(tokenizer)[0], 20_000
    drawing = Drawing(0.3, 1.0, 2, frozenset([tokenizer.eos_token_id]))
    [answers] = generate(model, [prompt], [n], drawing, torch.Generator().manual_seed(5))
    assert sum(one.count for one in answers) == n
    assert len({(tuple(one.tokens), one.ended) for one in answers}) == len(answers)

    def shares(tokens):
        return torch.softmax(model(torch.tensor([tokens])).logits[0, -1].detach() / 0.3, dim=0)

    first = shares(prompt)
    firsts = Counter()
    for one in answers:
        firsts[(one.tokens or [tokenizer.eos_token_id])[0]] += one.count
    likeliest = int(first.argmax())
    assert firsts[likeliest] / n == pytest.approx(float(first[likeliest]), abs=0.02)
    second = shares([*prompt, likeliest])
    token = int(second.argmax())
    pair = sum(one.count for one in answers if one.tokens == [likeliest, token])
    assert pair / n == pytest.approx(float(first[likeliest] * second[token]), abs=0.02)


def test_a_small_nucleus_is_greedy(tokenizer, model):
    ends = frozenset([tokenizer.eos_token_id])
    prompts = prompts_of(tokenizer)
    greedy = generate(model, prompts, [1] * 3, Drawing(0, 1, 8, ends), torch.Generator())
    nucleus = generate(model, prompts, [5] * 3, Drawing(1, 1e-6, 8, ends), torch.Generator())
    assert [[one.tokens for one in rows] for rows in nucleus] == [[one.tokens for one in rows] for rows in greedy]


@pytest.mark.parametrize("form", ["{title}", "{number}. {title}", "- {title} -"])
@pytest.mark.parametrize("names", [1, 3])
@pytest.mark.parametrize("temperature", [0.0, 2.0])
def test_a_guided_model_names_titles_alone_and_none_twice(tokenizer, model, form, names, temperature):
    template = Template(user="{session}", answer=form)
    every = np.arange(len(TITLES))
    none = np.empty(0, dtype=np.int64)
    constraints = [
        Constraint(template.answer, template.separator, TITLES, every, none, names),
        Constraint(template.answer, template.separator, TITLES, every, np.array([0, 6]), names),
        Constraint(template.answer, template.separator, TITLES, np.array([1, 3]), none, names),
    ]
    form_ = AnswerForm(tokenizer, template.answer, template.separator, TITLES, names, "cpu")
    drawing = Drawing(temperature, 1.0, form_.most_tokens(names), frozenset([tokenizer.eos_token_id]))
    guide = CatalogGuide(form_, constraints, "cpu")
    made = generate(model, prompts_of(tokenizer), [30] * 3, drawing, torch.Generator().manual_seed(1), guide)
    may = [set(range(7)), {1, 2, 3, 4, 5}, {1, 3}]
    for allowed, answers in zip(may, made, strict=True):
        assert sum(one.count for one in answers) == 30
        for one in answers:
            assert one.ended
            assert len(one.said) == len(set(one.said)) == min(names, len(allowed))
            assert set(one.said) <= allowed
            said = tokenizer.decode(one.tokens).strip()
            assert " ".join(said.split()) == " ".join(template.lines(form, [TITLES[p] for p in one.said]).split())


def test_batches_hold_every_example_once_in_an_order_of_the_seed_and_epoch():
    lengths = np.random.default_rng(0).integers(5, 100, size=1001)
    first, again, other = (batches_of(lengths, 16, 1, epoch) for epoch in (0, 0, 1))
    assert sorted(np.concatenate(first).tolist()) == list(range(1001))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(np.concatenate(first), np.concatenate(other))


def test_the_loss_is_on_the_answer_alone_however_a_batch_is_divided(tokenizer, model):
    prompts = prompts_of(tokenizer)
    completions = [[*row, tokenizer.eos_token_id] for row in plain_tokens(tokenizer, ["blue", "red silk", "red"])]
    examples = Encoded(prompts, completions)
    trainer = Trainer(model, examples, None, Course(1, 3, 1e-3, 0))
    with torch.no_grad():
        together = float(trainer._loss(examples, np.arange(3)))
        apart = sum(float(trainer._loss(examples, np.array([place]))) for place in range(3))
        by_hand = 0.0
        for prompt, completion in zip(prompts, completions, strict=True):
            logits = model(torch.tensor([prompt + completion])).logits[0].float().log_softmax(1)
            for place, token in enumerate(completion, len(prompt)):
                by_hand -= float(logits[place - 1, token])
    assert together == pytest.approx(by_hand, rel=1e-4)
    assert apart == pytest.approx(by_hand, rel=1e-4)


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_logits_are_made_where_something_is_to_be_learnt(tokenizer, model, weight):
    prompts = prompts_of(tokenizer)
    completions = [[*row, tokenizer.eos_token_id] for row in plain_tokens(tokenizer, ["blue", "red silk", "red"])]
    examples = Encoded(prompts, completions)
    trainer = Trainer(model, examples, None, Course(1, 3, 1e-3, 0, prompt_weight=weight))
    made, head = [], model.get_output_embeddings()
    hook = head.register_forward_hook(lambda _, given, logits: made.append(logits.shape[:-1].numel()))
    with torch.no_grad():
        usual = trainer._loss(examples, np.arange(3))
        hook.remove()
        model.get_output_embeddings = lambda: torch.nn.Identity()  # as of a model whose head is no layer
        try:
            without = trainer._loss(examples, np.arange(3))
        finally:
            del model.get_output_embeddings
    learnt = sum(map(len, completions)) + (sum(len(prompt) - 1 for prompt in prompts) if weight else 0)
    assert made == [learnt]
    assert float(usual) == pytest.approx(float(without), rel=1e-5)


def test_activations_computed_twice_are_the_same(tokenizer):
    from llmseq_cli.language_model.job import _compute_activations_twice

    prompts = prompts_of(tokenizer)
    examples = Encoded(prompts, [[5, tokenizer.eos_token_id]] * 3)
    gradients = []
    for twice in (False, True):
        model = _make_model(tokenizer, LocalTuning(dim=32, layers=2, heads=2, max_length=256), seed=3).train()
        if twice:
            with warnings.catch_warnings(action="error"):
                _compute_activations_twice(model)
            assert model.is_activation_checkpointing
        trainer = Trainer(model, examples, None, Course(1, 3, 1e-3, 0))
        trainer._loss(examples, np.arange(3)).backward()
        gradients.append([weight.grad for weight in model.parameters()])
    for once, again in zip(*gradients, strict=True):
        assert torch.allclose(once, again, atol=1e-5)


def test_a_model_without_a_chat_template_reads_paragraphs(tokenizer):
    plain = _make_tokenizer(TITLES, 400, [])
    plain.chat_template = None
    assert prompt_texts(plain, [("be brief", "what?")]) == ["be brief\n\nwhat?\n\n"]
    plain.chat_template = "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}{% endfor %}"
    assert prompt_texts(plain, [("be brief", "what?")]) == ["[user] be brief\n\nwhat?"]  # it knows no system role


def plain_log_likelihood(model, prompt, answer):
    """By one pass over prompt and answer, without padding or a cache."""
    logits = model(torch.tensor([[*prompt, *answer]])).logits[0].double().log_softmax(dim=1)
    return sum(float(logits[len(prompt) + place - 1, token]) for place, token in enumerate(answer))


@torch.inference_mode()
def test_log_likelihoods_are_those_of_plain_passes(model, tokenizer):
    prompts = prompts_of(tokenizer)
    answers = [plain_tokens(tokenizer, TITLES[:3]), plain_tokens(tokenizer, ["red"]), plain_tokens(tokenizer, TITLES)]
    found = log_likelihoods(model, prompts, answers)
    for prompt, its, values in zip(prompts, answers, found, strict=True):
        assert values == pytest.approx([plain_log_likelihood(model, prompt, answer) for answer in its], abs=1e-4)


def test_weighing_asks_for_whole_answers_in_any_batch(model, tokenizer):
    def requests(whole):
        return [
            ChatRequest("m", "", user, 1, 0, 1, 1, weighing=Weighing(tuple(TITLES[:4]), whole)) for user in ("a b", "c")
        ]

    def told(tokens_at_once, whole):
        answerer = Answerer(model, tokenizer, tokens_at_once)
        batches = list(answerer.weigh(requests(whole)))
        return len(batches), {place: json.loads(done.texts[0]) for batch in batches for place, done in batch}

    (few, whole), (many, one_by_one), (_, begun) = told(8192, True), told(1, True), told(8192, False)
    assert (few, many) == (1, 2)
    for place in (0, 1):
        assert whole[place] == pytest.approx(one_by_one[place], abs=1e-4)
        assert all(one < other for one, other in zip(whole[place], begun[place], strict=True))
