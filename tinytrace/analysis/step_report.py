"""How long steps took: warm-up, spread, and what was different in the slowest one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.slowest_step import SlowestStep, slowest_step
from tinytrace.analysis.step_finding import Steps, find_steps
from tinytrace.tracer.trace import Trace

MIN_FOR_WARMUP = 8  # steps; the later half, 4, has quartiles at the least
# Tukey (1977), Exploratory Data Analysis: what is further than 3 interquartile ranges beyond a quartile is "far out"
FAR_OUT = 3.0
MIN_SLOWER = (
    0.05  # and by this share of the median: steps of a machine without noise differ by nanoseconds
)
MAD_TO_SIGMA = 1.4826  # 1 / Φ⁻¹(3/4): of a normal distribution it gives the standard deviation
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class StepReport:
    """Durations of steps; those of the warm-up are in none of the figures.

    Attributes:
        steps: all of them.
        warmup: how many of the first are warm-up; None: too few steps to tell.
        p50_ns, p90_ns, p99_ns: quantiles, interpolated linearly; None: no steps.
        spread_ns: 1.4826 · median absolute deviation from the median: as the standard deviation, but a few slow
            steps do not change it; its square is a robust variance. None: fewer than two steps.
        warmup_excess_ns: what the warm-up took more than as many median steps.
        percent: of the time from the first to the last moment of the trace, in steps (warm-up too); None: no
            steps, or no time.
        slowest: the slowest step, and what was different in it; None: fewer than three steps.
    """

    steps: Steps
    warmup: int | None
    p50_ns: float | None
    p90_ns: float | None
    p99_ns: float | None
    spread_ns: float | None
    warmup_excess_ns: float | None
    percent: float | None
    slowest: SlowestStep | None


def step_report(trace: Trace, steps: Steps | None = None, top: int = 5) -> StepReport:
    """Return how long the steps of a trace took.

    Args:
        trace: any trace.
        steps: of it; by default those that `find_steps` finds.
        top: how many differences of the slowest step at most, and lines in its gaps.

    Example:
        >>> from tinytrace.tracer.trace import Trace
        >>> step_report(Trace()).p50_ns is None
        True
    """
    steps = find_steps(trace) if steps is None else steps
    if not len(steps):
        return StepReport(steps, None, None, None, None, None, None, None, None)
    dur_ns = steps.dur_ns
    warmup = warmup_steps(dur_ns)
    usual_ns = dur_ns[warmup or 0 :]
    p50, p90, p99 = (float(q) for q in np.quantile(usual_ns, (0.5, 0.9, 0.99)))
    spread_ns = MAD_TO_SIGMA * float(np.median(np.abs(usual_ns - p50)))
    whole_ns = trace.end_ns - trace.start_ns
    return StepReport(
        steps=steps,
        warmup=warmup,
        p50_ns=p50,
        p90_ns=p90,
        p99_ns=p99,
        spread_ns=spread_ns if len(usual_ns) > 1 else None,
        warmup_excess_ns=None if warmup is None else float(dur_ns[:warmup].sum()) - warmup * p50,
        percent=100 * int(dur_ns.sum()) / whole_ns if whole_ns > 0 else None,
        slowest=slowest_step(trace, steps, warmup or 0, top),
    )


def warmup_steps(dur_ns: Ints) -> int | None:
    """Return how many of the first steps are warm-up; None: fewer than 8 steps.

    The later half is taken as steady. A step is slow if it lies beyond the upper quartile of that half by more
    than 3 interquartile ranges (Tukey's far-out fence), and is 5 % above its median. The warm-up is the
    longest beginning of at most half of the steps that ends with a slow step and of which at least
    half are slow. So neither a slow step now and then nor a run that is slow at its end is a warm-up.

    Args:
        dur_ns: (n,) durations in order.

    Example:
        >>> warmup_steps(np.array([90, 30, 10, 11, 10, 12, 10, 11, 10, 10]))
        2
    """
    n = len(dur_ns)
    if n < MIN_FOR_WARMUP:
        return None
    low, middle, high = np.quantile(dur_ns[n // 2 :], (0.25, 0.5, 0.75))
    limit = max(high + FAR_OUT * (high - low), (1 + MIN_SLOWER) * middle)
    slow = dur_ns[: n // 2] > limit
    ends = slow & (2 * np.cumsum(slow) >= np.arange(1, n // 2 + 1))
    return int(np.flatnonzero(ends)[-1]) + 1 if ends.any() else 0
