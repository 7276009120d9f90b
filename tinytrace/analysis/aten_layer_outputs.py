"""What ATen's convolutions, layers, losses and operations that move data return: see `aten_outputs`."""

from __future__ import annotations

import math
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
from tinytrace.analysis.aten_outputs import SCALAR_TYPES, promoted
from tinytrace.tracer.trace import Operand

# Convolutions and pooling -----------------------------------------------------------------------


def _per_axis(values: Sequence[int], n: int) -> Shape:
    """Return a value per axis: PyTorch takes one for all."""
    if len(values) == 1:
        return tuple(values) * n
    if len(values) != n:
        raise ValueError("not a value per axis")
    return tuple(values)


def _window(
    size: int, k: int, stride: int, padding: int, dilation: int, *, ceil: bool = False
) -> int:
    """Return how many places a window has along an axis."""
    reach = size + 2 * padding - dilation * (k - 1) - 1
    count = (reach + (stride - 1 if ceil else 0)) // stride + 1
    if ceil and (count - 1) * stride >= size + padding:
        count -= 1  # the last window must begin inside the input or the padding at its left
    if count < 0:
        raise ValueError("the window is larger than the input")
    return count


def convolution(call: AtenCall) -> tuple[Operand, ...]:
    """(batch, Cout, …) by stride, padding and dilation; transposed ones by the inverse."""
    source, weight = call.tensor("input"), call.tensor("weight")
    n = len(weight.shape) - 2
    kernel = weight.shape[2:]
    batch, space = source.shape[: -n - 1], source.shape[-n:]
    stride, padding, dilation = (
        _per_axis(call.ints(name), n) if name in call.arguments else (1,) * n for name in STEPS
    )  # what the schema has not is 1: the dilation of kernels that know none
    if is_transposed(call):
        extra = _per_axis(call.ints("output_padding"), n)
        out = [
            (size - 1) * s - 2 * p + d * (k - 1) + e + 1
            for size, k, s, p, d, e in zip(
                space, kernel, stride, padding, dilation, extra, strict=True
            )
        ]
        groups = call.integer("groups") if "groups" in call.arguments else 1
        channels = weight.shape[1] * groups
    else:
        axes = zip(space, kernel, stride, padding, dilation, strict=True)
        out = [_window(*axis) for axis in axes]
        channels = weight.shape[0]
    return (like(source, (*batch, channels, *out)),)


STEPS = ("stride", "padding", "dilation")


def is_transposed(call: AtenCall) -> bool:
    """Whether a convolution is a transposed one, by its name or by its flag."""
    if "transpose" in call.op:
        return True
    return call.flag("transposed") if "transposed" in call.arguments else False


def convolution_backward(call: AtenCall) -> tuple[Operand, ...]:
    """The gradients that ``output_mask`` asks for: of input, weight and bias."""
    weight = call.tensor("weight")
    channels = call.tensor("grad_output").shape[1]
    sources = (call.tensor("input"), weight, like(weight, (channels,)))
    return masked(call, sources)


def masked(call: AtenCall, like_what: Sequence[Operand]) -> tuple[Operand, ...]:
    """Return the gradients that ``output_mask`` asks for, each like one of these."""
    asked = mask_of(call)
    if len(asked) != len(like_what):
        raise ValueError("not a flag per gradient")
    return tuple(like(o, o.shape) for o, wanted in zip(like_what, asked, strict=True) if wanted)


def mask_of(call: AtenCall) -> list[bool]:
    """Return the flags of ``output_mask``."""
    words = call.value("output_mask").strip("[]").replace(" ", "").split(",")
    if not set(words) <= {"True", "False"}:
        raise ValueError("output_mask is no list of flags")
    return [word == "True" for word in words]


def pooling(call: AtenCall) -> tuple[Operand, ...]:
    """(batch, C, …) of the windows' places; a stride that is not given is the window's size."""
    source = call.tensor("self")
    n = pooled_axes(call)
    kernel = _per_axis(call.ints("kernel_size"), n)
    stride = _per_axis(call.ints("stride") or kernel, n)
    padding = _per_axis(call.ints("padding"), n)
    dilation = _per_axis(call.ints("dilation"), n) if "dilation" in call.arguments else (1,) * n
    ceil = call.flag("ceil_mode")
    axes = zip(source.shape[-n:], kernel, stride, padding, dilation, strict=True)
    out = (*source.shape[:-n], *(_window(*axis, ceil=ceil) for axis in axes))
    values = like(source, out)
    return (values, packed("int64", 8, out)) if "with_indices" in call.op else (values,)


def pooled_axes(call: AtenCall) -> int:
    """Return how many axes the windows of an op such as ``max_pool2d`` have."""
    return next(n for n in (1, 2, 3) if f"{n}d" in call.op)


def adaptive_pooling(call: AtenCall) -> tuple[Operand, ...]:
    """(batch, C, …) of the size asked for."""
    source, n = call.tensor("self"), pooled_axes(call)
    out = (*source.shape[:-n], *_per_axis(call.ints("output_size"), n))
    return (like(source, out),)


# Layers -----------------------------------------------------------------------------------------


def norm_backward(call: AtenCall) -> tuple[Operand, ...]:
    """Gradients of the input, weight and bias that ``output_mask`` asks for."""
    source, weight = call.tensor("input"), call.optional("weight")
    asked = mask_of(call)
    wanted = [source, *(weight if weight is not None else source,) * 2]
    if weight is None and any(asked[1:]):
        raise ValueError("the gradient of a weight that was not given")
    return masked(call, wanted)


