"""Making an operation again from its signature: operands of the same types, shapes and layout, and the call.

A signature holds no values: these are random, from a range in which no function overflows or leaves its domain.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.operands import is_truncated, items, layout_of
from tinytrace.tracer.records import LAYOUT_SWAPPED, Layout
from tinytrace.tracer.trace import Operand, Signature

DTYPES = frozenset(
    ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16",
     "float32", "float64", "complex64", "complex128"]
)  # fmt: skip
PYTHON_SCALARS: dict[str, Any] = {"int": 3, "float": 0.5, "complex": 0.5 + 0.5j, "bool": True}
# Within the domain of every function of NumPy's but one, and away from 0, where some take longer.
LOWEST, HIGHEST = 0.1, 0.9
BEYOND_ONE = frozenset(["arccosh"])
# What these do to their first operand in place may be done again and again, when the other one is 1.
REPEATABLE = frozenset(["add", "subtract", "multiply", "divide", "maximum", "minimum"])
LARGEST_EXPONENT = 64  # of a power that stays within all types
FUNCTIONS = frozenset(["dot"])  # that are no ufuncs, but called like them


class NotRebuiltError(ValueError):
    """An operation cannot be made again from its signature; the reason, in words."""


@dataclass(frozen=True)
class Call:
    """A call with its arguments, ready to be made.

    Attributes:
        function: a ufunc, a method of one, or ``np.dot``.
        args: its operands.
        options: ``axis``, ``keepdims``, ``out``.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    options: dict[str, Any] = field(default_factory=dict)

    def __call__(self) -> Any:
        """Make it."""
        return self.function(*self.args, **self.options)


def extent_bytes(sig: Signature) -> int:
    """Return how much memory its operands take, gaps included; those that are the same array count once.

    Example:
        >>> column = Operand("float64", (100,), Layout.STRIDED, (800,))
        >>> extent_bytes(Signature("negative", (column,), 1))
        79208
    """
    return sum(_extent(operand)[0] for operand in sig.operands if operand.alias < 0)


def _extent(operand: Operand) -> tuple[int, int]:
    """Bytes from the first to the last element, and where among them the element with index 0 is."""
    if not operand.is_array or layout_of(operand) != Layout.STRIDED:
        return operand.elements * operand.itemsize, 0
    reaches = [(n - 1) * stride for n, stride in zip(operand.shape, operand.strides, strict=True)]
    return sum(map(abs, reaches)) + operand.itemsize, -sum(reach for reach in reaches if reach < 0)


def rebuilt(sig: Signature, seed: int, *, steady: bool = False) -> Call:
    """Return the call that a signature stands for.

    The same seed gives the same values, whatever the types and the layout.

    Args:
        sig: of an op.
        seed: of the random values.
        steady: the values are 1 where an op writes to its own operand, so that repeating it leads nowhere near
            overflow or the very small numbers that processors are slow with.

    Raises:
        NotRebuiltError: it does not tell enough, or it is no such op.

    Example:
        >>> x = Operand("float32", (2, 3), itemsize=4)
        >>> rebuilt(Signature("add", (x, x, x), 2), seed=0)().shape
        (2, 3)
    """
    function, options = _function(sig)
    in_place = sig.outputs[0].alias
    random = np.random.default_rng(seed)
    low = 1.0 + LOWEST if sig.op in BEYOND_ONE else LOWEST
    args: list[Any] = []
    for place, operand in enumerate(sig.inputs):
        # Drawn for each, so that the values of one do not depend on what the others are.
        values = low + (HIGHEST - LOWEST) * random.random(operand.shape)
        if steady and in_place >= 0:
            values = np.ones(operand.shape)
        if operand.alias >= 0:
            if operand.alias >= place:
                raise NotRebuiltError("it refers to an operand that comes later")
            args.append(args[operand.alias])
        else:
            args.append(_operand(operand, values, exponent_of(sig) if place == 1 else None))
    if in_place >= 0:
        if sig.op not in REPEATABLE or in_place >= len(args):
            raise NotRebuiltError("it writes to its own operand, and is not the same when repeated")
        options["out"] = args[in_place]
    return Call(function, tuple(args), options)


