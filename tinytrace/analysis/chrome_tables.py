"""What the trace JSON holds beside its events: tables and metadata, as values that JSON can hold.

They travel in ``M`` events named ``tinytrace``, which viewers pass over. Each has ``"version"`` and one
part: ``head``, ``meta``, ``warnings``, ``table`` (up to `ROWS_PER_EVENT` rows of one) or ``end``.

Escapes, in any string of ours: U+001A and four hexadecimal digits stand for a character that UTF-8
cannot hold (a lone surrogate, as in file names that are not text) or for U+001A itself; a whole string
U+001A, ``=``, text stands for a number that JSON cannot hold (``nan``, ``inf``, ``-inf``, an integer of more
than 64 bits).

Format history:
    1: the first one; the key of a span is its argument ``k``.
    2: it is the argument whose name is empty.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.spans import KEY
from tinytrace.errors import TraceFormatError
from tinytrace.tracer import trace as columns
from tinytrace.tracer.records import Layout
from tinytrace.tracer.trace import Column, Operand, Signature, Table, Trace

JSON_VERSION = 2
EVENT_NAME = "tinytrace"
ROWS_PER_EVENT = 5000

# In the order of the file: a table's ids refer to tables before it, so that a file that was cut off
# explains itself as far as it goes. Spans are events; flows refer to them.
TABLES: dict[str, type[Table]] = {
    "frames": columns.Frames,
    "stacks": columns.Stacks,
    "processes": columns.Processes,
    "threads": columns.Threads,
    "series": columns.Series,
    "aggregates": columns.Aggregates,
    "counters": columns.Counters,
    "samples": columns.Samples,
    "flows": columns.Flows,
}
KEY_NAMES = ("", "k")  # of the argument that is a span's key: now, and in files of version 1
# What is the same for all spans of one key.
KEY_DTYPES = {name: columns.Spans.DTYPES[name] for name in KEY}

_ESCAPED = re.compile("[\x1a\ud800-\udfff]")
_ESCAPE = re.compile("\x1a([0-9a-f]{4})")
_NUMBER = "\x1a="
_LARGEST_INT = 2**63 - 1
_LATEST_NS = 2**61  # 73 years: sums of two times stay within 64 bits


def escape_text(text: str) -> str:
    """Return text that UTF-8 can hold and `unescape_text` turns back.

    >>> unescape_text(escape_text("a\\udc80b")) == "a\\udc80b"
    True
    """
    return _ESCAPED.sub(lambda match: f"\x1a{ord(match[0]):04x}", text)


def unescape_text(text: str) -> str:
    """Undo `escape_text`."""
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)), text) if "\x1a" in text else text


def escape_value(value: Any) -> Any:
    """Return a JSON-ready value as one that strict, 64-bit JSON in UTF-8 can hold.

    Raises:
        TypeError: for what is not JSON-ready.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return escape_text(value)
    if isinstance(value, int):
        return int(value) if abs(value) <= _LARGEST_INT else f"{_NUMBER}{value}"
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else f"{_NUMBER}{value}"
    if isinstance(value, dict):
        return {escape_text(key): escape_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [escape_value(item) for item in value]
    raise TypeError(f"a trace cannot hold a {type(value).__name__} in its metadata")


def unescape_value(value: Any) -> Any:
    """Undo `escape_value`."""
    if isinstance(value, str):
        if value.startswith(_NUMBER):
            number = value[len(_NUMBER) :]
            return float(number) if number in ("nan", "inf", "-inf") else int(number)
        return unescape_text(value)
    if isinstance(value, dict):
        return {unescape_text(key): unescape_value(item) for key, item in value.items()}
    if isinstance(value, list):
        return [unescape_value(item) for item in value]
    return value


# ---- writing ------------------------------------------------------------------------------------


def table_parts(trace: Trace) -> Iterator[dict[str, Any]]:
    """Yield all tables but the spans, in the order of the file, in pieces."""
    for first in range(0, len(trace.strings), ROWS_PER_EVENT):
        rows = [escape_text(s) for s in trace.strings[first : first + ROWS_PER_EVENT]]
        yield {"name": "strings", "first": first, "rows": rows}
    for first in range(0, len(trace.signatures), ROWS_PER_EVENT):
        signatures = trace.signatures[first : first + ROWS_PER_EVENT]
        rows = [escape_value(_signature_row(s)) for s in signatures]
        yield {"name": "signatures", "first": first, "rows": rows}
    for name in TABLES:
        table = getattr(trace, name)
        for first in range(0, len(table), ROWS_PER_EVENT):
            piece = slice(first, first + ROWS_PER_EVENT)
            yield {
                "name": name,
                "first": first,
                "columns": {key: column_values(c[piece]) for key, c in table.columns()},
            }


def column_values(column: Column) -> list[Any]:
    """Return a column as numbers; those that JSON cannot hold as strings."""
    if column.dtype.kind == "f" and not np.isfinite(column).all():
        return [escape_value(value) for value in column.tolist()]
    return list(column.tolist())


def _signature_row(signature: Signature) -> list[Any]:
    operands = [
        [o.dtype, list(o.shape), int(o.layout), list(o.strides), o.alias, o.itemsize]
        for o in signature.operands
    ]
    return [signature.op, signature.n_inputs, signature.attributes, operands]


# ---- reading ------------------------------------------------------------------------------------


class TableReader:
    """Collects the tables of a file; trusts nothing in it.

    Args:
        where: the file, for messages.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self.strings: list[str] = []
        self.signatures: list[Signature] = []
        self._pieces: dict[str, list[dict[str, Column]]] = {}
        self._rows: dict[str, int] = {}

    def error(self, what: str) -> TraceFormatError:
        """Return an error about this file."""
        return TraceFormatError(f"{self._where}: damaged trace: {what}")

    def add(self, part: Any) -> None:
        """Take one piece of a table; those of names not known here are passed over.

        Raises:
            TraceFormatError: it is not one, or not the next.
        """
        if not isinstance(part, dict):
            raise self.error("a table is not an object")
        name, first = part.get("name"), part.get("first")
        if not isinstance(name, str) or not isinstance(first, int):
            raise self.error("a table without name or place")
        if first != self._rows.get(name, 0):
            raise self.error(f"a part of the table {name[:20]!r} is missing")
        if name in ("strings", "signatures"):
            self._rows[name] = first + self._add_rows(name, part.get("rows"))
        elif name in TABLES or name == "keys":
            dtypes = KEY_DTYPES if name == "keys" else TABLES[name].DTYPES
            piece = self._columns(name, dtypes, part.get("columns"))
            self._pieces.setdefault(name, []).append(piece)
            self._rows[name] = first + len(next(iter(piece.values())))

    def columns(self, name: str) -> dict[str, Column]:
        """Return the columns of a table, as far as it came."""
        dtypes = KEY_DTYPES if name == "keys" else TABLES[name].DTYPES
        pieces = self._pieces.get(name, [])
        return {
            key: np.concatenate([np.empty(0, dtype), *(piece[key] for piece in pieces)])
            for key, dtype in dtypes.items()
        }

    def _add_rows(self, name: str, rows: Any) -> int:
        if not isinstance(rows, list):
            raise self.error(f"the table {name!r} has no rows")
        try:
            if name == "strings":
                if not all(isinstance(row, str) for row in rows):
                    raise TypeError
                self.strings += [unescape_text(row) for row in rows]
            else:
                self.signatures += [_signature(row) for row in rows]
        except (TypeError, ValueError, RecursionError) as e:
            raise self.error(f"nonsense in the table {name!r}") from e
        return len(rows)

    def _columns(self, name: str, dtypes: dict[str, str], found: Any) -> dict[str, Column]:
        if not isinstance(found, dict):
            raise self.error(f"the table {name!r} has no columns")
        piece = {}
        for key, dtype in dtypes.items():
            try:
                piece[key] = _column(found.get(key), dtype)
                if key.endswith("_ns"):
                    check_ids(ValueError, key, piece[key], _LATEST_NS, -_LATEST_NS)
            except (TypeError, ValueError, OverflowError) as e:
                raise self.error(f"nonsense in the column {name}.{key}") from e
        if len({len(column) for column in piece.values()}) != 1:
            raise self.error(f"the columns of the table {name!r} differ in length")
        return piece


def _column(values: Any, dtype: str) -> Column:
    if not isinstance(values, list):
        raise TypeError
    if dtype == "f8":
        values = [unescape_value(v) if isinstance(v, str) else v for v in values]
    if not set(map(type, values)) <= ({int, float} if dtype == "f8" else {int}):
        raise TypeError
    column = np.array(values, "f8" if dtype == "f8" else "i8")  # OverflowError beyond 64 bits
    narrow: Column = column.astype(dtype)
    if dtype != "f8" and not np.array_equal(narrow, column):
        raise ValueError
    return narrow


def _signature(row: Any) -> Signature:
    op, n_inputs, attributes, operands = row
    if not (isinstance(op, str) and isinstance(attributes, str) and type(n_inputs) is int):
        raise TypeError
    signature = Signature(
        unescape_text(op), tuple(map(_operand, operands)), n_inputs, unescape_text(attributes)
    )
    if not 0 <= n_inputs <= len(operands):
        raise ValueError
    if any(not -1 <= o.alias < number for number, o in enumerate(signature.operands)):
        raise ValueError
    return signature


def _operand(row: Any) -> Operand:
    dtype, shape, layout, strides, alias, itemsize = row
    numbers = [*shape, *strides, layout, alias, itemsize]
    if not set(map(type, numbers)) <= {int}:  # some beyond 64 bits: few traces have any
        shape, strides, layout, alias, itemsize = map(unescape_value, row[1:])
        numbers = [*shape, *strides, layout, alias, itemsize]
    if not isinstance(dtype, str) or not all(type(n) is int for n in numbers):
        raise TypeError
    if min(shape, default=0) < 0 or itemsize < 0 or not 0 <= layout <= 255:
        raise ValueError
    known = layout in Layout.__members__.values()
    return Operand(
        unescape_text(dtype),
        tuple(shape),
        Layout(layout) if known else layout,
        tuple(strides),
        alias,
        itemsize,
    )


def check_ids(error: Any, name: str, ids: NDArray[Any], count: int, lowest: int = 0) -> None:
    """Raise ``error(text)`` unless all ids are in ``lowest`` … ``count − 1``."""
    if len(ids) and (int(ids.min()) < lowest or int(ids.max()) >= count):
        raise error(f"{name} out of range")


def check_tree(error: Any, name: str, parent: NDArray[Any]) -> None:
    """Raise ``error(text)`` unless the parents form a forest: in range and without a circle."""
    check_ids(error, name, parent, len(parent), -1)
    if (parent < np.arange(len(parent))).all():
        return
    up = np.append(parent, -1).astype("i8")  # a root's parent, −1, is the last one: −1 again
    for _ in range(len(parent).bit_length() + 1):  # each round doubles how far up it looks
        up = up[up]
    if (up >= 0).any():
        raise error(f"{name} goes in a circle")
