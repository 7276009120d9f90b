"""The report as a value: everything that it says, and what it does not know."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import trace_of, traces
from tests.peaks_by_hand import PEAKS, with_peaks
from tinytrace.analysis.op_groups import WAYS, By
from tinytrace.analysis.report import SORTS, Report, Sort, report_of
from tinytrace.analysis.roofline import Verdict
from tinytrace.tracer.trace import Trace

# At their roofs the product takes 40 µs, the addition of two arrays of 800 kB 160 µs at least.
RUN = (
    "step(matmul[100x100,100x100->100x100]:60@train.py:3:f add[100000,100000->100000]:400@train.py:4:f _:40)"
    "step(matmul[100x100,100x100->100x100]:60@train.py:3:f mystery:40)"
)


def report(text: str = RUN, *, by: By = "op", sort: Sort = "self", top: int = 10) -> Report:
    """The report of a run on the machine with round numbers."""
    return report_of(with_peaks(trace_of(text)), by=by, sort=sort, top=top)


def test_ops_come_with_verdict_and_gain() -> None:
    rows = report().ops
    assert [(row.group.label, row.judgement.verdict) for row in rows] == [
        ("add", Verdict.LATENCY), ("matmul", Verdict.COMPUTE), ("mystery", Verdict.UNCOUNTED),
    ]  # fmt: skip
    assert [row.gain_ns for row in rows[1:]] == [40_000, None]
    add = rows[0].judgement
    assert add.level == "L3"
    assert add.roof_ns is not None
    assert rows[0].gain_ns == int(400_000 - add.roof_ns)


def test_ops_are_sorted_by_what_is_asked() -> None:
    first = {sort: report(sort=sort).ops[0].group.label for sort in SORTS}
    assert first == {
        "self": "add", "total": "add", "calls": "matmul", "flops": "matmul", "bytes": "add", "gain": "add",
    }  # fmt: skip
    assert len(report(top=2).ops) == 2
    assert report(top=2).n_ops == 3


@pytest.mark.parametrize("by", WAYS)
def test_whatever_makes_a_group_the_account_is_the_same(by: By) -> None:
    found, by_op = report(by=by), report()
    assert found.account == by_op.account
    assert found.step_account == by_op.step_account
    assert found.hot == by_op.hot
    assert found.coverage == by_op.coverage


def test_what_if_is_the_time_less_what_could_be_gained() -> None:
    found = report(top=1)
    bound, gain = found.what_if, found.ops[0].gain_ns
    assert bound is not None
    assert gain is not None
    assert bound.wall_ns == 600_000
    assert bound.top_at_roof_ns == pytest.approx(600_000 - gain, abs=1)
    assert bound.at_roof_ns == pytest.approx(600_000 - gain - 40_000, abs=1)
    assert bound.judged_ns == 520_000


def test_the_coverage_says_how_much_is_known() -> None:
    cover = report().coverage
    assert cover.flops_counted == pytest.approx(100 * 520 / 560)
    assert cover.judged == pytest.approx(100 * 520 / 560)
    assert cover.explained == pytest.approx(100 * 560 / 600)
    assert cover.sampled == 0


def test_a_trace_without_peaks_has_everything_but_verdicts() -> None:
    found = report_of(trace_of(RUN))
    assert found.peaks is None
    assert {row.judgement.verdict for row in found.ops} == {Verdict.NO_PEAKS, Verdict.UNCOUNTED}
    assert [row.gain_ns for row in found.ops] == [None] * 3
    assert (found.what_if, found.coverage.judged) == (None, 0)
    assert found.account is not None
    assert found.ops[0].group.gbps == 2_400_000 / 400_000


def test_peaks_that_make_no_sense_are_none() -> None:
    trace = trace_of(RUN)
    assert report_of(replace(trace, meta={"peaks": {"form": 1, "levels": "?"}})).peaks is None
    assert report_of(with_peaks(trace)).peaks == PEAKS


def test_an_empty_trace_has_a_report_that_knows_nothing() -> None:
    found = report_of(Trace())
    assert (found.wall_ns, found.ops, found.account, found.what_if) == (0, (), None, None)
    assert found.hot.lines == ()
    assert (found.coverage.explained, found.coverage.judged) == (None, None)


@given(traces(), st.sampled_from(WAYS), st.sampled_from(SORTS))
def test_every_trace_has_a_report_that_json_can_hold(trace: Trace, by: By, sort: Sort) -> None:
    found = report_of(with_peaks(trace), by=by, sort=sort)
    plain = found.to_json()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    if found.what_if is not None:
        assert found.what_if.at_roof_ns <= found.what_if.top_at_roof_ns <= found.what_if.wall_ns


def test_ops_are_told_by_steps_that_were_found_as_well() -> None:
    rounds = " ".join(f"dot:{5 + n}@t.py:3:f add:2@t.py:4:f sub:2@t.py:5:f" for n in range(9))
    report = report_of(trace_of(f"load:30@t.py:1:f {rounds}"), by="step", top=3)
    assert report.steps.steps.how == "pattern"
    assert [(row.group.label, row.group.calls) for row in report.ops] == [
        (None, 1),
        ("8", 3),
        ("7", 3),
    ]


def test_steps_found_with_low_confidence_make_no_groups() -> None:
    inner = 3 * "dot:6@t.py:3:f add:2@t.py:4:f "
    report = report_of(trace_of(10 * (inner + "sub:2@t.py:5:f ")), by="step")
    assert report.steps.steps.confidence == "low"
    assert [row.group.label for row in report.ops] == [None]
