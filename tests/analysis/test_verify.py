"""What rewrites gain: verdicts on a clock that only the forms move, candidates, and one run for real."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import threadpoolctl  # noqa: F401  # sets an environment variable for Intel's OpenMP, once

import tinytrace as tt
from tests.builders import signature_of, trace_of
from tinytrace.analysis.comparison import Verdict
from tinytrace.analysis.in_turns import (
    MARGIN,
    ROUNDS,
    ROUNDS_IF_LONG,
    Bench,
    Outcome,
    clock_for,
    compared,
    timed,
)
from tinytrace.analysis.replay import NotRebuiltError
from tinytrace.analysis.rewrites import Forms
from tinytrace.analysis.verifiable import asked_for
from tinytrace.analysis.verify import candidates, verify
from tinytrace.errors import UsageError
from tinytrace.tracer.trace import Trace

TRACE = trace_of("step(add[90x70,90x70->90x70]:600@a.py:3:f sort[50->50]:400 add[4,4->4]:0.5)")


@dataclass
class FakeClock:
    """A clock that stands still, but for the forms."""

    now_ns: Fraction = Fraction(0)

    def __call__(self) -> int:
        return int(self.now_ns)

    def form(self, *costs_ns: float) -> Callable[[], None]:
        """A form whose calls take these times in turns."""
        costs = itertools.cycle(map(Fraction, costs_ns))

        def call() -> None:
            self.now_ns += next(costs)

        return call


def outcome(before: tuple[float, ...], after: tuple[float, ...]) -> Outcome:
    clock = FakeClock()
    forms = Forms(clock.form(*before), clock.form(*after))
    return timed(forms, Bench(clock), threads=1, alpha=0.05)


def test_a_form_that_takes_half_the_time_is_twice_as_fast() -> None:
    found = outcome((400_000,), (200_000,))
    told = found.speedup
    assert told.verdict is Verdict.FASTER
    assert [told.ratio.estimate, told.ratio.low, told.ratio.high] == pytest.approx([2, 2, 2])
    assert (found.before_ns, found.after_ns, told.rounds) == (400_000, 200_000, ROUNDS)
    assert told.margin == MARGIN


def test_a_form_that_takes_twice_the_time_is_slower() -> None:
    assert outcome((200_000,), (400_000,)).speedup.verdict is Verdict.SLOWER


def test_forms_that_take_the_same_are_equivalent() -> None:
    assert outcome((200_000,), (200_000,)).speedup.verdict is Verdict.EQUIVALENT


def test_a_gain_within_what_the_present_form_differs_from_itself_is_inconclusive() -> None:
    # The present form now takes 100 and now 180 ms: as much apart as the gain would be.
    found = outcome((100e6, 180e6), (110e6,))
    assert found.speedup.margin > 0.5
    assert found.speedup.verdict is Verdict.INCONCLUSIVE


def test_long_calls_are_timed_in_fewer_rounds_and_very_long_ones_not_at_all() -> None:
    assert outcome((50e6,), (25e6,)).speedup.rounds == ROUNDS_IF_LONG
    with pytest.raises(NotRebuiltError, match=r"one call takes 0\.3 s"):
        outcome((300e6,), (1000,))


def test_many_rewrites_at_once_take_as_many_rounds_as_their_intervals_need() -> None:
    clock = FakeClock()
    forms = Forms(clock.form(50e6), clock.form(25e6))
    found = timed(forms, Bench(clock), threads=1, alpha=0.05 / 1000)
    assert found.speedup.rounds == 16  # 2^-16 < 0.000025 < 2^-15
    assert found.speedup.verdict is Verdict.FASTER


def test_results_are_compared_relative_to_the_largest() -> None:
    x = np.array([1.0, -4.0])
    assert compared(x, x.copy()) == (0.0, True)
    assert compared(x, x.astype("f4")) == (0.0, False)  # the same numbers in another type
    assert compared(x, np.array([1.0, -3.0])) == (0.25, False)
    assert compared(x, np.zeros(3)) == (None, False)
    assert compared(np.array([1j]), np.array([0j])) == (1.0, False)
    assert compared(np.array([np.nan]), np.array([np.nan])) == (0.0, True)
    assert compared(x, np.array([1.0, np.nan])) == (np.inf, False)


def test_candidates_come_by_the_time_of_their_signatures() -> None:
    found = [(c.rewrite.name, c.group.self_ns, c.group.callsite) for c in candidates(TRACE)]
    # `sort` is no ufunc, and the small addition takes less than a thousandth.
    assert found == [("out", 600_000, "a.py:3 f"), ("float32", 600_000, "a.py:3 f")]


def test_one_rewrite_can_be_asked_for_by_its_name() -> None:
    assert [c.rewrite.name for c in candidates(TRACE, "float32")] == ["float32"]
    with pytest.raises(
        UsageError, match=r"'float16' is no finding of this trace .* there are out, float32,"
    ):
        candidates(TRACE, "float16")


def test_only_the_calls_of_a_finding_are_candidates() -> None:
    # The same signature at two places; float64 out of float32 is of all that follows, the leak at line 5.
    leak = signature_of("multiply", "2000:f4,.->2000")
    wide = signature_of("negative", "2000->2000")
    text = "negative:100@a.py:2:f multiply:350@a.py:5:f negative:200@a.py:7:f"
    trace = trace_of(text, signatures={"multiply": leak, "negative": wide})
    asked = asked_for(trace, "F1")
    assert [finding.rule for finding in asked.findings] == ["float64 out of float32"]
    found = [(c.rewrite.name, c.group.op, c.group.self_ns) for c in candidates(trace, asked)]
    assert found == [("float32", "multiply", 350_000), ("float32", "negative", 200_000)]
    everywhere = [(c.group.op, c.group.self_ns) for c in candidates(trace, "float32")]
    assert everywhere == [("multiply", 350_000), ("negative", 300_000)]


@pytest.mark.parametrize(
    "trace",
    [Trace(), trace_of("step(add:5)"), trace_of("add[0x4,0x4->0x4]:5"), trace_of("aten.mul[3,3->3]:5")],
    ids=["empty", "no signature", "no elements", "foreign"],
)  # fmt: skip
def test_a_trace_without_anything_to_rewrite_gives_an_empty_answer(trace: Trace) -> None:
    assert verify(trace).rows == ()


def bench(**changes: Any) -> Bench:
    """One on which nothing takes any time, so that all is over at once."""
    now = itertools.count(0, 3_000_000)
    started = Bench(lambda: next(now), lambda threads: contextlib.nullcontext(), 10**9)
    return replace(started, **changes)


def test_a_gain_is_told_with_its_interval_and_what_it_would_save() -> None:
    clock = FakeClock()
    row = verify(TRACE, "float32", bench=bench()).rows[0]
    found = timed(Forms(clock.form(400_000), clock.form(100_000)), Bench(clock), 1, 0.05)
    # 600 µs in one call; here it takes 400 µs, of which three quarters are saved.
    saved = replace(row, outcome=found).saved_ns
    assert saved is not None
    assert [saved.low, saved.estimate, saved.high] == pytest.approx([300_000] * 3)
    doubtful = replace(found.speedup, verdict=Verdict.INCONCLUSIVE)
    assert replace(row, outcome=replace(found, speedup=doubtful)).saved_ns is None


def test_operands_that_do_not_fit_into_memory_are_left_alone() -> None:
    # Three arrays of 90 × 70 doubles, six times: 907 kB.
    small = verify(TRACE, "out", bench=bench(largest_bytes=900_000)).rows[0]
    assert small.outcome is None
    assert small.reason == "its operands take 1 MB, more than a quarter of what is free"
    assert verify(TRACE, "out", bench=bench(largest_bytes=910_000)).rows[0].outcome is not None


def test_a_signature_as_large_as_no_memory_is_answered() -> None:
    huge = trace_of("add[4000000x4000000,4000000x4000000->4000000x4000000]:9")
    reason = verify(huge, "out", bench=bench()).rows[0].reason
    assert reason is not None
    assert "more than a quarter of what is free" in reason


def test_what_was_called_with_an_argument_that_is_not_known_is_not_measured() -> None:
    row = verify(trace_of("add[8,8->8:f4]:9"), "out", bench=bench()).rows[0]
    assert row.reason == "called without further arguments, it gives another result"


def test_progress_reaches_its_end() -> None:
    shares: list[float] = []
    verify(TRACE, bench=bench(progress=shares.append))
    assert shares == [0.5, 1.0]


def test_only_what_blas_spreads_over_threads_is_timed_by_the_time_of_day() -> None:
    by_thread = clock_for("add", 2)
    assert clock_for("matmul", 1) is by_thread
    assert clock_for("matmul", 2) is not by_thread


def test_nothing_is_timed_while_recording() -> None:
    with tt.trace(None, sampler="none"), pytest.raises(UsageError, match="being recorded"):
        verify(TRACE)


def test_for_real_three_products_are_measured_against_a_power() -> None:
    with tt.trace(None, sampler="none") as recording:
        np.full(2000, 0.5) ** 3
    assert recording.result is not None
    answer = verify(recording.result, "products")
    assert answer.same_machine is True
    [row] = answer.rows
    assert (row.before, row.after) == ("x ** 3", "x * x * x")
    assert row.outcome is not None
    assert row.outcome.speedup.rounds == ROUNDS
    assert row.outcome.agrees
    ratio = row.outcome.speedup.ratio
    assert ratio.low <= ratio.estimate <= ratio.high
