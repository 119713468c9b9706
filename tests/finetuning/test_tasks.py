"""Tasks, templates, parsers and example files, on arrays made by hand."""

import json

import numpy as np
import pytest
from support.catalogs import catalog_of

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.errors import UsageError
from llmseq_cli.finetuning.examples import Amounts, Built, ExampleBuilder
from llmseq_cli.finetuning.item_lists import shuffled, tidy, title_groups, with_truth_on_top
from llmseq_cli.finetuning.tasks.answer_text import read_list, read_one
from llmseq_cli.finetuning.tasks.classify import categories_of, choose_categories
from llmseq_cli.finetuning.tasks.registry import TASK_NAMES, find_task
from llmseq_cli.finetuning.tasks.task import Ingredients
from llmseq_cli.finetuning.templates import load_template, parse_template
from llmseq_cli.finetuning.wording import Wording
from llmseq_cli.progress import SilentProgress
from llmseq_cli.providers.openai import OpenAIProvider, OpenAITuning

TITLES = [f"Thing {{number}} {item}, {item % 7} oz" for item in range(30)]


def builder_of(task, *, titles=TITLES, limit=None, validation=500, context=10_000, k=4, seed=1, template=None):
    catalog = catalog_of(titles)
    vectors = np.eye(len(titles), dtype=np.float32)
    candidates = np.arange(len(titles), dtype=np.int32)
    ingredients = Ingredients(
        k,
        seed,
        title_groups(catalog),
        lambda prompts, k: np.tile(candidates[:k], (len(prompts), 1)),
        categories_of(np.arange(8, dtype=np.int32), vectors),
    )
    provider = OpenAIProvider("http://localhost:1/v1", OpenAITuning())
    words = load_template(
        task, template or find_task(task).template, needs_options=task in ("classify", "rank"), takes_options=True
    )
    wording = Wording(words, catalog, k, provider.count_tokens)
    return ExampleBuilder(find_task(task), wording, ingredients, Amounts(limit, validation, context)), provider


def random_sessions(n, n_items=30, seed=0):
    random = np.random.default_rng(seed)
    return Sessions.from_lists([random.choice(n_items, size=random.integers(2, 7), replace=False) for _ in range(n)])


def written(builder, provider, sessions, folder):
    built = builder.write(sessions, folder, provider.training_line, SilentProgress())
    lines = {}
    for name in ("training", "validation"):
        file = folder / f"{name}.jsonl"
        lines[name] = [json.loads(line)["messages"] for line in file.read_text().splitlines()] if file.exists() else []
    return built, lines["training"], lines["validation"]


@pytest.mark.parametrize("task", TASK_NAMES)
def test_answers_of_examples_are_read_as_they_were_meant(task, tmp_path):
    builder, provider = builder_of(task)
    sessions = random_sessions(50)
    built, training, validation = written(builder, provider, sessions, tmp_path)
    assert (built.training, built.validation) == (len(training), len(validation)) == (45, 5)
    truths = {(*(TITLES[item] for item in sessions[place]),) for place in range(50)}
    for messages in training + validation:
        question, answer = messages[-2]["content"], messages[-1]["content"]
        chosen = question.partition("Chosen so far:\n")[2].partition("\n\n")[0].splitlines()
        parsed = find_task(task).parse(answer)
        assert set(parsed) <= set(TITLES)
        assert len(parsed) == len(set(parsed)) == (1 if find_task(task).names_one else 4)
        if task != "classify":
            assert (*(line.partition(". ")[2] for line in chosen), parsed[0]) in truths
        if task == "rank":
            listed = [line[2:] for line in question.splitlines() if line.startswith("- ")]
            assert sorted(listed) == sorted(parsed)


def test_the_most_similar_categories_come_first():
    vectors = np.array([[1, 0], [0, 1], [0.6, 0.8], [0, 0]], dtype=np.float32)
    near = categories_of(np.array([0, 1], dtype=np.int32), vectors).nearest(np.array([2, 0, 3]), 2)
    assert near.tolist() == [[1, 0], [0, 1], [-1, -1]]


def test_clusters_are_represented_by_their_most_popular_titled_item():
    vectors = np.repeat(np.eye(3, dtype=np.float32), 3, axis=0)
    counts = np.array([1, 5, 9, 2, 2, 1, 0, 0, 0])
    groups = np.array([0, 1, -1, 2, 3, 4, 5, 6, 7])
    assert choose_categories(vectors, counts, groups, 2, seed=0).tolist() == [1, 3]


def test_what_is_left_out_is_counted():
    titles = [*TITLES[:10], "", "word " * 400]
    sessions = Sessions.from_lists([[1], [1, 2], [1, 10, 2], [1, 2, 11], [3, 4, 5], []])
    builder, _ = builder_of("genitem", titles=titles, context=300)
    built = builder.count(sessions, SilentProgress())
    assert built.left_out == {"too short": 2, "with an untitled item": 1, "beyond the context": 1}
    assert built.training == 2


def test_examples_are_a_function_of_the_seed_and_each_session(tmp_path):
    sessions = random_sessions(3000)
    first, second = tmp_path / "1", tmp_path / "2"
    first.mkdir()
    second.mkdir()
    builder, provider = builder_of("rank")
    built, training, validation = written(builder, provider, sessions, first)
    assert (built.validation, len(built.digest)) == (300, 64)
    assert builder.write(sessions, second, provider.training_line, SilentProgress()).digest == built.digest
    assert (
        builder_of("rank", seed=2)[0].write(sessions, second, provider.training_line, SilentProgress()).digest
        != built.digest
    )
    some, provider = builder_of("rank", limit=50)
    built, few, _ = written(some, provider, sessions, second)
    assert (built.training, built.validation) == (50, 5)
    everything = {json.dumps(messages) for messages in training + validation}
    assert {json.dumps(messages) for messages in few} <= everything


