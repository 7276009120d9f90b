"""Two traces compared: what moved the time, what work changed, and that it adds up."""

from __future__ import annotations

import doctest
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.analysis.test_diff_any_traces import assert_adds_up
from tests.builders import START_NS, TraceBuilder, signature_of, trace_of
from tests.kineto_files import document
from tinytrace.analysis import diff_calls, diff_intervals, diff_match, diff_timeline, operands
from tinytrace.analysis.diff import diff
from tinytrace.analysis.diff_values import Diff, OpChange, Ratio, Verdict
from tinytrace.analysis.foreign import load_foreign
from tinytrace.analysis.reader import load
from tinytrace.tracer.records import Kind
from tinytrace.tracer.trace import Trace

ALL = 10**6
DATA = Path(__file__).parents[1] / "data"


def calls(op: str, n: int = 20) -> str:
    """The same op n times."""
    return " ".join([op] * n)


def compare(before: str, after: str, top: int = ALL) -> Diff:
    return diff(trace_of(before), trace_of(after), top)


def named(found: Diff, name: str) -> OpChange:
    [row] = [row for row in found.ops if row.name == name]
    return row


def test_two_equal_traces_are_identical_and_nothing_is_listed() -> None:
    program = "step(matmul[2x3,3x4->2x4]:5@train.py:3:main add:2)"
    found = compare(program, program)
    assert found.identical
    assert found.same_work
    assert (found.ops, found.work, found.lines) == ((), (), ())
    assert found.account.delta_ns == 0
    assert found.account.explained_percent is None


def test_an_op_whose_calls_take_half_the_time_is_faster() -> None:
    found = compare(calls("add:10@t.py:3:f"), calls("add:5@t.py:3:f"))
    [row] = found.ops
    assert row.verdict is Verdict.FASTER
    assert row.delta_ns == -100_000
    assert row.per_call is not None
    assert row.per_call.value == 0.5
    assert row.same_work
    assert found.same_work
    assert not found.identical


def test_the_other_way_round_it_is_slower() -> None:
    [row] = compare(calls("add:5"), calls("add:10")).ops
    assert row.verdict is Verdict.SLOWER
    assert row.per_call is not None
    assert row.per_call.value == 2


def test_fewer_than_eight_calls_have_no_interval_and_no_verdict() -> None:
    [row] = compare(calls("add:10", 7), calls("add:5", 7)).ops
    assert row.per_call is None
    assert row.verdict is Verdict.INCONCLUSIVE
    assert row.delta_ns == -35_000


def test_a_difference_of_four_percent_without_spread_is_equivalent() -> None:
    [row] = compare(calls("add:100"), calls("add:104")).ops
    assert row.verdict is Verdict.EQUIVALENT


def test_calls_that_vary_more_than_they_differ_are_inconclusive() -> None:
    before = " ".join(f"add:{10 + 9 * (n % 2)}" for n in range(20))
    after = " ".join(f"add:{11 + 9 * (n % 2)}" for n in range(20))
    [row] = compare(before, after).ops
    assert row.per_call is not None
    assert row.per_call.low < 1 < row.per_call.high
    assert row.verdict is Verdict.INCONCLUSIVE


def test_an_op_that_only_one_run_has_is_new_or_gone() -> None:
    found = compare("power:30 add:5", "multiply:10 add:5")
    assert named(found, "power").verdict is Verdict.GONE
    assert named(found, "power").after is None
    assert named(found, "power").delta_ns == -30_000
    assert named(found, "multiply").verdict is Verdict.NEW
    assert named(found, "multiply").delta_ns == 10_000
    assert {row.name for row in found.work} == {"power", "multiply"}
    assert not found.same_work