def can_be_rebuilt(sig: Signature) -> bool:
    """Whether it is known how an op was called; its operands are looked at by `rebuilt` alone.

    Example:
        >>> can_be_rebuilt(Signature("where", (), 0))
        False
    """
    try:
        _function(sig)
    except NotRebuiltError:
        return False
    return True


def check(sig: Signature, result: Any) -> None:
    """Make sure that a call did what the signature says.

    Raises:
        NotRebuiltError: it has made something else: the program gave an argument that is not in the signature.
    """
    told = sig.outputs[0]
    if np.shape(result) != told.shape or str(getattr(result, "dtype", "")) != told.dtype:
        raise NotRebuiltError("called without further arguments, it gives another result")


def _function(sig: Signature) -> tuple[Callable[..., Any], dict[str, Any]]:
    if is_truncated(sig) or len(sig.outputs) != 1:
        raise NotRebuiltError("its operands are not all known")
    name, _, method = sig.op.partition(".")
    ufunc = getattr(np, name, None)
    if sig.op in FUNCTIONS and not sig.attributes and len(sig.inputs) == 2:
        return getattr(np, name), {}
    if not isinstance(ufunc, np.ufunc) or ufunc.nout != 1:
        raise NotRebuiltError("it is no ufunc")
    if method == "reduce" and len(sig.inputs) == 1:
        return ufunc.reduce, _reduction(sig)
    if method or len(sig.inputs) != ufunc.nin:
        raise NotRebuiltError("it has arguments whose values are not known")
    if sig.attributes and exponent_of(sig) is None:
        raise NotRebuiltError(f"it has arguments that are not understood: {sig.attributes[:40]}")
    return ufunc, {}


def _reduction(sig: Signature) -> dict[str, Any]:
    """Axis, and whether the axes are kept, which the shapes tell."""
    told = [item.removeprefix("axis=") for item in items(sig) if item]
    if not told:
        axis = 0 if len(sig.outputs[0].shape) else None
        return {"axis": axis}
    if len(told) != 1 or not told[0].lstrip("-").isdigit() or len(told[0]) > 3:
        raise NotRebuiltError(f"it has arguments that are not understood: {sig.attributes[:40]}")
    kept = len(sig.outputs[0].shape) == len(sig.inputs[0].shape)
    return {"axis": int(told[0]), "keepdims": kept}


def exponent_of(sig: Signature) -> float | None:
    """Return the exponent of a power where it is a number of Python's; None: not known, or no power.

    Example:
        >>> x = Operand("float64", (8,))
        >>> exponent_of(Signature("power", (x, Operand("int", (), Layout.PYTHON_SCALAR), x), 2, "exponent=3"))
        3
    """
    if sig.op not in ("power", "float_power") or len(sig.inputs) != 2:
        return None
    told = dict(item.partition("=")[::2] for item in items(sig))
    try:
        value = float(told.get("exponent", ""))
    except ValueError:
        return None
    if not abs(value) <= LARGEST_EXPONENT:
        return None
    return int(value) if sig.inputs[1].dtype == "int" else value


def _operand(operand: Operand, values: NDArray[np.float64], exponent: float | None) -> Any:
    layout = layout_of(operand)
    if layout == Layout.PYTHON_SCALAR and operand.dtype in PYTHON_SCALARS:
        return PYTHON_SCALARS[operand.dtype] if exponent is None else exponent
    if operand.dtype not in DTYPES or layout == Layout.OTHER or operand.layout & LAYOUT_SWAPPED:
        raise NotRebuiltError(f"operands of type {operand.dtype[:40]} are not made here")
    dtype = np.dtype(operand.dtype)
    cast = _cast(values, dtype)
    if layout == Layout.NUMPY_SCALAR:
        return cast[()]
    if layout == Layout.STRIDED:
        size, offset = _extent(operand)
        memory = bytearray(size)
        array: NDArray[Any] = np.ndarray(operand.shape, dtype, memory, offset, operand.strides)
        array[...] = cast
        return array
    return np.asarray(cast, order="F" if layout == Layout.F else "C")


def _cast(values: NDArray[np.float64], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Integers from 1 to 9, else the values."""
    if dtype.kind == "b":
        return np.asarray(values > 0.5)
    if dtype.kind in "iu":
        return np.asarray(values * 10).astype(dtype)
    return np.asarray(values).astype(dtype)