def test_tokens_are_an_upper_estimate_that_adds_up(tmp_path):
    builder, provider = builder_of("rank")
    [block] = builder.blocks(random_sessions(40), Built())
    for place in range(len(block.prompts)):
        example = builder.wording.example(block.prompts[place], block.options[place], block.answers[place])
        counted = provider.count_tokens([example.system + "\n" + example.user + "\n" + example.completion])[0]
        assert counted <= block.tokens[place] <= counted * 1.3 + 60


def test_truth_on_top_and_shuffling():
    lists = np.array([[1, 2, 3], [4, 5, -1], [7, 8, 9]], dtype=np.int32)
    assert with_truth_on_top(lists, np.array([2, 6, 0])).tolist() == [[2, 1, 3], [6, 4, 5], [0, 7, 8]]
    ids = np.array([10, 11, 12])
    mixed = shuffled(lists, ids, 0)
    assert [sorted(row) for row in mixed.tolist()] == [sorted(row) for row in lists.tolist()]
    assert mixed[1, 2] == -1
    assert shuffled(lists[:, ::-1][[2]], ids[[2]], 0).tolist() == mixed[[2]].tolist()
    many = np.tile(np.arange(20, dtype=np.int32), (500, 1))
    first = shuffled(many, np.arange(500), 3)[:, 0]
    assert np.bincount(first, minlength=20).max() < 50


def test_lists_without_untitled_items_and_repeated_titles():
    groups = np.array([0, 1, -1, 1])
    assert tidy(np.array([[2, 1, 3, 0], [3, 1, -1, 0]], dtype=np.int32), groups).tolist() == [
        [1, 0, -1, -1],
        [3, 0, -1, -1],
    ]


@pytest.mark.parametrize(
    ("text", "titles"),
    [
        ("1. Soap, 3 oz\n2. 7 Day Cream", ["Soap, 3 oz", "7 Day Cream"]),
        ("Sure! Here are two:\n\n1) Soap\n2) Cream\n\nEnjoy!", ["Soap", "Cream"]),
        ("- Soap\n- **Cream**\n* 'Oil'", ["Soap", "Cream", "Oil"]),
        ("Soap\nCream", ["Soap", "Cream"]),
        ("1.Soap\n2.Cream", ["Soap", "Cream"]),
        ("**1. Soap**\n**2. Cream**", ["Soap", "Cream"]),
        ("1. **Soap**: it cleans\n2. **Cream** - it soothes", ["Soap", "Cream"]),
        ("My picks:\nSoap\nCream", ["Soap", "Cream"]),
        ('```json\n["Soap", "Cream"]\n```', ["Soap", "Cream"]),
        ("[Kiehl's] Soap", ["[Kiehl's] Soap"]),
        ("100% Pure Soap", ["100% Pure Soap"]),
        ("3.5 oz Soap\n2 Creams", ["3.5 oz Soap", "2 Creams"]),
        ("", []),
        (" \n ", []),
    ],
)
def test_lists_are_read_whatever_their_dress(text, titles):
    assert read_list(text) == titles


def test_the_last_line_of_an_answer_that_was_cut_off_is_dropped():
    assert read_list("1. Soap\n2. Cream\n3. Moi", cut_off=True) == ["Soap", "Cream"]


@pytest.mark.parametrize(
    ("text", "titles"),
    [
        ("Soap", ["Soap"]),
        ('"Soap"\nbecause it is good', ["Soap"]),
        ("The next product is:\n**Soap, 3 oz**", ["Soap, 3 oz"]),
        ("1. Soap", ["Soap"]),
        ("\n\n", []),
    ],
)
def test_single_answers_are_read(text, titles):
    assert read_one(text) == titles


def test_templates_of_the_users(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('user = "{{json}} {session} of {k}"\nitem = "<{title}>"\nseparator = " + "\n')
    template = load_template("genitem", str(file), needs_options=False, takes_options=False)
    assert template.question(["a {b}", "c"], [], 5) == "{json} <a {b}> + <c> of 5"
    wrong = {
        'user = "{sesion} {session}"': "`user` has the unknown placeholder {sesion} (allowed: k, options, session",
        'user = "no"': "`user` lacks {session}",
        'user = "{session!r}"': "`user` formats a placeholder",
        'user = "{session:>9}"': "`user` formats a placeholder",
        'user = "{session.x}"': "`user` has the placeholder {session.x}",
        'user = "{session} {"': "`user` is not valid",
        'user = "{session}"\nitme = "{title}"': "the template has no key 'itme' (did you mean 'item'?)",
        'user = "{session}"\nanswer = "x"': "`answer` lacks {title}",
        "user = 3": "the template: user = 3 is not text",
        'item = "{title}"': "the template lacks 'user'",
        "not toml": "is not valid TOML",
    }
    for text, told in wrong.items():
        file.write_text(text)
        with pytest.raises(UsageError) as raised:
            load_template("genitem", str(file), needs_options=False, takes_options=False)
        assert told in str(raised.value)
        assert str(file) in str(raised.value)
    with pytest.raises(UsageError, match="options"):
        load_template("rank", "genitem", needs_options=True, takes_options=True)
    with pytest.raises(UsageError, match="options"):
        load_template("genitem", "rank", needs_options=False, takes_options=False)
    with pytest.raises(UsageError, match="separator"):
        parse_template({"user": "{session}", "seperator": "x"}, "mine")
