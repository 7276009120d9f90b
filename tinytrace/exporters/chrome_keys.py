"""What is the same for many spans: their key, and the rest of their line in the file.

All spans that agree in everything but time and step (and rarely parent and flows) share a key. Its
text is rendered once, and a table in the file says what each key stands for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from tinytrace.analysis.chrome_tables import KEY_DTYPES
from tinytrace.analysis.counting import FIGURES, UNCOUNTED, TraceCounts, count_trace
from tinytrace.exporters.chrome_text import (
    CATEGORIES,
    callsite,
    shown,
    shown_arguments,
    shown_value,
    viewable,
)
from tinytrace.exporters.tracks import Tracks
from tinytrace.tracer.groups import numbered
from tinytrace.tracer.records import Flag, Kind
from tinytrace.tracer.trace import Trace

MAX_CACHED = 50_000
RESERVED = frozenset({"k", "step", "parent", "dur_ns"})


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
    """

    def __init__(self, trace: Trace, tracks: Tracks) -> None:
        self._trace = trace
        self._tracks = tracks
        self._figures = Figures.of(trace)
        self._columns = [getattr(trace.spans, name) for name in KEY_DTYPES] + [self._figures.state]
        self._numbers: dict[tuple[int, ...], int] = {}
        self._lines: dict[int, Line] = {}

    def of_rows(self, rows: slice) -> tuple[dict[str, Any] | None, list[int], NDArray[np.int32]]:
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
        for row, k in zip(first_rows.tolist(), numbers, strict=True):
            if k not in self._lines:
                self._lines[k] = self._line(k, rows.start + row)
        part = {
            "name": "keys",
            "first": first_new,
            "columns": {name: [key[i] for key in new] for i, name in enumerate(KEY_DTYPES)},
        }
        return part if new else None, numbers, index

    def line(self, k: int) -> Line:
        """Return the text of a key that `of_rows` has just found."""
        return self._lines[k]

    def _line(self, k: int, row: int) -> Line:
        """Render the text of a key, of which this span is one."""
        trace, spans = self._trace, self._trace.spans
        kind, flags, thread = int(spans.kind[row]), int(spans.flags[row]), int(spans.thread[row])
        callsite_id, args_id = int(spans.callsite_id[row]), int(spans.args_id[row])
        own = self._figures.arguments(row) if kind == Kind.OP else {}
        if callsite_id >= 0:
            own["callsite"] = callsite(trace.strings, trace.frames, callsite_id)
        for flag, word in ((Flag.OPEN, "open"), (Flag.RAISED, "raised")):
            if flags & flag:
                own[word] = True
        arguments: dict[str, Any] = {"k": k}
        for word, value in (
            shown_arguments(trace.strings[args_id]) if args_id >= 0 else {}
        ).items():
            if word not in own or own[word] != value:
                taken = word in own or word in RESERVED
                arguments[f"args.{word}" if taken else word] = value
        tail = {
            "cat": CATEGORIES[Kind(kind)],
            "name": shown(trace.strings[spans.name_id[row]]),
            "pid": self._tracks.thread_pids[thread],
            "tid": self._tracks.thread_tids[thread],
        }
        text = viewable(orjson.dumps(arguments | own)[1:-1])
        return Line(text, b"}," + viewable(orjson.dumps(tail)[1:-1]))


@dataclass(frozen=True)
class Figures:
    """FLOPs and bytes that each span adds to the sum over the file.

    Attributes:
        trace: whose spans.
        counts: of its signatures.
        flops, bytes: int64 per span; −1: none, which is written as null: not known, or other spans have
            them (ops inside this one; an op around it whose figures its author gave).
        state: per span, bits: an op without ops inside; no FLOPs; no bytes.
    """

    trace: Trace
    counts: TraceCounts
    flops: NDArray[np.int64]
    bytes: NDArray[np.int64]
    state: NDArray[np.uint8]

    @classmethod
    def of(cls, trace: Trace) -> Figures:
        """Count a trace."""
        counts = count_trace(trace)
        flops, moved = (
            np.where(counts.elsewhere(figure), UNCOUNTED, counts.per_span(figure))
            for figure in FIGURES
        )
        state = (
            counts.leaf.astype("u1") | (flops < 0).astype("u1") << 1 | (moved < 0).astype("u1") << 2
        )
        return cls(trace, counts, flops, moved, state)

    def arguments(self, row: int) -> dict[str, Any]:
        """Return what an op says: figures, shapes and dtypes, inputs first."""
        flops, moved = int(self.flops[row]), int(self.bytes[row])
        arguments: dict[str, Any] = {
            "flops": flops if flops >= 0 else None,
            "bytes": moved if moved >= 0 else None,
        }
        signature_id = int(self.trace.spans.signature_id[row])
        leaf = bool(self.counts.leaf[row])
        if not leaf:
            arguments["ops_inside"] = True
        if signature_id < 0:
            return arguments
        signature = self.trace.signatures[signature_id]
        transcendentals = self.counts.signatures[signature_id].transcendentals
        if transcendentals and leaf and flops >= 0:
            arguments["transcendentals"] = transcendentals
        arguments["shapes"] = [list(o.shape) for o in signature.operands]
        arguments["dtypes"] = [o.dtype for o in signature.operands]
        if "->" in signature.attributes:  # einsum; shapes tell what axis= and the like do
            arguments["attributes"] = signature.attributes
        shown_ones: dict[str, Any] = shown_value(arguments)
        return shown_ones


def _distinct(columns: list[NDArray[Any]]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Distinct rows: where each occurs first, in that order, and per row its index in them."""
    code = np.zeros(len(columns[0]), "i8")
    values = 1  # codes are below this
    for column in columns:
        lowest, highest = int(column.min()), int(column.max())
        width = highest - lowest + 1
        if values * width > 2**62:
            code = numbered(code)[1]
            values = int(code.max()) + 1
        if width > 1:
            code = code * width + (column.astype("i8") - lowest)
            values *= width
    first, index = numbered(code)
    order = np.argsort(first)
    rank = np.empty(len(order), "i4")
    rank[order] = np.arange(len(order))
    return first[order], rank[index]
