from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.analysis.findings.traces import ops, sampled
from tests.builders import signature_of, traces
from tests.peaks_by_hand import with_peaks
from tinytrace.analysis.findings import RULES, findings
from tinytrace.analysis.findings.mechanical import NONE, NOT_AGAIN, OF_RULE
from tinytrace.analysis.rewrites import REWRITES
from tinytrace.tracer.trace import Trace


def test_findings_are_ordered_by_what_can_be_won() -> None:
    found = findings(sampled({"a": 50, "b": 90, "c": 30}))
    assert [(finding.id, finding.function) for finding in found] == [
        ("F1", "b"),
        ("F2", "a"),
        ("F3", "c"),
    ]


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
        assert bool(finding.rewrites) == (finding.no_rewrite is None)


def test_every_rule_has_rewrites_or_a_reason_for_none() -> None:
    assert OF_RULE.keys() | NONE.keys() == RULES.keys()
    assert not OF_RULE.keys() & NONE.keys()
    assert {name for names in OF_RULE.values() for name in names} <= REWRITES.keys()


def test_a_product_of_long_doubles_has_no_rewrite() -> None:
    long = signature_of("matmul", "100x100:g,100x100:g->100x100:g")
    short = signature_of("matmul", "100x100:i8,100x100:i8->100x100:i8")
    told = [
        findings(ops("matmul:900@q.py:5:f", matmul=sig), min_share=0)[0] for sig in (long, short)
    ]
    assert [(finding.rule, finding.rewrites) for finding in told] == [
        ("product without BLAS", ()),
        ("product without BLAS", ("blas_dtype",)),
    ]
    assert told[0].no_rewrite == NOT_AGAIN