def test_the_exact_part_compares_calls_flops_transcendentals_and_bytes() -> None:
    before = calls("exp[8->8]:1@t.py:1:f", 3) + " add[8,8->8]:1@t.py:2:f"
    after = calls("exp[8->8]:1@t.py:1:f", 2) + " add[8,8->8]:1@t.py:2:f"
    found = compare(before, after)
    [row] = found.work
    assert row.before is not None
    assert row.after is not None
    assert (row.name, row.before.calls, row.after.calls) == ("exp", 3, 2)
    assert (row.before.transcendentals, row.after.transcendentals) == (24, 16)
    assert (row.before.bytes, row.after.bytes) == (3 * 128, 2 * 128)
    assert (row.before.flops, row.after.flops) == (0, 0)
    work = found.work_before
    assert (work.op_calls, work.flops, work.transcendentals, work.bytes) == (4, 8, 24, 576)
    assert work.allocations is None


def test_an_op_without_a_formula_is_uncounted_and_not_zero() -> None:
    found = compare("magic[8->8]:3", "magic[8->8]:4")
    assert found.work_before.flops is None
    assert found.work_before.uncounted_calls == 1
    assert found.ops[0].before is not None
    assert found.ops[0].before.flops is None


def test_the_same_call_on_other_operands_is_one_row() -> None:
    found = compare(
        calls("add[8:f8,8:f8->8:f8]:10@t.py:3:f"), calls("add[8:f4,8:f4->8:f4]:5@t.py:4:f")
    )
    [row] = found.ops
    assert row.operands_before == "float64[8] float64[8] -> float64[8]"
    assert row.operands_after == "float32[8] float32[8] -> float32[8]"
    assert (row.callsite_before, row.callsite_after) == ("t.py:3 f", "t.py:4 f")
    assert row.verdict is Verdict.FASTER
    assert not row.same_work
    assert found.work == (row,)


def test_time_outside_of_ops_and_rows_beyond_the_top_add_up_to_the_change() -> None:
    found = compare("_:7 add:5 sub:3 mul:2 exp:1", "_:1 add:1 sub:1 mul:1 exp:1 _:50", top=1)
    account = found.account
    assert account.before_ns == 18_000
    assert account.after_ns == 55_000 - 50_000 + 50_000
    assert [row.name for row in found.ops] == ["add"]
    assert account.listed_delta_ns == -4000
    assert (account.unlisted, account.unlisted_delta_ns) == (2, -3000)
    assert (account.rest_before_ns, account.rest_after_ns) == (7000, 51_000)
    assert account.rest_delta_ns == 44_000
    assert account.delta_ns == 37_000
    assert account.explained_percent == pytest.approx(100 * -4 / 37)


def test_self_time_of_a_step_is_python_between_its_ops() -> None:
    found = compare("step:20(add:5)", "step:12(add:5)")
    [row] = found.ops
    assert (row.kind, row.name, row.delta_ns) == ("step", "step", -8000)
    assert found.account.rest_delta_ns == 0


def test_runs_with_different_numbers_of_steps_are_compared_per_step() -> None:
    before = "imports:500 " + calls("step(add[8,8->8]:10)", 10)
    after = "imports:900 " + calls("step(add[8,8->8]:4)", 20)
    found = compare(before, after)
    assert found.basis == "step"
    assert (found.units_before, found.units_after) == (10, 20)
    assert (found.account.before_ns, found.account.after_ns) == (10_000, 4000)
    [row] = found.ops
    assert (row.name, row.delta_ns, row.verdict) == ("add", -6000, Verdict.FASTER)
    assert found.same_work
    assert (found.work_before.op_calls, found.work_after.op_calls) == (10, 20)
    assert found.steps is not None
    assert (found.steps.before, found.steps.after) == (10, 20)
    assert found.steps.verdict is Verdict.FASTER


def test_with_as_many_steps_the_whole_runs_are_compared_and_steps_have_an_interval() -> None:
    found = compare(calls("step:10 _:5", 8), calls("step:5 _:5", 8))
    assert found.basis == "run"
    assert found.account.before_ns == 120_000 - 5000 + 5000
    assert found.steps is not None
    assert found.steps.ratio == Ratio(0.5, 0.5, 0.5)


