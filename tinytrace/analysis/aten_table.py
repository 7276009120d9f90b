"""The table of PyTorch's ATen operations: which costs what. docs/counting.md prints the same rows (tested).

Names are without ``aten::``; the form in place (``add_``) is counted like the other one.
"""

from __future__ import annotations

from tinytrace.analysis.aten_calls import Schema
from tinytrace.analysis.aten_computing_rows import COMPUTING
from tinytrace.analysis.aten_moving_rows import MOVING
from tinytrace.analysis.aten_names import base_name
from tinytrace.analysis.aten_row import AtenRow

ROWS = (*COMPUTING, *MOVING)
TABLE: dict[str, AtenRow] = {name: row for row in ROWS for name in row.ops.split()}
SCHEMAS: dict[str, tuple[Schema, ...]] = {
    name: tuple(Schema.parse(text) for text in row.schemas.split("|"))
    for name, row in TABLE.items()
}


def find(op: str) -> AtenRow | None:
    """Return the row of an operation such as ``aten::add_``; None: not in the table."""
    return TABLE.get(base_name(op)[0])


def schemas_of(op: str) -> tuple[Schema, ...]:
    """Return the overloads of an operation that are known here; () for others."""
    return SCHEMAS.get(base_name(op)[0], ())
