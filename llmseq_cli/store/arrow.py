"""Pass columns to DuckDB in Arrow's layout: it reads them in place, and other threads keep running.

Columns of Python objects (including one NumPy array per row for a list) are read object by object under the
interpreter's lock: for several milliseconds per insert, no other thread can receive its answer from the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import nanoarrow as na
import numpy as np


class ArrowColumns:
    """A table for `con.register`: Arrow's C stream interface, readable any number of times.

    columns, all of one length n: float32[n, width] becomes lists, float32[n] and int32[n] numbers, str[n] strings.
    """

    def __init__(self, columns: dict[str, np.ndarray | Sequence[str]]) -> None:
        children = {name: _child(column) for name, column in columns.items()}
        schema = na.struct({name: child.schema for name, child in children.items()})
        length = len(next(iter(columns.values())))
        self._table = na.c_array_from_buffers(schema, length, buffers=[None], children=list(children.values()))

    def __arrow_c_schema__(self) -> Any:
        return self._table.schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return na.c_array_stream(self._table).__arrow_c_stream__(requested_schema)


def _child(column: np.ndarray | Sequence[str]) -> Any:
    if not isinstance(column, np.ndarray):
        return na.c_array(column, na.string())
    kind = {"float32": na.float32, "int32": na.int32}[column.dtype.name]()
    flat = np.ascontiguousarray(column).reshape(-1)
    numbers = na.c_array_from_buffers(kind, len(flat), [None, flat])
    if column.ndim == 1:
        return numbers
    lists = na.fixed_size_list(kind, column.shape[1])
    return na.c_array_from_buffers(lists, len(column), buffers=[None], children=[numbers])
