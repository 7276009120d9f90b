"""What is the same for many spans: their key, and the rest of their line in the file.

All spans that agree in everything but time and step (and rarely parent and flows) share a key. Its
text is rendered once, and a table in the file says what each key stands for.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from tinytrace.analysis.chrome_tables import KEY_DTYPES
from tinytrace.analysis.counting import count
from tinytrace.exporters.chrome_text import (
    CATEGORIES,
    callsite,
    shown,
    shown_arguments,
    shown_value,
)
from tinytrace.exporters.tracks import Tracks
from tinytrace.tracer.records import Flag, Kind
from tinytrace.tracer.trace import Signature, Trace

MAX_CACHED = 50_000


class Line(NamedTuple):
    """The rest of a span's line, from ``"k":`` on: its arguments, and what follows them."""

    arguments: bytes
    tail: bytes

    @property
    def rest(self) -> bytes:
        """Both, and the end of the line."""
        return self.arguments + self.tail + b"},\n"


class Keys:
    """Numbers the keys of a trace in the order in which the file meets them.

    Args:
        trace: whose spans.
        tracks: the ids of its threads.
        ops_inside: per span, whether ops ran inside it.
    """

    def __init__(self, trace: Trace, tracks: Tracks, ops_inside: NDArray[np.bool_]) -> None:
        self._trace = trace
        self._tracks = tracks
        self._columns = [getattr(trace.spans, name) for name in KEY_DTYPES] + [ops_inside]
        self._numbers: dict[tuple[int, ...], int] = {}
        self._lines: dict[int, Line] = {}
        self._op_arguments: dict[tuple[int, bool], dict[str, Any]] = {}

    def of_rows(
        self, rows: slice
    ) -> tuple[dict[str, Any] | None, list[int], NDArray[np.int32]]:
        """Find the keys of these spans.

        Returns:
            The piece of the table of keys that is new (None: nothing is), the numbers of the keys that occur,
            and per span its index in them.
        """
        columns = [column[rows] for column in self._columns]
        first_rows, index = _distinct(columns)
        found = [tuple(int(c[row]) for c in columns) for row in first_rows.tolist()]
        first_new = len(self._numbers)
        numbers = [self._numbers.setdefault(key, len(self._numbers)) for key in found]
        new = [key for key, k in zip(found, numbers, strict=True) if k >= first_new]
        if len(self._lines) > MAX_CACHED:
            self._lines.clear()
        for key, k in zip(found, numbers, strict=True):
            if k not in self._lines:
                self._lines[k] = self._line(k, key)
        part = {
            "name": "keys",
            "first": first_new,
            "columns": {name: [key[i] for key in new] for i, name in enumerate(KEY_DTYPES)},
        }
        return part if new else None, numbers, index

    def line(self, k: int) -> Line:
        """Return the text of a key that `of_rows` has just found."""
        return self._lines[k]

    def _line(self, k: int, key: tuple[int, ...]) -> Line:
        name_id, kind, flags, thread, signature_id, callsite_id, args_id, ops_inside = key
        trace = self._trace
        arguments: dict[str, Any] = {"k": k}
        own: dict[str, Any] = {}
        if kind == Kind.OP:
            own |= self._arguments_of_op(signature_id, bool(ops_inside))
        if callsite_id >= 0:
            own["callsite"] = callsite(trace.strings, trace.frames, callsite_id)
        for flag, word in ((Flag.OPEN, "open"), (Flag.RAISED, "raised")):
            if flags & flag:
                own[word] = True
        users = shown_arguments(trace.strings[args_id]) if args_id >= 0 else {}
        reserved = {"k", "step", "parent", "dur_ns", *own}
        for word, value in users.items():
            arguments[f"args.{word}" if word in reserved else word] = value
        tail = {
            "cat": CATEGORIES[Kind(kind)],
            "name": shown(trace.strings[name_id]),
            "pid": self._tracks.thread_pids[thread],
            "tid": self._tracks.thread_tids[thread],
        }
        text = orjson.dumps(arguments | own)[1:-1]
        return Line(text, b"}," + orjson.dumps(tail)[1:-1])

    def _arguments_of_op(self, signature_id: int, ops_inside: bool) -> dict[str, Any]:
        known = self._op_arguments.get((signature_id, ops_inside))
        if known is None:
            signature = self._trace.signatures[signature_id] if signature_id >= 0 else None
            known = op_arguments(signature, ops_inside)
            self._op_arguments[signature_id, ops_inside] = known
        return known


def op_arguments(signature: Signature | None, ops_inside: bool) -> dict[str, Any]:
    """Return what an op span says: figures, shapes and dtypes, inputs first.

    ``flops`` and ``bytes`` are None where they are not known, and where ops ran inside this one: those have
    them, so that a sum over all events counts nothing twice.
    """
    arguments: dict[str, Any] = {"flops": None, "bytes": None}
    if ops_inside:
        arguments["ops_inside"] = True
    if signature is None:
        return arguments
    if not ops_inside:
        counts = count(signature)
        arguments |= {"flops": counts.flops, "bytes": counts.bytes}
        if counts.transcendentals:
            arguments["transcendentals"] = counts.transcendentals
    arguments["shapes"] = [list(o.shape) for o in signature.operands]
    arguments["dtypes"] = [o.dtype for o in signature.operands]
    if signature.attributes:
        arguments["attributes"] = signature.attributes
    shown_ones: dict[str, Any] = shown_value(arguments)
    return shown_ones


def ops_inside(trace: Trace) -> NDArray[np.bool_]:
    """Per span: whether any op ran inside it, at whatever depth."""
    parent = trace.spans.parent
    found = np.zeros(len(parent), "?")
    rows = parent[trace.spans.kind == Kind.OP]
    while len(rows):
        rows = np.unique(rows[rows >= 0])
        rows = rows[~found[rows]]
        found[rows] = True
        rows = parent[rows]
    return found


def _distinct(columns: list[NDArray[Any]]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Distinct rows: where each occurs first, in that order, and per row its index in them."""
    code = np.zeros(len(columns[0]), "i8")
    values = 1  # codes are below this
    for column in columns:
        lowest, highest = int(column.min()), int(column.max())
        width = highest - lowest + 1
        if values * width > 2**62:
            code = np.unique(code, return_inverse=True)[1].astype("i8")
            values = int(code.max()) + 1
        if width > 1:
            code = code * width + (column.astype("i8") - lowest)
            values *= width
    _, first, index = np.unique(code, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(order), "i4")
    rank[order] = np.arange(len(order))
    return first[order], rank[index.reshape(-1)]
