"""What an ATen operation returns, worked out from its arguments: torch.profiler does not record it.

A rule takes an `AtenCall` and returns its outputs; it raises ValueError, LookupError or ArithmeticError where the
call does not tell. Shapes follow PyTorch's own rules of broadcasting, promotion of types, reduction and convolution;
tests/analysis compares them with what PyTorch returns.
"""

from __future__ import annotations

from collections.abc import Sequence

from tinytrace.analysis.aten_calls import (
    AtenCall,
    OutputRule,
    Shape,
    broadcast,
    elements,
    like,
    packed,
    unknown_dtype,
)
from tinytrace.tracer.trace import Operand

# Of torch.ScalarType, as numbers in "Concrete Inputs" (c10/core/ScalarType.h).
SCALAR_TYPES = {
    "0": ("uint8", 1), "1": ("int8", 1), "2": ("int16", 2), "3": ("int32", 4), "4": ("int64", 8),
    "5": ("float16", 2), "6": ("float32", 4), "7": ("float64", 8), "9": ("complex64", 8),
    "10": ("complex128", 16), "11": ("bool", 1), "15": ("bfloat16", 2),
}  # fmt: skip
CATEGORIES = ("bool", "int", "float", "complex")
PROMOTED = {
    frozenset(("float16", "bfloat16")): ("float32", 4),
    frozenset(("uint8", "int8")): ("int16", 2),
}


def category(dtype: str) -> int:
    """Return the rank of a type's category: bool, integer, float, complex; ValueError: unknown."""
    name = dtype.replace("uint", "int").replace("bfloat", "float")
    for rank, start in enumerate(CATEGORIES):
        if name.startswith(start):
            return rank
    raise ValueError(f"a type that is not known: {dtype}")


def promoted(operands: Sequence[Operand], shape: Shape) -> Operand:
    """Return an output of this shape in the type that PyTorch promotes these to.

    Tensors without dimensions change the type only if they are of a higher category; of which width the result is
    then depends on whether they were Python numbers, which is not recorded.
    """
    arrays = [o for o in operands if o.shape] or list(operands)
    try:
        top = max(category(o.dtype) for o in arrays)
        overall = max(category(o.dtype) for o in operands)
    except ValueError:
        return unknown_dtype(shape)
    highest = {(o.dtype, o.itemsize) for o in arrays if category(o.dtype) == top}
    if overall > top:
        return unknown_dtype(shape)
    if top == CATEGORIES.index("complex"):
        return _complex(arrays, shape)
    if len(highest) == 1:
        return packed(*highest.pop(), shape)
    names = frozenset(dtype for dtype, _ in highest)
    if names in PROMOTED:
        return packed(*PROMOTED[names], shape)
    widest = max(itemsize for _, itemsize in highest)
    found = [one for one in highest if one[1] == widest]
    return packed(*found[0], shape) if len(found) == 1 else unknown_dtype(shape)


def _complex(operands: Sequence[Operand], shape: Shape) -> Operand:
    """Return complex numbers whose parts are as wide as the widest of these, or of the parts of these."""
    parts = [
        o.itemsize // 2 if o.dtype.startswith("complex") else o.itemsize
        for o in operands
        if category(o.dtype) >= CATEGORIES.index("float")
    ]
    width = max(parts)
    if width not in (4, 8):
        return unknown_dtype(shape)
    return packed(f"complex{16 * width}", 2 * width, shape)


def _own(call: AtenCall, outputs: tuple[Operand, ...]) -> tuple[Operand, ...]:
    """Return the outputs in the types of ``out=``, where that was given."""
    if not call.out_dtypes or len(call.out_dtypes) != len(outputs):
        return outputs
    pairs = zip(call.out_dtypes, outputs, strict=True)
    return tuple(like(given, worked_out.shape) for given, worked_out in pairs)


