"""Two forms of a computation timed in turns, and what that shows.

A round times the present form, the new one, and the present one once more; every other round goes backwards. The
second timing of the same form shows what differs without any reason: no gain is told within that. docs/verify.md.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tinytrace.analysis.comparison import Speedup, speedup
from tinytrace.analysis.probes import Clock, Probe, Progress, Stopwatch
from tinytrace.analysis.replay import NotRebuiltError
from tinytrace.analysis.rewrites import Forms
from tinytrace.analysis.signature_roofs import uses_matrices

ROUNDS = 25
# Of calls that take longer than 20 ms: one of them is as long as a block of others, or many such.
ROUNDS_IF_LONG, LONG_CALL_NS = 12, 20_000_000
WARM_UP = 3  # rounds that are left out: threads start, clocks rise, memory is mapped
BLOCK_NS = 2_000_000  # per form and round: 10,000 times the resolution of the clock
# Twelve rounds of three timings, and warming up: 10 s.
LONGEST_CALL_NS = 200_000_000
MARGIN = 0.03  # a smaller difference is none that anybody should rewrite for
ALIKE = 1e-5  # relative: the default of np.allclose


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was measured.

    Attributes:
        speedup: time of the present form ÷ time of the new one, judged as everywhere: above 1 the new one is faster.
        before_ns, after_ns: medians of a call over the rounds.
        difference: largest relative difference of the results; None: they cannot be compared (another shape).
        identical: the results are the same, bit by bit.
    """

    speedup: Speedup
    before_ns: float
    after_ns: float
    difference: float | None
    identical: bool

    @property
    def agrees(self) -> bool:
        """Whether the results are alike within 10⁻⁵."""
        return self.difference is not None and self.difference <= ALIKE


@dataclass(frozen=True)
class Bench:
    """How forms are timed.

    Attributes:
        clock: tells ns; None: see `clock_for`.
        limit: returns what limits BLAS to so many threads while it is entered.
        largest_bytes: what all operands of one op may take; None: a quarter of what is free.
        progress: is told the share that is done, 0…1.
    """

    clock: Clock | None = None
    limit: Callable[[int], AbstractContextManager[object]] | None = None
    largest_bytes: int | None = None
    progress: Progress = lambda share: None


def clock_for(op: str, threads: int) -> Clock:
    """Return what an op is timed by: the CPU time of this thread, in which the turns of other programs are not.

    What BLAS spreads over its threads is timed by the time of day.

    Args:
        op: its name.
        threads: of BLAS.
    """
    spread = threads > 1 and uses_matrices(op)
    return time.perf_counter_ns if spread else time.thread_time_ns


def compared(one: Any, other: Any) -> tuple[float | None, bool]:
    """Return the largest relative difference of two results, and whether they are the same bit by bit.

    Relative to the largest magnitude in the first one; None where the shapes differ.

    Example:
        >>> compared(np.array([1.0, 2.0]), np.array([1.0, 2.5]))
        (0.25, False)
    """
    a, b = np.asarray(one), np.asarray(other)
    if a.shape != b.shape:
        return None, False
    if np.array_equal(a, b, equal_nan=a.dtype.kind in "fc"):
        return 0.0, a.dtype == b.dtype
    wide = "c16" if "c" in a.dtype.kind + b.dtype.kind else "f8"
    left, right = a.astype(wide), b.astype(wide)
    scale = float(np.max(np.abs(left), initial=0.0))
    apart = float(np.max(np.abs(left - right), initial=0.0))
    if np.isnan(apart):
        return np.inf, False
    return (apart / scale if scale else np.inf), False


def timed(
    forms: Forms,
    bench: Bench,
    threads: int,
    alpha: float,
) -> Outcome:
    """Time two forms in turns.

    Args:
        forms: both.
        bench: how; ``limit`` None: BLAS is left as it is.
        threads: of BLAS.
        alpha: the probability of missing the true ratio that is allowed.

    Returns:
        The outcome; the results were not compared.

    Raises:
        NotRebuiltError: one call takes too long.
    """
    watch = Stopwatch(ROUNDS, BLOCK_NS, bench.clock or time.perf_counter_ns)
    if bench.limit is not None:
        watch = replace(watch, limit=bench.limit)
    with watch.limit(threads):
        once_ns = max(watch.once_ns(form) for form in forms)
    if once_ns > LONGEST_CALL_NS:
        raise NotRebuiltError(f"one call takes {once_ns / 1e9:.1f} s, too long to repeat it")
    rounds = ROUNDS if once_ns <= LONG_CALL_NS else ROUNDS_IF_LONG
    # With fewer there is no interval at all: P(T = 0) is 2⁻ⁿ, and may be α/2 at most.
    rounds = max(rounds, math.ceil(math.log2(2 / alpha)))
    watch = replace(watch, rounds=WARM_UP + rounds)
    probes = [
        Probe(name, 1, form)
        for name, form in (
            ("before", forms.before),
            ("after", forms.after),
            ("again", forms.before),
        )
    ]
    [rows] = watch.time([(threads, probes)])
    before, after, again = (row.call_ns[WARM_UP:] for row in rows)
    return Outcome(
        speedup=speedup(before, after, again, margin=MARGIN, confidence=1 - alpha),
        before_ns=float(np.median(before)),
        after_ns=float(np.median(after)),
        difference=None,
        identical=False,
    )
