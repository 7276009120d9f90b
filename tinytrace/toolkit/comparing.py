"""Two models against each other: `compare`."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

from tinytrace.analysis.comparison import MARGIN, Speedup, speedup
from tinytrace.errors import UsageError
from tinytrace.toolkit.accuracy import Accuracy
from tinytrace.toolkit.calling import call_of
from tinytrace.toolkit.outputs import outputs_differ
from tinytrace.toolkit.performance import Performance, facts_of, performance_of
from tinytrace.toolkit.rounds import (
    BUDGET_S,
    ROUNDS,
    Clock,
    calibrated,
    check_rounds,
    in_turns,
)

Z = 1.959964  # of the standard normal distribution, 97.5 %


@dataclass(frozen=True)
class Change:
    """How a figure differs, with what is known about it.

    Attributes:
        value: the difference or ratio; NaN: not measured.
        low, high: of its interval; None: there is one figure of each, and so none.
        verdict: what was shown, in a word.
        reason: in words, where more is to be said.
    """

    value: float
    low: float | None
    high: float | None
    verdict: str
    reason: str | None = None

    def __str__(self) -> str:
        """One line for people."""
        interval = "" if self.low is None else f" [{self.low:.3g}, {self.high:.3g}]"
        known = "" if math.isnan(self.value) else f"{self.value:.3g}{interval} "
        text = f"{known}{self.verdict}"
        return f"{text}: {self.reason}" if self.reason else text

    def __float__(self) -> float:
        """The value."""
        return self.value


@dataclass(frozen=True)
class Comparison:
    """Two models measured in turns.

    Attributes:
        baseline, optimized: each by itself, with the times of the same rounds.
        speedup: baseline ÷ optimized: above 1 the second one is faster.
        memory_reduction: baseline ÷ optimized: above 1 the second one needs less.
        accuracy_delta: optimized − baseline: above 0 the second one is right more often.
        difference: how the second one returns something else than the first; None: nothing else, or not known.
    """

    baseline: Performance
    optimized: Performance
    speedup: Speedup
    memory_reduction: Change
    accuracy_delta: Change
    difference: str | None = None

    def __str__(self) -> str:
        """Four lines for people, and one more where the two return different things."""
        lines = [
            f"{self.optimized.name} against {self.baseline.name}, in this process, in turns",
            f"speedup           {self.speedup}",
            f"memory reduction  {self.memory_reduction}",
            f"accuracy delta    {self.accuracy_delta}",
        ]
        if self.difference is not None:
            lines.append(f"note              {self.optimized.name} {self.difference}")
        return "\n".join(lines)


def compare(
    baseline: Any,
    optimized: Any,
    data: Any = None,
    *,
    accuracy: Any = None,
    rounds: int = ROUNDS,
    margin: float = MARGIN,
    accuracy_margin: float = 0.01,
    budget_s: float = BUDGET_S,
    clock: Clock = time.perf_counter_ns,
) -> Comparison:
    """Measure two models in turns, and say what was shown.

    In every round each is timed, and the baseline once more, in random order: what the machine does meanwhile, it
    does to all. Results of `measure_performance` are measured again, so that this holds.

    Args:
        baseline: a model, or what `measure_performance` returned.
        optimized: likewise.
        data: as for `measure_performance`, for both; None: what the results were measured with.
        accuracy: likewise.
        rounds: how many; at least 6.
        margin: relative difference in time that matters.
        accuracy_margin: difference in accuracy that matters.
        budget_s: what would take longer is refused before it is measured, and how long it would take is said.
        clock: tells ns.

    Raises:
        UsageError: one cannot be called, too few rounds, or it would take longer than the budget.
        Exception: whatever a model raises.

    Example:
        >>> import numpy as np
        >>> w = np.ones((64, 64))
        >>> both = compare(lambda x: (x @ w) @ w, lambda x: x @ (w @ w), np.ones((1, 64)), rounds=6)
        >>> both.speedup.rounds, both.memory_reduction.verdict
        (6, 'more memory')
    """
    check_rounds(rounds)
    sides = [side if isinstance(side, Performance) else None for side in (baseline, optimized)]
    for side in sides:
        if side is not None and side.model is None:
            raise UsageError(
                f"the model of {side.name} is not in this process: it cannot be measured in turns"
            )
    models = [
        given if side is None else side.model
        for given, side in zip((baseline, optimized), sides, strict=True)
    ]
    inputs = [data if data is not None or side is None else side.data for side in sides]
    calls = [call_of(model, given)[0] for model, given in zip(models, inputs, strict=True)]
    loops = calibrated(calls, clock, rounds=rounds, turns=3, budget_s=budget_s)
    facts = []
    for model, given, side in zip(models, inputs, sides, strict=True):
        judged = side.judged if side and accuracy is None else None
        facts.append(facts_of(model, given, accuracy, side.name if side else None, judged))
    before, after, again = in_turns([*calls, calls[0]], rounds, clock, loops=[*loops, loops[0]])
    first, second = (
        performance_of(*columns)
        for columns in zip(facts, (before, after), models, inputs, strict=True)
    )
    return Comparison(
        first,
        second,
        speedup(before, after, again, margin=margin),
        memory_reduction(first, second),
        accuracy_delta(first.judged, second.judged, accuracy_margin),
        outputs_differ(first.output, second.output),
    )


def memory_reduction(baseline: Performance, optimized: Performance) -> Change:
    """Return memory of the baseline ÷ of the other one, from the least to the most of what was measured.

    Args:
        baseline: as measured.
        optimized: likewise.
    """
    if not optimized.memory:
        return Change(math.nan, None, None, "not known", f"{optimized.name} took no array memory")
    ratio = baseline.memory / optimized.memory
    if not baseline.memory:
        return Change(ratio, None, None, "more memory", f"{baseline.name} took no array memory")
    ends = [[side.parameter_mb + peak for peak in side.peaks_mb] for side in (baseline, optimized)]
    low, high = min(ends[0]) / max(ends[1]), max(ends[0]) / min(ends[1])
    verdict = "less memory" if low > 1 else "more memory" if high < 1 else "same memory"
    if verdict == "same memory" and low != high:
        verdict = "inconclusive"
    return Change(ratio, low, high, verdict)


def accuracy_delta(baseline: Accuracy, optimized: Accuracy, margin: float) -> Change:
    """Return by how much more often the other one is right.

    Where it is known by sample, of the same samples, with the interval of D. G. Bonett and R. M. Price, *Adjusted Wald
    confidence interval for a difference of binomial proportions based on paired data*, 2012; else without one.

    Args:
        baseline: how often it was right.
        optimized: likewise, the other one.
        margin: difference that matters.

    Example:
        >>> import numpy as np
        >>> right = np.ones(1000, "?")
        >>> accuracy_delta(Accuracy(1.0, right), Accuracy(1.0, right), 0.01).verdict
        'equivalent'
    """
    value = optimized.share - baseline.share
    if math.isnan(value):
        notes = {baseline.note, optimized.note}
        return Change(
            value,
            None,
            None,
            "invalid: not a number" if "not a number" in notes else "not measured",
        )
    one, other = baseline.correct, optimized.correct
    if one is None or other is None or one.shape != other.shape:
        return Change(value, None, None, "no verdict", "one figure of each has no interval")
    n = one.size
    gained, lost = int((other & ~one).sum()), int((one & ~other).sum())
    up, down = (gained + 1) / (n + 2), (lost + 1) / (n + 2)
    half = Z * math.sqrt((up + down - (up - down) ** 2) / (n + 2))
    low, high = max(-1.0, up - down - half), min(1.0, up - down + half)
    if low > 0:
        verdict = "higher"
    elif high < 0:
        verdict = "lower" if high < -margin else "slightly lower"
    elif low > -margin:
        verdict = "equivalent" if high < margin else "not lower"
    else:
        verdict = "inconclusive"
    return Change(value, low, high, verdict, f"{gained} more right, {lost} more wrong, of {n:,}")
