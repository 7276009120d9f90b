"""Two things measured in turns: which is faster, by how much, and what it would take to know.

The method of `compare`, `bench`, `benchmark_suite` and `verify`, and the only place where a verdict about times that
were measured in turns is made; docs/measuring.md has the reasons and what they were tried on. Each round measures the
baseline, the other one, and the baseline once more, in random order. What is looked at is the logarithm of the ratio
in each round (`analysis.paired`). That the baseline differs from itself by more than nothing is what the machine did:
no smaller difference of the other one is told from it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.paired import (
    Interval,
    ratio_interval,
    signed_rank_distribution,
    signed_rank_interval,
)

CONFIDENCE = 0.95
# The first sizes at which the interval of the signed-rank test exists at 95 and at 90 %.
LEAST_ROUNDS = 6
MARGIN = 0.02  # a smaller difference matters to nobody
MOST_ROUNDS = 100_000  # that anybody would be told to run
# Between the first and the second half of the rounds the ratio may change by this, else it drifts.
DRIFT = 0.10
SEED = 20250924


class Verdict(Enum):
    """What was shown. The values are what is printed."""

    FASTER = "faster"
    SLOWER = "slower"
    EQUIVALENT = "equivalent"
    INCONCLUSIVE = "inconclusive"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True)
class Speedup:
    """Time of the baseline ÷ time of the other one: above 1 the other one is faster.

    Attributes:
        ratio: with its interval, of the confidence ``confidence``.
        verdict: by the whole interval, never by the estimate.
        margin: relative; what counts as a difference: what was asked, or more where the baseline differed by more
            from itself.
        floor: relative; by how much the baseline differed from itself; None: it was not measured twice.
        p_faster: share of the rounds in which the other one was faster, ties counted half.
        p_value: of the signed-rank test of "no difference", two-sided.
        rounds: that were measured.
        rounds_needed: about as many would decide; None: it is decided, or more than 100,000.
        reason: why it is invalid or inconclusive; None: it is neither.
        confidence: of the interval.
    """

    ratio: Interval
    verdict: Verdict
    margin: float
    floor: float | None
    p_faster: float
    p_value: float
    rounds: int
    rounds_needed: int | None
    reason: str | None
    confidence: float = CONFIDENCE

    def __str__(self) -> str:
        """One line for people."""
        low, high = self.ratio.low, self.ratio.high
        text = f"{self.ratio.estimate:.3g}x [{low:.3g}, {high:.3g}] {self.verdict.value}"
        return f"{text}: {self.reason}" if self.reason else text

    def __float__(self) -> float:
        """The estimate."""
        return self.ratio.estimate


def speedup(
    baseline: Sequence[float],
    other: Sequence[float],
    again: Sequence[float] | None = None,
    *,
    margin: float = MARGIN,
    confidence: float = CONFIDENCE,
    comparisons: int = 1,
) -> Speedup:
    """Judge what was measured in n rounds.

    Args:
        baseline: n positive times, one per round.
        other: n, of the other one, in the same rounds.
        again: n, of the baseline once more; None: it was not measured.
        margin: relative difference that matters.
        confidence: of the interval.
        comparisons: how many such intervals are told together: each then has the confidence that all hold together
            (Bonferroni).

    Raises:
        ValueError: fewer than 6 rounds, times that are not positive, or columns of different lengths.

    Example:
        >>> a = [10.0, 11.0, 10.0, 12.0, 10.5, 11.5, 10.2, 10.1]
        >>> found = speedup(a, [x / 2 for x in a], a)
        >>> found.verdict.value, round(found.ratio.estimate, 6)
        ('faster', 2.0)
    """
    times = [np.asarray(t, "f8") for t in (baseline, other, again) if t is not None]
    if any(t.shape != times[0].shape or not (t > 0).all() for t in times):
        raise ValueError("times must be positive, and as many of each")
    n = len(times[0])
    if n < LEAST_ROUNDS:
        raise ValueError(f"{n} rounds are too few to tell anything: at least {LEAST_ROUNDS}")
    alpha = (1 - confidence) / comparisons
    if 2.0 ** (1 - n) > alpha:
        raise ValueError(
            f"{n} rounds are too few for {comparisons} intervals of {confidence:.0%}: "
            f"at least {math.ceil(1 - math.log2(alpha))}"
        )
    logs = np.log(times[0] / times[1])
    ratio = ratio_interval(baseline, other, alpha)
    floor = None if again is None else _floor(baseline, again, alpha)
    wide = max(margin, floor or 0.0)
    # Within the margin by both one-sided tests: the interval of confidence 1 − 2α (Schuirmann, 1987).
    narrow = ratio_interval(baseline, other, min(2 * alpha, 0.5))
    verdict = verdict_of(ratio, margin, wide, narrow)
    reason = _reason(ratio, margin, wide) if verdict is Verdict.INCONCLUSIVE else None
    drifted = _drift(logs)
    if drifted is not None:
        verdict, reason = Verdict.INVALID, drifted
    needed = None
    if verdict is Verdict.INCONCLUSIVE:
        needed = _rounds_needed(ratio, floor, margin, n)
        more = "more rounds than anybody runs" if needed is None else f"about {needed:,} rounds"
        reason = f"{reason}; {more} would decide"
    return Speedup(
        ratio, verdict, wide, floor, _p_faster(logs), signed_rank_p(logs), n, needed, reason,
        confidence,
    )  # fmt: skip


def _floor(baseline: Sequence[float], again: Sequence[float], alpha: float) -> float:
    same = ratio_interval(baseline, again, alpha)
    return max(same.high - 1, 1 / same.low - 1)


def verdict_of(ratio: Interval, margin: float, wide: float, narrow: Interval) -> Verdict:
    """Return what an interval of a ratio shows.

    Args:
        ratio: baseline ÷ other.
        margin: relative; differences within it matter to nobody.
        wide: the margin, or more where the baseline differed by more from itself.
        narrow: the interval of the same ratio of the confidence at which equivalence is told.

    Example:
        >>> half = Interval(1.5, 1.4, 1.6)
        >>> verdict_of(half, 0.02, 0.02, half).value
        'faster'
    """
    if ratio.low > 1 + wide:
        return Verdict.FASTER
    if ratio.high < 1 / (1 + wide):
        return Verdict.SLOWER
    # By what was asked, and not by what the machine adds to it: less is known there, and not more.
    if narrow.low > 1 / (1 + margin) and narrow.high < 1 + margin:
        return Verdict.EQUIVALENT
    return Verdict.INCONCLUSIVE


def _reason(ratio: Interval, margin: float, wide: float) -> str:
    if wide > margin and (ratio.low > 1 + margin or ratio.high < 1 / (1 + margin)):
        return f"the baseline differs from itself by up to {_size(wide)}"
    return f"neither a difference of {_size(wide)} nor its absence was shown"


def _size(relative: float) -> str:
    return f"{relative:.1%}" if relative < 1 else f"{1 + relative:.3g} times"


def _drift(logs: NDArray[np.float64]) -> str | None:
    """Say that the ratio was another one in the second half: both halves' intervals lie apart, and by `DRIFT`."""
    half = len(logs) // 2
    if half < 2 * LEAST_ROUNDS:
        return None
    first = signed_rank_interval(logs[:half].tolist(), 0.001)
    second = signed_rank_interval(logs[half:].tolist(), 0.001)
    apart = max(second.low - first.high, first.low - second.high)
    if apart <= 0 or abs(first.estimate - second.estimate) < math.log1p(DRIFT):
        return None
    early, late = math.exp(first.estimate), math.exp(second.estimate)
    return (
        f"the ratio drifts: {early:.3g} in the first half of the rounds, {late:.3g} in the second"
    )


