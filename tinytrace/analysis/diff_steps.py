"""Steps of two runs compared: whether they are of one loop, and how long the median one takes."""

from __future__ import annotations

import math
from collections.abc import Iterable

from tinytrace.analysis.diff_calls import Side
from tinytrace.analysis.diff_intervals import median_spread
from tinytrace.analysis.diff_timeline import Timeline
from tinytrace.analysis.diff_values import Ratio

SAME_LOOP = 0.5  # of the kinds of calls that both have; a program whose every second line was edited is another one
AS_OFTEN = 1.1  # times per step: a short last batch has other operands, so that the usual ones run less often


def are_alike(sides: Iterable[tuple[Side, Side]], n_before: int, n_after: int) -> bool:
    """Return whether steps that were found are of the same loop: what both have mostly runs as often per step.

    If the one's are the batches and the other's the epochs, hardly anything does.

    Args:
        sides: what each kind of call did in the steps of the first run, and in those of the second; only what ran
            in both.
        n_before: how many steps the first run has.
        n_after: the second.
    """
    rates = [(a.calls / n_before, b.calls / n_after) for a, b in sides]
    as_often = [max(a, b) <= AS_OFTEN * min(a, b) for a, b in rates]
    return sum(as_often) >= SAME_LOOP * len(as_often) if as_often else False


def median_ratio(before: Timeline, after: Timeline) -> tuple[float, float, Ratio | None]:
    """Return the median duration of both runs' steps without their warm-up, ns, and the ratio of these.

    The ratio is None where a side has fewer than 8 of them.
    """
    usual = [
        line.steps.dur_ns[line.warmup or 0 :] for line in (before, after) if line.steps is not None
    ]
    medians, low, high = median_spread(*usual)
    if math.isnan(low) or min(medians) <= 0:
        return *medians, None
    return *medians, Ratio.around(medians[1] / medians[0], low, high)
