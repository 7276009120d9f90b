"""Points under roofs, computed by hand; and traces that have no points or no roofs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.builders import trace_of
from tests.peaks_by_hand import PEAKS, exact, level, with_peaks
from tinytrace.analysis.peaks import META_KEY
from tinytrace.analysis.roofline import Verdict
from tinytrace.analysis.roofline_points import Ceiling, RooflinePoint, roofline_of
from tinytrace.tracer.trace import Trace

# A product of 100 × 100 doubles: 2 · 100³ = 2·10⁶ FLOPs, 3 · 80 kB; in 80 µs 25 GFLOP/s, half of 50.
PRODUCT = "matmul[100x100,100x100->100x100]:80@a.py:3:f"
# 10,000 doubles twice in and once out, 240 kB in L2; 32 kB of them may lie in L1, which is not resolved and costs
# nothing: 208 kB at 100 GB/s are 2.08 µs, 52 % of 4 µs. 10⁴ FLOPs in them are 2.5 GFLOP/s.
SUM = "add[10000,10000->10000]:4"
# The same of 10⁶: 24 MB in L3.
LARGE = "add[1000000,1000000->1000000]:2000"


def points(trace: Trace) -> tuple[RooflinePoint, ...]:
    return roofline_of(trace).points


def test_a_product_is_a_point_under_the_roof_of_products() -> None:
    [point] = points(with_peaks(trace_of(PRODUCT)))
    assert point.place == pytest.approx((2e6 / 240e3, 25.0))
    assert (point.dtype, point.level, point.matrix) == ("float64", "L2", True)
    assert point.judgement.roof_percent == pytest.approx(50.0)


def test_an_addition_is_a_point_under_the_roof_of_its_level() -> None:
    [point] = points(with_peaks(trace_of(SUM)))
    assert point.place == pytest.approx((1 / 24, 2.5))
    assert point.judgement.memory_percent == pytest.approx(52.0)


def test_one_op_on_two_levels_or_in_two_dtypes_is_two_points() -> None:
    found = points(with_peaks(trace_of(f"{LARGE} {SUM} {SUM} add[10000:f4,10000:f4->10000:f4]:3")))
    assert [(p.level, p.dtype, p.group.calls, p.group.self_ns) for p in found] == [
        ("L3", "float64", 1, 2_000_000),
        ("L2", "float64", 2, 8_000),
        ("L2", "float32", 1, 3_000),
    ]


def test_the_roofs_are_those_of_the_dtypes_that_have_points() -> None:
    found = roofline_of(with_peaks(trace_of(f"{PRODUCT} add[8:f4,8:f4->8:f4]:3")))
    assert [(c.sort, c.dtype, c.gflops.value) for c in found.ceilings] == [
        ("matrix", "float64", 50.0),
        ("arithmetic", "float32", 10.0),
    ]


def test_a_ridge_is_where_two_roofs_meet() -> None:
    ceiling = Ceiling("matrix", "float64", exact(50.0))
    assert ceiling.ridge(level("DRAM", None, 10.0)) == 5.0
    assert ceiling.ridge(replace(level("L1", 1000, 10.0), gbps=None)) is None


def test_only_the_ops_with_most_time_are_points_and_the_rest_is_in_the_sums() -> None:
    found = roofline_of(with_peaks(trace_of(f"{PRODUCT} {SUM} sqrt[10000->10000]:30")), top=2)
    assert [p.group.op for p in found.points] == ["matmul", "sqrt"]
    assert (found.n_points, found.op_ns, found.point_ns, found.placed_ns) == (
        3, 114_000, 110_000, 80_000,
    )  # fmt: skip


def test_an_op_without_flops_has_no_place() -> None:
    places = {
        p.group.op: p.place for p in points(trace_of("sqrt[9->9]:5 copy[9->9]:5 odd[9->9]:5"))
    }
    assert places == {"sqrt": None, "copy": None, "odd": None}


def test_an_op_around_another_is_a_point_of_its_own_without_a_level() -> None:
    trace = with_peaks(trace_of("sum[1000->.]:9(add.reduce[1000->.]:5)"))
    outer = {p.group.op: p for p in points(trace)}["sum"]
    assert (outer.level, outer.place, outer.group.only_outer) == (None, None, True)


def test_a_point_above_its_roof_is_no_result() -> None:
    [point] = points(with_peaks(trace_of("matmul[100x100,100x100->100x100]:20")))
    assert point.judgement.verdict is Verdict.VIOLATION
    assert point.judgement.roof_percent is None


def test_without_roofs_there_are_points_all_the_same() -> None:
    found = roofline_of(trace_of(PRODUCT))
    assert (found.peaks, found.ceilings) == (None, ())
    assert found.points[0].place == pytest.approx((2e6 / 240e3, 25.0))
    assert found.points[0].judgement.roof_percent is None


def test_roofs_without_points_are_those_of_the_usual_dtypes() -> None:
    found = roofline_of(replace(Trace(), meta={META_KEY: PEAKS.to_json()}))
    assert found.points == ()
    assert {c.dtype for c in found.ceilings} == {"float32", "float64"}


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (["/usr/bin/python", "train.py", "-v"], "train.py -v"),
        (["python", "-m", "train"], "python -m train"),
        (["python"], "python"),
        ("train.py", "train.py"),
        ([], None),
        ([1], None),
        ({"a": 1}, None),
    ],
)
def test_what_was_run_is_told_as_far_as_it_is_known(command: object, text: str | None) -> None:
    assert roofline_of(replace(Trace(), meta={"command": command})).command == text
