"""PyTorch's operations by their names alone: what is asked of every trace, also of those without any.

The table of what they cost is loaded where there are some: it would take every other program 15 ms at its end.
"""

from __future__ import annotations

import re

from tinytrace.analysis.traffic import footprint_bytes
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


def footprint_of(sig: Signature) -> int | None:
    """Return the memory that one call works on: its distinct operands, those too that it returns; None: not known.

    Of PyTorch's operations the outputs are worked out where they were not recorded; of others see `footprint_bytes`.
    """
    if not sig.op.startswith(PREFIX):
        return footprint_bytes(sig)
    from tinytrace.analysis.aten_counting import aten_footprint

    return aten_footprint(sig)
