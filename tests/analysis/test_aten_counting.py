"""FLOPs and bytes of PyTorch's operations, recorded by the real torch.profiler, against hand counts."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F  # noqa: N812  (as all of PyTorch's own examples)
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from tests.torch_profiles import counted, profiled, seeded, total
from tinytrace.analysis.aten_calls import LIST_DTYPE, PLACEHOLDER
from tinytrace.analysis.aten_table import ROWS as TABLE_ROWS
from tinytrace.analysis.aten_table import SCHEMAS
from tinytrace.analysis.counting import Counts, count, count_trace, coverage
from tinytrace.analysis.operands import operands_text
from tinytrace.analysis.reader import load
from tinytrace.exporters.registry import export
from tinytrace.tracer.records import Layout
from tinytrace.tracer.trace import Operand, Signature

DOCUMENT = (Path(__file__).parents[2] / "docs" / "counting-pytorch.md").read_text("utf-8")
DATA = Path(__file__).parents[1] / "data"
A = seeded(8, 16)
W = seeded(4, 16)
IMAGE = seeded(2, 4, 8, 8)
QUERY = seeded(2, 3, 8, 4)
SIGNAL = seeded(2, 4, 8)
VOLUME = seeded(1, 2, 4, 4, 4)
KERNEL = seeded(6, 4, 3, 3)
GROUPED = seeded(6, 2, 3, 3)
SHORT = seeded(5, 4, 3)
SOLID = seeded(3, 2, 2, 2, 2)
TURNED = seeded(4, 6, 3, 3)
BIAS = seeded(6)
ROWS = torch.tensor([1, 2, 1])
FOUR = seeded(4)
N = 8 * 16
F4 = 4  # bytes of a float32

# What ran, the operation that carries its cost, FLOPs, transcendentals, bytes read, bytes written.
HandCount = tuple[str, Callable[[], object], str, int, int, int, int]
HAND_COUNTS: list[HandCount] = [
    ("mm", lambda: A @ W.T, "mm", 2 * 8 * 16 * 4, 0, F4 * (N + 64), F4 * 32),
    ("mv", lambda: torch.mv(A, A[0]), "mv", 2 * N, 0, F4 * (N + 16), F4 * 8),
    ("dot", lambda: torch.dot(A[0], A[1]), "dot", 2 * 16, 0, F4 * 32, F4),
    ("bmm", lambda: torch.bmm(QUERY[0], QUERY[0].mT), "bmm", 2 * 3 * 8 * 8 * 4, 0,
     F4 * 2 * 96, F4 * 3 * 64),
    ("linear", lambda: F.linear(A, W, FOUR), "addmm", 2 * 8 * 16 * 4 + 32, 0,
     F4 * (N + 64 + 4), F4 * 32),
    ("softmax", lambda: A.softmax(1), "_softmax", 4 * N - 2 * 8, N, F4 * N, F4 * N),
    ("log_softmax", lambda: A.log_softmax(0), "_log_softmax", 4 * N - 2 * 16, N + 16,
     F4 * N, F4 * N),
    ("layer norm", lambda: F.layer_norm(A, (16,), A[0], A[1]), "native_layer_norm", 5 * N, 0,
     F4 * (N + 32), F4 * N),
    ("batch norm", lambda: F.batch_norm(IMAGE, None, None, training=True), "native_batch_norm",
     5 * 512, 0, F4 * 512, F4 * 512),
    ("batch norm, evaluated",
     lambda: F.batch_norm(IMAGE, FOUR, FOUR),
     "native_batch_norm", 2 * 512, 0, F4 * (512 + 8), F4 * 512),
    ("group norm", lambda: F.group_norm(IMAGE, 2), "native_group_norm", 5 * 512, 0,
     F4 * 512, F4 * 512),
    ("attention", lambda: F.scaled_dot_product_attention(QUERY, QUERY, QUERY),
     "_scaled_dot_product_flash_attention_for_cpu",
     2 * 6 * 8 * 8 * (4 + 4) + 4 * 6 * 64 - 2 * 6 * 8, 6 * 64, F4 * 3 * 192, F4 * 192),
    ("conv2d in groups", lambda: F.conv2d(IMAGE, GROUPED, padding=1, groups=2),
     "mkldnn_convolution", 2 * 2 * 64 * 9 * 6 * 2, 0, F4 * (512 + 108), F4 * 2 * 6 * 64),
    ("conv2d with a bias, stride 2",
     lambda: F.conv2d(IMAGE, KERNEL, BIAS, stride=2), "mkldnn_convolution",
     2 * 2 * 9 * 9 * 6 * 4 + 2 * 6 * 9, 0, F4 * (512 + 216 + 6), F4 * 2 * 6 * 9),
    ("conv1d", lambda: F.conv1d(SIGNAL, SHORT, dilation=2), "mkldnn_convolution",
     2 * 2 * 4 * 3 * 5 * 4, 0, F4 * (64 + 60), F4 * 2 * 5 * 4),
    ("gelu", lambda: F.gelu(A), "gelu", 4 * N, N, F4 * N, F4 * N),
    ("silu", lambda: F.silu(A), "silu", N, N, F4 * N, F4 * N),
    ("relu", lambda: F.relu(A), "relu", N, 0, F4 * N, F4 * N),
    ("sigmoid", lambda: torch.sigmoid(A), "sigmoid", 0, N, F4 * N, F4 * N),
    ("add, broadcast", lambda: A + A[0], "add", N, 0, F4 * (N + 16), F4 * N),
    ("add, scaled", lambda: torch.add(A, A[0], alpha=2), "add", 2 * N, 0, F4 * (N + 16), F4 * N),
    ("add in place", lambda: A.clone().add_(1), "add_", N, 0, F4 * N, F4 * N),
    ("square", lambda: A**2, "pow", N, 0, F4 * N, F4 * N),
    ("cube", lambda: A**3, "pow", 2 * N, 0, F4 * N, F4 * N),
    ("power", lambda: A**1.5, "pow", 0, N, F4 * N, F4 * N),
    ("compare", lambda: A > 0, "gt", N, 0, F4 * N, N),
    ("sum along an axis", lambda: A.sum(1), "sum", N - 8, 0, F4 * N, F4 * 8),
    ("mean", A.mean, "mean", N, 0, F4 * N, F4),
    ("max with places", lambda: A.max(0), "max", N - 16, 0, F4 * N, (F4 + 8) * 16),
    ("var", lambda: A.var(1), "var", 4 * N, 0, F4 * N, F4 * 8),
    ("norm", A.norm, "linalg_vector_norm", 2 * N - 1, 1, F4 * N, F4),
    ("max_pool2d", lambda: F.max_pool2d(IMAGE, 2), "max_pool2d_with_indices", 3 * 128, 0,
     F4 * 512, (F4 + 8) * 128),
    ("avg_pool2d", lambda: F.avg_pool2d(IMAGE, 2), "avg_pool2d", 4 * 128, 0, F4 * 512, F4 * 128),
    ("embedding", lambda: F.embedding(ROWS, A), "index_select", 0, 0,
     F4 * 48 + 24, F4 * 48),
    ("copy of a transposed matrix", A.T.contiguous, "copy_", 0, 0, F4 * N, F4 * N),
    ("cast", A.bfloat16, "copy_", 0, 0, F4 * N, 2 * N),
    ("mse_loss", lambda: F.mse_loss(A, A), "mse_loss", 3 * N, 0, 2 * F4 * N, F4),
    ("view", lambda: A.view(16, 8), "view", 0, 0, 0, 0),
]  # fmt: skip


@pytest.mark.parametrize("case", HAND_COUNTS, ids=[case[0] for case in HAND_COUNTS])
def test_one_op_costs_what_a_hand_count_says(case: HandCount) -> None:
    _, run, op, *expected = case
    found = counted(run)[f"aten::{op}"]
    known = [found.flops, found.transcendentals, found.bytes_read, found.bytes_written]
    assert known == expected


def gradients(run: Callable[[], torch.Tensor]) -> dict[str, Counts]:
    return counted(lambda: torch.autograd.backward(run().sum()))


def test_gradients_of_a_convolution_in_groups_cost_twice_its_forward() -> None:
    x, w = seeded(2, 4, 8, 8, grad=True), seeded(6, 2, 3, 3, grad=True)
    forward = 2 * 2 * 64 * 9 * 6 * 2
    found = gradients(lambda: F.conv2d(x, w, padding=1, groups=2))
    assert found["aten::convolution_backward"].flops == 2 * forward


def test_a_gradient_that_nobody_asked_for_costs_nothing() -> None:
    w, b = seeded(6, 4, 3, 3, grad=True), seeded(6, grad=True)
    forward = 2 * 2 * 64 * 9 * 6 * 4
    found = gradients(lambda: F.conv2d(IMAGE, w, b, padding=1))
    assert found["aten::convolution_backward"].flops == forward + 6 * (2 * 64 - 1)


def test_a_transposed_convolution_costs_what_its_input_meets() -> None:
    x, w = seeded(2, 4, 8, 8, grad=True), seeded(4, 6, 3, 3, grad=True)
    forward = 2 * 2 * 64 * 9 * 4 * 6
    trace = profiled(lambda: torch.autograd.backward(F.conv_transpose2d(x, w, stride=2).sum()))
    adding = 2 * 6 * 17 * 17 - 1  # the sum
    assert count_trace(trace).total("flops") == forward + adding + 2 * forward


def test_the_gradient_of_attention_is_rated_two_and_a_half_times_the_products() -> None:
    q = seeded(2, 3, 8, 4, grad=True)
    found = gradients(lambda: F.scaled_dot_product_attention(q, q, q))
    backward = found["aten::_scaled_dot_product_flash_attention_for_cpu_backward"]
    assert (backward.flops, backward.transcendentals) == (5 * 6 * 64 * (4 + 4), 6 * 64)


def test_causal_attention_is_rated_whole_and_says_that_it_is_a_rating() -> None:
    op = "aten::_scaled_dot_product_flash_attention_for_cpu"
    whole = counted(lambda: F.scaled_dot_product_attention(QUERY, QUERY, QUERY))[op]
    causal = counted(lambda: F.scaled_dot_product_attention(QUERY, QUERY, QUERY, is_causal=True))[
        op
    ]
    assert (causal.flops, causal.nominal) == (whole.flops, True)
    assert not whole.nominal


def test_attention_in_plain_products_costs_the_same_products() -> None:
    from torch.nn.attention import SDPBackend, sdpa_kernel

    with sdpa_kernel(SDPBackend.MATH):
        trace = profiled(lambda: F.scaled_dot_product_attention(QUERY, QUERY, QUERY))
    counts = count_trace(trace)
    products = [
        counts.signatures[i].flops
        for i in trace.spans.signature_id[counts.leaf].tolist()
        if i >= 0 and trace.signatures[i].op == "aten::bmm"
    ]
    assert products == [2 * 6 * 64 * 4] * 2


@pytest.mark.parametrize(
    "run",
    [
        lambda: A @ W.T,
        lambda: torch.bmm(QUERY[0], QUERY[0].mT),
        lambda: F.conv2d(IMAGE, GROUPED, padding=1, groups=2),
        lambda: F.conv1d(SIGNAL, SHORT),
        lambda: F.conv3d(VOLUME, SOLID),
        lambda: F.conv_transpose2d(IMAGE, TURNED, stride=2),
    ],
    ids=["mm", "bmm", "conv2d", "conv1d", "conv3d", "conv_transpose2d"],
)
def test_products_agree_with_the_counter_of_torch(run: Callable[[], object]) -> None:
    with FlopCounterMode(display=False) as theirs:
        run()
    assert total(run) == theirs.get_total_flops() > 0


def test_addmm_is_what_the_counter_of_torch_says_and_the_bias() -> None:
    def run() -> object:
        return F.linear(A, W, FOUR)

    with FlopCounterMode(display=False) as theirs:
        run()
    assert total(run) == theirs.get_total_flops() + 8 * 4


def as_profiled(op: str, shapes: list[tuple[int, ...] | None], attributes: str) -> Counts:
    """Count an op that only a GPU has, as torch.profiler records it: None holds the place of a value."""
    operands = [
        PLACEHOLDER if shape is None else Operand("float16", shape, itemsize=2) for shape in shapes
    ]
    return count(Signature(f"aten::{op}", tuple(operands), len(operands), f"+;{attributes}"))


HEADS, LONG, SHORT_HEADS = (2, 3, 8, 4), (2, 3, 6, 4), (2, 8, 3, 4)
PIXELS, FILTERS = (2, 4, 8, 8), (6, 2, 3, 3)
SCORES = 6 * 8 * 6
FORWARD = 2 * SCORES * 8 + 4 * SCORES - 2 * 6 * 8
ON_GPUS: list[tuple[str, list[tuple[int, ...] | None], str, int, int]] = [
    ("_scaled_dot_product_flash_attention", [HEADS, LONG, LONG, *[None] * 4], "is_causal=False",
     FORWARD, SCORES),
    ("_scaled_dot_product_efficient_attention", [HEADS, LONG, LONG, *[None] * 5],
     "is_causal=False", FORWARD, SCORES),
    ("_scaled_dot_product_cudnn_attention", [HEADS, LONG, LONG, *[None] * 6], "is_causal=True",
     FORWARD, SCORES),
    ("_flash_attention_forward", [SHORT_HEADS, (2, 6, 3, 4), (2, 6, 3, 4), *[None] * 10],
     "is_causal=False", FORWARD, SCORES),
    ("_scaled_dot_product_flash_attention_backward",
     [HEADS, HEADS, LONG, LONG, HEADS, (2, 3, 8), *[None] * 9], "is_causal=False",
     5 * SCORES * 8, SCORES),
    ("_scaled_dot_product_efficient_attention_backward",
     [HEADS, HEADS, LONG, LONG, None, HEADS, (2, 3, 8), *[None] * 6], "is_causal=False",
     5 * SCORES * 8, SCORES),
    ("_scaled_dot_product_cudnn_attention_backward",
     [HEADS, HEADS, LONG, LONG, HEADS, (2, 3, 8), *[None] * 10], "is_causal=False",
     5 * SCORES * 8, SCORES),
    ("cudnn_convolution", [PIXELS, FILTERS, *[None] * 7],
     "padding=[1, 1];stride=[1, 1];dilation=[1, 1];groups=2", 2 * 2 * 64 * 9 * 6 * 2, 0),
    ("cudnn_convolution_transpose", [PIXELS, (4, 3, 3, 3), *[None] * 8],
     "padding=[0, 0];output_padding=[0, 0];stride=[2, 2];dilation=[1, 1];groups=2",
     2 * 2 * 64 * 9 * 4 * 3, 0),
    ("cudnn_batch_norm", [PIXELS, (4,), (4,), (4,), (4,), *[None] * 3], "training=True", 5 * 512, 0),
    ("cudnn_batch_norm_backward", [PIXELS, PIXELS, *[(4,)] * 5, None, (100,)], "", 10 * 512, 0),
    ("native_dropout", [PIXELS, None, None], "train=True", 2 * 512, 0),
    ("_fused_adamw_", [(1000,)] * 4 + [(0,), (3,)] + [None] * 9, "tensors=3", 13 * 1000, 1000),
    ("_foreach_addcdiv_", [(1000,)] * 3 + [None], "tensors=3", 3000, 0),
    ("_foreach_norm", [(1000,), None, None], "ord=2;tensors=3", 2000 - 3, 3),
]  # fmt: skip


@pytest.mark.parametrize(
    ("op", "shapes", "attributes", "flops", "transcendentals"),
    ON_GPUS,
    ids=[case[0] for case in ON_GPUS],
)
def test_ops_that_only_gpus_have_are_counted_by_their_arguments(
    op: str,
    shapes: list[tuple[int, ...] | None],
    attributes: str,
    flops: int,
    transcendentals: int,
) -> None:
    found = as_profiled(op, shapes, attributes)
    assert (found.flops, found.transcendentals) == (flops, transcendentals)


def test_packed_sequences_are_uncounted_since_their_lengths_are_values() -> None:
    packed = [(16, 3, 4)] * 3
    found = as_profiled("_flash_attention_forward", [*packed, *[None] * 10], "is_causal=False")
    assert found.flops is None


def test_what_runs_inside_a_primitive_is_counted_once() -> None:
    trace = profiled(lambda: F.linear(A, W, FOUR))
    counts = count_trace(trace)
    names = [trace.strings[i] for i in trace.spans.name_id.tolist()]
    # addmm copies its bias inside; linear has no work of its own beside it.
    assert "aten::copy_" in names
    per_op = dict(zip(names, counts.per_span("flops").tolist(), strict=True))
    assert per_op["aten::addmm"] == counts.total("flops") == 2 * 8 * 16 * 4 + 32
    assert per_op["aten::linear"] == per_op["aten::copy_"] == 0
    assert counts.own_ns.sum() == trace.spans.dur_ns[trace.spans.parent < 0].sum()


def test_every_op_of_a_training_step_is_counted() -> None:
    model = torch.nn.Sequential(
        torch.nn.Conv2d(4, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.GELU(), torch.nn.MaxPool2d(2),
        torch.nn.Flatten(), torch.nn.Linear(8 * 9, 10),
    )  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters())
    target = torch.tensor([1, 2])

    def step() -> None:
        optimizer.zero_grad()
        torch.autograd.backward(F.cross_entropy(model(IMAGE), target))
        optimizer.step()

    step()
    assert coverage(profiled(step)) == 1.0


def test_every_op_of_a_real_trace_of_another_machine_is_counted() -> None:
    trace = load(DATA / "tracelens_h100_bert_small.json.gz")
    counts = count_trace(trace)
    is_aten = [trace.strings[i].startswith("aten::") for i in trace.spans.name_id.tolist()]
    for figure in ("flops", "bytes"):
        assert (counts.per_span(figure)[is_aten] >= 0).all()
    # BERT: the products of all layers, counted from the sizes that its linear layers have.
    products = [
        2 * a.elements * b.shape[1] + a.shape[0] * b.shape[1]
        for sig in (trace.signatures[i] for i in trace.spans.signature_id.tolist() if i >= 0)
        if sig.op == "aten::addmm"
        for a, b in [sig.inputs[1:3]]
    ]
    assert len(products) == 26
    assert sum(products) < counts.total("flops") < 1.1 * sum(products)


def test_a_trace_of_torch_saved_and_read_again_costs_the_same(tmp_path: Path) -> None:
    trace = load(DATA / "tracelens_h100_bert_small.json.gz")
    export(trace, tmp_path / "trace.json")
    again = load(tmp_path / "trace.json")
    assert set(again.signatures) == set(trace.signatures)
    for figure in ("flops", "bytes"):
        assert count_trace(again).total(figure) == count_trace(trace).total(figure)


def test_people_read_tensors_and_the_values_that_matter() -> None:
    trace = profiled(lambda: IMAGE.sum((1, 2), keepdim=True))
    (text,) = {operands_text(sig) for sig in trace.signatures if sig.op == "aten::sum"}
    assert text == "float32[2,4,8,8] dim=[1, 2];keepdim=True"


def test_the_document_prints_the_table_of_the_code() -> None:
    lines = [
        f"| {' '.join(f'`{op}`' for op in row.ops.split())} | {row.formula} | {row.traffic.__name__} "
        f"| {row.role.value} |"
        for row in TABLE_ROWS
    ]
    assert re.findall(r"^\| `.*\|$", DOCUMENT, re.MULTILINE) == lines


def test_the_document_explains_every_byte_rule() -> None:
    rules = {row.traffic.__name__ for row in TABLE_ROWS}
    assert [rule for rule in sorted(rules) if f"| **{rule}** |" not in DOCUMENT] == []


SIZES = st.lists(st.integers(0, 4), max_size=5).map(tuple)
OPERANDS = st.one_of(
    st.just(PLACEHOLDER),
    st.builds(
        Operand,
        dtype=st.sampled_from(
            ["float32", "bfloat16", "int64", "bool", "complex64", LIST_DTYPE, "?"]
        ),
        shape=SIZES,
        layout=st.sampled_from([Layout.C, Layout.OTHER]),
        itemsize=st.integers(0, 16),
    ),
)
VALUES = st.sampled_from(
    ["", "0", "1", "-1", "2", "[0]", "[1, -1]", "[]", "[-7]", "True", "False", "[True, False, True]",
     "inf", "nan", "1e400", "9" * 30, "x", "[1", "2.5"]
)  # fmt: skip


@given(st.data())
def test_no_call_makes_counting_raise_or_cost_less_than_nothing(data: st.DataObject) -> None:
    op = data.draw(st.sampled_from(sorted(SCHEMAS)))
    schema = data.draw(st.sampled_from(SCHEMAS[op]))
    n = data.draw(st.sampled_from([len(schema), len(schema) + 1, 0, 2]))
    operands = data.draw(st.lists(OPERANDS, min_size=n, max_size=n + 1))
    valued = [name for name in schema if name.endswith("=")]
    attributes = ";".join(f"{name}{data.draw(VALUES)}" for name in [*valued, "tensors="])
    ending = data.draw(st.sampled_from(["", "_"]))
    found = count(Signature(f"aten::{op}{ending}", tuple(operands), n, attributes))
    figures = (found.flops, found.transcendentals, found.bytes_read, found.bytes_written)
    assert all(figure is None or figure >= 0 for figure in figures)


@given(st.sampled_from(sorted(SCHEMAS)), st.lists(OPERANDS, max_size=4))
def test_an_op_recorded_without_values_is_counted_or_not_but_never_raises(
    op: str, operands: list[Operand]
) -> None:
    found = count(Signature(f"aten::{op}", tuple(operands), len(operands), "+"))
    assert found.flops is None or found.flops >= 0


def test_who_ran_no_torch_does_not_wait_for_its_table() -> None:
    code = (
        "import sys; from tinytrace.analysis.counting import count_trace; "
        "from tinytrace.tracer.trace import Trace; import tinytrace.analysis.report; "
        "count_trace(Trace()).own_ns; sys.exit(any('aten_table' in name for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