def _rounds_needed(ratio: Interval, floor: float | None, margin: float, rounds: int) -> int | None:
    """The half width of the interval, and the floor, shrink with the root of the rounds: when is it decided?"""
    size, edge = abs(math.log(ratio.estimate)), math.log1p(margin)
    half_width = (math.log(ratio.high) - math.log(ratio.low)) / 2
    unknown = half_width + (math.log1p(floor or 0.0) if size > edge else 0.0)
    shrunk = abs(size - edge) / unknown
    if shrunk * shrunk * MOST_ROUNDS < rounds:
        return None
    return max(rounds + 1, math.ceil(rounds / shrunk**2))


def _p_faster(logs: NDArray[np.float64]) -> float:
    return float(((logs > 0).sum() + (logs == 0).sum() / 2) / len(logs))


def signed_rank_p(values: NDArray[np.float64]) -> float:
    """Return the two-sided p of Wilcoxon's signed-rank test that the centre is 0.

    By the normal approximation with ties and continuity corrected beyond 25 values that are not 0, exact otherwise.
    Zeros are left out (Wilcoxon, 1945).

    Args:
        values: n differences.

    Example:
        >>> signed_rank_p(np.array([1.0, 2, 3, 4, 5, 6]))
        0.03125
    """
    x = values[values != 0]
    n = len(x)
    if n == 0:
        return 1.0
    order = np.argsort(np.abs(x), kind="stable")
    sizes = np.abs(x)[order]
    ranks = np.empty(n)
    first = np.searchsorted(sizes, sizes, side="left")
    last = np.searchsorted(sizes, sizes, side="right")
    ranks[order] = (first + last + 1) / 2
    positive = float(ranks[x > 0].sum())
    total = n * (n + 1) / 2
    statistic = min(positive, total - positive)
    if n <= 25 and len(set(sizes.tolist())) == n:
        return min(1.0, 2 * float(signed_rank_distribution(n)[: int(statistic) + 1].sum()))
    tied = np.unique(sizes, return_counts=True)[1]
    variance = n * (n + 1) * (2 * n + 1) / 24 - float((tied**3 - tied).sum()) / 48
    z = (statistic - total / 2 + 0.5) / math.sqrt(variance)
    return min(1.0, math.erfc(-min(z, 0.0) / math.sqrt(2)))


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Return the p values adjusted for being several (Holm, 1979).

    Args:
        p_values: m.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        (0.03, 0.06, 0.06)
    """
    m = len(p_values)
    order = sorted(range(m), key=lambda i: p_values[i])
    adjusted = [0.0] * m
    highest = 0.0
    for position, i in enumerate(order):
        highest = max(highest, min(1.0, (m - position) * p_values[i]))
        adjusted[i] = highest
    return tuple(adjusted)
