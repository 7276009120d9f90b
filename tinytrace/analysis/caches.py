"""How the caches were used: as measured by hardware counters where there are any, and as modelled from shapes.

Measured is what the CPU counted in user mode (`tracer.hardware`), of a whole process, read every 50 ms: nothing of it
can be given to an op. Modelled are the bytes that each op moves, by the level that still holds its operands
(`reuse`). Neither is a hit rate of an op, which nobody knows. docs/counters.md explains every figure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.account import typical_steps
from tinytrace.analysis.counting import count_trace
from tinytrace.analysis.hardware_words import counted_names, what_is_missing, why_none
from tinytrace.analysis.op_parts import op_parts
from tinytrace.analysis.peaks import Peaks
from tinytrace.analysis.reuse import ModelledTraffic, Reuses
from tinytrace.analysis.step_finding import Steps, find_steps
from tinytrace.analysis.traffic import CACHE_LINE_BYTES
from tinytrace.tracer.trace import Trace

PARTS = 48  # of the time: as many as of memory
# The model counts what is written once, where a cache fetches a line before it writes it and writes it back later;
# it does not know prefetches that came too early, nor the data of Python. So it may well be off by this factor.
AGREES_WITHIN = 2.0
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Outer = Literal["llc", "l2"]
BEYOND = {"llc": ("DRAM",), "l2": ("L3", "DRAM")}  # where the misses of a cache are served
Verdict = Literal["agree", "more measured", "less measured"]


@dataclass(frozen=True, slots=True)
class Counted:
    """What a process counted in some time. None: not counted, or nothing to divide by.

    Attributes:
        wall_ns: how long that was.
        cycles, instructions: of all its threads, in user mode.
        l1d_misses: reads that the L1 data cache did not have.
        references, misses: of the outer cache (`ProcessCaches.outer`).
        instructions_per_cycle: instructions ÷ cycles.
        miss_percent: 100 · misses ÷ references of the outer cache. Not a rate of loads: most never get there.
        l1d_misses_per_1000, misses_per_1000: per 1,000 instructions.
        fetched_bytes: misses · 64 bytes of a cache line: estimated from measured misses. What is written back, and
            what a prefetcher beyond that cache brings, is not in it; what another core's cache had, is.
        fetched_gbps: the same, 10⁹ bytes per second of `wall_ns`.
    """

    wall_ns: int
    cycles: float | None
    instructions: float | None
    l1d_misses: float | None
    references: float | None
    misses: float | None
    instructions_per_cycle: float | None
    miss_percent: float | None
    l1d_misses_per_1000: float | None
    misses_per_1000: float | None
    fetched_bytes: float | None
    fetched_gbps: float | None


@dataclass(frozen=True, slots=True)
class Agreement:
    """Whether what was measured and what is modelled speak of the same traffic.

    Attributes:
        measured_bytes: `Counted.fetched_bytes` of the run.
        modelled_low_bytes, modelled_high_bytes: what ops get from beyond the outer cache, at best and at worst
            (`ModelledTraffic`; what is not known, at worst too).
        verdict: ``agree``: measured is no less than half of the low one and no more than twice the high one.
    """

    measured_bytes: float
    modelled_low_bytes: int
    modelled_high_bytes: int
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class ProcessCaches:
    """Caches of one process.

    Attributes:
        process: row of ``Trace.processes``.
        pid: its number.
        outer: the cache whose misses were counted: the last level, or the L2; None: neither.
        run: measured, from the first to the last reading; None: no hardware counters.
        step: likewise, of a step: the mean over those of middling length; what was counted between two readings is
            taken to be even in time. None: no steps to go by.
        n_steps: how many that are.
        over_time: likewise, of up to 48 equal parts of the time of `run`.
        reading_ns: median time between two readings: nothing is known of what happened within it.
        scaled: names of counters that took turns with others, and for what part of the time each counted, %: what they
            say is an estimate of the kernel's.
        page_faults, major_faults: measured, from the first to the last reading; major ones waited for a disk.
        page_faults_per_step: as `step`.
        modelled: bytes of the ops by level.
        agreement: None: not both are known.
    """

    process: int
    pid: int
    outer: Outer | None
    run: Counted | None
    step: Counted | None
    n_steps: int
    over_time: tuple[Counted, ...]
    reading_ns: int | None
    scaled: tuple[tuple[str, float], ...]
    page_faults: int | None
    major_faults: int | None
    page_faults_per_step: float | None
    modelled: ModelledTraffic
    agreement: Agreement | None


@dataclass(frozen=True, slots=True)
class CacheReport:
    """Caches of a run.

    Attributes:
        processes: each, in their order.
        why_none: why nothing was measured, as the end of a sentence; None: something was.
        missing: what is not in the figures that were, a sentence each.
    """

    processes: tuple[ProcessCaches, ...]
    why_none: str | None
    missing: tuple[str, ...]


def cache_report(
    trace: Trace,
    steps: Steps | None = None,
    reuses: Reuses | None = None,
) -> CacheReport:
    """Return what is known of the caches of each process.

    Args:
        trace: any trace.
        steps: of it; by default those that `find_steps` finds.
        reuses: of its ops, if they are there already, and not told apart by step or layer.

    Example:
        >>> cache_report(Trace()).why_none
        'the trace has none'
    """
    steps = find_steps(trace) if steps is None else steps
    if reuses is None:
        reuses = Reuses(op_parts(count_trace(trace)), Peaks.of(trace))
    windows = typical_steps(trace, steps)
    owner = int(trace.threads.process[steps.thread]) if windows is not None else -1
    series = _readings(trace)
    found = tuple(
        _process(trace, row, series.get(row, {}), windows if row == owner else None, reuses)
        for row in range(len(trace.processes))
    )
    measured = any(one.run for one in found)
    return CacheReport(
        processes=found,
        why_none=None if measured else why_none(trace),
        missing=what_is_missing(trace) if measured else (),
    )


def counted_in(trace: Trace, process: int = 0) -> tuple[Outer | None, Counted] | None:
    """Return what hardware counters say of the run of one process, and of which cache; None: they say nothing.

    Example:
        >>> counted_in(Trace()) is None
        True
    """
    hardware = _hardware(_readings(trace).get(process, {}))
    window, outer = _common(hardware), _outer(hardware)
    return None if window is None else (outer, _counted(hardware, outer, *window))


class _Readings(NamedTuple):
    t_ns: Ints
    value: Floats  # a count since the beginning, that never falls

    def within(self, starts: Ints, ends: Ints) -> float:
        """What was counted in some windows, even in time between two readings."""
        counted = np.interp(ends, *self) - np.interp(starts, *self)
        return float(counted.sum())


# Series that count from the beginning on, and those of them that the CPU counts.
_CORE = ("cycles", "instructions", "l1d_misses")
_OUTER: tuple[Outer, ...] = ("llc", "l2")
_HARDWARE = (*_CORE, *(f"{level}_{what}" for level in _OUTER for what in ("references", "misses")))
_FAULTS = ("page_faults", "major_faults")


def _readings(trace: Trace) -> dict[int, dict[str, _Readings]]:
    """Per process, the finite values of each of these counters; those that were scaled have a series of shares."""
    hardware = [
        name for name in _HARDWARE if name in counted_names(trace)
    ]  # not what a program calls so
    wanted = dict.fromkeys((*hardware, *_FAULTS), "count")
    wanted |= {f"{name}_counted": "%" for name in hardware}
    counters, series = trace.counters, trace.series
    found: dict[int, dict[str, _Readings]] = {}
    for number in range(len(series)):
        name, unit = (trace.strings[ids[number]] for ids in (series.name_id, series.unit_id))
        if wanted.get(name) != unit:
            continue
        mine = np.flatnonzero((counters.series_id == number) & np.isfinite(counters.value))
        if len(mine):
            mine = mine[np.argsort(counters.t_ns[mine], kind="stable")]
            one = _Readings(counters.t_ns[mine], counters.value[mine].astype("f8"))
            found.setdefault(int(series.process[number]), {})[name] = one
    return found


def _process(
    trace: Trace,
    process: int,
    series: dict[str, _Readings],
    windows: tuple[Ints, Ints] | None,
    reuses: Reuses,
) -> ProcessCaches:
    hardware = _hardware(series)
    window, outer = _common(hardware), _outer(hardware)
    run = step = reading_ns = None
    n_steps = 0
    over_time: tuple[Counted, ...] = ()
    if window is not None:
        run = _counted(hardware, outer, *window)
        reading_ns = int(np.median(np.diff(next(iter(hardware.values())).t_ns)))
        inside = _inside(windows, window)
        n_steps = len(inside[0])
        step = _counted(hardware, outer, *inside, n_steps) if n_steps else None
        over_time = _over_time(hardware, outer, window)
    modelled = reuses.traffic(process)
    faults, major = (_rise(series.get(name)) for name in _FAULTS)
    return ProcessCaches(
        process=process,
        pid=int(trace.processes.pid[process]),
        outer=outer,
        run=run,
        step=step,
        n_steps=n_steps,
        over_time=over_time,
        reading_ns=reading_ns,
        scaled=tuple(
            (name, float(series[f"{name}_counted"].value[-1]))
            for name in hardware
            if f"{name}_counted" in series
        ),
        page_faults=faults,
        major_faults=major,
        page_faults_per_step=_per_step(series.get("page_faults"), windows),
        modelled=modelled,
        agreement=_agreement(run, outer, modelled),
    )


def _hardware(series: dict[str, _Readings]) -> dict[str, _Readings]:
    return {name: series[name] for name in _HARDWARE if name in series}


def _outer(series: dict[str, _Readings]) -> Outer | None:
    return next((level for level in _OUTER if f"{level}_misses" in series), None)


def _common(series: dict[str, _Readings]) -> tuple[Ints, Ints] | None:
    """The time in which all of these were read, as one window; None: there is none."""
    if not series:
        return None
    start = max(int(one.t_ns[0]) for one in series.values())
    end = min(int(one.t_ns[-1]) for one in series.values())
    return (np.array([start]), np.array([end])) if end > start else None


def _inside(windows: tuple[Ints, Ints] | None, limits: tuple[Ints, Ints]) -> tuple[Ints, Ints]:
    """The windows that lie wholly in another one."""
    if windows is None:
        return np.empty(0, "i8"), np.empty(0, "i8")
    starts, ends = windows
    inside = (starts >= limits[0][0]) & (ends <= limits[1][-1])
    return starts[inside], ends[inside]


def _counted(
    series: dict[str, _Readings], outer: Outer | None, starts: Ints, ends: Ints, n: int = 1
) -> Counted:
    """What was counted in some windows, over n."""

    def of(name: str) -> float | None:
        return series[name].within(starts, ends) / n if name in series else None

    cycles, instructions, l1d_misses = map(of, _CORE)
    references, misses = (of(f"{outer}_{what}") for what in ("references", "misses"))
    wall_ns = int((ends - starts).sum() / n)
    fetched_bytes = None if misses is None else misses * CACHE_LINE_BYTES
    return Counted(
        wall_ns=wall_ns,
        cycles=cycles,
        instructions=instructions,
        l1d_misses=l1d_misses,
        references=references,
        misses=misses,
        instructions_per_cycle=_over(instructions, cycles),
        miss_percent=_over(misses, references, 100),
        l1d_misses_per_1000=_over(l1d_misses, instructions, 1000),
        misses_per_1000=_over(misses, instructions, 1000),
        fetched_bytes=fetched_bytes,
        fetched_gbps=_over(fetched_bytes, wall_ns),
    )


def _over(above: float | None, below: float | None, factor: float = 1) -> float | None:
    return None if above is None or not below else above * factor / below


def _over_time(
    series: dict[str, _Readings], outer: Outer | None, window: tuple[Ints, Ints]
) -> tuple[Counted, ...]:
    """Equal parts of a window, each of at least two times between readings: they are not quite evenly apart."""
    fewest = min(len(one.t_ns) for one in series.values())
    n = max(1, min(PARTS, (fewest - 1) // 2))
    edges = np.linspace(window[0][0], window[1][-1], n + 1).astype("i8")
    return tuple(_counted(series, outer, edges[i : i + 1], edges[i + 1 : i + 2]) for i in range(n))


def _rise(one: _Readings | None) -> int | None:
    return None if one is None else round(float(one.value[-1] - one.value[0]))


def _per_step(one: _Readings | None, windows: tuple[Ints, Ints] | None) -> float | None:
    if one is None:
        return None
    starts, ends = _inside(windows, (one.t_ns[:1], one.t_ns[-1:]))
    return one.within(starts, ends) / len(starts) if len(starts) else None


def _agreement(
    run: Counted | None, outer: Outer | None, modelled: ModelledTraffic
) -> Agreement | None:
    if run is None or run.fetched_bytes is None or outer is None or not modelled.at_best:
        return None
    low, worst = (
        sum(n_bytes for level, n_bytes in bound if level in BEYOND[outer])
        for bound in (modelled.at_best, modelled.at_worst)
    )
    high = worst + modelled.unknown_bytes
    verdict = "agree"
    if run.fetched_bytes * AGREES_WITHIN < low:
        verdict = "less measured"
    elif run.fetched_bytes > high * AGREES_WITHIN:
        verdict = "more measured"
    return Agreement(run.fetched_bytes, low, high, cast("Verdict", verdict))
