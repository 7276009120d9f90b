"""Questions to a signature: sizes, axes, number kinds.

The answers raise ValueError or LookupError where the signature does not tell.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from tinytrace.tracer.records import LAYOUT_MASK, Layout
from tinytrace.tracer.trace import Operand, Signature

TRUNCATED = "+"  # begins the attributes of a signature some of whose operands were left out


def layout_of(operand: Operand) -> int:
    """Return how an operand lies in memory, whatever its byte order."""
    return operand.layout & LAYOUT_MASK


def is_foreign(operand: Operand) -> bool:
    """Whether the operand is something of unknown size: a list of anything but numbers, a user's object."""
    return layout_of(operand) == Layout.OTHER and not operand.shape


def is_complex(sig: Signature) -> bool:
    """Whether complex numbers take part."""
    return any(map(holds_complex, sig.operands))


def holds_complex(operand: Operand) -> bool:
    """Whether the operand's elements are complex numbers."""
    return operand.dtype.startswith(("complex", "clongdouble"))


def elements(operand: Operand) -> int:
    """Return the number of elements; a foreign object does not tell."""
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


MOST_OPERANDS = 4  # that are shown of each side


def operands_text(signature: Signature) -> str:
    """Return operands and arguments as one line; more than four of a side are counted.

    ``same``: the very array of an earlier operand; ``:F`` and ``:strided``: not C-contiguous.

    >>> a, b, out = (Operand("float32", shape) for shape in [(2, 4), (4, 3), (2, 3)])
    >>> operands_text(Signature("matmul", (a, b, out), 2))
    'float32[2,4] float32[4,3] -> float32[2,3]'
    """
    text = _side_text(signature.inputs)
    if signature.outputs:
        text = f"{text} -> {_side_text(signature.outputs)}".strip()
    arguments = signature.attributes.lstrip("+;")
    return f"{text} {arguments}".strip()


def _side_text(operands: Sequence[Operand]) -> str:
    operands = [
        one for one in operands if one.dtype
    ]  # without those that hold the place of an argument
    texts = [_operand_text(one) for one in operands[:MOST_OPERANDS]]
    more = len(operands) - MOST_OPERANDS
    return " ".join([*texts, f"(+{more})"] if more > 0 else texts)


def _operand_text(operand: Operand) -> str:
    if operand.alias >= 0:
        return "same"
    if not operand.is_array:
        return operand.dtype
    layout = {Layout.F: ":F", Layout.STRIDED: ":strided"}.get(operand.layout, "")
    return f"{operand.dtype}[{','.join(map(str, operand.shape))}]{layout}"
