"""What a call of an ATen operation costs, and which calls of a trace carry the cost of those around and inside.

`tinytrace.analysis.counting` asks here for operations whose names begin with ``aten::``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.aten_calls import LIST_DTYPE, AtenCall, call_of, is_tensor
from tinytrace.analysis.aten_names import AUTOGRAD, PREFIX
from tinytrace.analysis.aten_outputs import outputs_of
from tinytrace.analysis.aten_row import AtenRow, Role
from tinytrace.analysis.aten_table import find, schemas_of
from tinytrace.analysis.aten_work import moves
from tinytrace.analysis.formulas import Work
from tinytrace.analysis.operands import layout_of
from tinytrace.analysis.spans import inside
from tinytrace.analysis.traffic import NOT_KNOWN, NOTHING, Traffic, total
from tinytrace.tracer.groups import distinct
from tinytrace.tracer.records import Kind, Layout
from tinytrace.tracer.trace import Operand, Signature, Trace
from tinytrace.tracer.trees import around, outermost

Mask = NDArray[np.bool_]
DOES_NOT_TELL = (ValueError, LookupError, ArithmeticError)


def cost_of(sig: Signature) -> tuple[Work | None, Traffic]:
    """Return the work (None: uncounted) and the bytes of one call."""
    if not sig.op.startswith(PREFIX):
        return Work(0), NOTHING  # a node of the engine
    row = find(sig.op)
    if row is None:
        return None, NOT_KNOWN
    if row.role is Role.VIEW:
        return Work(0), NOTHING
    if any(map(_is_sparse, sig.operands)):
        return None, NOT_KNOWN
    try:
        call = call_of(sig, schemas_of(sig.op))
    except DOES_NOT_TELL:
        return None, NOT_KNOWN
    try:
        call = replace(call, outputs=outputs_of(call, row.outputs))
    except DOES_NOT_TELL:
        # Some rules need no outputs: what only moves costs no FLOPs, however much that is.
        return _work(row, call), NOT_KNOWN
    work = _work(row, call)
    try:
        traffic = row.traffic(call)
    except DOES_NOT_TELL:
        traffic = NOT_KNOWN
    return work, traffic


def is_moving(op: str) -> bool:
    """Whether an operation computes nothing."""
    row = find(op)
    return row is not None and row.work is moves


def _is_sparse(operand: Operand) -> bool:
    """Whether an operand is a tensor that has not an element for each place of its shape: sparse, nested."""
    is_list = operand.dtype == LIST_DTYPE
    return is_tensor(operand) and not is_list and layout_of(operand) == Layout.OTHER


def aten_footprint(sig: Signature) -> int | None:
    """See `tinytrace.analysis.aten_names.footprint_of`."""
    row = find(sig.op)
    if row is None:
        return None
    try:
        call = call_of(sig, schemas_of(sig.op))
        new = [o for o in outputs_of(call, row.outputs) if o.alias < 0]
    except DOES_NOT_TELL:
        return None
    return total([*(o for o in call.tensors() if o.alias < 0), *new])


def _work(row: AtenRow, call: AtenCall) -> Work | None:
    """Return the work; None: uncounted, or of values that no such call has."""
    if row.work is None:
        return None
    try:
        work = row.work(call)
    except DOES_NOT_TELL:
        return None
    return work if min(work.flops, work.transcendentals, work.comparisons) >= 0 else None


# A whole trace ----------------------------------------------------------------------------------

OTHER, VIEW, MOVES, COMPUTES, MADE_OF_MOVES, MADE_OF_OTHERS = range(6)


def role_code(name: str) -> int:
    """Return what an operation of this name means for those inside it; not in the table: `OTHER`."""
    row = find(name) if name.startswith(PREFIX) else None
    if row is None:
        return VIEW if AUTOGRAD.fullmatch(name) else OTHER
    if row.role is Role.VIEW:
        return VIEW
    if row.role is Role.PRIMITIVE:
        return MOVES if row.work is moves else COMPUTES
    return MADE_OF_MOVES if row.work is moves else MADE_OF_OTHERS


def _codes(trace: Trace) -> NDArray[np.uint8]:
    """Return the code per span."""
    codes = np.zeros(len(trace.strings) + 1, "u1")
    for i in distinct(trace.spans.name_id).tolist():
        codes[i] = role_code(trace.strings[i])
    return np.asarray(codes[trace.spans.name_id], "u1")


class Carriers(NamedTuple):
    """Operations of PyTorch by what they mean for those inside them; bool per span.

    Attributes:
        whole: stand for all operations inside them, too.
        hidden: lie in one of those.
        view: compute and move nothing.
    """

    whole: Mask
    hidden: Mask
    view: Mask


def _carriers(trace: Trace) -> Carriers:
    """Return the operations that stand for what is inside them."""
    codes = _codes(trace)
    parent, is_op = trace.spans.parent, trace.spans.kind == Kind.OP.value
    primitive = is_op & ((codes == MOVES) | (codes == COMPUTES))
    shown = is_op & ~inside(parent, np.flatnonzero(primitive))
    computing = shown & ((codes == OTHER) | (codes == COMPUTES) | (codes == MADE_OF_OTHERS))
    # What such an op is made of was not recorded, at most copies that it makes on the way.
    alone = shown & (codes == MADE_OF_OTHERS) & ~around(computing, parent)
    whole = primitive | alone
    return Carriers(whole, inside(parent, np.flatnonzero(whole)), is_op & (codes == VIEW))


def carriers_and_leaves(trace: Trace) -> Mask:
    """Return per span whether it is an operation whose own figures count: no FLOP is counted twice, none is lost.

    As everywhere, those in which no other operation ran. But a primitive of ATen (`Role`) counts itself, and what ran
    inside it (``addmm`` copies its bias) does not; and where nothing that computes ran inside a composite, it counts
    likewise: the operation that it is made of was not recorded.
    """
    carriers = _carriers(trace)
    parent, is_op = trace.spans.parent, trace.spans.kind == Kind.OP.value
    shown = is_op & ~carriers.hidden
    with_others = around(shown & ~carriers.view, parent) | (carriers.view & around(is_op, parent))
    return np.asarray(shown & (carriers.whole | ~with_others), "?")


def carried_times_ns(trace: Trace, self_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return per span the time of its own: who stands for the operations inside has their time, they have none.

    Args:
        trace: any.
        self_ns: per span its time without what is inside, see `tinytrace.analysis.spans.self_ns`.
    """
    carriers = _carriers(trace)
    spans = trace.spans
    carrier = outermost(carriers.whole, spans.parent)
    rows = np.flatnonzero((carrier >= 0) & (spans.kind == Kind.OP.value))
    own_ns: NDArray[np.int64] = self_ns.copy()
    own_ns[rows] = 0
    np.add.at(own_ns, carrier[rows], self_ns[rows])
    return own_ns


def carriers_of(trace: Trace) -> NDArray[np.int64]:
    """Return per span the op whose figures stand for its own: a primitive around it, else the span itself.

    Example:
        >>> carriers_of(Trace()).tolist()
        []
    """
    carrier = outermost(_carriers(trace).whole, trace.spans.parent)
    return np.where(carrier >= 0, carrier, np.arange(len(trace.spans)))
