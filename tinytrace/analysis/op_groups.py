"""Tables of ops: what was spent by op, by kind of op, by call site, by layer, by step or by thread."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.aten_names import footprint_of
from tinytrace.analysis.counting import TraceCounts, count_trace
from tinytrace.analysis.device_work import of_categories
from tinytrace.analysis.kineto import RUNTIME_CATEGORIES
from tinytrace.analysis.op_parts import NOT_KNOWN, OpParts, op_parts
from tinytrace.analysis.op_words import words_for
from tinytrace.analysis.places import site
from tinytrace.analysis.training_counts import passes_of
from tinytrace.tracer.groups import distinct, first_rows, group_ids, sums
from tinytrace.tracer.records import Kind
from tinytrace.tracer.trace import Column, Trace
from tinytrace.tracer.trees import inherited

By = Literal["op", "kind", "callsite", "layer", "step", "thread"]
WAYS: tuple[By, ...] = get_args(By)
LAYERS = (Kind.SPAN, Kind.LAYER, Kind.FORWARD, Kind.BACKWARD, Kind.OPTIMIZER, Kind.DATA)
# Spans of torch.profiler that are no layers: functions of Python (its modules are layers), calls of the runtime.
MACHINERY = dict.fromkeys((*RUNTIME_CATEGORIES, "python_function", "overhead"), 0)

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class OpGroup:
    """Calls of ops that belong together: all of one op, all from one place…

    Attributes:
        label: what they have in common: the op, what people call it (`op_words`), the call site, the name of the
            nearest span around them, the number of the step, the name of the thread; None: not known, or in none.
        op: the op in which most of the time was spent; with ``by="op"`` the label.
        n_ops: how many different ops.
        callsite: the place at which most of the time was spent, ``train.py:42 forward``; None: not known.
        n_callsites: how many places.
        self_ns: time in the calls and not in other spans inside them, summed over threads.
        total_ns: their whole durations; where one runs inside another, it is in both.
        percent: self time of the wall time of the run. Threads add up, so that several can make more than 100.
        calls: how often.
        p50_ns, p99_ns: half, and 99 of 100, of the calls took at most this long; None: not known, because some
            were folded.
        flops, bytes, transcendentals: work of the calls that are counted; None: of none it is.
        gflops: 10⁹ FLOPs per second of the calls whose FLOPs are counted; None: none.
        gbps: 10⁹ bytes (compulsory) per second; None: no call is counted.
        flops_per_byte: of the calls for which both are known; None: none, or no bytes.
        gtranscendentals: 10⁹ evaluations of exp, log… per second; None: not known.
        footprint_bytes: the distinct operands of one call, of those calls that took most time; None: not known.
        uncounted_calls: calls without a formula, or that did not end normally.
        only_outer: other ops ran inside all of its calls, and have the figures that are None.
    """

    label: str | None
    op: str
    n_ops: int
    callsite: str | None
    n_callsites: int
    self_ns: int
    total_ns: int
    percent: float
    calls: int
    p50_ns: float | None
    p99_ns: float | None
    flops: float | None
    bytes: float | None
    transcendentals: float | None
    gflops: float | None
    gbps: float | None
    flops_per_byte: float | None
    gtranscendentals: float | None
    footprint_bytes: int | None
    uncounted_calls: int
    only_outer: bool


def group_ops(trace: Trace, by: By = "op", top: int | None = None) -> tuple[OpGroup, ...]:
    """Return the ops of a trace in groups, those with most self time first.

    Folded ops are in all figures, but for layers and steps, which are not known of them: they are in the
    group whose label is None. A layer is the nearest span around the op that is no op and no step
    (``tt.span``).

    Args:
        trace: any trace.
        by: what makes a group.
        top: how many at most; None: all.

    Example:
        >>> group_ops(Trace(), by="callsite")
        ()
    """
    grouping = grouped(count_trace(trace), by)
    return grouping.rows(grouping.largest(grouping.sum(grouping.parts.self_ns), top))


@dataclass(frozen=True, eq=False)
class Grouping:
    """Parts divided into groups.

    Attributes:
        parts: of the trace.
        ids: per part the number of its group.
        count: how many groups.
        label: the label of a group, by one of its parts.
    """

    parts: OpParts
    ids: Ints
    count: int
    label: Callable[[int], str | None]

    def sum(self, values: Any) -> Ints:
        """Return per group the sum of an integer column of parts, exact."""
        return sums(self.ids, self.count, values)

    def largest(self, values: Any, top: int | None) -> Ints:
        """Return the groups with the largest values, most first."""
        return np.argsort(-np.asarray(values), kind="stable")[:top].astype("i8")

    def rows(self, chosen: Ints) -> tuple[OpGroup, ...]:
        """Return these groups with all their figures."""
        figures = _Figures(self)
        return tuple(figures.row(i) for i in chosen.tolist())

    def parts_of(self, group: int) -> Ints:
        """Return the parts of a group."""
        order, begins = self._by_group
        return order[begins[group] : begins[group + 1]]

    @cached_property
    def _by_group(self) -> tuple[Ints, Ints]:
        begins = np.zeros(self.count + 1, "i8")
        np.cumsum(np.bincount(self.ids, minlength=self.count), out=begins[1:])
        return np.argsort(self.ids, kind="stable"), begins


def grouped(counts: TraceCounts, by: By, step: Column | None = None) -> Grouping:
    """Divide the ops of a trace into groups.

    Args:
        counts: of the trace.
        by: what makes a group.
        step: per span the number of its step, for ``by="step"``, where it is not that of the trace.
    """
    trace = counts.trace
    extra = None
    if by == "layer":
        extra = layer_of(trace)
    elif by == "step":
        extra = trace.spans.step if step is None else step
    parts = op_parts(counts, extra)
    words, kind = _kinds(trace, parts.name_id) if by == "kind" else ([], parts.name_id)
    column = {
        "op": parts.name_id, "kind": kind, "callsite": parts.callsite_id, "thread": parts.thread,
        "layer": parts.extra, "step": parts.extra,
    }[by]  # fmt: skip
    ids, count = group_ids([column])

    def label(part: int) -> str | None:
        value = int(column[part])
        if by == "callsite":
            return site(trace, value)
        if value == NOT_KNOWN:
            return None
        if by == "kind":
            return words[value]
        if by == "step":
            return str(value)
        return trace.strings[trace.threads.name_id[value] if by == "thread" else value]

    return Grouping(parts, ids, count, label)


def _kinds(trace: Trace, name_id: Column) -> tuple[list[str], Ints]:
    """Return what people call the ops (`words_for`), and per part which of these it is."""
    names = distinct(name_id)
    words = [words_for(trace.strings[i]) for i in names.tolist()]
    kinds = sorted(set(words))
    kind_of_name = np.array([kinds.index(word) for word in words], "i8")
    return kinds, kind_of_name[np.searchsorted(names, name_id)]


def layer_of(trace: Trace) -> Ints:
    """Return per span the name (in ``Trace.strings``) of what it belongs to; −1: nothing.

    That is the nearest layer, optimizer, loader or span of the user's around it; of a node's backward the layer that
    made the node, where an arrow tells; in none of these the nearest span that is no op.

    Example:
        >>> layer_of(Trace()).tolist()
        []
    """
    spans = trace.spans
    own = np.where(np.isin(spans.kind, LAYERS), spans.name_id, NOT_KNOWN).astype("i8")
    machinery = of_categories(trace, MACHINERY)
    if machinery is not None:
        own[(machinery >= 0) & (spans.kind == Kind.SPAN.value)] = NOT_KNOWN
    nearest = inherited(own, spans.parent)
    is_node = np.isin(spans.kind, (Kind.FORWARD, Kind.BACKWARD))
    if not is_node.any():
        return np.asarray(nearest, "i8")
    around = inherited(np.where(is_node, NOT_KNOWN, own), spans.parent)
    passes = passes_of(trace)
    made_in = np.append(around, NOT_KNOWN)[passes.made_in]
    found = np.where(made_in >= 0, made_in, around)
    return np.asarray(np.where(found >= 0, found, nearest), "i8")


class _Figures:
    """Sums over the parts of each group, and rows made of them."""

    def __init__(self, grouping: Grouping) -> None:
        self._grouping = grouping
        parts = self._parts = grouping.parts
        trace = self._trace = parts.trace
        self._wall_ns = max(0, trace.end_ns - trace.start_ns)
        self._self_ns = grouping.sum(parts.self_ns)
        self._total_ns = grouping.sum(parts.total_ns)
        self._calls = grouping.sum(parts.calls)
        self._uncounted = grouping.sum(parts.uncounted)
        self._inner = grouping.sum(~parts.outer)
        self._folded = grouping.sum(parts.folded)
        self._flops, self._bytes = self._known(parts.flops), self._known(parts.bytes)
        self._evaluations = self._known(parts.transcendentals)
        self._gflops = self._ratio(parts.flops, parts.work_ns)
        self._gbps = self._ratio(parts.bytes, parts.work_ns)
        self._intensity = self._ratio(parts.flops, parts.bytes)
        self._rate = self._ratio(parts.transcendentals, parts.work_ns)

    def row(self, i: int) -> OpGroup:
        """One group."""
        trace, parts = self._trace, self._parts
        mine = self._grouping.parts_of(i)
        op, n_ops = self._leading(mine, parts.name_id)
        callsite, n_callsites = self._leading(mine, parts.callsite_id)
        p50_ns, p99_ns = self._quantiles(i, mine)
        return OpGroup(
            label=self._grouping.label(int(mine[0])),
            op=trace.strings[op],
            n_ops=n_ops,
            callsite=site(trace, callsite),
            n_callsites=n_callsites,
            self_ns=int(self._self_ns[i]),
            total_ns=int(self._total_ns[i]),
            percent=100 * int(self._self_ns[i]) / self._wall_ns if self._wall_ns else 0.0,
            calls=int(self._calls[i]),
            p50_ns=p50_ns,
            p99_ns=p99_ns,
            flops=_known(self._flops[i]),
            bytes=_known(self._bytes[i]),
            transcendentals=_known(self._evaluations[i]),
            gflops=_known(self._gflops[i]),
            gbps=_known(self._gbps[i]),
            flops_per_byte=_known(self._intensity[i]),
            gtranscendentals=_known(self._rate[i]),
            footprint_bytes=self._footprint(mine),
            uncounted_calls=int(self._uncounted[i]),
            only_outer=not self._inner[i],
        )

    def _known(self, work: Floats) -> Floats:
        """Per group the sum of what is known; NaN where nothing is."""
        known = ~np.isnan(work)
        ids, count = self._grouping.ids[known], self._grouping.count
        total = np.bincount(ids, work[known], count).astype("f8")
        total[np.bincount(ids, minlength=count) == 0] = np.nan
        return total

    def _ratio(self, above: Any, below: Any) -> Floats:
        """Per group, sums over the parts in which both are known, divided; NaN where there are none."""
        known = ~(np.isnan(above) | np.isnan(below))
        ids, count = self._grouping.ids[known], self._grouping.count
        numerator = np.bincount(ids, above[known], count)
        denominator = np.bincount(ids, below[known], count)
        result = np.full(count, np.nan)
        np.divide(numerator, denominator, out=result, where=denominator > 0)
        return result

    def _leading(self, mine: Ints, column: Ints) -> tuple[int, int]:
        """The value with most self time in these parts, and how many values there are."""
        values = column[mine]
        ids, count = group_ids([values])
        most = int(np.argmax(sums(ids, count, self._parts.self_ns[mine])))
        return int(values[first_rows(ids, count)[most]]), count

    def _quantiles(self, i: int, mine: Ints) -> tuple[float | None, float | None]:
        """Nearest-rank quantiles: durations that calls really took."""
        if self._folded[i]:
            return None, None
        durations = self._parts.durations_ns(mine)
        ranks = [math.ceil(q * len(durations)) - 1 for q in (0.5, 0.99)]
        durations.partition(ranks)
        p50, p99 = durations[ranks].tolist()
        return float(p50), float(p99)

    def _footprint(self, mine: Ints) -> int | None:
        signature, _ = self._leading(mine, self._parts.signature_id)
        return None if signature < 0 else footprint_of(self._trace.signatures[signature])


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
