"""Steps by the work that they launched on a device."""

from __future__ import annotations

from tests.device_events import Event, launched, op, trace_of_events, x
from tests.kineto_files import loaded
from tinytrace.analysis.device_steps import DeviceSteps, OpInStep, device_steps
from tinytrace.analysis.device_work import device_work
from tinytrace.tracer.trace import Trace


def steps_of(trace: Trace) -> DeviceSteps | None:
    work = device_work(trace)
    assert work is not None
    return device_steps(trace, work, 0)


def run(*kernels: int) -> Trace:
    """A step of 900 us (the last: 950) per number of kernels of 10 us, all of which run much later."""
    events: list[Event] = []
    for i, n in enumerate(kernels):
        t = 1000 * i
        dur = 950 if i == len(kernels) - 1 else 900
        events += [
            x(f"ProfilerStep#{7 + i}", "user_annotation", t, dur),
            op("aten::mm", t + 5, 600),
        ]
        for k in range(n):
            events += launched("gemm", t + 10 + k, 50_000 + t + 20 * k, 10)
    return trace_of_events(events)


def test_work_counts_for_the_step_that_launched_it_and_the_slowest_says_what_differs() -> None:
    assert steps_of(run(2, 2, 2, 6)) == DeviceSteps(
        n_steps=4, median_ns=20_000, slowest=10, slowest_wall_ns=950_000, slowest_ns=60_000,
        longer=(OpInStep("aten::mm", 60_000, 20_000, 6, 2),),
    )  # fmt: skip


def test_what_is_usual_is_told_by_the_other_steps() -> None:
    found = steps_of(run(2, 4, 6))
    assert found is not None
    assert found.longer == (OpInStep("aten::mm", 60_000, 30_000, 6, 3),)


def test_of_two_steps_neither_is_the_usual_one() -> None:
    found = steps_of(run(2, 6))
    assert found is not None
    assert (found.n_steps, found.slowest, found.longer) == (2, None, ())


def test_a_trace_without_steps_has_none() -> None:
    assert steps_of(trace_of_events(launched("k", 0, 5, 5))) is None


def test_the_slowest_step_of_a_real_trace_is_that_of_the_host() -> None:
    found = steps_of(loaded("hta_diff_control"))
    assert found is not None
    assert (found.n_steps, found.slowest, found.slowest_wall_ns) == (6, 1014, 81_120_000)
    assert [one.op for one in found.longer] == ["record_param_comms"]
