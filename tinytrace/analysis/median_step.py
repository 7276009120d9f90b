"""The step to look at: the one that took as long as steps take."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tinytrace.analysis.step_finding import Steps, find_steps
from tinytrace.analysis.step_report import warmup_steps
from tinytrace.tracer.trace import Trace


@dataclass(frozen=True, slots=True)
class MedianStep:
    """One step of a trace.

    Attributes:
        number: as in `Steps`.
        thread: row of ``Trace.threads``.
        start_ns, end_ns: when, by the clock of the trace.
    """

    number: int
    thread: int
    start_ns: int
    end_ns: int


def median_step(trace: Trace, steps: Steps | None = None) -> MedianStep | None:
    """Return the step of median duration, warm-up left out; None: no steps, or none that takes time.

    Of an even number of steps it is the shorter one of the two in the middle, since the mean of both is nobody's
    duration; of several that took equally long, the first.

    Args:
        trace: any trace.
        steps: of it; by default those that `find_steps` finds.

    Example:
        >>> median_step(Trace()) is None
        True
    """
    steps = find_steps(trace) if steps is None else steps
    first = warmup_steps(steps.dur_ns) or 0
    dur_ns = steps.dur_ns[first:]
    lasting = np.flatnonzero(dur_ns > 0)
    if not len(lasting):
        return None
    ordered = lasting[np.argsort(dur_ns[lasting], kind="stable")]
    median_ns = dur_ns[ordered[(len(ordered) - 1) // 2]]
    row = first + int(lasting[dur_ns[lasting] == median_ns][0])
    return MedianStep(
        int(steps.number[row]), steps.thread, int(steps.start_ns[row]), int(steps.end_ns[row])
    )
