"""What several rules ask of a trace."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tests.analysis.findings.traces import FILE, MS
from tests.builders import START_NS, TraceBuilder, trace_of
from tinytrace.analysis.findings.case import Case
from tinytrace.tracer.trace import Trace


def function(case: Case, name: str) -> NDArray[np.int64]:
    """The number of a function, in an array."""
    names = [case.trace.strings[i] for i in case.trace.frames.name_id]
    return np.unique(case.function_of[names.index(name)])


def test_time_between_ops_is_that_of_gaps_between_two_of_the_functions() -> None:
    text = "a:5@m.py:1:f _:3 a:5@m.py:2:f _:7 a:5@m.py:9:g _:2 a:5@m.py:9:g"
    case = Case(trace_of(text))
    f, g = function(case, "f"), function(case, "g")
    assert [case.between_ns(of) for of in (f, g, np.append(f, g))] == [3_000, 2_000, 12_000]


def test_a_long_pause_between_ops_is_other_work() -> None:
    case = Case(trace_of("a:5@m.py:1:f _:50 a:5@m.py:1:f _:51 a:5@m.py:1:f"))
    assert case.between_ns(function(case, "f")) == 50_000


def test_shares_are_of_the_run_without_imports() -> None:
    builder = TraceBuilder()
    builder.process(1, end_ns=START_NS + 10 * MS)
    builder.thread(0, 1)
    importer = builder.frame("_find_and_load", "<frozen importlib._bootstrap>", 1)
    main = builder.frame("main", FILE, 1)
    for number in range(10):
        frames = [importer] if number < 6 else [main]
        builder.sample(0, START_NS + (number + 1) * MS, MS, frames)
    assert Case(builder.build()).wall_ns == 4 * MS
    builder.thread(builder.process(2), 2)  # another rank imports at the same time
    for number in range(10):
        builder.sample(1, START_NS + (number + 1) * MS, MS, [importer])
    assert Case(builder.build()).wall_ns == 4 * MS
    assert Case(Trace()).wall_ns == 1
