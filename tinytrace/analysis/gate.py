"""Whether a run does more work than one before it, or takes longer: the regression gate.

Two parts, as in `analysis.diff`. The exact one (operations, FLOPs, bytes, allocations) has no noise: it can be held on
any machine. The timed one compares two runs that were not made in turns: it says something only where the difference
is larger than what the machine did to ops that do the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal

from tinytrace.analysis.diff import diff
from tinytrace.analysis.diff_values import Diff, OpChange, Verdict
from tinytrace.tracer.trace import Trace

Figure = Literal[
    "op_calls", "flops", "transcendentals", "bytes", "allocations", "peak_bytes", "parameters"
]
FIGURES: dict[Figure, str] = {
    "op_calls": "operations",
    "flops": "FLOPs",
    "transcendentals": "exp, log, sqrt...",
    "bytes": "bytes",
    "allocations": "allocations",
}
# Of one call of a model, in the saved results of a suite.
FIGURES_OF_MODELS: dict[Figure, str] = {
    **FIGURES,
    "peak_bytes": "peak of array bytes",
    "parameters": "parameters",
}


class Result(Enum):
    """What a part of the gate found. The values are what is printed."""

    SAME = "same"
    LESS = "less"
    MORE = "more"
    ALLOWED = "more, allowed"
    NOT_KNOWN = "not known"
    FASTER = "faster"
    SLOWER = "slower"
    NOT_SHOWN = "no difference shown"


NAMED = 5  # ops whose work changed, in the reasons


@dataclass(frozen=True, slots=True)
class ExactRow:
    """One figure of the exact part.

    Attributes:
        figure: which.
        before, after: of all of the run, or of the steps; None: not known.
        change: after ÷ before − 1, per step where the runs have different numbers of them; None: not known.
        allowed: relative increase that was allowed.
        result: what was found.
    """

    figure: Figure
    before: int | None
    after: int | None
    change: float | None
    allowed: float
    result: Result


@dataclass(frozen=True, slots=True)
class TimedRow:
    """One time.

    Attributes:
        what: ``step``, or the operation and where it is called.
        ratio: after ÷ before.
        low, high: its 95 % interval; None: there is none.
        result: what was found.
    """

    what: str
    ratio: float
    low: float | None
    high: float | None
    result: Result


@dataclass(frozen=True, slots=True)
class Gate:
    """What the gate found.

    Attributes:
        outcome: ``ok``, ``regression`` or ``inconclusive``.
        exact: the rows of the exact part.
        timed: those of the timed part: the step, and ops that do the same work and take another time.
        timed_counts: whether the timed part decides too.
        reasons: in words, why it is no ``ok``.
        compared: the whole comparison.
    """

    outcome: Literal["ok", "regression", "inconclusive"]
    exact: tuple[ExactRow, ...]
    timed: tuple[TimedRow, ...]
    timed_counts: bool
    reasons: tuple[str, ...]
    compared: Diff


def gate(
    baseline: Trace, run: Trace, *, allowed: dict[Figure, float] | None = None, timed: bool = False
) -> Gate:
    """Compare a run with a baseline.

    Args:
        baseline: a trace.
        run: another one, of the same program.
        allowed: relative increase per figure that is no regression; else any increase is.
        timed: whether a time that was shown to be longer is a regression, and one about which nothing was shown makes
            the outcome inconclusive; else the exact part alone decides.

    Example:
        >>> gate(Trace(), Trace()).outcome
        'inconclusive'
    """
    found = diff(baseline, run)
    exact = tuple(_exact(found, figure, (allowed or {}).get(figure, 0.0)) for figure in FIGURES)
    times = tuple(_timed(found))
    regressions = [in_words(row) for row in exact if row.result is Result.MORE]
    if regressions:
        regressions += [_changed(change) for change in found.work[:NAMED]]
    unknown = [row for row in exact if row.figure == "op_calls" and row.result is Result.NOT_KNOWN]
    doubts = ["no operation was recorded in one of the runs"] if unknown else []
    if timed:
        regressions += [
            f"{row.what}: {_times(row)}" for row in times if row.result is Result.SLOWER
        ]
        if not times or times[0].result is Result.NOT_SHOWN:
            doubts.append(
                "nothing was shown about the time of a step: record more steps, or use bench"
            )
    outcome: Literal["ok", "regression", "inconclusive"] = "ok"
    if regressions:
        outcome = "regression"
    elif doubts:
        outcome = "inconclusive"
    return Gate(outcome, exact, times, timed, tuple(regressions + doubts), found)


def _exact(found: Diff, figure: Figure, allowed: float) -> ExactRow:
    before: int | None = getattr(found.work_before, figure)
    after: int | None = getattr(found.work_after, figure)
    nothing = not found.work_before.op_calls or not found.work_after.op_calls
    if nothing:
        return ExactRow(figure, before, after, None, allowed, Result.NOT_KNOWN)
    return exact_row(figure, before, after, allowed, (found.units_before, found.units_after))


def exact_row(
    figure: Figure,
    before: int | None,
    after: int | None,
    allowed: float,
    units: tuple[int, int] = (1, 1),
) -> ExactRow:
    """Judge a figure that has no noise.

    Args:
        figure: which.
        before: of the baseline; None: not known.
        after: of the run.
        allowed: relative increase that is no regression.
        units: how many steps each of them is of.

    Example:
        >>> row = exact_row("flops", 100, 110, allowed=0.0)
        >>> row.change, row.result.value
        (0.1, 'more')
    """
    if before is None or after is None:
        return ExactRow(figure, before, after, None, allowed, Result.NOT_KNOWN)
    # Compared as integers: no rounding makes a difference, or hides one.
    left, right = before * units[1], after * units[0]
    if left == 0:
        return ExactRow(figure, before, after, None, allowed, Result.MORE if right else Result.SAME)
    change = (right - left) / left
    result = Result.SAME if right == left else Result.LESS
    if right > left:
        result = Result.MORE if change > allowed else Result.ALLOWED
    return ExactRow(figure, before, after, change, allowed, result)


def in_words(row: ExactRow) -> str:
    """Return what is more than before.

    Example:
        >>> in_words(ExactRow("flops", 100, 110, 0.1, 0.0, Result.MORE))
        'more FLOPs: 100 -> 110 (+10.00%)'
    """
    relative = "" if row.change is None else f" (+{row.change:.2%})"
    return f"more {FIGURES_OF_MODELS[row.figure]}: {row.before:,} -> {row.after:,}{relative}"


def _changed(change: OpChange) -> str:
    calls = [0 if side is None else side.calls for side in (change.before, change.after)]
    what = f"{calls[0]:,} -> {calls[1]:,} calls" if calls[0] != calls[1] else "other work per call"
    return f"{_where(change)}: {what}"


_RESULTS = {Verdict.FASTER: Result.FASTER, Verdict.SLOWER: Result.SLOWER}


def _timed(found: Diff) -> list[TimedRow]:
    rows = []
    steps = found.steps
    if steps is not None and steps.ratio is not None:
        ratio = steps.ratio
        result = _RESULTS.get(steps.verdict, Result.NOT_SHOWN)
        rows.append(TimedRow("step", ratio.value, ratio.low, ratio.high, result))
    for change in found.ops:
        if change.same_work and change.per_call is not None and change.verdict in _RESULTS:
            ratio = change.per_call
            rows.append(
                TimedRow(
                    _where(change), ratio.value, ratio.low, ratio.high, _RESULTS[change.verdict]
                )
            )
    return rows


def _where(change: OpChange) -> str:
    place = change.callsite_after or change.callsite_before
    return change.name if place is None else f"{change.name} at {place}"


def _times(row: TimedRow) -> str:
    interval = "" if row.low is None else f" [{row.low:.3g}, {row.high:.3g}]"
    return f"x{row.ratio:.3g}{interval} of the time"
