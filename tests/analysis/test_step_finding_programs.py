"""Steps found in recorded programs that the rules were not made for, against the marks that were taken out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import tinytrace as tt
from tests.analysis import training_programs as programs
from tests.analysis.training_programs import PROGRAMS, Program
from tinytrace.analysis.step_finding import Steps, find_steps
from tinytrace.tracer.records import Kind
from tinytrace.tracer.trace import Spans, Trace

FOUND_IN_PART = {
    programs.two_models: 50
}  # of two loops the longer one, and the reason names the other
NOT_KNOWN = {
    programs.recurrent_cells,  # nothing is learned in it: cells or sequences?
    programs.perceptron,  # an update now and then: samples or epochs?
    programs.episodes,  # the update looks like a sum: actions or episodes?
}


def recorded(program: Program) -> Trace:
    with tt.trace(sampler="none") as recording:
        program(tt.step)
    assert recording.result is not None
    return recording.result


def without_marks(trace: Trace) -> Trace:
    """The same run, had the program marked nothing."""
    spans = trace.spans
    kept = spans.kind != Kind.STEP
    number = np.append(np.where(kept, np.cumsum(kept) - 1, -1), -1)
    columns = dict(spans.take(kept).columns())
    columns |= {"parent": number[columns["parent"]], "step": np.full(int(kept.sum()), -1)}
    return replace(trace, spans=Spans(**columns))


def are_right(found: Steps, marked: Steps, trace: Trace) -> bool:
    """Whether the last op of each marked step is in the step of its number."""
    ends_ns = trace.spans.start_ns[trace.spans.kind == Kind.OP]
    last = ends_ns[np.searchsorted(ends_ns, marked.end_ns) - 1]
    return len(found) == len(marked) and bool(
        ((found.start_ns <= last) & (last < found.end_ns)).all()
    )


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_steps_found_in_a_training_program_are_its_own(program: Program) -> None:
    trace = recorded(program)
    marked, found = find_steps(trace), find_steps(without_marks(trace))
    assert (marked.how, found.how) == ("marks", "pattern")
    if program in FOUND_IN_PART:
        assert len(found) == FOUND_IN_PART[program]
        assert found.confidence == "medium"
        assert "another loop, which ran 50 times before it" in found.reason
    elif program in NOT_KNOWN:
        assert found.confidence == "low"
        assert "may be" in found.reason
    else:
        assert are_right(found, marked, trace), found.reason
