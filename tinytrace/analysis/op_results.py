"""New arrays that ops returned: which op at which line made how many bytes. Modelled: docs/memory.md."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.counting import Counts, TraceCounts, count_trace
from tinytrace.analysis.places import place
from tinytrace.tracer.groups import distinct, first_rows, group_ids, sums
from tinytrace.tracer.records import Flag, Kind
from tinytrace.tracer.trace import Signature, Trace
from tinytrace.tracer.trees import inherited

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ResultSource:
    """All new arrays that one op returned at one call site, in some stretch of time.

    Attributes:
        op: its name.
        frame_id: the call site, a row of ``Trace.frames``; −1: not known.
        place, function: of the call site, ``train.py:42`` and ``forward``; None: not known.
        calls: how many calls returned one.
        bytes: of all of them together.
        largest_bytes: of the largest one.
        dur_ns: time in these calls.
    """

    op: str
    frame_id: int
    place: str | None
    function: str | None
    calls: int
    bytes: int
    largest_bytes: int
    dur_ns: int


def new_bytes(signature: Signature, cost: Counts) -> int:
    """Return the bytes of the arrays that a call returned in memory of their own.

    Not counted: outputs that are an input as well, views, scalars, and the target of an assignment. An ``out=``
    that is no input looks like a new array, and is counted.

    Args:
        signature: of the call.
        cost: what `count` says of it.

    Example:
        >>> from tinytrace.tracer.trace import Operand
        >>> x = Operand("float64", (10,))
        >>> sig = Signature("negative", (x, x), 1)
        >>> new_bytes(sig, count(sig))
        80
    """
    if signature.op == "setitem" or cost.bytes_written == 0:
        return 0
    outputs = [o for o in signature.outputs if o.alias < 0 and o.is_array]
    return sum(o.elements * o.itemsize for o in outputs)


def new_bytes_of(counts: TraceCounts) -> Ints:
    """Return `new_bytes` of all signatures of a trace, and 0 for "no signature": (n + 1,)."""
    pairs = zip(counts.trace.signatures, counts.signatures, strict=True)
    return np.array([*(new_bytes(*pair) for pair in pairs), 0], "i8")


class Results:
    """The calls that returned a new array and lie in no other such op. Sets of them are rows of spans.

    Args:
        trace: any trace.
        counts: of it, if they are there already.
    """

    def __init__(self, trace: Trace, counts: TraceCounts | None = None) -> None:
        self._trace = trace
        spans = trace.spans
        per_signature = new_bytes_of(count_trace(trace) if counts is None else counts)
        is_op = (spans.kind == Kind.OP) & (spans.signature_id >= 0)
        around = inherited(np.where(is_op, np.arange(len(spans)), -1), spans.parent)
        outer = is_op & (np.append(around, -1)[spans.parent] < 0)
        outer &= spans.flags & (Flag.RAISED | Flag.OPEN) == 0
        self._bytes = per_signature[spans.signature_id]
        rows = np.flatnonzero(outer & (self._bytes > 0))
        # In order of the ends: a result is there when its op has returned.
        self._end_ns = spans.start_ns + spans.dur_ns
        self._rows = rows[np.argsort(self._end_ns[rows], kind="stable")]
        self._process = trace.threads.process[spans.thread[self._rows]]

    def processes(self) -> list[int]:
        """The processes that have some."""
        return [int(p) for p in distinct(self._process)]

    def between(self, process: int, after_ns: int | None, until_ns: int) -> Ints:
        """Those that were returned after the one time (None: at any), and not after the other."""
        ends = self._end_ns[self._rows]
        low = 0 if after_ns is None else int(np.searchsorted(ends, after_ns, "right"))
        high = int(np.searchsorted(ends, until_ns, "right"))
        part = slice(low, max(low, high))
        return np.asarray(self._rows[part][self._process[part] == process], "i8")

    def inside(self, process: int, start_ns: Ints, end_ns: Ints) -> Ints:
        """Those of a process that began in one of these stretches, which are in order and do not overlap."""
        rows = self._rows[self._process == process]
        return np.asarray(rows[self._stretch(rows, start_ns, end_ns) >= 0], "i8")

    def _stretch(self, rows: Ints, start_ns: Ints, end_ns: Ints) -> Ints:
        """Per row, the stretch in which it began, or −1."""
        at_ns = self._trace.spans.start_ns[rows]
        at = np.searchsorted(start_ns, at_ns, "right") - 1
        return np.where((at >= 0) & (at_ns < np.append(end_ns, 0)[at]), at, -1)

    def steps_with(self, rows: Ints, start_ns: Ints) -> int:
        """In how many stretches some of these rows, which are all in one, began."""
        at_ns = self._trace.spans.start_ns[rows]
        return len(distinct(np.searchsorted(start_ns, at_ns, "right")))

    def busiest_step(self, rows: Ints, start_ns: Ints, end_ns: Ints) -> int | None:
        """The stretch in which these made most bytes; None: they are in none."""
        at = self._stretch(rows, start_ns, end_ns)
        if not (at >= 0).any():
            return None
        made = sums(at[at >= 0], len(start_ns), self._bytes[rows[at >= 0]])
        return int(np.argmax(made))

    def total_bytes(self, rows: Ints) -> int:
        """Bytes of all of these."""
        return int(self._bytes[rows].sum())

    def sources(self, rows: Ints, top: int) -> tuple[ResultSource, ...]:
        """Return these by op and call site, most bytes first."""
        if not len(rows):
            return ()
        spans, text = self._trace.spans, self._trace.strings
        group, n = group_ids([spans.name_id[rows], spans.callsite_id[rows]])
        first = rows[first_rows(group, n)]
        made = sums(group, n, self._bytes[rows])
        largest = np.zeros(n, "i8")
        np.maximum.at(largest, group, self._bytes[rows])
        calls = np.bincount(group, minlength=n)
        dur_ns = sums(group, n, spans.dur_ns[rows])
        found = []
        for i in np.argsort(-made, kind="stable")[:top].tolist():
            frame_id = int(spans.callsite_id[first[i]])
            name_id = int(self._trace.frames.name_id[frame_id]) if frame_id >= 0 else -1
            found.append(ResultSource(
                op=text[spans.name_id[first[i]]], frame_id=frame_id,
                place=place(self._trace, frame_id) if frame_id >= 0 else None,
                function=text[name_id] if name_id >= 0 else None,
                calls=int(calls[i]), bytes=int(made[i]), largest_bytes=int(largest[i]),
                dur_ns=int(dur_ns[i]),
            ))  # fmt: skip
        return tuple(found)
