"""Memory: its peaks and growth, as measured, and which results may be behind them, as modelled.

Measured are the counters of a process: resident memory, and bytes of live NumPy arrays as its allocator told
(NEP 49), both read every 50 ms; the peak of live bytes between two readings is exact. Who allocated is not
recorded, nor when an array is freed. So what is said of ops and lines is modelled from the results of
ops: docs/memory.md says how, and what it cannot see.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.counting import TraceCounts
from tinytrace.analysis.op_results import Results, ResultSource
from tinytrace.analysis.step_finding import Steps, find_steps
from tinytrace.analysis.step_report import warmup_steps
from tinytrace.analysis.trends import Slope, theil_sen
from tinytrace.tracer.counters import BYTES_PER_MB
from tinytrace.tracer.trace import Trace

MIN_GROWTH = 0.01  # of the memory that is there, over all steps: less is no reason to look further
PARTS = 48  # of the time: a line of a terminal has room for as many characters, and for words around them
FLAT = 0.05  # the growth that the interval must exclude for memory to be called flat
Verdict = Literal["growing", "flat", "not known"]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Peak:
    """The most memory that was seen.

    Attributes:
        bytes: how much.
        after_ns, before_ns: it was reached after the one and not after the other: the time between two
            readings. For resident memory, of which nothing is known between readings, both are its time.
        step: index of the step in which that time lies wholly; None: not in one, or not known.
    """

    bytes: int
    after_ns: int
    before_ns: int
    step: int | None


@dataclass(frozen=True, slots=True)
class OverTime:
    """Memory in equal parts of the time from the first to the last reading.

    Attributes:
        start_ns, end_ns: of all parts together.
        most_bytes: per part the largest reading that lies in it; of arrays, the exact peak up to that reading
            where it is known. None: no reading lies in it.
    """

    start_ns: int
    end_ns: int
    most_bytes: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Growth:
    """How memory changes from step to step, over the steps after the warm-up.

    Attributes:
        slope: bytes per step (Theil-Sen over the points), with its 95 % interval; None: too few. Of arrays, a point
            is the peak of at least a whole step; of resident memory, a reading.
        steps: how many steps they span.
        typical_bytes: median of the points; None: there are none.
        verdict: ``growing``: the interval is above 0, both halves rise, and the growth over all steps is at
            least 1 % of the median. ``flat``: the interval excludes a growth of 5 % or more. Else ``not known``.
    """

    slope: Slope | None
    steps: int
    typical_bytes: float | None
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class ProcessMemory:
    """Memory of one process. Measured, but for the fields that begin with ``modelled``.

    Attributes:
        process: row of ``Trace.processes``.
        pid: its number.
        arrays, resident: peaks; None: not recorded.
        floor_bytes: least live bytes that were read in the steps (after the warm-up): what outlives a step is at
            most this. None: not known.
        allocations_per_step: arrays that NumPy allocated; None: not known.
        array_growth, resident_growth: from step to step.
        arrays_over_time, resident_over_time: their course; None: not recorded.
        modelled_holders: sources of results that may have been alive at the peak of arrays, largest first: those
            made outside of steps before it, and those made near it. Each holds at most the bytes given.
        modelled_temporaries: sources of results in the steps, most bytes first: all but what memory grew by was
            freed again.
        modelled_bytes_per_step, modelled_results_per_step: of all these; None: no steps with ops.
    """

    process: int
    pid: int
    arrays: Peak | None
    resident: Peak | None
    floor_bytes: int | None
    allocations_per_step: float | None
    array_growth: Growth
    resident_growth: Growth
    arrays_over_time: OverTime | None
    resident_over_time: OverTime | None
    modelled_holders: tuple[ResultSource, ...]
    modelled_temporaries: tuple[ResultSource, ...]
    modelled_bytes_per_step: float | None
    modelled_results_per_step: float | None


@dataclass(frozen=True, slots=True)
class MemoryReport:
    """Per process of which memory or ops are known, largest peak of resident memory first.

    Attributes:
        processes: them.
        aggregated_ops: calls of ops that are in the trace as sums only, and in no figure that is modelled.
    """

    processes: tuple[ProcessMemory, ...]
    aggregated_ops: int


def memory_report(
    trace: Trace, steps: Steps | None = None, top: int = 5, counts: TraceCounts | None = None
) -> MemoryReport:
    """Return what is known of the memory of each process.

    Args:
        trace: any trace.
        steps: of it; by default those that `find_steps` finds.
        top: how many sources of results at most.
        counts: of the trace, if they are there already.

    Example:
        >>> from tinytrace.tracer.trace import Trace
        >>> memory_report(Trace()).processes
        ()
    """
    steps = find_steps(trace) if steps is None else steps
    results = Results(trace, counts)
    series = _readings(trace)
    known = {*series, *results.processes()}
    found = [
        _process(trace, process, series.get(process, {}), results=results, steps=steps, top=top)
        for process in sorted(known)
    ]
    found.sort(key=lambda one: -(one.resident.bytes if one.resident else -1))
    folded = trace.aggregates
    return MemoryReport(tuple(found), int(folded.count[folded.signature_id >= 0].sum()))


@dataclass(frozen=True, slots=True)
class _Readings:
    t_ns: Ints
    value: Floats  # bytes, or a count


def _readings(trace: Trace) -> dict[int, dict[str, _Readings]]:
    """Per process, the finite values of each counter of memory."""
    units = {
        "rss_mb": BYTES_PER_MB, "array_mb": BYTES_PER_MB, "array_peak_mb": BYTES_PER_MB,
        "allocations": 1.0,
    }  # fmt: skip
    counters, series = trace.counters, trace.series
    found: dict[int, dict[str, _Readings]] = {}
    for number, name_id in enumerate(series.name_id.tolist()):
        name = trace.strings[name_id]
        mine = (counters.series_id == number) & np.isfinite(counters.value)
        if name in units and mine.any():
            order = np.argsort(counters.t_ns[mine], kind="stable")
            one = _Readings(counters.t_ns[mine][order], counters.value[mine][order] * units[name])
            found.setdefault(int(series.process[number]), {})[name] = one
    return found


def _process(
    trace: Trace,
    process: int,
    series: dict[str, _Readings],
    *,
    results: Results,
    steps: Steps,
    top: int,
) -> ProcessMemory:
    is_here = len(steps) > 0 and int(trace.threads.process[steps.thread]) == process
    mine = steps if is_here else _no_steps(steps)
    arrays = _array_peak(series, mine)
    resident = series.get("rss_mb")
    usual = slice(warmup_steps(mine.dur_ns) or 0, None)
    inside = results.inside(process, mine.start_ns, mine.end_ns)
    with_ops = max(1, results.steps_with(inside, mine.start_ns))
    has_some = len(inside) > 0
    return ProcessMemory(
        process=process,
        pid=int(trace.processes.pid[process]),
        arrays=arrays,
        resident=None if resident is None else _resident_peak(resident, mine),
        floor_bytes=_floor(series.get("array_mb"), mine, usual),
        allocations_per_step=_per_step(series.get("allocations"), mine, usual),
        array_growth=_growth(*_whole_steps(series.get("array_peak_mb"), mine, usual), mine, usual),
        resident_growth=_growth(*_read_in_steps(resident, mine, usual), mine, usual),
        arrays_over_time=_over_time(series.get("array_peak_mb", series.get("array_mb"))),
        resident_over_time=_over_time(resident),
        modelled_holders=_holders(process, results, mine, arrays, top),
        modelled_temporaries=results.sources(inside, top),
        modelled_bytes_per_step=results.total_bytes(inside) / with_ops if has_some else None,
        modelled_results_per_step=len(inside) / with_ops if has_some else None,
    )


def _no_steps(steps: Steps) -> Steps:
    nothing = np.empty(0, "i8")
    return Steps(-1, nothing, nothing, nothing, None, None, steps.reason)


def _step_of(steps: Steps, after_ns: int, before_ns: int) -> int | None:
    at = int(np.searchsorted(steps.start_ns, after_ns, "right")) - 1
    return at if at >= 0 and before_ns <= steps.end_ns[at] else None


def _array_peak(series: dict[str, _Readings], steps: Steps) -> Peak | None:
    readings = series.get("array_peak_mb")
    if readings is None:
        readings = series.get("array_mb")
        return None if readings is None else _resident_peak(readings, steps)
    at = int(np.argmax(readings.value))
    before_ns = int(readings.t_ns[at])
    after_ns = int(readings.t_ns[at - 1]) if at else before_ns
    step = _step_of(steps, after_ns, before_ns) if at else None
    return Peak(round(readings.value[at]), after_ns, before_ns, step)


def _resident_peak(readings: _Readings, steps: Steps) -> Peak:
    at = int(np.argmax(readings.value))
    t_ns = int(readings.t_ns[at])
    return Peak(round(readings.value[at]), t_ns, t_ns, _step_of(steps, t_ns, t_ns))


def _over_time(readings: _Readings | None) -> OverTime | None:
    return None if readings is None else over_time(readings.t_ns, readings.value)


def over_time(t_ns: Ints, value: Floats) -> OverTime:
    """Return the course of some readings.

    Args:
        t_ns: (n,) when, ascending.
        value: (n,) bytes.

    Example:
        >>> over_time(np.array([0, 1, 2, 3]), np.array([1.0, 5.0, 2.0, 3.0])).most_bytes
        (5, 3)
    """
    start_ns, end_ns = int(t_ns[0]), int(t_ns[-1])
    n = max(1, min(PARTS, len(t_ns) // 2))  # they are not quite evenly apart
    part = np.minimum((t_ns - start_ns) * n // max(1, end_ns - start_ns), n - 1)
    most = np.full(n, -1.0)
    np.maximum.at(most, part, value)
    return OverTime(start_ns, end_ns, tuple(None if b < 0 else round(b) for b in most.tolist()))


def _in_steps(readings: _Readings, steps: Steps, usual: slice) -> NDArray[np.bool_]:
    """Which readings lie in the time from the first step after the warm-up to the end of the last step."""
    if not len(steps.start_ns[usual]):
        return np.zeros(len(readings.t_ns), "?")
    first_ns, last_ns = steps.start_ns[usual][0], steps.end_ns[-1]
    return np.asarray((readings.t_ns >= first_ns) & (readings.t_ns <= last_ns), "?")


def _floor(readings: _Readings | None, steps: Steps, usual: slice) -> int | None:
    if readings is None:
        return None
    inside = _in_steps(readings, steps, usual)
    return round(readings.value[inside].min()) if inside.any() else None


def _per_step(readings: _Readings | None, steps: Steps, usual: slice) -> float | None:
    """Return how much a count rose per step, from the first to the last reading in the steps."""
    if readings is None:
        return None
    inside = _in_steps(readings, steps, usual)
    at = _progress(readings.t_ns[inside], steps)
    if len(at) < 2 or at[-1] - at[0] < 1:
        return None
    value = readings.value[inside]
    return float((value[-1] - value[0]) / (at[-1] - at[0]))


def _progress(t_ns: Ints, steps: Steps) -> Floats:
    """How many steps had been made at these times; within a step, in proportion."""
    n = len(steps)
    if not n:
        return np.zeros(len(t_ns))
    corners = np.empty(2 * n, "i8")
    corners[0::2], corners[1::2] = steps.start_ns, steps.end_ns
    return np.interp(t_ns, corners, np.repeat(np.arange(n + 1.0), 2)[1:-1])


def _read_in_steps(readings: _Readings | None, steps: Steps, usual: slice) -> tuple[Floats, Floats]:
    """Progress and value of the readings in the steps."""
    if readings is None:
        return np.zeros(0), np.zeros(0)
    inside = _in_steps(readings, steps, usual)
    return _progress(readings.t_ns[inside], steps), readings.value[inside]


def _whole_steps(peaks: _Readings | None, steps: Steps, usual: slice) -> tuple[Floats, Floats]:
    """Progress, and the most that was live in a time of at least one whole step.

    Memory rises and falls within each step. Where steps and readings take about the same time, single readings walk
    slowly through that, and rise while nothing is kept. So a reading tells the peak since the one before; where that
    is less than a step, those that overlap a step make one point.
    """
    if peaks is None or len(peaks.t_ns) < 2:
        return np.zeros(0), np.zeros(0)
    inside = _in_steps(peaks, steps, usual)
    inside[1:] &= inside[:-1]  # the time that a peak is of
    inside[0] = False
    progress = _progress(peaks.t_ns, steps)
    lengths = np.diff(progress, prepend=progress[0])[inside]
    if len(lengths) and np.median(lengths) >= 1:
        return progress[inside], peaks.value[inside].astype("f8")
    start_ns, end_ns = steps.start_ns[usual], steps.end_ns[usual]
    first = np.searchsorted(peaks.t_ns, start_ns, "right")
    behind = np.searchsorted(peaks.t_ns, end_ns, "left") + 1
    known = (first > 0) & (behind <= len(peaks.t_ns))
    borders = np.stack([first[known], behind[known]], axis=1).ravel()
    values = np.append(peaks.value.astype("f8"), -np.inf)
    most = np.maximum.reduceat(values, borders)[::2]
    return np.arange(1.0, len(steps) + 1)[usual][known], np.asarray(most, "f8")


def _growth(x: Floats, y: Floats, steps: Steps, usual: slice) -> Growth:
    n = len(steps.start_ns[usual])
    if not len(x):
        return Growth(None, n, None, "not known")
    slope, typical = theil_sen(x, y), float(np.median(y))
    return Growth(slope, n, typical, "not known" if slope is None else _verdict(slope, x, y))


def _verdict(slope: Slope, x: Floats, y: Floats) -> Verdict:
    steps, typical = float(x[-1] - x[0]), float(np.median(y))
    half = len(x) // 2
    halves = [theil_sen(x[:half], y[:half]), theil_sen(x[half:], y[half:])]
    rises = all(part is None or part.estimate > 0 for part in halves)
    if slope.low > 0 and rises and slope.estimate * steps >= MIN_GROWTH * typical:
        return "growing"
    return "flat" if slope.high * steps < FLAT * typical else "not known"


def _holders(
    process: int, results: Results, steps: Steps, peak: Peak | None, top: int
) -> tuple[ResultSource, ...]:
    """What was made outside of steps before the peak, and what was made near it."""
    if peak is None:
        return ()
    inside = results.inside(process, steps.start_ns, steps.end_ns)
    near = results.between(process, peak.after_ns, peak.before_ns)
    # Of several steps, the one with most results: what the steps before it made is most likely gone.
    busiest = results.busiest_step(near, steps.start_ns, steps.end_ns)
    if busiest is not None:
        begin_ns, end_ns = int(steps.start_ns[busiest]), int(steps.end_ns[busiest])
        near = results.between(process, begin_ns, min(end_ns, peak.before_ns))
    before = results.between(process, None, peak.before_ns)
    known = np.concatenate([inside, near])
    is_known = np.zeros(max(known.max(initial=-1), before.max(initial=-1)) + 1, "?")
    is_known[known] = True
    return results.sources(np.concatenate([before[~is_known[before]], near]), top)
