"""PyTorch's operations by their names alone: what is asked of every trace, also of those without any.

The table of what they cost is loaded where there are some: it would take every other program 15 ms at its end.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.formulas import Work
from tinytrace.analysis.spans import leaf_ops
from tinytrace.analysis.traffic import Traffic, footprint_bytes
from tinytrace.tracer.trace import Signature, Trace

PREFIX = "aten::"
# Nodes of the autograd engine: they call operations, which are recorded inside, and compute nothing themselves. (Those
# of functions written in Python, ``MyFunctionBackward``, have no number at the end.)
AUTOGRAD = re.compile(
    r"autograd::engine::evaluate_function: .*|torch::autograd::AccumulateGrad|\w+Backward\d+|detach_?"
)


def is_aten(op: str) -> bool:
    """Whether an operation is PyTorch's, or a node of its autograd engine."""
    return op.startswith(PREFIX) or AUTOGRAD.fullmatch(op) is not None


def ran_torch(trace: Trace) -> bool:
    """Whether operations of PyTorch were recorded."""
    return any(text.startswith(PREFIX) for text in trace.strings)


def base_name(op: str) -> tuple[str, bool]:
    """Return the name without ``aten::`` and the ``_`` of the form in place, and whether it is that.

    >>> base_name("aten::add_"), base_name("aten::_softmax"), base_name("aten::__and__")
    (('add', True), ('_softmax', False), ('__and__', False))
    """
    name = op.removeprefix(PREFIX)
    in_place = name.endswith("_") and not name.endswith("__")
    return (name[:-1] if in_place else name), in_place


def aten_cost(sig: Signature) -> tuple[Work | None, Traffic]:
    """Return the work (None: uncounted) and the bytes of one call of PyTorch's."""
    from tinytrace.analysis.aten_counting import cost_of

    return cost_of(sig)


def carrying_ops(trace: Trace) -> NDArray[np.bool_]:
    """Return per span whether it is an operation whose own figures count: no FLOP is counted twice, none is lost.

    Those in which no other operation ran; of PyTorch's see `aten_counting.carriers_and_leaves`.
    """
    if not ran_torch(trace):
        return leaf_ops(trace.spans)
    from tinytrace.analysis.aten_counting import carriers_and_leaves

    return carriers_and_leaves(trace)


def carried_ns(trace: Trace, self_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return per span the time of its own: who stands for the operations inside has their time, they have none.

    Args:
        trace: any.
        self_ns: per span its time without what is inside, see `tinytrace.analysis.spans.self_ns`.
    """
    if not ran_torch(trace):
        return self_ns
    from tinytrace.analysis.aten_counting import carried_times_ns

    return carried_times_ns(trace, self_ns)


def carriers_of(trace: Trace) -> NDArray[np.int64]:
    """Return per span the operation of PyTorch that stands for it: `aten_counting.carriers_of`; itself without PyTorch.

    Example:
        >>> carriers_of(Trace()).tolist()
        []
    """
    if not ran_torch(trace):
        return np.arange(len(trace.spans))
    from tinytrace.analysis import aten_counting

    return aten_counting.carriers_of(trace)


def footprint_of(sig: Signature) -> int | None:
    """Return the memory that one call works on: its distinct operands, those too that it returns; None: not known.

    Of PyTorch's operations the outputs are worked out where they were not recorded; of others see `footprint_bytes`.
    """
    if not sig.op.startswith(PREFIX):
        return footprint_bytes(sig)
    from tinytrace.analysis.aten_counting import aten_footprint

    return aten_footprint(sig)
