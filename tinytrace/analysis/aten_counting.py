"""What a call of an ATen operation costs, and which calls of a trace carry the cost of those around and inside.

`tinytrace.analysis.counting` asks here for operations whose names begin with ``aten::``.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.aten_calls import LIST_DTYPE, PREFIX, AtenCall, call_of, is_tensor
from tinytrace.analysis.aten_outputs import outputs_of
from tinytrace.analysis.aten_row import AtenRow, Role
from tinytrace.analysis.aten_table import find, schemas_of
from tinytrace.analysis.aten_work import moves
from tinytrace.analysis.formulas import Work
from tinytrace.analysis.operands import layout_of
from tinytrace.analysis.spans import inside, leaf_ops
from tinytrace.analysis.traffic import NOT_KNOWN, NOTHING, Traffic, footprint_bytes, total
from tinytrace.tracer.groups import distinct
from tinytrace.tracer.records import Kind, Layout
from tinytrace.tracer.trace import Operand, Signature, Trace
from tinytrace.tracer.trees import around, outermost

Mask = NDArray[np.bool_]
DOES_NOT_TELL = (ValueError, LookupError, ArithmeticError)
# Nodes of the autograd engine: they call operations, which are recorded inside, and compute nothing themselves. (Those
# of functions written in Python, ``MyFunctionBackward``, have no number at the end.)
AUTOGRAD = re.compile(
    r"autograd::engine::evaluate_function: .*|torch::autograd::AccumulateGrad|\w+Backward\d+|detach_?"
)


def is_aten(op: str) -> bool:
    """Whether an operation is PyTorch's, or a node of its autograd engine."""
    return op.startswith(PREFIX) or AUTOGRAD.fullmatch(op) is not None


def aten_cost(sig: Signature) -> tuple[Work | None, Traffic]:
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


def _is_sparse(operand: Operand) -> bool:
    """Whether an operand is a tensor that has not an element for each place of its shape: sparse, nested."""
    is_list = operand.dtype == LIST_DTYPE
    return is_tensor(operand) and not is_list and layout_of(operand) == Layout.OTHER


def footprint_of(sig: Signature) -> int | None:
    """Return the memory that one call works on: its distinct operands, those too that it returns; None: not known.

    Of PyTorch's operations the outputs are worked out where they were not recorded; of others see `footprint_bytes`.
    """
    if not sig.op.startswith(PREFIX):
        return footprint_bytes(sig)
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
    """Return the code per span; `OTHER` for all where PyTorch did not run."""
    codes = np.zeros(len(trace.strings) + 1, "u1")
    if any(name.startswith(PREFIX) for name in trace.strings):
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


def _carriers(trace: Trace) -> Carriers | None:
    """Return the operations that stand for what is inside them; None: PyTorch did not run."""
    codes = _codes(trace)
    if not codes.any():
        return None
    parent, is_op = trace.spans.parent, trace.spans.kind == Kind.OP.value
    primitive = is_op & ((codes == MOVES) | (codes == COMPUTES))
    shown = is_op & ~inside(parent, np.flatnonzero(primitive))
    computing = shown & ((codes == OTHER) | (codes == COMPUTES) | (codes == MADE_OF_OTHERS))
    # What such an op is made of was not recorded, at most copies that it makes on the way.
    alone = shown & (codes == MADE_OF_OTHERS) & ~around(computing, parent)
    whole = primitive | alone
    return Carriers(whole, inside(parent, np.flatnonzero(whole)), is_op & (codes == VIEW))


def carrying_ops(trace: Trace) -> Mask:
    """Return per span whether it is an operation whose own figures count: no FLOP is counted twice, none is lost.

    As everywhere, those in which no other operation ran. But a primitive of ATen (`Role`) counts itself, and what ran
    inside it (``addmm`` copies its bias) does not; and where nothing that computes ran inside a composite, it counts
    likewise: the operation that it is made of was not recorded.
    """
    carriers = _carriers(trace)
    if carriers is None:
        return leaf_ops(trace.spans)
    parent, is_op = trace.spans.parent, trace.spans.kind == Kind.OP.value
    shown = is_op & ~carriers.hidden
    with_others = around(shown & ~carriers.view, parent) | (carriers.view & around(is_op, parent))
    return np.asarray(shown & (carriers.whole | ~with_others), "?")


def carried_ns(trace: Trace, self_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return per span the time of its own: who stands for the operations inside has their time, they have none.

    Args:
        trace: any.
        self_ns: per span its time without what is inside, see `tinytrace.analysis.spans.self_ns`.
    """
    carriers = _carriers(trace)
    if carriers is None:
        return self_ns
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
    own = np.arange(len(trace.spans))
    carriers = _carriers(trace)
    if carriers is None:
        return own
    carrier = outermost(carriers.whole, trace.spans.parent)
    return np.where(carrier >= 0, carrier, own)
