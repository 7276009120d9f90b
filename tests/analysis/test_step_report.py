"""How long steps took, and what was different in the slowest."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.analysis.programs import GAP_NS, OP_NS, PERIOD_NS, run_of
from tests.builders import START_NS, TraceBuilder, trace_of, traces
from tinytrace.analysis.slowest_step import SlowestStep
from tinytrace.analysis.step_report import StepReport, step_report, warmup_steps
from tinytrace.tracer.records import Kind
from tinytrace.tracer.trace import Trace


def slowest(trace: Trace, top: int = 5) -> SlowestStep:
    found = step_report(trace, top=top).slowest
    assert found is not None
    return found


# --- warm-up


@pytest.mark.parametrize(
    ("durations", "expected"),
    [
        ([100, 10, 11, 10, 12, 11, 10, 11, 10, 11], 1),
        ([100, 40, 10, 60, 10, 11, 10, 12, 11, 10, 11, 10], 4),  # half of them are slow
        ([10, 11, 10, 12, 11, 10, 11, 10, 11, 10], 0),
        ([10, 11, 10, 90, 11, 10, 11, 10, 11, 10], 0),  # a slow step later is no warm-up
        ([10, 10, 10, 10, 10, 90, 90, 90, 90, 90], 0),  # it became slower
        ([90, 10, 10, 10, 10, 90, 10, 10, 10, 10, 90, 10, 10, 10, 10, 10], 1),
        ([104] + [100] * 9, 0),  # by less than 5 %
        ([106] + [100] * 9, 1),
        ([100] + [10] * 6, None),
        ([], None),
    ],
)
def test_warm_up_is_the_slow_beginning(durations: list[int], expected: int | None) -> None:
    assert warmup_steps(np.array(durations, "i8")) == expected


def test_steps_that_only_vary_seldom_have_a_warm_up() -> None:
    rng = np.random.default_rng(0)
    runs = [warmup_steps((rng.lognormal(0, 0.2, 100) * 1e6).astype("i8")) for _ in range(300)]
    assert sum(run != 0 for run in runs) <= 3


# --- figures


def test_figures_are_those_of_the_steps_after_the_warm_up() -> None:
    report = step_report(trace_of("step:50 " + "step:10 step:12 step:14 " * 5))
    assert report.warmup == 1
    assert (report.p50_ns, report.p90_ns) == (12_000, 14_000)
    assert report.spread_ns == pytest.approx(1.4826 * 2000)
    assert report.warmup_excess_ns == 38_000
    assert report.percent == 100


def test_time_between_steps_is_in_none() -> None:
    assert step_report(trace_of("step:10 _:30 step:10 _:50")).percent == pytest.approx(20)


def test_one_step_has_a_duration_and_no_spread() -> None:
    report = step_report(trace_of("step(add:3)"))
    assert (report.p50_ns, report.p99_ns) == (3000, 3000)
    assert (report.warmup, report.spread_ns, report.slowest) == (None, None, None)


@pytest.mark.parametrize("trace", [Trace(), trace_of("add:3"), trace_of("span(relu:3)")])
def test_without_steps_nothing_is_known_and_the_reason_is_said(trace: Trace) -> None:
    report = step_report(trace)
    assert report == StepReport(report.steps, None, None, None, None, None, None, None, None)
    assert report.steps.reason


@given(traces())
@settings(max_examples=60, deadline=None)
def test_quantiles_of_any_trace_are_in_order(trace: Trace) -> None:
    report = step_report(trace)
    if report.p50_ns is not None and report.p90_ns is not None and report.p99_ns is not None:
        assert report.p50_ns <= report.p90_ns <= report.p99_ns <= report.steps.dur_ns.max()


# --- the slowest step


def test_the_op_that_took_longer_comes_first() -> None:
    usual = "step(matmul:5@a.py:1:f add:2@a.py:2:g) "
    trace = trace_of(usual * 4 + "step(matmul:5@a.py:1:f add:9@a.py:2:g) " + usual * 4)
    step = slowest(trace)
    assert (step.index, step.number, step.dur_ns, step.usual_ns) == (4, 4, 14_000, 7000)
    (difference,) = step.differences
    assert (difference.op, difference.place, difference.function) == ("add", "a.py:2", "g")
    assert (difference.self_ns, difference.usual_ns, difference.excess_ns) == (9000, 2000, 7000)
    assert (difference.calls, difference.usual_calls) == (1, 1)


def test_calls_that_other_steps_do_not_have_are_told() -> None:
    trace = trace_of("step(relu:5) " * 4 + "step(relu:5 save:3 save:3) " + "step(relu:5) " * 4)
    (difference,) = slowest(trace).differences
    assert (difference.op, difference.calls, difference.usual_calls) == ("save", 2, 0)
    assert (difference.self_ns, difference.usual_ns, difference.frame_id) == (6000, 0, -1)


def test_what_took_less_time_is_told_as_well() -> None:
    trace = trace_of("step(relu:5 add:2) " * 4 + "step(relu:30) " + "step(relu:5 add:2) " * 4)
    relu, add = slowest(trace).differences
    assert (relu.excess_ns, add.excess_ns, add.calls) == (25_000, -2000, 0)


def test_self_time_of_an_op_is_not_that_of_the_ops_in_it() -> None:
    trace = trace_of("step(mean:5(sum:3)) " * 4 + "step(mean:9(sum:7)) " + "step(mean:5(sum:3)) ")
    (difference,) = slowest(trace).differences
    assert (difference.op, difference.self_ns) == ("sum", 7000)


def test_time_without_ops_is_the_gap() -> None:
    usual = "step(add:5 _:1 add:5) "
    step = slowest(trace_of(usual * 5 + "step(add:5 _:40 add:5) " + usual * 3))
    assert (step.gap_ns, step.usual_gap_ns, step.differences) == (40_000, 1000, ())


def test_a_slow_first_step_is_warm_up_and_not_the_slowest() -> None:
    assert slowest(trace_of("step:90 " + "step:10 " * 8 + "step:20 " + "step:10 " * 4)).index == 9


def test_gaps_are_told_apart_by_the_samples_in_them() -> None:
    builder = TraceBuilder()
    builder.process(1)
    builder.thread(0, 1)
    for number in range(9):
        at_ns, extra_ns = START_NS + number * 1000, 600 * (number == 8)
        row = builder.span(0, at_ns, 300 + extra_ns, "step", kind=Kind.STEP, step=number)
        builder.span(0, at_ns + extra_ns, 300, "add", parent=row, step=number)
    load, train = builder.frame("load", "data.py", 3), builder.frame("train", "train.py", 7)
    begin_ns = START_NS + 8000
    builder.sample(0, begin_ns + 200, 400, [train, load], cpu_ns=100)  # 200 ns of it in the gap
    builder.sample(0, begin_ns + 500, 300, [train, load], cpu_ns=300)
    builder.sample(0, begin_ns + 800, 300, [train], cpu_ns=0)  # of which 200 ns are in the op
    step = slowest(builder.build())
    assert step.gap_ns == 600
    assert step.gap_running_ns == pytest.approx(200 * 0.25 + 300)
    assert step.gap_waiting_ns == pytest.approx(200 * 0.75 + 100)
    found = [(line.place, line.function, line.sampled_ns) for line in step.gap_lines]
    assert found == [("data.py:3", "load", 500), ("train.py:7", "train", 100)]


def test_an_op_inside_another_ends_no_gap() -> None:
    builder = TraceBuilder()
    builder.process(1)
    builder.thread(0, 1)
    for number in range(9):
        at_ns, extra_ns = START_NS + number * 1000, 500 * (number == 8)
        step = builder.span(0, at_ns, 200 + extra_ns, "step", kind=Kind.STEP, step=number)
        outer = builder.span(0, at_ns, 150, "mean", parent=step)
        builder.span(0, at_ns + 20, 30, "sum", parent=outer)
    for t_ns in (100, 150, 700):
        builder.sample(
            0, START_NS + 8000 + t_ns, 100 if t_ns == 100 else t_ns - 100, [], cpu_ns=600
        )
    step_found = slowest(builder.build())
    assert (step_found.gap_ns, step_found.usual_gap_ns) == (550, 50)
    assert step_found.gap_running_ns == pytest.approx(550)


def test_the_slowest_step_is_not_among_those_that_it_is_compared_with() -> None:
    (difference,) = slowest(trace_of("step(add:10) step(add:30) step(add:12)")).differences
    assert (difference.self_ns, difference.usual_ns) == (30_000, 11_000)


def test_without_samples_nothing_is_said_of_the_gap() -> None:
    step = slowest(trace_of("step(add:5 _:1) " * 5 + "step(add:5 _:9) " + "step(add:5 _:1) "))
    assert (step.gap_running_ns, step.gap_waiting_ns, step.gap_lines) == (0, 0, ())


def test_the_slowest_of_found_steps_is_explained_too() -> None:
    program = "gfffldbbbuuuuuu"
    report = step_report(run_of(program * 20, slow={15 * 12 + 4: 9000}).build())
    assert report.slowest is not None
    (difference,) = report.slowest.differences
    assert (report.slowest.index, difference.place, difference.self_ns) == (
        12,
        f"train.py:{ord('l')}",
        9000,
    )
    assert report.slowest.dur_ns == 15 * PERIOD_NS + 9000 - OP_NS
    assert report.slowest.usual_gap_ns == 15 * GAP_NS


@given(st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_differences_and_gaps_explain_the_whole_excess_of_the_slowest_step(seed: int) -> None:
    rng = random.Random(seed)
    odd = rng.randrange(1, 9)
    text = ""
    for number in range(10):
        scale = 3 if number == odd else 1
        text += f"step(a:{4 * scale}(b:{2 * scale}) _:{scale} c:{rng.randint(1, 2) if scale == 3 else 1}) "
    step = slowest(trace_of(text), top=99)
    excess_ns = sum(difference.excess_ns for difference in step.differences)
    assert step.dur_ns - step.usual_ns == pytest.approx(excess_ns + step.gap_ns - step.usual_gap_ns)
