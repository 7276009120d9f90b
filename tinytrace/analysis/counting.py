"""What operations cost: FLOPs, transcendentals, comparisons and bytes, per signature and per trace.

The rules are in `tinytrace.analysis.op_table`, the published convention in docs/counting.md. An
operation without a formula is *uncounted* (None; −1 in arrays), never 0.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.aten_names import aten_cost, carried_ns, carrying_ops, is_aten
from tinytrace.analysis.device_work import device_work, on_device
from tinytrace.analysis.formulas import Work
from tinytrace.analysis.op_table import ANY_DTYPE, Row, find
from tinytrace.analysis.operands import is_foreign, is_truncated
from tinytrace.analysis.spans import inside, self_ns
from tinytrace.analysis.traffic import NOT_KNOWN, Traffic
from tinytrace.analysis.work import moves
from tinytrace.tracer.groups import distinct, numbered, sums
from tinytrace.tracer.records import Flag, Kind
from tinytrace.tracer.trace import Signature, Trace

UNCOUNTED = -1  # in arrays
LARGEST = 2**63 - 1  # a figure beyond it does not fit the arrays, and is uncounted there

# Goes into the metadata of every trace: what its figures mean.
CONVENTION: dict[str, str] = {
    "version": "1",
    "flop": "one addition, subtraction, multiplication, division or comparison of numbers; a "
    "multiply-add is 2; integer and bool operations count alike",
    "elementwise": "per element of the broadcast output",
    "transcendental": "one evaluation of exp, log, sqrt, pow, tanh…; not in the FLOPs",
    "comparison": "of sorting and searching; not in the FLOPs",
    "complex": "add 2, multiply 6, divide 11, multiply-add 8 FLOPs; a transcendental is one",
    "nominal": "linear algebra by LAPACK Working Note 41 and Golub & Van Loan, FFT 5 n log2 n "
    "(real: half): the problem is rated, whatever the library executes",
    "bytes": "compulsory traffic at the op's boundary: each distinct input read once, each output "
    "written once; write-allocate left out; views and scalars 0; broadcast dimensions once",
    "strided": "elements x min(64, |stride|): the cache lines touched",
    "gather": "2 x out + index",
    "scatter": "3 x updates + index",
    "leaves": "only ops without an op inside them are counted; an op with figures given by the "
    "user stands for all that ran inside it",
    "uncounted": "an op without a formula, or that did not end normally: listed, never 0",
}


@dataclass(frozen=True, slots=True)
class Counts:
    """The cost of one call.

    Attributes:
        flops: floating-point (or integer, bool) operations; None: uncounted.
        transcendentals: evaluations of exp, log, sqrt, pow…; not contained in ``flops``.
        bytes_read: compulsory bytes read; None: not known.
        bytes_written: compulsory bytes written; None: not known.
        comparisons: of sorting and searching; not contained in ``flops``.
        nominal: ``flops`` or ``comparisons`` rate the problem; what ran may differ.
    """

    flops: int | None
    transcendentals: int
    bytes_read: int | None
    bytes_written: int | None
    comparisons: int = 0
    nominal: bool = False

    @property
    def bytes(self) -> int | None:
        """Bytes read and written together; None when either is not known."""
        if self.bytes_read is None or self.bytes_written is None:
            return None
        return self.bytes_read + self.bytes_written


def count(signature: Signature) -> Counts:
    """Return what one call with this signature costs; never raises.

    Args:
        signature: op, operands (inputs, then outputs) and the arguments that matter.

    Example:
        >>> from tinytrace.tracer.trace import Operand, Signature
        >>> a, b, out = (Operand("float64", shape) for shape in [(2, 4), (4, 3), (2, 3)])
        >>> cost = count(Signature("matmul", (a, b, out), 2))
        >>> cost.flops, cost.bytes_read, cost.bytes_written
        (48, 160, 48)
    """
    if not _is_well_formed(signature):
        return Counts(None, 0, None, None)
    if is_aten(signature.op):
        work, traffic = aten_cost(signature)
    elif (row := find(signature.op)) is not None:
        work, traffic = _work(row, signature), _traffic(row, signature)
    else:
        return Counts(None, 0, None, None)
    if work is None:
        return Counts(None, 0, traffic.read, traffic.written)
    return Counts(
        work.flops,
        work.transcendentals,
        traffic.read,
        traffic.written,
        work.comparisons,
        work.nominal,
    )


def _is_well_formed(sig: Signature) -> bool:
    return 0 <= sig.n_inputs <= len(sig.operands) and all(
        size >= 0 for operand in sig.operands for size in (*operand.shape, operand.itemsize)
    )


def _work(row: Row, sig: Signature) -> Work | None:
    if row.work is None or (is_truncated(sig) and row.work is not moves):
        return None
    arrays = [o.dtype for o in sig.operands if not is_foreign(o)]
    if any(dtype.startswith(REFERENCES) for dtype in arrays):
        return None
    if row.work not in ANY_DTYPE and not all(dtype.startswith(NUMBERS) for dtype in arrays):
        return None
    try:
        return row.work(sig)
    except (ValueError, LookupError, ArithmeticError):  # the signature does not tell
        return None


NUMBERS = (
    "bool", "int", "uint", "float", "bfloat", "complex", "long", "ulong", "clong", "datetime64",
    "timedelta64",
)  # fmt: skip
REFERENCES = ("object", "StringDType")  # arrays of things elsewhere: what is done is not known


def _traffic(row: Row, sig: Signature) -> Traffic:
    try:
        return row.traffic(sig)
    except (ValueError, LookupError, ArithmeticError):
        return NOT_KNOWN


# A whole trace ----------------------------------------------------------------------------------

Figure = Literal["flops", "bytes"]
FIGURES: tuple[Figure, ...] = ("flops", "bytes")
Mask = NDArray[np.bool_]
Figures = NDArray[np.int64]
Rows = NDArray[np.int64] | slice
ALL = slice(None)


@dataclass(frozen=True, eq=False)
class TraceCounts:
    """The counts of every signature of a trace, and the spans that they belong to.

    Attributes:
        trace: what was counted.
        signatures: counts per row of ``Trace.signatures``, exact.
        flops, transcendentals, bytes_read, bytes_written, comparisons: the same as arrays; −1 where
            uncounted, and where a figure exceeds 2⁶³ − 1.
        nominal: bool per signature.
        leaf: bool per span, see `leaf_mask`.
    """

    trace: Trace
    signatures: tuple[Counts, ...]
    flops: Figures
    transcendentals: Figures
    bytes_read: Figures
    bytes_written: Figures
    comparisons: Figures
    nominal: Mask
    leaf: Mask

    @property
    def bytes(self) -> Figures:
        """Bytes read and written per signature; −1 where either is not known."""
        return _array(counts.bytes for counts in self.signatures)

    @cached_property
    def own_ns(self) -> Figures:
        """Time per span in it and in nothing that is counted by itself inside it, in ns."""
        return carried_ns(self.trace, self_ns(self.trace.spans))

    def per_span(self, figure: Figure, rows: Rows = ALL) -> Figures:
        """Return what each span contributes to the sum over the trace; −1 where uncounted.

        Leaves contribute what their signature says; a leaf that raised or never ended is uncounted.
        An op with a figure declared by the user (``tt.op(name, flops=)``) contributes that, if it
        ended normally, and whatever lies inside it 0. All other spans contribute 0.

        Args:
            figure: which.
            rows: of these spans only.
        """
        spans = self.trace.spans
        values = self.flops if figure == "flops" else self.bytes
        per_signature = np.append(values, UNCOUNTED)  # signature −1 finds the last one
        leaf = self.leaf[rows]
        result = np.where(leaf, per_signature[spans.signature_id[rows]], 0)
        result[leaf & unfinished(spans.flags[rows])] = UNCOUNTED
        given = self._given[figure]
        if given is not None:
            own = given.value[rows]
            result = np.where(own >= 0, own, result)
            result[given.inside[rows]] = 0
        return result

    def elsewhere(self, figure: Figure, rows: Rows = ALL) -> Mask:
        """Return per span whether its 0 in `per_span` means that other spans have its figure.

        Those inside it, or one around it whose figure the user declared.
        """
        result = ~self.leaf[rows]
        given = self._given[figure]
        if given is not None:
            result &= given.value[rows] < 0
            result |= given.inside[rows]
        return np.asarray(result, "?")

    def declared(self, rows: Rows = ALL) -> Mask:
        """Return per span whether it has a figure that the user declared."""
        result = np.zeros(len(self.leaf[rows]), "?")
        for given in self._given.values():
            if given is not None:
                result |= given.value[rows] >= 0
        return result

    def inside_declared(self, figure: Figure) -> Mask | None:
        """Return per span whether an op around it has this figure by the user; None: no op has."""
        given = self._given[figure]
        return None if given is None else given.inside

    @cached_property
    def _given(self) -> dict[Figure, _Given | None]:
        """The figures that the user declared; None: there are none."""
        return {figure: self._find_given(figure) for figure in FIGURES}

    def total(self, figure: Figure) -> int:
        """Return the sum over all spans and aggregates that are counted, exact however large."""
        per_span = self.per_span(figure)
        per_span = per_span[per_span > 0]
        high, low = int((per_span >> 32).sum()), int((per_span & 0xFFFFFFFF).sum())
        return (high << 32) + low + sum(work or 0 for work in self.per_aggregate(figure))

    def per_aggregate(self, figure: Figure) -> list[int | None]:
        """Return what each row of the aggregates contributes to the sum, exact; None where uncounted.

        As `per_span`: a figure declared by the user counts for every span that ended normally, and what lies
        inside contributes 0; else the leaves count.
        """
        folded = self.trace.aggregates
        ids = distinct(np.concatenate([folded.args_id, folded.outer_args_id])).tolist()
        declared = {i: _declared_figure(self.trace.strings[i], figure) for i in ids if i >= 0}
        exact: list[int | None] = [getattr(c, figure) for c in self.signatures] + [None]
        columns = ("kind", "signature_id", "args_id", "outer_args_id", "ended", "leaves")
        rows = zip(*(getattr(folded, name).tolist() for name in columns), strict=True)
        found: list[int | None] = []
        for kind, signature, arguments, outer, ended, leaves in rows:
            own, around = declared.get(arguments), declared.get(outer)
            each = exact[signature]
            if around is not None and around >= 0:
                found.append(0)
            elif kind == Kind.OP and own is not None and own >= 0:
                found.append(own * ended)
            elif not leaves or kind != Kind.OP:
                found.append(0)
            else:
                found.append(None if each is None else each * leaves)
        return found

    def _find_given(self, figure: Figure) -> _Given | None:
        spans = self.trace.spans
        rows = np.flatnonzero(spans.args_id >= 0)
        rows = rows[(spans.kind[rows] == Kind.OP) & ~unfinished(spans.flags[rows])]
        first, index = numbered(spans.args_id[rows])
        ids = spans.args_id[rows[first]].tolist()
        values = _array(_declared_figure(self.trace.strings[i], figure) for i in ids)[index]
        rows, values = rows[values >= 0], values[values >= 0]
        if not len(rows):
            return None
        value = np.full(len(spans), UNCOUNTED, "i8")
        value[rows] = values
        return _Given(value, inside(spans.parent, rows))


class _Given(NamedTuple):
    """Per span a figure that the user declared (−1: none), and whether it lies in an op with one."""

    value: Figures
    inside: Mask


def declares(arguments: str) -> bool:
    """Whether the arguments of an op give FLOPs or bytes of their own."""
    figures = (_declared_figure(arguments, "flops"), _declared_figure(arguments, "bytes"))
    return any(figure is not None and figure >= 0 for figure in figures)


def _declared_figure(arguments: str, figure: Figure) -> int | None:
    """Return the figure in the arguments of ``tt.op``; None if there is none that makes sense."""
    if figure not in arguments:  # of nearly all spans of other tools
        return None
    try:
        value = json.loads(arguments).get(figure)
        if not isinstance(value, (int, float)) or isinstance(value, bool) or value < 0:
            return None
        return round(value)
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        return None  # not a number, infinite, no object…


def unfinished(flags: NDArray[np.uint8]) -> Mask:
    """Return per span whether it raised or never ended, so that it is not known how much it did."""
    return np.asarray(flags & (Flag.RAISED | Flag.OPEN).value != 0)


def _array(values: Iterable[int | None]) -> Figures:
    """Figures as int64; what is unknown or does not fit is −1."""
    kept = [UNCOUNTED if v is None or v > LARGEST else v for v in values]
    return np.array(kept, "i8")


def with_convention(trace: Trace) -> Trace:
    """Return the trace with the convention of its figures in ``meta["conventions"]``.

    Example:
        >>> with_convention(Trace()).meta["conventions"]["version"]
        '1'
    """
    return replace(trace, meta={**trace.meta, "conventions": dict(CONVENTION)})


def count_trace(trace: Trace) -> TraceCounts:
    """Count a whole trace: each signature once, vectorised over the spans.

    Example:
        >>> count_trace(Trace()).total("flops")
        0
    """
    counts = _counted.of(trace.signatures)
    return TraceCounts(
        trace=trace,
        signatures=counts,
        # None where FLOPs are: nothing is known of the transcendentals of an op without a formula.
        transcendentals=_array(None if c.flops is None else c.transcendentals for c in counts),
        comparisons=_array(None if c.flops is None else c.comparisons for c in counts),
        flops=_array(c.flops for c in counts),
        bytes_read=_array(c.bytes_read for c in counts),
        bytes_written=_array(c.bytes_written for c in counts),
        nominal=np.array([c.nominal for c in counts], "?"),
        leaf=leaf_mask(trace),
    )


class _Counted:
    """The counts of the signatures that were counted last: a trace is counted for several purposes."""

    def __init__(self) -> None:
        self._last: tuple[tuple[Signature, ...], tuple[Counts, ...]] = ((), ())

    def of(self, signatures: tuple[Signature, ...]) -> tuple[Counts, ...]:
        last, counts = self._last
        if signatures is not last:
            counts = tuple(count(signature) for signature in signatures)
            self._last = signatures, counts
        return counts


_counted = _Counted()


def leaf_mask(trace: Trace) -> Mask:
    """Return per span whether it is an op of the host in which no other op ran, at whatever depth.

    Of PyTorch's those that do the work of all that ran inside them: see `carrying_ops`. Kernels and copies of a
    device are none: what they do is told by the op that launched them.
    """
    carrying = carrying_ops(trace)
    return carrying if device_work(trace) is None else carrying & ~on_device(trace)


class Uncounted(NamedTuple):
    """An operation without a figure: its name, leaf calls, and their time."""

    op: str
    calls: int
    total_ns: int


def uncounted(trace: Trace, figure: Figure = "flops") -> list[Uncounted]:
    """Return the operations without this figure, those that took longest first."""
    return OpTimes(count_trace(trace), figure).uncounted()


def coverage(trace: Trace, figure: Figure = "flops") -> float | None:
    """Return the counted share of op time, 0 to 1; None without ops.

    Op time is the self time of leaves; aggregated ops are in it with that of the whole group.
    """
    return OpTimes(count_trace(trace), figure).coverage()


class OpTimes:
    """Time in leaves, and in those of them without a figure: `coverage` and `uncounted` of one count."""

    def __init__(self, counts: TraceCounts, figure: Figure) -> None:
        self.counts = counts
        folded = counts.trace.aggregates
        self.own_ns = counts.own_ns
        self.missing = counts.leaf & (counts.per_span(figure) < 0)
        self.folded = (folded.kind == Kind.OP) & (folded.leaves > 0)
        unknown = np.array([work is None for work in counts.per_aggregate(figure)], "?")
        self.folded_missing = self.folded & unknown

    def coverage(self) -> float | None:
        """See the function of this name."""
        folded_ns = self.counts.trace.aggregates.self_ns
        total_ns = int(self.own_ns[self.counts.leaf].sum() + folded_ns[self.folded].sum())
        lost_ns = int(self.own_ns[self.missing].sum() + folded_ns[self.folded_missing].sum())
        return 1 - lost_ns / total_ns if total_ns else None

    def uncounted(self) -> list[Uncounted]:
        """See the function of this name."""
        trace = self.counts.trace
        spans, folded = trace.spans, trace.aggregates
        names = np.concatenate([spans.name_id[self.missing], folded.name_id[self.folded_missing]])
        once = np.ones(int(self.missing.sum()), "i8")
        calls = np.concatenate([once, folded.leaves[self.folded_missing]])
        spent_ns = np.concatenate([self.own_ns[self.missing], folded.self_ns[self.folded_missing]])
        first, index = numbered(names)
        ids = names[first].tolist()
        rows = zip(ids, sums(index, len(ids), calls), sums(index, len(ids), spent_ns), strict=True)
        found = [Uncounted(trace.strings[i], int(n), int(ns)) for i, n, ns in rows]
        return sorted(found, key=lambda u: (-u.total_ns, u.op))
