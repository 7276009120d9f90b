"""Rules that look at single ops: copies, scatters, products, strides, constants, large results."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.analysis.findings.traces import found, ops, signature_of
from tests.builders import TraceBuilder, trace_of
from tinytrace.analysis.findings import (
    constants,
    copies,
    fresh_memory,
    products,
    scatter,
    strided,
    tiny_ops,
)
from tinytrace.tracer.records import Layout
from tinytrace.tracer.trace import Operand, Signature

COPY = signature_of("array", "512x512:f4->512x512:f4")


def test_a_copy_of_an_array_of_the_same_type_is_named() -> None:
    [finding] = found(copies.NAME, ops("array:30@t.py:8:init " * 10, array=COPY))
    assert (finding.line, finding.function, finding.ceiling_ns) == (8, "init", 300_000)


def test_a_few_copies_are_let_be() -> None:
    assert found(copies.NAME, ops("array:30@t.py:8:init " * 9, array=COPY)) == []


def test_a_call_that_was_held_up_once_counts_as_the_others() -> None:
    text = "array:30@t.py:8:init " * 9 + "array:9000@t.py:8:init"
    [finding] = found(copies.NAME, ops(text, array=COPY))
    assert finding.ceiling_ns == 300_000


@pytest.mark.parametrize("shapes", ["512x512:f8->512x512:f4", ".:f4->.:f4", "->512x512:f4"])
def test_conversions_scalars_and_lists_are_no_copies(shapes: str) -> None:
    sig = signature_of("array", shapes)
    assert found(copies.NAME, ops("array:30@t.py:8:init " * 10, array=sig)) == []


def scatter_into(table: str) -> Signature:
    sig = signature_of("add.at", f"{table}->{table}")
    return replace(sig, operands=(sig.operands[0], replace(sig.operands[1], alias=0)))


def test_a_scatter_counts_the_zeros_that_were_made_for_it() -> None:
    text = "zeros:20@e.py:3:backward add.at:70@e.py:4:backward zeros:20@e.py:9:other"
    zeros = signature_of("zeros", "->5000x64:f4")
    trace = ops(text, **{"add.at": scatter_into("5000x64:f4"), "zeros": zeros})
    [finding] = found(scatter.NAME, trace)
    assert (finding.line, finding.ceiling_ns) == (4, 90_000)


def test_a_sum_by_runs_is_no_scatter() -> None:
    runs = signature_of("add.reduceat", "100x8,10:i8->10x8")
    assert found(scatter.NAME, ops("add.reduceat:70@e.py:4:f", **{"add.reduceat": runs})) == []


@pytest.mark.parametrize("dtype", ["i8", "f2"])
def test_a_product_without_blas_is_compared_with_float32(dtype: str) -> None:
    # 2·100³ FLOPs at 100 GFLOP/s take 20 µs.
    sig = signature_of("matmul", f"100x100:{dtype},100x100:{dtype}->100x100:{dtype}")
    [finding] = found(products.WITHOUT_BLAS, ops("matmul:900@q.py:5:quantized", matmul=sig))
    assert (finding.line, finding.ceiling_ns) == (5, 880_000)


@pytest.mark.parametrize("dtype", ["f4", "f8", "c8", "c16"])
def test_products_with_blas_are_let_be(dtype: str) -> None:
    sig = signature_of("matmul", f"100x100:{dtype},100x100:{dtype}->100x100:{dtype}")
    assert found(products.WITHOUT_BLAS, ops("matmul:900@q.py:5:f", matmul=sig)) == []


THIN = signature_of("matmul", "1000x8:f4,8x1000:f4->1000x1000:f4")


def test_a_thin_product_far_from_its_roof_is_named() -> None:
    [finding] = found(products.SKINNY_PRODUCT, ops("matmul:9000@q.py:5:head", matmul=THIN))
    assert "8" in finding.title
    assert finding.ceiling_ns is not None and 8_500_000 < finding.ceiling_ns < 9_000_000


def test_a_thin_product_at_its_roof_is_let_be() -> None:
    # 16 MFLOP at 100 GFLOP/s take 160 µs.
    assert found(products.SKINNY_PRODUCT, ops("matmul:170@q.py:5:head", matmul=THIN)) == []


def test_a_thick_product_is_not_thin() -> None:
    thick = signature_of("matmul", "100x64:f4,64x100:f4->100x100:f4")
    assert found(products.SKINNY_PRODUCT, ops("matmul:9000@q.py:5:head", matmul=thick)) == []


def column_sum(step: int) -> Signature:
    x = Operand("float32", (10_000,), Layout.STRIDED, (step,), itemsize=4)
    return Signature("exp", (x, Operand("float32", (10_000,), itemsize=4)), 1)


def test_steps_over_memory_are_named_with_what_is_used_of_a_line() -> None:
    [finding] = found(strided.NAME, ops("exp:160@s.py:2:f", exp=column_sum(4000)))
    # 4 of 64 bytes are used: at least a sixteenth of the 160 µs remains.
    assert (finding.line, finding.ceiling_ns) == (2, 150_000)
    assert any("6 % of each cache line" in fact for fact in finding.evidence)


def test_arrays_without_steps_are_let_be() -> None:
    dense = signature_of("exp", "10000:f4->10000:f4")
    assert found(strided.NAME, ops("exp:160@s.py:2:f", exp=dense)) == []
    assert found(strided.NAME, ops("exp:160@s.py:2:f", exp=column_sum(4))) == []


def test_a_constant_is_named_from_the_tenth_time_on() -> None:
    eye = signature_of("eye", "->100x100:f4")
    [finding] = found(constants.NAME, ops("eye:40@m.py:3:mask " * 10, eye=eye))
    assert finding.ceiling_ns == 360_000
    assert found(constants.NAME, ops("eye:40@m.py:3:mask " * 9, eye=eye)) == []


def test_memory_that_is_made_to_be_written_is_no_constant() -> None:
    zeros = signature_of("zeros", "->100x100:f4")
    assert found(constants.NAME, ops("zeros:40@m.py:3:mask " * 20, zeros=zeros)) == []


@pytest.mark.parametrize(("size", "named"), [(10_000_000, True), (1_000_000, False)])
def test_only_large_results_point_to_new_memory(size: int, named: bool) -> None:
    add = signature_of("add", f"{size}:f4,{size}:f4->{size}:f4")
    assert bool(found(fresh_memory.NAME, ops("add:90000@m.py:3:f " * 2, add=add))) == named


def test_large_results_at_the_roof_are_let_be() -> None:
    # 120 MB at about 10 GB/s take 12 ms.
    add = signature_of("add", "10000000:f4,10000000:f4->10000000:f4")
    assert found(fresh_memory.NAME, ops("add:12100@m.py:3:f " * 2, add=add)) == []


@pytest.mark.parametrize(("calls", "named"), [(200, True), (199, False)])
def test_many_tiny_ops_are_named(calls: int, named: bool) -> None:
    trace = trace_of("add[8:f4,8:f4->8:f4]:0.5@t.py:4:neuron " * calls)
    assert bool(found(tiny_ops.NAME, trace)) == named


def test_many_ops_on_large_arrays_are_not_tiny() -> None:
    trace = trace_of("add[99999:f4,99999:f4->99999:f4]:50@t.py:4:layer " * 300)
    assert found(tiny_ops.NAME, trace) == []


def test_a_function_that_mostly_does_large_ops_is_let_be() -> None:
    tiny = "add[8:f4,8:f4->8:f4]:0.5@t.py:4:update " * 300
    trace = trace_of(f"{tiny} add[99999:f4,99999:f4->99999:f4]:500@t.py:4:update")
    assert found(tiny_ops.NAME, trace) == []


def test_ops_without_a_call_site_are_no_findings() -> None:
    builder = TraceBuilder()
    builder.process(1)
    builder.thread(0, 1)
    builder.frame("f", "f.py", 1)
    for number in range(10):
        builder.span(0, number * 10**6, 10**6, "array", signature=COPY)
    assert found(copies.NAME, builder.build()) == []