def trained_backward(call: AtenCall) -> tuple[Operand, ...]:
    """Gradients of input, weight and bias."""
    source, weight = call.tensor("input"), call.tensor("weight")
    return tuple(like(o, o.shape) for o in (source, weight, weight))


def softmax(call: AtenCall) -> tuple[Operand, ...]:
    """One output like the first tensor; float32 where float16 is converted on the way."""
    source = call.tensor("self")
    if call.flag("half_to_float"):
        return (packed("float32", 4, source.shape),)
    return (like(source, source.shape),)


def softmax_backward(call: AtenCall) -> tuple[Operand, ...]:
    """One output like the gradient, in the type of the input where that was given."""
    gradient = call.tensor("grad_output")
    if call.attributes.get("input_dtype") in SCALAR_TYPES:
        return (packed(*SCALAR_TYPES[call.attributes["input_dtype"]], gradient.shape),)
    return (unknown_dtype(gradient.shape),)


def dropped(call: AtenCall) -> tuple[Operand, ...]:
    """The output; the input itself outside of training."""
    return like_the("input")(call) if call.flag("train") else ()


def dropout(call: AtenCall) -> tuple[Operand, ...]:
    """The output and the mask."""
    source = call.tensors()[0]
    return (like(source, source.shape), packed("bool", 1, source.shape))


def attention(call: AtenCall) -> tuple[Operand, ...]:
    """(batch, heads, Sq, dv); further results (log-sum-exp per row) differ between devices: see `attended`."""
    query, value = call.tensor("query"), call.tensor("value")
    return (like(query, (*query.shape[:-1], value.shape[-1])),)


def attention_backward(call: AtenCall) -> tuple[Operand, ...]:
    """Gradients of query, key and value."""
    return tuple(like(o, o.shape) for o in map(call.tensor, ("query", "key", "value")))


def loss(call: AtenCall) -> tuple[Operand, ...]:
    """One number; with ``reduction=0`` one per element."""
    tensors = call.tensors()
    if call.integer("reduction"):
        return (like(tensors[0], ()),)
    return (promoted(tensors, broadcast([o.shape for o in tensors])),)


def nll_loss(call: AtenCall) -> tuple[Operand, ...]:
    """The loss and the sum of the weights."""
    source, target = call.tensor("self"), call.tensor("target")
    shape = () if call.integer("reduction") else target.shape
    return (like(source, shape), like(source, ()))


def like_the(name: str) -> OutputRule:
    """Return the rule: one output like this argument."""
    return lambda call: (like(call.tensor(name), call.tensor(name).shape),)


# Moving -----------------------------------------------------------------------------------------


def joined(call: AtenCall) -> tuple[Operand, ...]:
    """Of cat and stack: as many elements as all tensors together; how they are arranged costs nothing."""
    source = call.tensor("tensors")
    return (like(source, (elements(source.shape),)),)


def picked(call: AtenCall) -> tuple[Operand, ...]:
    """Of index_select: the chosen rows along an axis."""
    source, index = call.tensor("self"), call.tensor("index")
    (dim,) = call.ints("dim")
    shape = list(source.shape)
    if shape:
        shape[dim] = elements(index.shape)
    return (like(source, shape),)


def gathered(call: AtenCall) -> tuple[Operand, ...]:
    """Of gather: an element per index."""
    return (like(call.tensor("self"), call.tensor("index").shape),)


def looked_up(call: AtenCall) -> tuple[Operand, ...]:
    """Of embedding: a row per index."""
    weight, indices = call.tensor("weight"), call.tensor("indices")
    return (like(weight, (*indices.shape, *weight.shape[1:])),)


def embedding_gradient(call: AtenCall) -> tuple[Operand, ...]:
    """Of embedding_dense_backward: (rows of the table, width)."""
    gradient = call.tensor("grad_output")
    return (like(gradient, (call.integer("num_weights"), gradient.shape[-1])),)


def sorted_with_places(call: AtenCall) -> tuple[Operand, ...]:
    """Of sort: values and their places."""
    source = call.tensor("self")
    return (like(source, source.shape), packed("int64", 8, source.shape))


def counting_up(call: AtenCall) -> tuple[Operand, ...]:
    """Of arange: as many as there are steps from start to end."""
    start = float(call.attributes.get("start", "0"))
    step = float(call.attributes.get("step", "1"))
    count = max(0, math.ceil((float(call.value("end")) - start) / step))
    given = call.out_dtypes
    return (like(given[0], (count,)) if given else unknown_dtype((count,)),)


def lists(call: AtenCall) -> tuple[Operand, ...]:
    """As many elements as the first list has."""
    first = call.tensors()[0]
    return (like(first, first.shape),)


def sized(call: AtenCall) -> tuple[Operand, ...]:
    """Of upsampling and the like: (batch, C, …) of ``output_size``."""
    source, size = call.tensor("self"), call.ints("output_size")
    return (like(source, (*source.shape[: -len(size)], *size)),)


def nothing(call: AtenCall) -> tuple[Operand, ...]:
    """No output in memory of its own: a view, a number."""
    return ()


def not_told(call: AtenCall) -> tuple[Operand, ...]:
    """The arguments do not tell the output."""
    raise ValueError("how large the output is depends on values that are not recorded")