ROUND = "dot[8,8->8]:{}@t.py:3:f add[8,8->8]:2@t.py:4:f sub[8,8->8]:2@t.py:5:f "


def test_steps_that_nobody_marked_are_compared_as_well() -> None:
    found = compare("load:500 " + 10 * ROUND.format(6), "load:900 " + 20 * ROUND.format(3))
    assert found.basis == "step"
    assert (found.units_before, found.units_after) == (10, 20)
    assert (found.account.before_ns, found.account.after_ns) == (10_000, 7000)
    assert found.steps is not None
    assert (found.steps.how_before, found.steps.how_after) == ("pattern", "pattern")
    assert found.steps.ratio is not None
    assert found.steps.ratio.value == found.steps.ratio.low == found.steps.ratio.high == 0.7
    assert [(row.name, row.delta_ns) for row in found.ops] == [("dot", -3000)]
    assert found.same_work


def test_the_warm_up_is_in_no_median() -> None:
    slow_first = 3 * ROUND.format(96) + 20 * ROUND.format(6)
    steps = compare(slow_first, 23 * ROUND.format(6)).steps
    assert steps is not None
    assert (steps.warmup_before, steps.warmup_after) == (3, 0)
    assert (steps.median_before_ns, steps.median_after_ns) == (10_000, 10_000)
    assert steps.verdict is Verdict.EQUIVALENT


def test_steps_that_are_not_of_one_loop_are_not_compared() -> None:
    doubled = " ".join(f"{op} {op}" for op in ROUND.format(6).split())
    found = compare(12 * ROUND.format(6), 6 * f"{doubled} ")
    assert found.basis == "run"
    assert found.steps is None
    assert any("12 and 6, are not of one loop" in note for note in found.notes)


def test_steps_found_with_low_confidence_are_not_used_and_that_is_said() -> None:
    inner = 3 * "dot:6@t.py:3:f add:2@t.py:4:f "
    found = compare(10 * (inner + "sub:2@t.py:5:f "), 20 * (inner + "sub:2@t.py:5:f "))
    assert found.steps is None
    assert found.basis == "run"
    assert any("steps of the first run are not used" in note for note in found.notes)


def test_what_runs_in_other_threads_is_listed_but_not_accounted() -> None:
    before = trace_of("main:100", worker=calls("add:5", 10))
    after = trace_of("main:100", worker=calls("add:2", 10))
    found = diff(before, after)
    [row] = found.ops
    assert (row.name, row.delta_ns, row.all_threads_delta_ns) == ("add", 0, -30_000)
    assert row.verdict is Verdict.FASTER
    assert found.account.delta_ns == 0


def test_ops_that_do_the_same_tell_the_machines_drift_and_widen_the_margin() -> None:
    names = "abcdefgh"
    before = " ".join(calls(f"{name}:10") for name in names) + " " + calls("slow:30")
    after = " ".join(calls(f"{name}:12") for name in names) + " " + calls("slow:9")
    found = compare(before, after)
    assert found.drift is not None
    assert found.drift.rows == 9
    assert found.drift.ratio == pytest.approx(1.2)
    assert found.drift.spread == pytest.approx(1)
    assert found.margin == pytest.approx(1.2)
    verdicts = {row.name: row.verdict for row in found.ops}
    assert verdicts["slow"] is Verdict.FASTER
    assert {verdicts[name] for name in names} == {Verdict.INCONCLUSIVE}


