"""Calls of ops that are alike, added up: the first step from spans to any table of ops.

A trace of ten million spans has some hundreds of parts. Every table (by op, by call site, by layer…) and every
verdict is made of sums over parts.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.collectives import communication
from tinytrace.analysis.counting import FIGURES, UNCOUNTED, Figure, TraceCounts, unfinished
from tinytrace.analysis.device_work import device_work, launching, on_device
from tinytrace.analysis.spans import inside, span_keys
from tinytrace.tracer.groups import first_rows, group_ids, sums
from tinytrace.tracer.records import Flag, Kind
from tinytrace.tracer.trace import Column, Spans, Trace
from tinytrace.tracer.trees import around

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
NOT_KNOWN = -1

# What tells calls of the same op at the same place apart; together, a part's ``state``.
LEAF, UNFINISHED, DETACHED, IN_DATA, IN_DECLARED = 1, 2, 4, 8, 16  # the last: a bit per figure
DISPATCHING = 64  # it launched work of a device, or ran what did
IN_COMMUNICATION = 128


@dataclass(frozen=True, eq=False)
class OpParts:
    """Parts: calls of one op with one signature, from one place, in one thread, that are counted alike.

    What ran on devices (GPUs) is in none: `tinytrace.analysis.device_ops`. An op that launched it has its work done
    there: here it is what surrounds that.

    Spans that were folded have parts of their own, one per row of ``Trace.aggregates``, at the end. All columns
    have one entry per part.

    Attributes:
        trace: what the parts are of.
        counts: of the trace.
        rows: the spans that are ops of the host.
        part_of: per such span its part.
        name_id, signature_id, callsite_id, thread: as in `Spans`.
        extra: the value of a further column that was asked for; −1: none, and for folded ones.
        state: bits of `LEAF`… `IN_COMMUNICATION`.
        folded: whether the spans were folded, so that their durations one by one are not known.
        calls: how many.
        leaves: calls in which no other op ran and that ended normally: these did what the signature says.
        self_ns: time in the calls and in no span inside them.
        total_ns: their whole durations.
        work_ns: the time to set against the work: of an op whose figures the user declared the whole duration.
        flops, bytes, transcendentals: work of all calls; NaN: uncounted, or that of an op inside or around.
        uncounted: calls without a formula, or that did not end normally.
    """

    trace: Trace
    counts: TraceCounts
    rows: Ints
    part_of: Ints
    name_id: Ints
    signature_id: Ints
    callsite_id: Ints
    thread: Ints
    extra: Ints
    state: Ints
    folded: Mask
    calls: Ints
    leaves: Ints
    self_ns: Ints
    total_ns: Ints
    work_ns: Ints
    flops: Floats
    bytes: Floats
    transcendentals: Floats
    uncounted: Ints

    def __len__(self) -> int:
        return len(self.name_id)

    @property
    def outer(self) -> Mask:
        """Whether other ops ran inside the calls: their own time is what surrounds those."""
        return np.asarray(self.state & LEAF == 0)

    @cached_property
    def by_part(self) -> tuple[Ints, Ints]:
        """Rows of ``rows`` sorted by part, then time; and where each part begins, with the end of the last."""
        n = len(self)
        # Of 16 bits NumPy sorts in linear time.
        narrow = self.part_of.astype("u2") if n <= 1 << 16 else self.part_of
        begins = np.zeros(n + 1, "i8")
        np.cumsum(np.bincount(self.part_of, minlength=n), out=begins[1:])
        return np.argsort(narrow, kind="stable"), begins

    def durations_ns(self, parts: Ints) -> Ints:
        """Return the durations of all calls of some parts, one by one; folded ones have none."""
        order, begins = self.by_part
        pieces = [order[begins[i] : begins[i + 1]] for i in parts.tolist()]
        picked = np.concatenate([np.zeros(0, "i8"), *pieces])
        return np.asarray(self.trace.spans.dur_ns[self.rows[picked]], "i8")


def op_parts(counts: TraceCounts, extra: Column | None = None) -> OpParts:
    """Add up calls that are alike.

    Args:
        counts: of the trace.
        extra: per span a further integer that tells calls apart: the step, the layer.

    Example:
        >>> from tinytrace.analysis.counting import count_trace
        >>> len(op_parts(count_trace(Trace())))
        0
    """
    trace = counts.trace
    spans = trace.spans
    rows = np.flatnonzero(spans.kind == Kind.OP.value)
    if device_work(trace) is not None:
        rows = rows[~on_device(trace)[rows]]
    state = _state(counts, rows)
    alike = [_of(span_keys(spans).of, rows), state]
    alike += [] if extra is None else [_of(extra, rows)]
    part_of, count = _numbered_parts(counts, rows, alike)
    first = rows[first_rows(part_of, count)]
    own_ns, whole_ns = (
        sums(part_of, count, _of(column, rows)) for column in (counts.own_ns, spans.dur_ns)
    )
    calls = np.bincount(part_of, minlength=count)
    part_state = state[first_rows(part_of, count)].astype("i8")
    is_leaf = part_state & LEAF != 0
    normal = is_leaf & (part_state & UNFINISHED == 0)
    uncounted = is_leaf & (counts.per_span("flops", first) < 0)
    fold = _Folded(counts)

    def joined(of_spans: Column, of_folded: Column) -> NDArray[np.int64]:
        return np.concatenate([np.asarray(of_spans, "i8"), np.asarray(of_folded, "i8")])

    leaves = joined(calls * normal, fold.table.leaves)
    signature_id = joined(spans.signature_id[first], fold.table.signature_id)
    evaluations = np.append(counts.transcendentals, UNCOUNTED)[signature_id].astype("f8")
    evaluations[evaluations < 0] = np.nan
    work_ns = np.where(is_leaf & ~counts.declared(first), own_ns, whole_ns)
    return OpParts(
        trace=trace,
        counts=counts,
        rows=rows,
        part_of=part_of,
        name_id=joined(spans.name_id[first], fold.table.name_id),
        signature_id=signature_id,
        callsite_id=joined(spans.callsite_id[first], fold.table.callsite_id),
        thread=joined(spans.thread[first], fold.table.thread),
        extra=joined(
            np.full(count, NOT_KNOWN) if extra is None else extra[first],
            np.full(len(fold.rows), NOT_KNOWN),
        ),
        state=joined(part_state, fold.state),
        folded=np.arange(count + len(fold.rows)) >= count,
        calls=joined(calls, fold.table.count),
        leaves=leaves,
        self_ns=joined(own_ns, fold.table.self_ns),
        total_ns=joined(whole_ns, fold.table.total_ns),
        work_ns=joined(work_ns, fold.work_ns),
        flops=np.concatenate([_figure(counts, "flops", first, calls), fold.figure("flops")]),
        bytes=np.concatenate([_figure(counts, "bytes", first, calls), fold.figure("bytes")]),
        transcendentals=np.where(leaves > 0, evaluations * leaves, np.nan),
        uncounted=joined(calls * uncounted, fold.uncounted),
    )


def _numbered_parts(counts: TraceCounts, rows: Ints, alike: list[Column]) -> tuple[Ints, int]:
    """Number the parts in order of what they are: name, signature… of ops that agree in some columns.

    Arguments tell calls apart where they have figures that the user declared. Others do not: those of other
    tools are different in every call.
    """
    spans = counts.trace.spans
    finer, count = group_ids(alike)  # keys tell flags apart, too
    some = first_rows(finer, count)
    picked = rows[some]
    arguments = np.where(counts.declared(picked), spans.args_id[picked], NOT_KNOWN)
    names = ("name_id", "signature_id", "callsite_id", "thread")
    coarse, n_parts = group_ids(
        [*(getattr(spans, name)[picked] for name in names), arguments]
        + [column[some] for column in alike[1:]]
    )
    return coarse[finer], n_parts


def _of(column: Column, rows: Ints) -> Column:
    """The rows of a column; where these are all, without a copy."""
    return column if len(rows) == len(column) else column[rows]


def _state(counts: TraceCounts, rows: Ints) -> NDArray[np.uint8]:
    spans = counts.trace.spans
    state = np.where(counts.leaf, np.uint8(LEAF), np.uint8(0))
    if device_work(counts.trace) is not None:
        launched = launching(counts.trace)
        state[launched] = 0
        state[launched | around(launched, spans.parent)] |= np.uint8(DISPATCHING)
    state[unfinished(spans.flags)] |= np.uint8(UNFINISHED)
    state[spans.flags & Flag.DETACHED.value != 0] |= np.uint8(DETACHED)
    state[waiting_for_data(spans)] |= np.uint8(IN_DATA)
    state[in_communication(counts.trace)] |= np.uint8(IN_COMMUNICATION)
    for number, figure in enumerate(FIGURES):
        mask = counts.inside_declared(figure)
        if mask is not None:
            state[mask] |= np.uint8(IN_DECLARED << number)
    return np.asarray(_of(state, rows), "u1")


def waiting_for_data(spans: Spans) -> Mask:
    """Return per span whether it lies in one that waits for data."""
    rows = np.flatnonzero(spans.kind == Kind.DATA.value)
    return inside(spans.parent, rows) if len(rows) else np.zeros(len(spans), "?")


def in_communication(trace: Trace) -> Mask:
    """Return per span whether it is a call that communicates with other ranks, or lies in one."""
    spans, rows = trace.spans, communication(trace).calls.span
    if not len(rows):
        return np.zeros(len(spans), "?")
    mask = inside(spans.parent, rows)
    mask[rows] = True
    return mask


def _figure(counts: TraceCounts, figure: Figure, first: Ints, calls: Ints) -> Floats:
    """Work of parts, told from the first call of each."""
    each = counts.per_span(figure, first).astype("f8")
    each[(each < 0) | counts.elsewhere(figure, first)] = np.nan
    if device_work(counts.trace) is not None:
        each[launching(counts.trace)[first]] = np.nan
    return each * calls


class _Folded:
    """The ops among the aggregates."""

    def __init__(self, counts: TraceCounts) -> None:
        self._counts = counts
        folded = counts.trace.aggregates
        self.rows = np.flatnonzero(folded.kind == Kind.OP)
        self.table = folded.take(self.rows)
        self.state = np.where(self.table.leaves > 0, LEAF, 0)
        self.work_ns = np.where(self.table.leaves > 0, self.table.self_ns, self.table.total_ns)
        unknown = np.array([work is None for work in counts.per_aggregate("flops")], "?")
        self.uncounted = np.where(unknown[self.rows], self.table.leaves, 0)

    def figure(self, figure: Figure) -> Floats:
        """Work per row."""
        counts = self._counts
        each = [np.nan if work is None else work for work in counts.per_aggregate(figure)]
        found = np.array(each, "f8")[self.rows]
        per_signature = counts.flops if figure == "flops" else counts.bytes
        own = np.append(per_signature, UNCOUNTED)[self.table.signature_id]
        found[(found == 0) & ((own != 0) | (self.table.leaves == 0))] = np.nan
        return found
