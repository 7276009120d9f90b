"""What a comparison of two traces says, as values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from tinytrace.analysis.diff_calls import Side
from tinytrace.analysis.diff_devices import DeviceDiff
from tinytrace.analysis.step_finding import How


class Verdict(str, Enum):
    """What the timed part says; always of two runs that were not made in turns."""

    NEW = "new"
    GONE = "gone"
    FASTER = "faster"
    SLOWER = "slower"
    EQUIVALENT = "equivalent"  # the whole interval lies within 5 %
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class Ratio:
    """Time after ÷ time before, with the ends of a 95 % interval."""

    value: float
    low: float
    high: float

    @classmethod
    def around(cls, value: float, below: float, above: float) -> Ratio:
        """Return a ratio whose logarithm lies so far below and above."""
        return cls(value, value * math.exp(-below), value * math.exp(above))


@dataclass(frozen=True, slots=True)
class OpChange:
    """One kind of call in both runs: same operation, file and function.

    Attributes:
        kind: ``op``, ``span``, ``step``… (`tinytrace.tracer.records.Kind`, in small letters).
        name: of the op.
        operands_before: its operands, ``float32[64,784] float32[784,512] -> float32[64,512]``; of several
            signatures how many; None: not known, or not there.
        operands_after: likewise. Differs when the same call is made on other operands.
        callsite_before: ``train.py:42 forward``; None: not known, or not there.
        callsite_after: likewise. The line may differ.
        before: what it cost; None: it did not run.
        after: likewise.
        delta_ns: after − before in the accounted thread, per step when the comparison is per step. These add up
            to the account.
        all_threads_delta_ns: likewise, over all threads.
        per_call: time per call, after ÷ before; None: too few calls for an interval.
        verdict: of the time per call.
        same_work: calls, FLOPs, transcendentals, bytes and operands are exactly the same (per step, when
            the comparison is per step).
    """

    kind: str
    name: str
    operands_before: str | None
    operands_after: str | None
    callsite_before: str | None
    callsite_after: str | None
    before: Side | None
    after: Side | None
    delta_ns: float
    all_threads_delta_ns: float
    per_call: Ratio | None
    verdict: Verdict
    same_work: bool


@dataclass(frozen=True, slots=True)
class LineChange:
    """Sampled time of one line in both runs, in the accounted thread.

    Attributes:
        place_before: ``train.py:42``; None: not known, or not sampled.
        place_after: likewise.
        function: its name; None: not known.
        before_ns: weight of its samples in the first run (all of it).
        after_ns: in the second.
        before_samples: how many.
        after_samples: how many.
        delta_ns: after − before, per step when the comparison is per step. These add up to the account.
        time: after ÷ before; None: fewer than 10 samples on a side. The interval is that of sampling alone.
        verdict: of that time.
    """

    place_before: str | None
    place_after: str | None
    function: str | None
    before_ns: int
    after_ns: int
    before_samples: int
    after_samples: int
    delta_ns: float
    time: Ratio | None
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Account:
    """A change of the end-to-end time in parts: listed + unlisted + rest = delta.

    Attributes:
        before_ns: end-to-end time of the first run (per step, when the comparison is per step).
        after_ns: of the second.
        delta_ns: after − before.
        listed_delta_ns: of the rows that are given.
        unlisted: how many more rows there are.
        unlisted_delta_ns: of these.
        rest_before_ns: time that is in no row.
        rest_after_ns: likewise.
        rest_delta_ns: of that.
        explained_percent: 100 · listed ÷ delta; more than 100 when other parts went the other way; None: delta is 0.
    """

    before_ns: float
    after_ns: float
    delta_ns: float
    listed_delta_ns: float
    unlisted: int
    unlisted_delta_ns: float
    rest_before_ns: float
    rest_after_ns: float
    rest_delta_ns: float
    explained_percent: float | None


@dataclass(frozen=True, slots=True)
class Work:
    """What one run did: exact, whatever the machine was doing beside it.

    Attributes:
        op_calls: how many operations ran.
        flops: of those that are counted; None: of none.
        transcendentals: likewise.
        bytes: likewise.
        uncounted_calls: innermost ops whose FLOPs nobody knows.
        allocations: of array memory, by NumPy's allocator; None: not recorded, or the comparison is per step.
        array_peak_mb: largest sum of array memory at one time, MB (10⁶ bytes), of the process that had most;
            None: not recorded.
    """

    op_calls: int
    flops: int | None
    transcendentals: int | None
    bytes: int | None
    uncounted_calls: int
    allocations: int | None
    array_peak_mb: float | None


@dataclass(frozen=True, slots=True)
class Steps:
    """Steps of the accounted thread, marked by the program or found (docs/steps.md).

    Attributes:
        before: how many in the first run.
        after: in the second.
        how_before, how_after: how they are known: ``marks``, ``step numbers``, ``optimizer``, ``pattern``.
        warmup_before, warmup_after: how many of the first are warm-up, and in no median; None: not known.
        median_before_ns: of the others.
        median_after_ns: likewise.
        ratio: of the medians, after ÷ before; None: fewer than 8 steps on a side.
        verdict: of that.
    """

    before: int
    after: int
    how_before: How
    how_after: How
    warmup_before: int | None
    warmup_after: int | None
    median_before_ns: float
    median_after_ns: float
    ratio: Ratio | None
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Drift:
    """How the time per call of ops that do exactly the same differs: mostly the machine's doing.

    Attributes:
        rows: how many such ops.
        ratio: the median of their ratios, each weighted by its time.
        spread: factor that about two thirds of the ratios lie within of their median (exp of 1.4826 × the median
            deviation), of ops or of their time, whichever is larger.
    """

    rows: int
    ratio: float
    spread: float


@dataclass(frozen=True, slots=True)
class Diff:
    """What differs between two runs.

    Attributes:
        identical: the two traces are equal in everything.
        same_work: every op did exactly the same on both sides.
        basis: ``run``: all of both runs; ``step``: what ran in steps, per step, since their numbers differ.
        thread_before: name of the thread whose time is accounted; None: there is none.
        thread_after: likewise.
        account: end-to-end time, by ops and other spans.
        lines_account: the same time, by sampled lines.
        steps: None when a run has no steps, or they are not of the same loop.
        work_before, work_after: totals of the exact part; per step they are for all steps.
        units_before, units_after: by what the exact figures are divided to be compared: steps, or 1.
        ops: rows that differ in time, those that moved the end-to-end time most first.
        work: rows whose exact part differs, those with most bytes and FLOPs first.
        n_work: how many such rows there are.
        lines: likewise, sampled lines.
        import_delta_ns, tinytrace_delta_ns: sampled time in imports and in tinytrace itself, after − before;
            part of the rest of the lines.
        drift: None: fewer than 5 ops do the same.
        margin: only an interval that lies beyond it (or below 1 ÷ margin) is a difference: 1.05, or what the
            drift makes of it.
        notes: what else is different about the runs, and what the figures leave out.
        devices: what differs on devices (GPUs); None: not on both sides something ran on one.
    """

    identical: bool
    same_work: bool
    basis: Literal["run", "step"]
    thread_before: str | None
    thread_after: str | None
    account: Account
    lines_account: Account | None
    steps: Steps | None
    work_before: Work
    work_after: Work
    units_before: int
    units_after: int
    ops: tuple[OpChange, ...]
    work: tuple[OpChange, ...]
    n_work: int
    lines: tuple[LineChange, ...]
    import_delta_ns: float
    tinytrace_delta_ns: float
    drift: Drift | None
    margin: float
    notes: tuple[str, ...]
    devices: DeviceDiff | None = None
