"""The verdict in one sentence."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given

from tests.builders import trace_of, traces
from tests.cli.test_report import training_run
from tinytrace.analysis.account import Account, Entry, Where
from tinytrace.analysis.findings import Finding
from tinytrace.analysis.headline import SPENT, headline
from tinytrace.analysis.report import Report, report_of
from tinytrace.tracer.trace import Trace


def finding(ceiling_ns: int | None, share: float) -> Finding:
    return Finding(
        id="F1", rule="pow", title="slow", file="/a/train.py", line=42, function="f", evidence=(),
        ceiling_ns=ceiling_ns, ceiling_share=share, confidence="high", why_confidence="", remedy="",
        code="",
    )  # fmt: skip


def mostly(where: Where, report: Report) -> Report:
    """The report, with an account of a run that is mostly this."""
    entries = tuple(
        Entry(each, 90 if each is where else 1, 90.0 if each is where else 1.0) for each in Where
    )
    account = Account("MainThread", 100, 1, entries, (), profiler_known=True, scaled=False)
    return replace(report, account=account, step_account=None)


def test_it_says_where_most_of_a_step_goes() -> None:
    assert headline(report_of(training_run())) == (
        "54 % of a step is spent in Python between ops; the line with most of it is train.py:57, and no rule "
        "knows how to make it faster."
    )


def test_of_ops_it_names_the_one_with_most_time() -> None:
    report = mostly(Where.COMPUTE, report_of(training_run()))
    assert headline(report).startswith(
        "90 % of the run is spent in ops at the limit of arithmetic; the op with most time is matmul "
        "(train.py:42 forward), and"
    )


def test_a_table_of_something_else_does_not_name_an_op() -> None:
    report = mostly(Where.COMPUTE, report_of(training_run(), by="thread"))
    assert "op with most time" not in headline(report)


def test_the_largest_finding_is_told_as_a_bound() -> None:
    report = report_of(training_run())
    found = (finding(None, 0.0), finding(10, 0.1), finding(400, 0.4))
    assert headline(replace(report, findings=found)).endswith(
        "the largest finding (train.py:42) could save at most 40 % of the run."
    )
    few = headline(replace(report, findings=(finding(1, 0.001),)))
    assert few.endswith("could save less than 1 % of the run.")


def test_without_time_nothing_is_known() -> None:
    assert "not known" in headline(report_of(Trace()))
    assert headline(report_of(trace_of("matmul:5"))).startswith("100 % of the run is spent in ops")


def test_there_are_words_for_every_line_of_the_account() -> None:
    assert set(SPENT) == set(Where)


@given(traces())
def test_any_trace_has_one(trace: Trace) -> None:
    assert headline(report_of(trace)).endswith(".")
