"""Outputs of PyTorch's operations worked out from their inputs, against what PyTorch returns."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812  (as all of PyTorch's own examples)
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.torch_profiles import profiled, seeded
from tinytrace.analysis.aten_calls import LIST_DTYPE, call_of
from tinytrace.analysis.aten_counting import DOES_NOT_TELL
from tinytrace.analysis.aten_names import base_name
from tinytrace.analysis.aten_outputs import outputs_of, promoted
from tinytrace.analysis.aten_row import Role
from tinytrace.analysis.aten_table import ROWS, SCHEMAS, TABLE
from tinytrace.toolkit.torch_ops import dispatched_ops
from tinytrace.tracer.trace import Operand, Signature

A, B = seeded(8, 16), seeded(16, 4)
HALF, WHOLE = A.bfloat16(), (A * 100).int()
IMAGE, VOLUME = seeded(2, 4, 9, 8), seeded(1, 2, 5, 5, 5)
QUERY, KEY = seeded(2, 3, 8, 4), seeded(2, 3, 6, 4)
TRUTH = A > 0.5
ROWS_OF = torch.tensor([[1, 2, 1], [0, 3, 3]])
FIRST = torch.arange(8)


def in_place(run: Callable[[torch.Tensor], object]) -> Callable[[], object]:
    return lambda: run(A.clone())


ELEMENTWISE: list[Callable[[], object]] = [
    lambda: A + A[0], lambda: A + 1, lambda: WHOLE + WHOLE[0], lambda: WHOLE + 1, lambda: 2 - A,
    lambda: A * HALF, lambda: HALF + HALF[:, :1], lambda: A / 2, lambda: WHOLE / 2, lambda: A // 2,
    lambda: torch.div(A, 2, rounding_mode="floor"), lambda: A % 2, lambda: torch.add(A, A, alpha=3),
    lambda: torch.maximum(A, A[0]), lambda: torch.atan2(A, A), lambda: A[0] == A, lambda: A > 1,
    lambda: TRUTH & TRUTH, lambda: ~TRUTH, lambda: TRUTH.logical_or(TRUTH), lambda: TRUTH + 1,
    lambda: -A, A.abs, lambda: torch.complex(A, A).abs(), A.sign, A.round,
    A.reciprocal, WHOLE.exp, A.sqrt, A.rsqrt, A.erf, A.isnan, A.square,
    lambda: A**2, lambda: WHOLE**2, lambda: A**A, lambda: 2**A, lambda: A.clamp(0, 1),
    lambda: A.clamp_min(0), lambda: torch.lerp(A, A, 0.5), lambda: torch.addcmul(A, A, A, value=2),
    A.nan_to_num, lambda: torch.where(TRUTH, A, A[0]), lambda: torch.where(TRUTH, 1.0, A),
    lambda: A.masked_fill(TRUTH, 0.0), A.tril, lambda: A.flip(0), lambda: A.roll(1, 0),
    lambda: A.double() + torch.tensor(1.0), lambda: A + torch.tensor(1.0, dtype=torch.float64),
    lambda: WHOLE + torch.tensor(1.5), lambda: (A > 0) * 2.5, lambda: WHOLE.char() + WHOLE.byte(),
    in_place(lambda x: x.add_(1)), in_place(lambda x: x.mul_(x)), in_place(lambda x: x.zero_()),
    in_place(lambda x: x.fill_(2)), in_place(lambda x: x.copy_(HALF)), in_place(torch.relu_),
    in_place(lambda x: x.scatter_(0, ROWS_OF, 1.0)), in_place(lambda x: x.uniform_()),
    in_place(lambda x: x.scatter_add_(0, ROWS_OF, A)), in_place(lambda x: x.index_add_(0, FIRST, A)),
    in_place(lambda x: x.index_put_((FIRST,), A)), in_place(lambda x: x.index_copy_(0, FIRST, A)),
    lambda: torch.sum(A, 0, out=A.new_empty(16)), lambda: torch.add(A, A, out=A.clone()),
]  # fmt: skip
ACTIVATIONS: list[Callable[[], object]] = [
    lambda: F.relu(A), lambda: F.gelu(A), lambda: F.gelu(HALF, approximate="tanh"), lambda: F.silu(A),
    lambda: F.mish(A), lambda: F.elu(A), lambda: F.leaky_relu(A), lambda: F.hardtanh(A),
    lambda: F.hardswish(A), lambda: F.hardsigmoid(A), lambda: F.softplus(A), lambda: F.logsigmoid(A),
    lambda: F.prelu(A, A[0]), lambda: torch.sigmoid(A), A.tanh, lambda: F.threshold(A, 0, 0),
    lambda: F.softmax(A, 1), lambda: F.log_softmax(HALF, 0), lambda: F.dropout(A), A.logit,
]  # fmt: skip
REDUCTIONS: list[Callable[[], object]] = [
    A.sum, lambda: A.sum(0), lambda: QUERY.sum((1, -1), keepdim=True), TRUTH.sum, WHOLE.sum,
    lambda: A.sum(dtype=torch.float64), A.prod, lambda: A.prod(1), A.mean, lambda: A.mean(-1),
    A.max, lambda: A.max(0), lambda: torch.max(A, A[0]), lambda: A.min(1, keepdim=True),
    lambda: A.amax((0, 1)), A.argmax, lambda: A.argmin(0), TRUTH.any, lambda: TRUTH.all(1),
    A.var, lambda: A.std(1), lambda: torch.var_mean(A, 0), A.norm, lambda: A.norm(p=1, dim=1),
    lambda: torch.linalg.vector_norm(A, dim=0, keepdim=True), lambda: A.cumsum(1),
    lambda: WHOLE.cumsum(0), lambda: A.sort(0), lambda: A.topk(2), lambda: A.logsumexp(0),
]  # fmt: skip
PRODUCTS: list[Callable[[], object]] = [
    lambda: A @ B, lambda: QUERY @ KEY.mT, lambda: A @ B[:, 0], lambda: A[0] @ B, lambda: A[0] @ A[1],
    lambda: torch.mv(A, A[0]), lambda: torch.vdot(A[0], A[0]), lambda: torch.outer(A[0], A[1]),
    lambda: torch.addmm(A[:, :4], A, B), lambda: torch.addmv(A[:, 0], A, A[0]),
    lambda: torch.baddbmm(QUERY[0], QUERY[0], seeded(3, 4, 4)), lambda: F.linear(A, A, A[:, 0]),
    lambda: torch.addbmm(seeded(8, 8), QUERY[0], QUERY[0].mT), lambda: F.linear(QUERY, KEY[0, 0]),
    lambda: torch.einsum("bhsd,bhtd->bhst", QUERY, KEY), lambda: torch.tensordot(A, B, 1),
    lambda: F.scaled_dot_product_attention(QUERY, KEY, KEY),
    lambda: F.scaled_dot_product_attention(QUERY, QUERY, QUERY, is_causal=True),
]  # fmt: skip
LAYERS: list[Callable[[], object]] = [
    lambda: F.layer_norm(A, (16,)), lambda: F.layer_norm(QUERY, (8, 4)), lambda: F.group_norm(IMAGE, 2),
    lambda: F.batch_norm(IMAGE, None, None, training=True), lambda: F.rms_norm(A, (16,)),
    lambda: F.batch_norm(IMAGE, A[0, :4], A[0, :4]), lambda: F.embedding(ROWS_OF, A),
    lambda: F.max_pool2d(IMAGE, 3, 2, 1), lambda: F.max_pool2d(IMAGE, 2, ceil_mode=True),
    lambda: F.max_pool3d(VOLUME, 2), lambda: F.avg_pool2d(IMAGE, (3, 2), padding=1),
    lambda: F.avg_pool2d(IMAGE, 2, ceil_mode=True), lambda: F.adaptive_avg_pool2d(IMAGE, (3, 4)),
    lambda: F.avg_pool1d(IMAGE[0], 2), lambda: F.max_pool1d(IMAGE[0], 3, padding=1),
    lambda: F.interpolate(IMAGE, (18, 16)), lambda: F.mse_loss(A, A),
    lambda: F.mse_loss(A, A, reduction="none"), lambda: F.cross_entropy(A, FIRST),
    lambda: F.binary_cross_entropy(A, A), lambda: F.nll_loss(A, FIRST, reduction="none"),
]  # fmt: skip
MOVES: list[Callable[[], object]] = [
    lambda: torch.cat([A, A]), lambda: torch.stack([A, A]), lambda: A.index_select(1, FIRST),
    lambda: A.gather(0, ROWS_OF), lambda: A.take(ROWS_OF), A.clone, A.double, A.T.contiguous,
    lambda: A.repeat(2, 1), lambda: F.pad(A, (1, 1)), lambda: A.to(torch.float16),
    lambda: A[FIRST], lambda: A[TRUTH], lambda: torch.arange(5), lambda: torch.arange(1, 8, 2.0),
    lambda: torch.zeros(3), lambda: torch.full((2, 3), 1.0), lambda: A.new_zeros(3), A.nonzero,
]  # fmt: skip
CALLS = [*ELEMENTWISE, *ACTIVATIONS, *REDUCTIONS, *PRODUCTS, *LAYERS, *MOVES]
# What a call returns does not follow from what torch.profiler records of it.
NOT_TOLD = {
    "index", "nonzero", "masked_select", "topk", "zeros", "full", "new_zeros", "zeros_like",
    "ones_like", "full_like", "scalar_tensor", "select_backward", "slice_backward", "repeat", "constant_pad_nd",
}  # fmt: skip


def dispatched(run: Callable[[], object]) -> list[Signature]:
    with dispatched_ops(None) as ops:
        run()
    return [op.signature for op in ops]


def worked_out(sig: Signature) -> tuple[Operand, ...] | None:
    """Return what follows from the inputs alone; None: nothing certain."""
    op = base_name(sig.op)[0]
    inputs = Signature(sig.op, sig.inputs, sig.n_inputs, sig.attributes)
    try:
        call = call_of(inputs, SCHEMAS[op])
        return outputs_of(call, TABLE[op].outputs)
    except DOES_NOT_TELL:
        return None


def check(sig: Signature) -> None:
    """What was worked out is what PyTorch returned."""
    op = base_name(sig.op)[0]
    row = TABLE.get(op)
    if row is None or row.role is Role.VIEW:
        return
    found = worked_out(sig)
    if found is None or op in NOT_TOLD:
        assert op in NOT_TOLD, f"{sig.op}: nothing was worked out"
        return
    real = [o for o in sig.outputs if o.dtype]
    for mine, theirs in zip(found, real, strict=False):
        if op in ("cat", "stack"):
            assert mine.elements == theirs.elements
        else:
            assert mine.shape == theirs.shape, sig
        if mine.dtype != LIST_DTYPE:
            assert (mine.dtype, mine.itemsize) == (theirs.dtype, theirs.itemsize), sig


@pytest.mark.parametrize("run", CALLS, ids=[str(i) for i in range(len(CALLS))])
def test_outputs_are_those_that_torch_returns(run: Callable[[], object]) -> None:
    signatures = dispatched(run)
    assert signatures
    for sig in signatures:
        check(sig)


BACKWARD: list[Callable[[torch.Tensor], torch.Tensor]] = [
    lambda x: F.layer_norm(x, (8,)), lambda x: F.batch_norm(x, None, None, training=True),
    lambda x: F.group_norm(x, 2), lambda x: x.softmax(1), lambda x: x.log_softmax(2), F.gelu, F.silu,
    F.relu, torch.sigmoid, torch.tanh, F.hardtanh, F.leaky_relu, F.dropout, F.elu, F.softplus,
    F.logsigmoid, F.hardswish, F.hardsigmoid, lambda x: x.logsumexp(1), lambda x: x @ x.mT,
    lambda x: F.max_pool2d(x, 2), lambda x: F.avg_pool2d(x, 2), lambda x: F.adaptive_avg_pool2d(x, 3),
    lambda x: F.conv2d(x, seeded(6, 2, 3, 3, grad=True), seeded(6, grad=True), groups=2),
    lambda x: F.conv_transpose2d(x, seeded(4, 3, 3, 3, grad=True), stride=2),
    lambda x: F.scaled_dot_product_attention(x, x, x), lambda x: F.mse_loss(x, torch.zeros_like(x)),
    lambda x: F.embedding(ROWS_OF, x[0, 0]), lambda x: F.cross_entropy(x[0, 0, :8], FIRST),
]  # fmt: skip


@pytest.mark.parametrize("layer", BACKWARD, ids=[str(i) for i in range(len(BACKWARD))])
def test_gradients_are_those_that_torch_returns(
    layer: Callable[[torch.Tensor], torch.Tensor],
) -> None:
    x = seeded(2, 4, 9, 8, grad=True)
    for sig in dispatched(lambda: torch.autograd.backward(layer(x).sum())):
        check(sig)


@st.composite
def convolutions(draw: st.DrawFn) -> Callable[[], object]:
    """A convolution of any rank, stride, padding, dilation, in groups, transposed or not."""
    n, groups = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    kernel = draw(st.tuples(*[st.integers(1, 3)] * n))
    space = draw(st.tuples(*[st.integers(5, 7)] * n))
    stride = draw(st.integers(1, 3))
    options: dict[str, Any] = {
        "stride": stride, "padding": draw(st.integers(0, 2)), "groups": groups,
        "dilation": draw(st.integers(1, 2)),
    }  # fmt: skip
    x = seeded(2, 2 * groups, *space)
    if draw(st.booleans()):
        options["output_padding"] = draw(st.integers(0, stride - 1))
        if options["output_padding"] >= max(stride, options["dilation"]):
            options["output_padding"] = 0
        options["padding"] = 0
        turned = [F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d][n - 1]
        return lambda: turned(x, seeded(2 * groups, 3, *kernel), **options)
    plain = [F.conv1d, F.conv2d, F.conv3d][n - 1]
    return lambda: plain(x, seeded(3 * groups, 2, *kernel), **options)


@settings(max_examples=60)
@given(convolutions())
def test_any_convolution_has_the_shape_that_torch_gives_it(run: Callable[[], object]) -> None:
    for sig in dispatched(run):
        check(sig)


TYPES = [
    torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int16, torch.int32, torch.int64,
    torch.uint8, torch.int8, torch.bool, torch.complex64, torch.complex128,
]  # fmt: skip


@pytest.mark.parametrize("first", TYPES, ids=str)
def test_every_pair_of_types_is_promoted_as_torch_does_or_not_told(first: torch.dtype) -> None:
    for second, one, other in itertools.product(TYPES, [(), (2,)], [(), (2,)]):
        a, b = torch.ones(one, dtype=first), torch.ones(other, dtype=second)
        operands = [
            Operand(str(x.dtype).removeprefix("torch."), tuple(x.shape), itemsize=x.element_size())
            for x in (a, b)
        ]
        found = promoted(operands, (2,)).dtype
        assert found in (LIST_DTYPE, str(torch.result_type(a, b)).removeprefix("torch."))
        if one == other and first.is_floating_point and second.is_floating_point:
            assert found != LIST_DTYPE


@settings(max_examples=60)
@given(st.data())
def test_any_pooling_has_the_shape_that_torch_gives_it(data: st.DataObject) -> None:
    kernel = data.draw(st.integers(1, 4))
    options: dict[str, Any] = {
        "stride": data.draw(st.integers(1, 4)),
        "padding": data.draw(st.integers(0, kernel // 2)),
        "ceil_mode": data.draw(st.booleans()),
    }
    x = seeded(1, 2, data.draw(st.integers(4, 9)), data.draw(st.integers(4, 9)))
    for run in (
        lambda: F.max_pool2d(x, kernel, **options),
        lambda: F.avg_pool2d(x, kernel, **options),
    ):
        for sig in dispatched(run):
            check(sig)


SHAPES = st.lists(st.sampled_from([1, 2, 3]), min_size=0, max_size=3)
DTYPES = st.sampled_from(
    [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int32, torch.int64,
     torch.uint8, torch.int8, torch.bool, torch.complex64]
)  # fmt: skip


@pytest.mark.filterwarnings("ignore:ComplexHalf")
@settings(max_examples=150)
@given(SHAPES, SHAPES, DTYPES, DTYPES)
@example([], [], torch.float64, torch.complex64)
@example([2], [], torch.complex64, torch.float64)
def test_any_two_tensors_broadcast_and_promote_as_torch_has_it(
    one: list[int], other: list[int], first: torch.dtype, second: torch.dtype
) -> None:
    a, b = torch.ones(one, dtype=first), torch.ones(other, dtype=second)
    try:
        signatures = dispatched(lambda: a * b)
    except RuntimeError:  # they do not broadcast
        return
    for sig in signatures:
        check(sig)


@settings(max_examples=60)
@given(st.data())
def test_any_reduction_has_the_shape_that_torch_gives_it(data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=4))
    dims = data.draw(
        st.lists(st.integers(-len(shape), len(shape) - 1), unique_by=lambda d: d % len(shape))
    )
    x = torch.ones(shape)
    keepdim = data.draw(st.booleans())
    for run in (
        lambda: x.sum(dims, keepdim=keepdim),
        lambda: x.mean(dims, keepdim=keepdim),
        lambda: torch.var(x, dims, correction=0, keepdim=keepdim),
        lambda: x.amax(dims, keepdim=keepdim),
    ):
        for sig in dispatched(run):
            check(sig)


def without_outputs(sig: Signature) -> Signature:
    """Return what torch.profiler sees of a call: not which tensors are the same memory, no types in lists."""
    inputs = []
    for operand in sig.inputs:
        in_list = "tensors=" in sig.attributes and operand.dtype
        inputs.append(replace(operand, alias=-1) if not in_list else operand)
    return Signature(sig.op, tuple(inputs), sig.n_inputs, sig.attributes)


@pytest.mark.parametrize("run", [*LAYERS[:8], *PRODUCTS[:8], *REDUCTIONS[:8]])
def test_the_profiler_and_the_dispatcher_agree_on_the_inputs(run: Callable[[], object]) -> None:
    seen = {
        replace(sig, attributes=sig.attributes.lstrip("+;")) for sig in profiled(run).signatures
    }
    for sig in dispatched(run):
        row = TABLE.get(base_name(sig.op)[0])
        if row is not None and row.role is not Role.VIEW:
            assert without_outputs(sig) in seen, sig


def test_values_are_taken_from_where_torch_has_them() -> None:
    theirs: dict[str, list[list[str]]] = {}
    for one in torch._C._jit_get_all_schemas():
        theirs.setdefault(one.name, []).append([argument.name for argument in one.arguments])
    wrong = []
    for name, schemas in SCHEMAS.items():
        known = [*theirs.get(f"aten::{name}", []), *theirs.get(f"aten::{name}_", [])]
        for schema in schemas if TABLE[name].role is not Role.VIEW else ():
            valued = [(at, text[:-1]) for at, text in enumerate(schema) if text.endswith("=")]
            if not any(
                len(names) >= len(schema) and all(names[at] == mine for at, mine in valued)
                for names in known
            ):
                wrong.append((name, tuple(schema), known))
    assert wrong == []


def test_no_op_has_two_rows() -> None:
    names = [name for row in ROWS for name in row.ops.split()]
    assert sorted(set(names)) == sorted(names)