def outputs_of(call: AtenCall, rule: OutputRule) -> tuple[Operand, ...]:
    """Return what a call writes: recorded, its first argument in place, or worked out."""
    if call.outputs:
        return call.outputs
    if call.in_place:
        first = next(iter(call.arguments.values()))
        return (Operand(first.dtype, first.shape, first.layout, first.strides, 0, first.itemsize),)
    found = _own(call, rule(call))
    if any(size < 0 for operand in found for size in operand.shape):
        raise ValueError("arguments that no such call has")
    return found


def converted(call: AtenCall) -> tuple[Operand, ...]:
    """One output like the input, in the type that was asked for."""
    source = call.tensor("self")
    if "dtype" in call.attributes:
        known = SCALAR_TYPES.get(call.attributes["dtype"])
        return (packed(*known, source.shape) if known else unknown_dtype(source.shape),)
    return (like(source, source.shape),)


# Elementwise ------------------------------------------------------------------------------------


def same(call: AtenCall) -> tuple[Operand, ...]:
    """One output like the first tensor."""
    first = call.tensors()[0]
    return (like(first, first.shape),)


def same_size(call: AtenCall) -> tuple[Operand, ...]:
    """One output of as many elements as the first tensor; how they are arranged costs nothing."""
    first = call.tensors()[0]
    return (like(first, (elements(first.shape),)),)


def elementwise(call: AtenCall) -> tuple[Operand, ...]:
    """One output of the broadcast shape, of the promoted type."""
    tensors = call.tensors()
    shape = broadcast([o.shape for o in tensors])
    if "other" in call.arguments and call.optional("other") is None:
        top = category(tensors[0].dtype)  # the other one is a number, perhaps of a higher category
        return (
            like(tensors[0], shape) if top >= CATEGORIES.index("float") else unknown_dtype(shape),
        )
    return (promoted(tensors, shape),)


def in_floats(call: AtenCall) -> tuple[Operand, ...]:
    """As `elementwise`; of integers PyTorch makes its default type, which is not recorded."""
    (out,) = elementwise(call)
    tensors = [o for o in call.tensors() if o.shape] or call.tensors()
    known = any(category(o.dtype) >= CATEGORIES.index("float") for o in tensors)
    return (out if known else unknown_dtype(out.shape),)


def powers(call: AtenCall) -> tuple[Operand, ...]:
    """Of pow: broadcast shape; of integers and a number the type is not known."""
    tensors = call.tensors()
    shape = broadcast([o.shape for o in tensors])
    known = len(tensors) == 2 or category(tensors[0].dtype) >= CATEGORIES.index("float")
    return (promoted(tensors, shape) if known else unknown_dtype(shape),)


def magnitudes(call: AtenCall) -> tuple[Operand, ...]:
    """Of abs: the same type; of complex numbers the real one of half the width."""
    source = call.tensor("self")
    if source.dtype.startswith("complex"):
        half = source.itemsize // 2
        return (packed(f"float{8 * half}", half, source.shape),)
    return (like(source, source.shape),)


def truths(call: AtenCall) -> tuple[Operand, ...]:
    """One output of the broadcast shape, of bool."""
    return (packed("bool", 1, broadcast([o.shape for o in call.tensors()])),)


def selected(call: AtenCall) -> tuple[Operand, ...]:
    """Of ``where(condition, self, other)``: broadcast shape, type of the two that are chosen from."""
    shape = broadcast([o.shape for o in call.tensors()])
    values = [o for o in (call.optional("self"), call.optional("other")) if o is not None]
    return (promoted(values, shape) if values else unknown_dtype(shape),)


# Reductions -------------------------------------------------------------------------------------


def reduced_shape(shape: Shape, dims: Sequence[int], keepdim: bool) -> Shape:
    """Return the shape after a reduction; no dims: over all."""
    axes = {d % len(shape) for d in dims} if shape else set()
    axes = axes or set(range(len(shape)))
    if keepdim:
        return tuple(1 if i in axes else size for i, size in enumerate(shape))
    return tuple(size for i, size in enumerate(shape) if i not in axes)


