"""Users' SQL conditions on a connection that must read files, and so cannot be locked down.

Such a condition is parsed: it may contain only columns, constants, operators and the functions listed here, so nothing
in it can access a file, a table or a setting. For connections that need no files see `llmseq_cli.store.sandbox`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from llmseq_cli.errors import UsageError

if TYPE_CHECKING:
    import duckdb

_EXPRESSIONS = {
    *("CONJUNCTION", "COMPARISON", "COLUMN_REF", "CONSTANT", "FUNCTION", "OPERATOR", "CAST", "BETWEEN", "CASE"),
}
_FUNCTIONS = {
    *("lower", "upper", "trim", "ltrim", "rtrim", "length", "substring", "substr", "split_part", "replace", "concat"),
    *("abs", "round", "floor", "ceil", "ceiling", "greatest", "least", "isnan", "isfinite", "mod", "ifnull"),
    *("contains", "starts_with", "ends_with", "prefix", "suffix", "regexp_matches", "regexp_full_match"),
    *("year", "month", "day", "hour", "minute", "second", "dayofweek", "date_part", "date_trunc", "epoch"),
}
_OPERATORS = {
    "+",
    "-",
    "*",
    "/",
    "//",
    "%",
    "||",
    "~~",
    "!~~",
    "~~*",
    "!~~*",
    "~~~",
    "^",
    "**",
    "<<",
    ">>",
    "&",
    "|",
    "~",
}
_OTHERS = ("where_clause", "group_expressions", "having", "sample", "qualify", "modifiers")
_EXAMPLE = "for example --where \"rating >= 4 and country = 'DE'\""


def plain_condition(con: duckdb.DuckDBPyConnection, text: str, named: Callable[[str], str]) -> str:
    """A condition, rewritten with the result of `named` for each column. Raises UsageError for anything else."""
    if not text.strip():
        raise UsageError("--where has no condition", _EXAMPLE)
    alone, tree = _parsed(con, f"select {text}"), _parsed(con, f"select ({text}\n) from t")
    if alone["error"] and alone["error_type"] == "parser":
        raise UsageError(f"--where is not SQL: {alone['error_message'].partition(chr(10))[0]}", _EXAMPLE)
    if alone["error"] or tree["error"] or not _is_one_expression(tree["statements"], tree["statements"][0]["node"]):
        raise UsageError("--where is more than one condition", _EXAMPLE)
    node = tree["statements"][0]["node"]
    _check(node["select_list"][0], named)
    [[written]] = con.execute("select json_deserialize_sql($tree::json)", {"tree": json.dumps(tree)}).fetchall()
    return str(written).removeprefix("SELECT ").rpartition(" FROM ")[0]


def _parsed(con: duckdb.DuckDBPyConnection, sql: str) -> dict[str, Any]:
    [[parsed]] = con.execute("select json_serialize_sql($sql)", {"sql": sql}).fetchall()
    answer: dict[str, Any] = json.loads(parsed)
    return answer


def _is_one_expression(statements: list[Any], node: dict[str, Any]) -> bool:
    if len(statements) != 1 or node["type"] != "SELECT_NODE" or len(node["select_list"]) != 1:
        return False
    table = node["from_table"]
    if table["type"] != "BASE_TABLE" or table["table_name"] != "t":
        return False
    return not any(node[key] for key in _OTHERS) and not node["cte_map"]["map"]


def _check(expression: Any, named: Callable[[str], str]) -> None:
    """Check an expression recursively, and rename its columns."""
    if isinstance(expression, list):
        for one in expression:
            _check(one, named)
    if not isinstance(expression, dict):
        return
    kind = expression.get("class")
    if kind is not None and kind not in _EXPRESSIONS:
        raise UsageError(f"--where cannot contain a {kind.lower().replace('_', ' ')}", _EXAMPLE)
    if kind == "FUNCTION" and not expression["is_operator"] and expression["function_name"] not in _FUNCTIONS:
        known = ", ".join(sorted(_FUNCTIONS))
        raise UsageError(f"--where has no function '{expression['function_name']}'", f"it has {known}")
    if kind == "COLUMN_REF":
        expression["column_names"] = [named(expression["column_names"][-1])]
        return
    for value in expression.values():
        _check(value, named)
