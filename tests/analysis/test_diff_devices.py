"""Two traces compared on their devices: a real pair, and by hand."""

from __future__ import annotations

import pytest

from tests.device_events import H100, launched, op, trace_of_events, x
from tests.kineto_files import device_events, launches, loaded
from tinytrace.analysis.device_account import KERNELS, Spent
from tinytrace.analysis.diff_devices import DeviceDiff, device_diff
from tinytrace.tracer.trace import Trace


def compared(before: Trace, after: Trace) -> DeviceDiff:
    found = device_diff(before, after, top=1000)
    assert found is not None
    return found


def steps(n: int, kernels: int, us: float) -> Trace:
    events = []
    for i in range(n):
        t = 1000 * i
        events += [x(f"ProfilerStep#{i}", "user_annotation", t, 900), op("aten::mm", t + 5, 200)]
        for k in range(kernels):
            events += launched("gemm", t + 10 + k, t + 300 + 100 * k, us)
    return trace_of_events(events, model=H100)


def test_figures_are_per_step_where_both_sides_have_steps() -> None:
    found = compared(steps(2, 1, 40), steps(4, 2, 30))
    assert (found.steps_before, found.steps_after, found.per_step) == (2, 4, True)
    [change] = found.ops
    assert (change.name, change.before_ns, change.after_ns) == ("aten::mm", 40_000, 60_000)
    assert (change.calls_before, change.calls_after) == (1, 1)
    assert (change.pieces_before, change.pieces_after) == (1, 2)
    assert not change.same_counts
    lines = {line.spent: line for line in found.lines}
    assert sum(lines[spent].after_ns for spent in KERNELS) == 60_000
    assert lines[Spent.COMMUNICATION].before_ns == 0


def test_a_trace_compared_with_itself_differs_in_nothing() -> None:
    trace = loaded("tracelens_h100_bert_small")
    found = compared(trace, trace)
    assert all(
        change.delta_ns == 0 and change.same_counts for change in (*found.ops, *found.kernels)
    )


@pytest.mark.parametrize("other", [trace_of_events(op("aten::mm", 0, 5))])
def test_without_a_device_on_one_side_there_is_nothing_to_compare(other: Trace) -> None:
    assert device_diff(steps(1, 1, 5), other) is None


def test_counts_of_the_real_pair_are_those_of_the_events() -> None:
    found = compared(loaded("hta_diff_control"), loaded("hta_diff_test"))
    assert (found.steps_before, found.steps_after) == (6, 6)
    for name, pieces in (
        ("hta_diff_control", found.pieces_before), ("hta_diff_test", found.pieces_after),
    ):  # fmt: skip
        known = launches(name)
        events = [e for e in device_events(name) if e.args["correlation"] in known]
        counts = [
            sum(e.category == "kernel" and not e.is_communication for e in events),
            sum(e.category == "kernel" and e.is_communication for e in events),
            sum(e.category == "gpu_memcpy" for e in events),
            sum(e.category == "gpu_memset" for e in events),
        ]
        assert [round(6 * each) for each in pieces] == counts
    moved = {change.name: change for change in found.kernels}
    assert moved["Memcpy DtoD (Device -> Device)"].pieces_before == 3
    assert found.ops[0].name == "CompiledFunctionBackward"
    assert (found.ops[0].pieces_before, found.ops[0].pieces_after) == (0, 502)