def test_ops_that_do_the_same_and_differ_much_widen_the_margin_by_twice_their_spread() -> None:
    names, after_us = "abcde", (80, 90, 100, 110, 120)
    before = " ".join(calls(f"{name}:100") for name in names)
    found = compare(
        before, " ".join(calls(f"{n}:{us}") for n, us in zip(names, after_us, strict=True))
    )
    assert found.drift is not None
    assert found.drift.ratio == pytest.approx(1)
    # The median of |log| of 0.8, 0.9, 1, 1.1, 1.2 is that of 0.9 (by time as by ops).
    spread = math.exp(1.4826 * math.log(100 / 90))
    assert found.drift.spread == pytest.approx(spread)
    assert found.margin == pytest.approx(spread**2)
    assert {row.verdict for row in found.ops} == {Verdict.INCONCLUSIVE}


def test_what_does_not_nest_is_listed_but_not_accounted() -> None:
    found = compare("work:100(task~:30)", "work:100(task~:50)")
    [row] = found.ops
    assert (row.name, row.delta_ns, row.all_threads_delta_ns) == ("task", 0, 20_000)
    assert found.account.rest_before_ns == found.account.rest_after_ns == 0


def test_a_call_that_raised_has_a_time_but_no_figures() -> None:
    found = compare("exp![8->8]:3 exp[8->8]:3", "exp[8->8]:3 exp[8->8]:3")
    [row] = found.work
    assert row.before is not None
    assert (row.before.calls, row.before.transcendentals, row.before.uncounted_calls) == (2, 8, 1)
    assert row.before.bytes == 128


def test_calls_that_never_ended_are_not_in_intervals() -> None:
    [row] = compare(calls("add:10", 8) + " add?:5", calls("add:5", 7) + " add?:5").ops
    assert row.per_call is None  # seven ended
    assert row.after is not None
    assert row.after.calls == 8


def accounted_thread(trace: Trace) -> str | None:
    return diff(trace, trace).thread_before


def test_the_thread_with_the_steps_is_accounted_and_else_the_main_one() -> None:
    assert accounted_thread(trace_of("add:100", worker="step:10")) == "worker"
    assert accounted_thread(trace_of("step:11", worker="step:10")) == "MainThread"
    assert accounted_thread(trace_of("add:5", worker="add:100")) == "MainThread"


def test_without_a_main_thread_the_busiest_is_accounted() -> None:
    trace = trace_of("add:5", worker="add:100")
    foreign = replace(trace.threads, tid=trace.threads.tid + 1000)
    assert accounted_thread(replace(trace, threads=foreign)) == "worker"


def aggregated(total_ns: int) -> Trace:
    """Eight calls that are kept, and 92 more in one row."""
    builder = TraceBuilder()
    builder.process(100, end_ns=START_NS + 10**6)
    thread = builder.thread(0, 100)
    signature = signature_of("add", "8,8->8")
    site = builder.frame("f", "t.py", 3)
    step = builder.span(thread, START_NS, 10**6, "step", kind=Kind.STEP, step=0)
    for n in range(8):
        builder.span(thread, START_NS + n * 1000, 900, "add", signature=signature, callsite=site,
                     parent=step)  # fmt: skip
    builder.aggregates.append((
        builder.string("add"), Kind.OP, thread, builder.signature(signature), site, 92, 92,
        total_ns, total_ns, 1, 9000, START_NS, START_NS + 10**6,
    ))  # fmt: skip
    return builder.build()


def test_aggregated_calls_are_in_all_sums_and_spans_around_them_in_the_rest() -> None:
    found = diff(aggregated(82_800), aggregated(182_800))
    [row] = found.ops
    assert row.before is not None
    assert row.after is not None
    assert (row.before.calls, row.before.flops, row.before.bytes) == (100, 800, 19200)
    assert (row.before.self_ns, row.after.self_ns) == (90_000, 190_000)
    assert row.per_call is not None
    assert row.per_call.value == pytest.approx(19 / 9)
    assert found.account.rest_before_ns == 10**6 - 90_000
    assert found.same_work
    assert any("aggregated spans (92 and 92)" in note for note in found.notes)


