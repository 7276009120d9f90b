"""Work of ATen operations: how the formulas of `tinytrace.analysis.formulas` apply to an `AtenCall`.

A rule raises ValueError, LookupError or ArithmeticError where the call does not tell, which counting takes as
*uncounted*. Where a rule is one of NumPy's (`by`), it is applied to the call's tensors.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from tinytrace.analysis import formulas
from tinytrace.analysis.aten_calls import AtenCall, elements
from tinytrace.analysis.aten_layer_outputs import is_transposed, mask_of, pooled_axes
from tinytrace.analysis.formulas import Work
from tinytrace.analysis.operands import is_complex
from tinytrace.analysis.work import ADD, COMPARE, EVALUATE, MULTIPLY, Each, WorkRule, multiply_adds
from tinytrace.tracer.trace import Operand, Signature

AtenWork = Callable[[AtenCall], Work]


def signature_of(call: AtenCall) -> Signature:
    """Return the tensors of a call as a signature such as NumPy's operations have."""
    tensors = call.tensors()
    return Signature(call.op, (*tensors, *call.outputs), len(tensors))


def by(rule: WorkRule) -> AtenWork:
    """Return a rule of NumPy's for calls of ATen."""
    return lambda call: rule(signature_of(call))


def each(flops: int = 0, transcendentals: int = 0) -> AtenWork:
    """Return the rule: so much per element of the output."""
    return by(Each(flops, transcendentals))


def nominal_each(flops: int, transcendentals: int) -> AtenWork:
    """Return the same rule for a figure that rates the operation, whichever form of it ran."""
    rule = each(flops, transcendentals)
    return lambda call: rule(call) + Work(0, nominal=True)


def moves(call: AtenCall) -> Work:
    """Bytes only."""
    return Work(0)


def size(operand: Operand) -> int:
    """Return the number of elements."""
    return elements(operand.shape)


def out_size(call: AtenCall) -> int:
    """Return the number of elements of the first output."""
    return size(call.outputs[0])


def scaled_add(call: AtenCall) -> Work:
    """N; 2N where ``alpha`` is another number than 1 (not recorded: 1, PyTorch's default)."""
    one = ADD(signature_of(call))
    if call.attributes.get("alpha", "1") in ("1", "1."):
        return one
    return one + MULTIPLY(signature_of(call))


# The exponents for which ATen multiplies, divides or takes a root (PowKernel.cpp); else N T.
POWERS = {
    "2": Each(1, complex_flops=6), "3": Each(2, complex_flops=12),
    "-1": Each(1, complex_flops=6), "-2": Each(2, complex_flops=12),
}  # fmt: skip


def power(call: AtenCall) -> Work:
    """N T; exponents 2 and −1: N; 3 and −2: 2N; 1 and 0: 0."""
    exponent = call.attributes.get("exponent", "").rstrip(".")
    if exponent in ("0", "1"):
        return Work(0)
    return POWERS.get(exponent, EVALUATE)(signature_of(call))


# Products ---------------------------------------------------------------------------------------


def _product(call: AtenCall, inner: int) -> Work:
    count = formulas.matmul_flops(1, out_size(call), inner) // 2
    return multiply_adds(signature_of(call), count)


def product(call: AtenCall) -> Work:
    """2·K·N_out; complex 8·K·N_out. K: last axis of the first matrix."""
    return _product(call, call.tensors()[-2].shape[-1])


def product_and_sum(call: AtenCall) -> Work:
    """As `product`, + N to add what is given (not with ``beta=0``)."""
    adds = call.attributes.get("beta", "1").rstrip(".") != "0"
    return product(call) + (ADD(signature_of(call)) if adds else Work(0))


def product_and_activation(call: AtenCall) -> Work:
    """As `product_and_sum`, and one operation more per element."""
    return product_and_sum(call) + Work(out_size(call), nominal=True)


def summed_products(call: AtenCall) -> Work:
    """Of addbmm: 2·B·M·N·K, + M·N."""
    batch = call.tensors()[-2].shape[0]
    return product(call).times(batch) + ADD(signature_of(call))


def linear(call: AtenCall) -> Work:
    """2·K·N_out, + N_out for a bias."""
    bias = ADD(signature_of(call)) if call.optional("bias") else Work(0)
    return _product(call, call.tensor("input").shape[-1]) + bias


# Reductions -------------------------------------------------------------------------------------


def reduced(call: AtenCall) -> int:
    """N_in − N_out."""
    return max(0, size(call.tensors()[0]) - out_size(call))


