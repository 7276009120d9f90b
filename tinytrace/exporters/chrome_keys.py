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

from tinytrace.analysis.chrome_tables import KEY_DTYPES, KEY_NAMES
from tinytrace.analysis.counting import (
    ALL,
    FIGURES,
    UNCOUNTED,
    Figure,
    Rows,
    TraceCounts,
    count_trace,
)
from tinytrace.analysis.spans import numbered_keys, span_keys
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
RESERVED = frozenset({*KEY_NAMES, "step", "parent", "dur_ns"})


class Line(NamedTuple):
    """The rest of a span's line, from ``"":`` on: its arguments, and what follows them."""

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
        counts = count_trace(trace)
        self._groups = numbered_keys([span_keys(trace.spans).of, _state(counts)])
        self._figures = Figures.of(counts, self._groups.first)
        self._numbers: dict[int, int] = {}  # of a key, by its group
        self._lines: dict[int, Line] = {}

    def __len__(self) -> int:
        """How many keys the trace has."""
        return len(self._groups.first)

    def of_rows(self, rows: slice) -> tuple[dict[str, Any] | None, list[int], NDArray[np.int32]]:
        """Find the keys of these spans.

        Returns:
            The piece of the table of keys that is new (None: nothing is), the numbers of the keys that occur,
            and per span its index in them.
        """
        groups = self._groups.of[rows]
        first_rows, index = _in_order(groups)
        found = groups[first_rows].tolist()
        first_new = len(self._numbers)
        numbers = [self._numbers.setdefault(group, len(self._numbers)) for group in found]
        new = [group for group, k in zip(found, numbers, strict=True) if k >= first_new]
        if len(self._lines) > MAX_CACHED:
            self._lines.clear()
        for group, k in zip(found, numbers, strict=True):
            if k not in self._lines:
                self._lines[k] = self._line(k, group)
        examples = self._groups.first[new]
        columns = {name: getattr(self._trace.spans, name)[examples].tolist() for name in KEY_DTYPES}
        part = {"name": "keys", "first": first_new, "columns": columns}
        return part if new else None, numbers, index

    def line(self, k: int) -> Line:
        """Return the text of a key that `of_rows` has just found."""
        return self._lines[k]

    def _line(self, k: int, group: int) -> Line:
        """Render the text of a key, which the spans of this group have."""
        trace, spans = self._trace, self._trace.spans
        row = int(self._groups.first[group])
        kind, flags, thread = int(spans.kind[row]), int(spans.flags[row]), int(spans.thread[row])
        callsite_id, args_id = int(spans.callsite_id[row]), int(spans.args_id[row])
        own = self._figures.arguments(group, row) if kind == Kind.OP else {}
        if callsite_id >= 0:
            own["callsite"] = callsite(trace.strings, trace.frames, callsite_id)
        for flag, word in ((Flag.OPEN, "open"), (Flag.RAISED, "raised")):
            if flags & flag:
                own[word] = True
        arguments: dict[str, Any] = {KEY_NAMES[0]: k}
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


def _state(counts: TraceCounts) -> NDArray[Any]:
    """Per span what tells spans of one key apart whose figures are written differently."""
    if all(counts.inside_declared(figure) is None for figure in FIGURES):
        return counts.leaf
    flops, moved = (_written(counts, figure) for figure in FIGURES)
    return np.asarray(
        counts.leaf.astype("u1") | (flops < 0).astype("u1") << 1 | (moved < 0).astype("u1") << 2
    )


def _written(counts: TraceCounts, figure: Figure, rows: Rows = ALL) -> NDArray[np.int64]:
    """Per span its part of the sum over the file; −1, written as null: none.

    It is not known, or other spans have it (ops inside this one; an op around it whose author gave it).
    """
    return np.where(
        counts.elsewhere(figure, rows), UNCOUNTED, counts.per_span(figure, rows)
    ).astype("i8")


@dataclass(frozen=True)
class Figures:
    """FLOPs and bytes that the spans of each group add to the sum over the file.

    Attributes:
        counts: of the trace.
        flops, bytes: int64 per group; −1: none, which is written as null.
    """

    counts: TraceCounts
    flops: NDArray[np.int64]
    bytes: NDArray[np.int64]

    @classmethod
    def of(cls, counts: TraceCounts, examples: NDArray[np.int64]) -> Figures:
        """Tell them from one span of each group."""
        return cls(counts, *(_written(counts, figure, examples) for figure in FIGURES))

    def arguments(self, group: int, row: int) -> dict[str, Any]:
        """Return what an op of a group, such as this span, says: figures, shapes and dtypes, inputs first."""
        trace = self.counts.trace
        flops, moved = int(self.flops[group]), int(self.bytes[group])
        arguments: dict[str, Any] = {
            "flops": flops if flops >= 0 else None,
            "bytes": moved if moved >= 0 else None,
        }
        signature_id = int(trace.spans.signature_id[row])
        leaf = bool(self.counts.leaf[row])
        if not leaf:
            arguments["ops_inside"] = True
        if signature_id < 0:
            return arguments
        signature = trace.signatures[signature_id]
        transcendentals = self.counts.signatures[signature_id].transcendentals
        if transcendentals and leaf and flops >= 0:
            arguments["transcendentals"] = transcendentals
        arguments["shapes"] = [list(o.shape) for o in signature.operands]
        arguments["dtypes"] = [o.dtype for o in signature.operands]
        if "->" in signature.attributes:  # einsum; shapes tell what axis= and the like do
            arguments["attributes"] = signature.attributes
        shown_ones: dict[str, Any] = shown_value(arguments)
        return shown_ones


def _in_order(groups: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Distinct groups: where each occurs first, in that order, and per row its index in them."""
    first, index = numbered(groups)
    order = np.argsort(first)
    rank = np.empty(len(order), "i4")
    rank[order] = np.arange(len(order))
    return first[order], rank[index]