def test_traces_with_nothing_in_them_can_be_compared() -> None:
    found = diff(Trace(), trace_of("add:5"))
    assert [row.verdict for row in found.ops] == [Verdict.NEW]
    assert found.thread_before is None
    assert found.lines_account is None
    assert not found.identical


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        ({"machine": {"cpu": "A"}}, {"machine": {"cpu": "B"}}, "different CPU: A and B"),
        ({"machine": {"python": "3.10"}}, {"machine": {"python": "3.13"}}, "different Python: 3.10 and 3.13"),
        ({"machine": {"cpu": "A"}}, {}, "on which machines they ran is not known"),
        ({}, {"foreign": {"producer": "viztracer"}}, "recorded by different tools: tinytrace and viztracer"),
        ({"core": "c"}, {"core": "python"}, "different recorders: c and python; their costs differ"),
        ({"options": {"rate_hz": 1}}, {"options": {"rate_hz": 2}}, "different rate_hz: 1 and 2"),
        ({"command": ["python", "t.py", "--n", "3"]}, {"command": ["python", "t.py"]},
         "different arguments: --n 3 and none"),
        ({"audit": {"dropped": 5}}, {}, "5 spans of the first run were dropped: its work is not all here"),
        ({"machine": [], "command": 3, "foreign": 1}, {"audit": "x"}, "on which machines they ran is not known"),
    ],
)  # fmt: skip
def test_different_circumstances_are_said(
    one: dict[str, Any], other: dict[str, Any], said: str
) -> None:
    trace = trace_of("add:5")
    assert said in diff(replace(trace, meta=one), replace(trace, meta=other)).notes


def test_what_a_trace_warns_of_is_said_once_for_both() -> None:
    trace = trace_of("add:5")
    one = replace(trace, warnings=("both", "the end is missing"))
    notes = diff(one, replace(trace, warnings=("both",))).notes
    assert "first and second trace: both" in notes
    assert "first trace: the end is missing" in notes


def test_allocations_are_the_last_count_and_the_peak_is_the_largest() -> None:
    builder = TraceBuilder()
    builder.process(100)
    builder.thread(0, 100)
    for name, values in (("allocations", (3.0, 8.0)), ("array_peak_mb", (2.5, 1.0))):
        series = builder.series(name, "")
        for n, value in enumerate(values):
            builder.counter(series, START_NS + n, value)
    work = diff(builder.build(), Trace()).work_before
    assert (work.allocations, work.array_peak_mb) == (8, 2.5)


def test_the_examples_run() -> None:
    manual = Path(__file__).parents[2] / "docs" / "diff.md"
    failed, run = doctest.testfile(str(manual), module_relative=False)
    assert (failed, run) == (0, 4)
    for module in (
        diff_calls,
        diff_intervals,
        diff_match,
        diff_timeline,
        operands,
        sys.modules[diff.__module__],
    ):
        failed, run = doctest.testmod(module)
        assert failed == 0
        assert run > 0


# --- other people's traces ------------------------------------------------------------------------


def test_traces_of_torch_are_compared_whatever_they_hold() -> None:
    one = load(DATA / "tracelens_h100_bert_small.json.gz")
    found = diff(one, load(DATA / "hta_simple_add.json.gz"))
    assert_adds_up(found.account)
    assert found.ops
    assert diff(one, one).identical


def test_a_real_change_shows_the_copies_that_it_added() -> None:
    names = [f"hta_diff_{name}.json.gz" for name in ("control", "test")]
    before, after = (load_foreign(document(name), name) for name in names)
    found = diff(before, after, top=20)
    assert_adds_up(found.account)
    copies = found.ops[0]
    assert copies.name == "cudaMemcpyAsync"
    assert copies.before is not None
    assert copies.after is not None
    assert (copies.before.calls, copies.after.calls) == (228, 4812)
    assert found.account.listed_delta_ns > 0.9 * found.account.delta_ns
    assert found.steps is not None
    assert (found.steps.before, found.steps.after) == (6, 6)
    assert "on which machines they ran is not known" in found.notes
