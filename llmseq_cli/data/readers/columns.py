"""The role of each column of a table: as the user says, or guessed from its name."""

from __future__ import annotations

import re
from typing import Protocol

from llmseq_cli.errors import LlmseqError, did_you_mean

_NAMES = {
    "user": "userid user sessionid session visitorid visitor customerid customer reviewerid reviewer username uid"
    " accountid memberid clientid basketid orderid cartid invoiceno deviceid",
    "item": "itemid item productid product parentasin asin sku movieid movie articleid article stockcode gameid bookid"
    " trackid songid iid goodsid productcode items itemids",
    "time": "timestamp time datetime date ts eventtime eventtimestamp createdat unixreviewtime reviewtime invoicedate"
    " clicktime orderdate when",
    "title": "title name itemname productname itemtitle producttitle movietitle",
    "rating": "rating overall stars score ratingvalue",
    "category": "category categories class genre genres department maincategory productcategory categoryid"
    " categorycode",
}
ROLES = ("user", "session", "item", "time", "order", "rating", "title", "category")
"""Roles of columns; any other name is an attribute of items."""
_ROLES = {name: role for role, names in _NAMES.items() for name in names.split()}


class NamedColumns(Protocol):
    """A file with named columns."""

    file: str
    columns: list[str]


def plain_name(column: str) -> str:
    """'Product_ID' → 'productid'."""
    return re.sub(r"[^a-z0-9]", "", column.lower())


def role_of(column: str) -> str | None:
    """The usual role of a column of this name, or None."""
    return _ROLES.get(plain_name(column))


def guess(columns: list[str], role: str) -> str | None:
    """The column whose name fits a role best."""
    plain = {plain_name(column): column for column in reversed(columns)}
    return next((plain[name] for name in _NAMES[role].split() if name in plain), None)


def named_column(table: NamedColumns, wanted: str) -> str | None:
    """The column that the user named, by name or 1-based position; None if the table has no such column."""
    if wanted in table.columns:
        return wanted
    same = [column for column in table.columns if column.lower() == wanted.lower()]
    if same:
        return same[0]
    if wanted.isdigit() and 1 <= int(wanted) <= len(table.columns):
        return table.columns[int(wanted) - 1]
    return None


def required_column(table: NamedColumns, role: str, given: dict[str, str], hint: str = "") -> str:
    """The column for a role: as given, or guessed. Raises LlmseqError with the hint if there is none."""
    if role in given:
        column = named_column(table, given[role])
        if column is None:
            raise unknown_column(table, given[role])
        return column
    column = guess(table.columns, role)
    if column is None:
        named = ", ".join(table.columns[:12])
        raise LlmseqError(
            f"no column of {table.file} looks like the {role}: {named}", hint or _map_hint(table, role, given)
        )
    return column


def _map_hint(table: NamedColumns, role: str, given: dict[str, str]) -> str:
    """A hint that lists the columns to name."""
    others = [one for one in ("user", "item", "time") if one not in (role, *given) and not guess(table.columns, one)]
    return "name it with --map " + ",".join(f"{one}=COLUMN" for one in (role, *others))


def unknown_column(table: NamedColumns, wanted: str) -> LlmseqError:
    return LlmseqError(f"{table.file} has no column '{wanted}'", did_you_mean(wanted, table.columns))