def reduce_by(one: Each) -> AtenWork:
    """Return the rule of a reduction by this operation."""
    return lambda call: one.one(signature_of(call)).times(reduced(call))


def extremes(call: AtenCall) -> Work:
    """N_in − N_out comparisons; of two tensors N."""
    one = COMPARE.one(signature_of(call))
    return one.times(out_size(call) if "other" in call.arguments else reduced(call))


def mean(call: AtenCall) -> Work:
    """N_in − N_out additions and N_out divisions."""
    return ADD.one(signature_of(call)).times(reduced(call) + out_size(call))


def variance(call: AtenCall) -> Work:
    """4N in two passes: mean (N), subtract, square, mean again (N); a deviation: + N_out T."""
    roots = out_size(call) if call.op.startswith("std") else 0
    return Work(4 * size(call.tensors()[0]), roots)


def log_sum_exp(call: AtenCall) -> Work:
    """Maximum (N − N_out), subtract (N), sum (N − N_out), add (N_out); N exponentials, N_out logarithms."""
    n, n_out = size(call.tensors()[0]), out_size(call)
    return Work(max(0, 3 * n - n_out), n + n_out)


def norm(call: AtenCall) -> Work:
    """2N − N_out + N_out T for the order 2; 1 and ∞: 2N − N_out; another: N T more for each power."""
    n, rest = size(call.tensors()[0]), reduced(call)
    order = call.attributes.get("ord", call.attributes.get("p", "2")).rstrip(".")
    if order in ("1", "inf", "-inf", "0"):
        return Work(n + rest)
    if order == "2":
        return Work(n + rest, out_size(call))
    return Work(n + rest, n + out_size(call))


