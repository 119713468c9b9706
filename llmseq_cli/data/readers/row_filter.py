"""`--where`: an SQL condition on a file's columns, which reaches nothing but these columns."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmseq_cli.data.readers.columns import Table, named_column
from llmseq_cli.errors import UsageError, did_you_mean

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
_EXAMPLE = "for example --where \"rating >= 4 and country = 'DE'\""


@dataclass(frozen=True)
class Condition:
    """columns: {alias: column of the file}. sql: a condition over the aliases."""

    columns: dict[str, str]
    sql: str


def parse_where(con: duckdb.DuckDBPyConnection, text: str, table: Table) -> Condition:
    """The condition over aliases of a table's columns. Raises UsageError for what is no plain condition on them."""
    [[parsed]] = con.execute("select json_serialize_sql($sql)", {"sql": f"select ({text}) from t"}).fetchall()
    tree = json.loads(parsed)
    if tree["error"]:
        raise UsageError(f"--where is not SQL: {tree['error_message'].partition(chr(10))[0]}", _EXAMPLE)
    statements = tree["statements"]
    node = statements[0]["node"]
    plain = len(statements) == 1 and node["type"] == "SELECT_NODE" and len(node["select_list"]) == 1
    if not plain or node["from_table"]["type"] != "BASE_TABLE" or node["from_table"]["table_name"] != "t":
        raise UsageError("--where is more than one condition", _EXAMPLE)
    others = ("where_clause", "group_expressions", "having", "sample", "qualify", "modifiers")
    if any(node[key] for key in others) or node["cte_map"]["map"]:
        raise UsageError("--where is more than one condition", _EXAMPLE)
    columns: dict[str, str] = {}
    _rename(node["select_list"][0], table, columns)
    [[written]] = con.execute("select json_deserialize_sql($tree::json)", {"tree": json.dumps(tree)}).fetchall()
    return Condition(columns, written.removeprefix("SELECT ").rpartition(" FROM ")[0])


def _rename(expression: Any, table: Table, columns: dict[str, str]) -> None:
    """Check an expression and all within, and put aliases in the place of its columns."""
    if isinstance(expression, list):
        for one in expression:
            _rename(one, table, columns)
    if not isinstance(expression, dict):
        return
    kind = expression.get("class")
    if kind is not None and kind not in _EXPRESSIONS:
        raise UsageError(f"--where cannot hold a {kind.lower().replace('_', ' ')}", _EXAMPLE)
    if kind == "FUNCTION" and not expression["is_operator"] and expression["function_name"] not in _FUNCTIONS:
        known = ", ".join(sorted(_FUNCTIONS))
        raise UsageError(f"--where knows no function '{expression['function_name']}'", f"it knows {known}")
    if kind == "COLUMN_REF":
        wanted = expression["column_names"][-1]
        column = named_column(table, wanted)
        if column is None:
            raise UsageError(f"{table.file} has no column '{wanted}' for --where", did_you_mean(wanted, table.columns))
        alias = next((a for a, named in columns.items() if named == column), f"where_{len(columns)}")
        columns[alias] = column
        expression["column_names"] = [alias]
        return
    for value in expression.values():
        _rename(value, table, columns)
