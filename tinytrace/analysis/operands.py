"""Questions to a signature: sizes, axes, number kinds.

The answers raise ValueError or LookupError where the signature does not tell.
"""

from __future__ import annotations

import math
import re

from tinytrace.tracer.records import LAYOUT_MASK, Layout
from tinytrace.tracer.trace import Operand, Signature

TRUNCATED = "+"  # begins the attributes of a signature some of whose operands were left out


def layout_of(operand: Operand) -> int:
    """Return how an operand lies in memory, whatever its byte order."""
    return operand.layout & LAYOUT_MASK


def is_foreign(operand: Operand) -> bool:
    """Whether the operand is neither array nor scalar: a list, a user's object."""
    return layout_of(operand) == Layout.OTHER


def is_complex(sig: Signature) -> bool:
    """Whether complex numbers take part."""
    return any(map(holds_complex, sig.operands))


def holds_complex(operand: Operand) -> bool:
    """Whether the operand's elements are complex numbers."""
    return operand.dtype.startswith(("complex", "clongdouble"))


def elements(operand: Operand) -> int:
    """Return the number of elements; a foreign object (a list) does not tell."""
    if is_foreign(operand):
        raise ValueError("the size of a foreign object is not known")
    return operand.elements


def broadcast_elements(sig: Signature) -> int:
    """Return the number of elements of the broadcast output, from the inputs if there is none."""
    if sig.outputs:
        return elements(sig.outputs[0])
    sizes: list[int] = []
    for operand in sig.inputs:
        elements(operand)
        shape = operand.shape[::-1]
        sizes += [1] * (len(shape) - len(sizes))
        for axis, size in enumerate(shape):
            if size != sizes[axis] and 1 not in (size, sizes[axis]):
                raise ValueError("the shapes do not broadcast")
            sizes[axis] = size if sizes[axis] == 1 else sizes[axis]
    if not sig.inputs:
        raise LookupError("no operands")
    return math.prod(sizes)


def is_truncated(sig: Signature) -> bool:
    """Whether operands were left out of the signature."""
    return sig.attributes.startswith(TRUNCATED)


def items(sig: Signature) -> list[str]:
    """Return the attributes one by one, without quotes: ``name=value``, or a positional value."""
    text = sig.attributes.removeprefix(TRUNCATED)
    return [item.strip().replace("'", "").replace('"', "") for item in text.split(";")]


def axis_of(sig: Signature, default: int | None) -> int | None:
    """Return the axis named by ``axis=`` or by the first positional integer; None: flattened."""
    for item in items(sig):
        match = re.fullmatch(r"(?:axis=)?(-?\d{1,4}|None)", item)
        if match:
            return None if match[1] == "None" else int(match[1])
    return default


def lanes(operand: Operand, axis: int | None) -> tuple[int, int]:
    """Return (how many lanes along the axis, the length of each)."""
    if axis is None or not operand.shape:
        return 1, elements(operand)
    length = operand.shape[axis]
    return (elements(operand) // length if length else 0), length