def running(call: AtenCall) -> Work:
    """N − lanes."""
    source = call.tensors()[0]
    (dim,) = call.ints("dim")
    length = source.shape[dim] if source.shape else 1
    return ADD.one(signature_of(call)).times(
        size(source) - (size(source) // length if length else 0)
    )


# Convolutions and pooling -----------------------------------------------------------------------


def _convolved(call: AtenCall, out_space: tuple[int, ...]) -> int:
    """Return the FLOPs of a convolution (or of one of its two gradients), forward."""
    source, weight = call.tensor("input"), call.tensor("weight")
    kernel = weight.shape[2:]
    n = len(kernel)
    batch = math.prod(source.shape[: -n - 1])
    if is_transposed(call):  # the weight is (Cin, Cout ÷ groups, …)
        return formulas.conv_transposed_flops(
            batch, source.shape[-n:], kernel, weight.shape[0], weight.shape[1]
        )
    # The weight is (Cout, Cin ÷ groups, …): the groups are in it already.
    return formulas.conv_flops(batch, out_space, kernel, weight.shape[1], weight.shape[0])


def convolution(call: AtenCall) -> Work:
    """2·batch·∏out·∏k·Cout·Cin ÷ groups (transposed: ∏in), + N_out for a bias."""
    weight = call.tensor("weight")
    flops = _convolved(call, call.outputs[0].shape[2 - len(weight.shape) :])
    bias = out_size(call) if call.optional("bias") else 0
    factor = 4 if is_complex(signature_of(call)) else 1
    return Work(factor * flops + bias * (2 if factor > 1 else 1))


def convolution_backward(call: AtenCall) -> Work:
    """Forward once per gradient asked for (input, weight); bias: Cout·(batch·∏out − 1)."""
    gradient, weight = call.tensor("grad_output"), call.tensor("weight")
    of_input, of_weight, of_bias = mask_of(call)
    flops = _convolved(call, gradient.shape[2 - len(weight.shape) :]) * (of_input + of_weight)
    channels = gradient.shape[1 - len(weight.shape)]
    return Work(flops + (max(0, size(gradient) - channels) if of_bias else 0))


def pooling(call: AtenCall) -> Work:
    """(k − 1)·N_out; average: k·N_out."""
    n = pooled_axes(call)
    kernel = call.ints("kernel_size")
    window = math.prod(kernel * n if len(kernel) == 1 else kernel)
    average = call.op.startswith("avg")
    return Work(formulas.pooling_flops(out_size(call), window, average=average))


def pooling_backward(call: AtenCall) -> Work:
    """Maximum: an addition per window; average: k additions and a division per window."""
    gradient = size(call.tensor("grad_output"))
    if call.op.startswith("max"):
        return Work(gradient)
    n = pooled_axes(call)
    kernel = call.ints("kernel_size")
    return Work(gradient * (1 + math.prod(kernel * n if len(kernel) == 1 else kernel)))


def adaptive_pooling(call: AtenCall) -> Work:
    """N_in − N_out additions and N_out divisions, where the windows do not overlap."""
    source, out = call.tensors()[0].shape, call.outputs[0].shape
    if any(big % small for big, small in zip(source, out, strict=True)):
        raise ValueError("windows that overlap")
    return Work(elements(source))


def adaptive_backward(call: AtenCall) -> Work:
    """A division per window, and an addition per element that it reaches."""
    return Work(size(call.tensor("self")) + size(call.tensor("grad_output")))


# Layers -----------------------------------------------------------------------------------------


def _rows(call: AtenCall, source: Operand) -> int:
    (dim,) = call.ints("dim")
    length = source.shape[dim] if source.shape else 1
    return size(source) // length if length else 0


def softmax(call: AtenCall) -> Work:
    """4N − 2R + N T for R rows; its logarithm: + R T."""
    source = call.tensors()[0]
    rows = _rows(call, source)
    logarithms = rows if "log" in call.op else 0
    return formulas.softmax(size(source), rows) + Work(0, logarithms)


def softmax_backward(call: AtenCall) -> Work:
    """4N − R; of its logarithm 3N − R + N T."""
    source = call.tensor("grad_output")
    n, rows = size(source), _rows(call, source)
    if "log" in call.op:
        return Work(max(0, 3 * n - rows), n)
    return Work(max(0, 4 * n - rows))


def layer_norm(call: AtenCall) -> Work:
    """5N (nominal)."""
    return Work(formulas.layernorm_flops(size(call.tensor("input"))), nominal=True)


def rms_norm(call: AtenCall) -> Work:
    """4N + R T: square, mean, two products; a root per row."""
    source = call.tensor("input")
    rows = size(source) // max(1, math.prod(call.ints("normalized_shape")))
    return Work(4 * size(source), rows)


def batch_norm(call: AtenCall) -> Work:
    """5N in training, 2N in evaluation (nominal)."""
    n = size(call.tensor("input"))
    return Work(formulas.batchnorm_flops(n, training=call.flag("training")), nominal=True)


def norm_backward(call: AtenCall) -> Work:
    """2 × forward: 10N; of a batch norm in evaluation 4N (nominal)."""
    n = size(call.tensor("input"))
    if "batch" in call.op and not call.flag("train"):
        return Work(2 * formulas.batchnorm_flops(n, training=False), nominal=True)
    return Work(2 * formulas.layernorm_flops(n), nominal=True)


def trained_backward(call: AtenCall) -> Work:
    """10N: of a batch norm that is always in training (nominal)."""
    return Work(2 * formulas.layernorm_flops(size(call.tensor("input"))), nominal=True)


def _attention_sizes(call: AtenCall) -> tuple[int, int, int, int, int, int]:
    """Return batch, heads, Sq, Sk, d, dv of (batch, heads, S, d) operands; heads are the query's."""
    query, key, value = (call.tensor(name).shape for name in ("query", "key", "value"))
    if len(query) < 3:
        raise ValueError("sequences that are packed: their lengths are values")
    if call.op.startswith("_flash_attention"):  # (batch, S, heads, d)
        query, key, value = ((s[0], s[2], s[1], s[3]) for s in (query, key, value))
    heads = query[-3] if len(query) > 3 else 1
    batch = math.prod(query[:-3]) if len(query) > 3 else query[0]
    return batch, heads, query[-2], key[-2], query[-1], value[-1]


def _is_causal(call: AtenCall) -> bool:
    return call.attributes.get("is_causal") == "True"


def attention(call: AtenCall) -> Work:
    """2·B·H·Sq·Sk·(d + dv) + softmax of B·H·Sq·Sk; causal or masked: as without (causal: nominal)."""
    batch, heads, sq, sk, d, dv = _attention_sizes(call)
    work = formulas.attention(batch, heads, sq, sk, d=d, dv=dv)
    return work + Work(0, nominal=_is_causal(call))


def attention_backward(call: AtenCall) -> Work:
    """2.5 × the products: the scores are computed anew, with B·H·Sq·Sk T; causal as without (nominal)."""
    batch, heads, sq, sk, d, dv = _attention_sizes(call)
    flops = formulas.attention_backward_flops(batch, heads, sq, sk, d=d, dv=dv, recompute=True)
    return Work(flops, batch * heads * sq * sk, nominal=_is_causal(call))


def dropout(call: AtenCall) -> Work:
    """2N: mask and scale; what drawing the mask costs is not in it (nominal)."""
    return Work(2 * out_size(call), nominal=True)


def dropped(call: AtenCall) -> Work:
    """As `dropout` in training; else the input is returned."""
    return dropout(call) if call.flag("train") else Work(0)


def nll_loss(call: AtenCall) -> Work:
    """A sign change and an addition per target."""
    return Work(2 * size(call.tensor("target")))


def squared_loss(call: AtenCall) -> Work:
    """2N; summed 3N − 1; averaged 3N."""
    n = max(map(size, call.tensors()))
    return Work({0: 2 * n, 1: 3 * n, 2: max(0, 3 * n - 1)}[call.integer("reduction")])


def log_loss(call: AtenCall) -> Work:
    """5N + 2N T (binary cross-entropy); averaged or summed: 6N."""
    n = max(map(size, call.tensors()))
    return Work((5 + (call.integer("reduction") != 0)) * n, 2 * n)


def bent_loss(call: AtenCall) -> Work:
    """5N: difference, magnitude, comparison, and two products; averaged or summed 6N (nominal)."""
    n = max(map(size, call.tensors()))
    return Work((5 + (call.integer("reduction") != 0)) * n, nominal=True)


def _recurrent_products(call: AtenCall) -> tuple[int, int]:
    """Return the FLOPs of a recurrent layer's products, and samples × steps × units."""
    source, inner = call.tensor("input"), call.tensor("weight1")
    cells = math.prod(source.shape[:-1])
    return 2 * cells * (size(call.tensor("weight0")) + size(inner)), cells * inner.shape[-1]


def lstm(call: AtenCall) -> Work:
    """2 per weight, sample and step; per unit 12 to add up gates and biases, 4 for the state, 5 T (nominal)."""
    products, units = _recurrent_products(call)
    return Work(products + 16 * units, 5 * units, nominal=True)


def lstm_backward(call: AtenCall) -> Work:
    """Twice the products (nominal)."""
    return Work(2 * _recurrent_products(call)[0], nominal=True)


# Moving, sorting, optimizers --------------------------------------------------------------------


def put(call: AtenCall) -> Work:
    """Nothing; where it accumulates, the number of additions depends on indices that are not recorded."""
    if call.flag("accumulate"):
        raise ValueError("the indices are not recorded")
    return Work(0)


def added_rows(call: AtenCall) -> Work:
    """An addition per element that is added to its place."""
    return Work(size(call.tensors()[-1]))


def embedding_backward(call: AtenCall) -> Work:
    """An addition per element of the gradient."""
    return Work(size(call.tensor("grad_output")))


def sorting(call: AtenCall) -> Work:
    """N·log2 N comparisons per lane."""
    source = call.tensor("self")
    (dim,) = call.ints("dim")
    length = source.shape[dim] if source.shape else 1
    count = size(source) // length if length else 0
    return Work(0, comparisons=count * formulas.sort_comparisons(length), nominal=True)


def per_listed(flops: int = 0, transcendentals: int = 0) -> AtenWork:
    """Return the rule: so much per element of all tensors of the first list."""
    return lambda call: Work(flops, transcendentals).times(size(call.tensors()[0]))


def listed_add(call: AtenCall) -> Work:
    """N; 2N where ``alpha`` is another number than 1."""
    scaled = call.attributes.get("alpha", "1") not in ("1", "1.")
    return per_listed(1 + scaled)(call)


def listed_norms(call: AtenCall) -> Work:
    """2N less one addition per tensor, and a root per tensor (the order 2)."""
    n, count = size(call.tensors()[0]), call.integer("tensors")
    order = call.attributes.get("ord", "2").rstrip(".")
    if order != "2":
        raise ValueError("a norm of another order")
    return Work(max(0, 2 * n - count), count)


def optimizer_step(algorithm: str) -> AtenWork:
    """Return the rule of a fused optimizer step (nominal)."""

    def rule(call: AtenCall) -> Work:
        work = formulas.optimizer_step(algorithm, size(call.tensor("self")))
        return work + Work(0, nominal=True)

    return rule


def fused_sgd(call: AtenCall) -> Work:
    """2 per parameter; 4 with momentum (nominal)."""
    momentum = call.optional("momentum_buffer_list")
    return optimizer_step("momentum" if momentum is not None and size(momentum) else "sgd")(call)
