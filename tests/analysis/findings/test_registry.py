from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.analysis.findings.traces import sampled
from tests.builders import traces
from tests.peaks_by_hand import with_peaks
from tinytrace.analysis.findings import RULES, findings
from tinytrace.tracer.trace import Trace


def test_findings_are_ordered_by_what_can_be_won() -> None:
    found = findings(sampled({"a": 50, "b": 90, "c": 30}))
    assert [finding.function for finding in found] == ["b", "a", "c"]


def test_what_can_win_little_is_left_out() -> None:
    trace = sampled({"a": 900, "b": 100})
    assert [f.function for f in findings(trace)] == ["a", "b"]
    assert [f.function for f in findings(trace, min_share=0.5)] == ["a"]


def test_a_trace_of_nothing_has_no_findings() -> None:
    assert findings(Trace()) == ()


@given(traces(), st.booleans())
def test_any_trace_gives_findings_that_can_be_shown(trace: Trace, has_roofs: bool) -> None:
    for finding in findings(with_peaks(trace) if has_roofs else trace, min_share=0):
        assert finding.rule in RULES
        assert finding.title and finding.remedy and finding.code and finding.why_confidence
        assert finding.ceiling_ns is None or finding.ceiling_ns >= 0
        assert 0 <= finding.ceiling_share <= 1