def _reduced(call: AtenCall) -> Shape:
    shape = call.tensor("self").shape
    if "dim" not in call.arguments:
        return ()
    # An absent dim is not written; so is every value where none was recorded at all, but then keepdim is missing too.
    keepdim = call.flag("keepdim") if "keepdim" in call.arguments else False
    return reduced_shape(shape, call.ints("dim") if "dim" in call.attributes else (), keepdim)


def reduction(call: AtenCall) -> tuple[Operand, ...]:
    """One output, of the reduced shape, of the same type."""
    return (like(call.tensor("self"), _reduced(call)),)


def sum_of(call: AtenCall) -> tuple[Operand, ...]:
    """As `reduction`; integers are summed as int64; ``dtype=`` holds."""
    shape, source = _reduced(call), call.tensor("self")
    if call.attributes.get("dtype") in SCALAR_TYPES:
        return (packed(*SCALAR_TYPES[call.attributes["dtype"]], shape),)
    if category(source.dtype) < CATEGORIES.index("float"):
        return (packed("int64", 8, shape),)
    return (like(source, shape),)


def extremes(call: AtenCall) -> tuple[Operand, ...]:
    """Of max and min: of two tensors elementwise; along ``dim`` with places; else the value alone."""
    if "other" in call.arguments:
        return elementwise(call)
    (values,) = reduction(call)
    if "dim" not in call.arguments:
        return (values,)
    return (values, packed("int64", 8, values.shape))


def places(call: AtenCall) -> tuple[Operand, ...]:
    """Of argmax: int64."""
    return (packed("int64", 8, _reduced(call)),)


def truth(call: AtenCall) -> tuple[Operand, ...]:
    """Of any and all: bool."""
    return (packed("bool", 1, _reduced(call)),)


def running(call: AtenCall) -> tuple[Operand, ...]:
    """Of cumsum: the same shape; integers become int64; ``dtype=`` holds."""
    source = call.tensor("self")
    if call.attributes.get("dtype") in SCALAR_TYPES:
        return (packed(*SCALAR_TYPES[call.attributes["dtype"]], source.shape),)
    if category(source.dtype) < CATEGORIES.index("float"):
        return (packed("int64", 8, source.shape),)
    return (like(source, source.shape),)


def value_and_mean(call: AtenCall) -> tuple[Operand, ...]:
    """Of var_mean: two of the reduced shape."""
    (one,) = reduction(call)
    return (one, one)


# Products ---------------------------------------------------------------------------------------


def matmul_shape(a: Shape, b: Shape) -> Shape:
    """Return the shape of ``a @ b``; ValueError: they do not fit."""
    rows = a[-2:-1] if len(a) > 1 else ()
    columns = b[-1:] if len(b) > 1 else ()
    if not a or not b or a[-1] != (b[-2] if len(b) > 1 else b[0]):
        raise ValueError("the inner sizes differ")
    return (*broadcast([a[:-2], b[:-2]]), *rows, *columns)


def product(call: AtenCall) -> tuple[Operand, ...]:
    """Of mm, bmm, mv, dot, matmul and those that add to one: ``(…, n, k) @ (…, k, m)``."""
    a, b = call.tensors()[-2:]
    return (like(a, matmul_shape(a.shape, b.shape)),)


def first_like(call: AtenCall) -> tuple[Operand, ...]:
    """Of addbmm: (M, N) of the products that are summed."""
    a, b = call.tensors()[-2:]
    return (like(a, (a.shape[-2], b.shape[-1])),)


def linear(call: AtenCall) -> tuple[Operand, ...]:
    """Of linear: ``input @ weight.T``."""
    source, weight = call.tensor("input"), call.tensor("weight")
    if source.shape[-1] != weight.shape[-1]:
        raise ValueError("the inner sizes differ")
    return (like(source, (*source.shape[:-1], *weight.shape[:-1])),)


def outer(call: AtenCall) -> tuple[Operand, ...]:
    """Of outer: (n, m)."""
    a, b = call.tensors()[-2:]
    return (promoted([a, b], (*a.shape, *b.shape)),)
