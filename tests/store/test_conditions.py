"""`--where` on a file: errors are about what the user wrote, not about what stands around it."""

import duckdb
import pytest

from llmseq_cli.errors import UsageError
from llmseq_cli.store.conditions import plain_condition


def written(text):
    with duckdb.connect() as con:
        return plain_condition(con, text, lambda column: f"the_{column}")


@pytest.mark.parametrize(
    ("text", "sql"),
    [
        ("rating >= 4", "(the_rating >= 4)"),
        ("rating >= 4 -- of five", "(the_rating >= 4)"),
        ("(a = 1) or (b in ('x', 'y'))", "((the_a = 1) OR (the_b IN ('x', 'y')))"),
    ],
)
def test_conditions_are_written_anew(text, sql):
    assert written(text) == sql


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rating >", 'at or near ">"'),
        ("(rating", 'at or near "rating"'),
        ("rating)", r'at or near "\)"'),
        ("rating >= 4) or (1 = 1", r'at or near "\)"'),
        ("city = 'Rome", "unterminated"),
        ("a = 1; drop table x", "more than one condition"),
        ("a = 1 order by b", "more than one condition"),
        (" ", "has no condition"),
    ],
)
def test_what_is_wrong_is_named(text, said):
    with pytest.raises(UsageError, match=said):
        written(text)
