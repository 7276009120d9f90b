"""Verdicts: what bounds an op, or a group of ops, by the roofs of the machine that it ran on.

For each signature the least times of one call are known (`tinytrace.analysis.signature_roofs`): t_c = FLOPs ÷
P(dtype), t_T = evaluations ÷ P_T, t_m = bytes ÷ bandwidth at its footprint, t_o = the time of a call on tiny
operands. Times its calls and summed over the signatures of a group they are set against the measured time t.

The roofline is Williams, Waterman and Patterson's (CACM 52, 4, 2009), with roofs that were measured here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.counting import TraceCounts
from tinytrace.analysis.op_groups import By, Grouping, grouped
from tinytrace.analysis.op_parts import OpParts
from tinytrace.analysis.peaks import LEVEL_NAMES, LevelName, Peaks
from tinytrace.analysis.signature_roofs import NO_LEVEL, SignatureRoofs, signature_roofs

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

# The thresholds, in % (docs/report.md).
OVERHEAD = (
    50.0  # a floor of more than half of the time: what surrounds the work takes more than the work
)
SATURATED = 80.0  # of a roof
INEFFICIENT = 60.0  # below that of both roofs, neither explains the time
APART = 10.0  # points between two roofs; closer, and neither is the bound
IMPOSSIBLE = 105.0  # of a roof: more than the spread of its measurement allows


class Verdict(Enum):
    """What bounds a group of calls. The values are what is printed."""

    COMPUTE = "compute-bound"
    MEMORY = "memory-bound"
    SATURATED = "saturated"
    BALANCED = "balanced"
    OVERHEAD = "overhead-bound"
    LATENCY = "latency"
    VIOLATION = "model violation"
    UNCOUNTED = "uncounted"
    NO_PEAKS = "no peaks"


VERDICTS = tuple(Verdict)
Bound = Literal["compute", "memory"]
BOUND = (Verdict.COMPUTE, Verdict.MEMORY, Verdict.SATURATED)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What bounds a group of calls, and how far from its roof it is.

    Attributes:
        verdict: by the rules of docs/report.md.
        bound: the side whose roof is nearer, of compute-bound, memory-bound and saturated calls; else None.
        level: of the memory hierarchy, of the calls that take most time; modelled from footprints; None: not
            known.
        compute_percent: of the compute roof; None: no roof.
        transcendental_percent: of the roof of exp, log…; None: no roof.
        memory_percent: of the bandwidth of the level; None: no roof, or the level is not resolvable.
        overhead_percent: share of the time that calls on tiny operands would take as well; at most 100.
        roof_percent: the greatest of compute, transcendental, memory; never more than 105; None: no result.
        roof_ns: what the calls that were judged would take at their roofs; None: no result. A bound.
        judged_ns: the time of these calls.
        violation_ns: the time of calls that were faster than a roof allows: the model is wrong for them, and
            they are in none of the percentages.
        uncounted_ns: the time of calls without a formula, or that did not end normally.
        no_roof_ns: the time of calls whose roof was not measured.
    """

    verdict: Verdict
    bound: Bound | None = None
    level: LevelName | None = None
    compute_percent: float | None = None
    transcendental_percent: float | None = None
    memory_percent: float | None = None
    overhead_percent: float | None = None
    roof_percent: float | None = None
    roof_ns: float | None = None
    judged_ns: int = 0
    violation_ns: int = 0
    uncounted_ns: int = 0
    no_roof_ns: int = 0

    @property
    def label(self) -> str:
        """The verdict, and of what: ``memory-bound (DRAM)``, ``saturated (compute)``."""
        what = self.level if self.bound == "memory" else self.bound
        plain = what is None or self.verdict is Verdict.COMPUTE
        return self.verdict.value if plain else f"{self.verdict.value} ({what})"


@dataclass(frozen=True, eq=False)
class Judged:
    """Verdicts of all groups of one division; columns of one entry per group, see `Judgement`.

    Attributes:
        code: index into `VERDICTS`.
        compute, evaluate, memory, overhead: % of the roofs; NaN: not known.
        level: index into `LEVEL_NAMES`; −1: not known.
        roof_ns: NaN: no result.
        judged_ns, violation_ns, uncounted_ns, no_roof_ns: times.
    """

    code: Ints
    compute: Floats
    evaluate: Floats
    memory: Floats
    overhead: Floats
    level: Ints
    roof_ns: Floats
    judged_ns: Ints
    violation_ns: Ints
    uncounted_ns: Ints
    no_roof_ns: Ints

    @property
    def by_memory(self) -> Mask:
        """Whether memory is the nearer roof."""
        return np.asarray(
            np.fmax(self.memory, 0) > np.fmax(np.fmax(self.compute, self.evaluate), 0)
        )

    def __getitem__(self, group: int) -> Judgement:
        verdict = VERDICTS[self.code[group]]
        compute, evaluate, memory = (
            _known(column[group]) for column in (self.compute, self.evaluate, self.memory)
        )
        known = [share for share in (compute, evaluate, memory) if share is not None]
        level = int(self.level[group])
        side: Bound = "memory" if self.by_memory[group] else "compute"
        return Judgement(
            verdict=verdict,
            bound=side if verdict in BOUND else None,
            level=None if level == NO_LEVEL else LEVEL_NAMES[level],
            compute_percent=compute,
            transcendental_percent=evaluate,
            memory_percent=memory,
            overhead_percent=_known(self.overhead[group]),
            roof_percent=max(known, default=None),
            roof_ns=_known(self.roof_ns[group]),
            judged_ns=int(self.judged_ns[group]),
            violation_ns=int(self.violation_ns[group]),
            uncounted_ns=int(self.uncounted_ns[group]),
            no_roof_ns=int(self.no_roof_ns[group]),
        )


def judge(counts: TraceCounts, by: By = "op") -> tuple[Grouping, Judged]:
    """Judge the ops of a trace by the roofs that it brings along.

    Args:
        counts: of the trace.
        by: what makes a group.

    Returns:
        The groups, and what bounds each.

    Example:
        >>> from tinytrace.analysis.counting import count_trace
        >>> from tinytrace.tracer.trace import Trace
        >>> judge(count_trace(Trace()))[0].count
        0
    """
    grouping = grouped(counts, by)
    peaks = Peaks.of(counts.trace)
    return grouping, PartRoofs(grouping.parts, peaks).judged(grouping.ids, grouping.count)


class LeastTimes:
    """Times of parts, and the least that they could take by some roofs; `judged` adds them up.

    All columns have one entry per part.

    Args:
        time_ns: what was measured.
        compute_ns: FLOPs ÷ roof; NaN: not counted, or no roof.
        evaluate_ns: evaluations of exp, log… ÷ roof; NaN likewise.
        memory_ns: bytes ÷ roof; NaN likewise.
        memory_most_ns: what memory takes at most; infinite: not known.
        floor_ns: what calls on tiny operands take.
        counted: whether the work is known.
        outer: whether it is no work, but what surrounds that of others.
        level: index into `LEVEL_NAMES`; −1: not known.
        has_roofs: whether any roof is known.
    """

    def __init__(
        self,
        *,
        time_ns: Ints,
        compute_ns: Floats,
        evaluate_ns: Floats,
        memory_ns: Floats,
        memory_most_ns: Floats,
        floor_ns: Floats,
        counted: Mask,
        outer: Mask,
        level: Ints,
        has_roofs: bool,
    ) -> None:
        self._has_peaks = has_roofs
        self._time_ns, self._outer, self._level = time_ns, outer, level
        self._compute_ns, self._evaluate_ns, self._memory_ns = compute_ns, evaluate_ns, memory_ns
        self._floor_ns = np.where(outer, 0.0, floor_ns)
        worst = np.fmax(np.fmax(compute_ns, evaluate_ns), memory_ns)
        inner = ~outer
        self._violation: Mask = inner & (100 * worst > IMPOSSIBLE * time_ns)
        self._uncounted: Mask = inner & ~counted & ~self._violation
        # With one roof missing, what is known may still decide.
        compute_known = ~np.isnan(compute_ns + evaluate_ns)
        arithmetic = 100 * np.fmax(np.fmax(compute_ns, evaluate_ns), 0)
        memory = 100 * np.fmax(memory_ns, 0)
        enough = INEFFICIENT * time_ns
        decided = np.where(
            compute_known,
            ~np.isnan(memory_ns) | (arithmetic >= enough) | (100 * memory_most_ns < enough),
            memory >= enough,
        )
        self._no_roof: Mask = inner & ~self._violation & ~self._uncounted & ~decided
        self._valid: Mask = inner & ~(self._violation | self._uncounted | self._no_roof)

    def judged(self, ids: Ints, count: int) -> Judged:
        """Judge groups of parts.

        Args:
            ids: per part the number of its group.
            count: how many groups.
        """

        def total(values: Floats | Ints, mask: Mask) -> Floats:
            return np.bincount(ids[mask], np.nan_to_num(values[mask]), count).astype("f8")

        everywhere = np.ones(len(ids), "?")
        time_ns, valid_ns = total(self._time_ns, everywhere), total(self._time_ns, self._valid)
        violation_ns = total(self._time_ns, self._violation)
        uncounted_ns = total(self._time_ns, self._uncounted)
        no_roof_ns = total(self._time_ns, self._no_roof)
        compute, evaluate, memory = (
            self._share(column, ids, count)
            for column in (self._compute_ns, self._evaluate_ns, self._memory_ns)
        )
        # An op takes no less than the longest of its times.
        at_roof = np.fmax(np.fmax(self._compute_ns, self._evaluate_ns), self._memory_ns)
        roof_ns = total(at_roof, self._valid)
        roof_ns[valid_ns == 0] = np.nan
        floor_ns = total(self._floor_ns, everywhere) + total(self._time_ns, self._outer)
        overhead = np.minimum(_percent(floor_ns, time_ns), 100.0)
        if not self._has_peaks:
            overhead[:] = np.nan
        half = time_ns / 2
        arithmetic = np.fmax(np.fmax(compute, evaluate), 0)
        traffic = np.fmax(memory, 0)
        most = np.maximum(arithmetic, traffic)
        rules = (
            (Verdict.VIOLATION, (violation_ns > half) | ((violation_ns > 0) & (time_ns == 0))),
            (Verdict.OVERHEAD, overhead > OVERHEAD),
            (Verdict.UNCOUNTED, uncounted_ns > half),
            (Verdict.NO_PEAKS, (no_roof_ns > half) | (valid_ns == 0)),
            (Verdict.SATURATED, most >= SATURATED),
            (Verdict.LATENCY, most < INEFFICIENT),
            (Verdict.COMPUTE, arithmetic - traffic >= APART),
            (Verdict.MEMORY, traffic - arithmetic >= APART),
        )
        code = np.full(count, VERDICTS.index(Verdict.BALANCED))
        for verdict, holds in reversed(rules):
            code[holds] = VERDICTS.index(verdict)
        # What does not speak of the group is no result of it.
        without = (Verdict.VIOLATION, Verdict.UNCOUNTED, Verdict.NO_PEAKS)
        no_result = np.isin(code, [VERDICTS.index(verdict) for verdict in without])
        for result in (compute, evaluate, memory, roof_ns):
            result[no_result] = np.nan
        return Judged(
            code=code,
            compute=compute,
            evaluate=evaluate,
            memory=memory,
            overhead=overhead,
            level=self._levels(ids, count),
            roof_ns=roof_ns,
            judged_ns=valid_ns.astype("i8"),
            violation_ns=violation_ns.astype("i8"),
            uncounted_ns=uncounted_ns.astype("i8"),
            no_roof_ns=no_roof_ns.astype("i8"),
        )

    def _share(self, spent_ns: Floats, ids: Ints, count: int) -> Floats:
        """Per group the % of a roof that its valid calls reach; NaN where it is not known of most."""
        known = self._valid & ~np.isnan(spent_ns)
        at_roof_ns = np.bincount(ids[known], spent_ns[known], count)
        known_ns = np.bincount(ids[known], self._time_ns[known], count)
        valid_ns = np.bincount(ids[self._valid], self._time_ns[self._valid], count)
        share = _percent(at_roof_ns.astype("f8"), known_ns.astype("f8"))
        share[2 * known_ns < valid_ns] = np.nan
        return share

    def _levels(self, ids: Ints, count: int) -> Ints:
        """Per group the level of the calls that took most time."""
        known = (self._level >= 0) & ~self._outer
        n = len(LEVEL_NAMES)
        places = ids[known] * n + self._level[known]
        spent_ns = np.bincount(places, self._time_ns[known] + 1, count * n).reshape(count, n)
        found = spent_ns.argmax(axis=1) if count else np.zeros(0, "i8")
        return np.where(spent_ns.max(axis=1, initial=0) > 0, found, NO_LEVEL).astype("i8")


class PartRoofs(LeastTimes):
    """Least times of parts, by the roofs that were measured on their machine.

    A part whose op ran others inside is no work: its own time is Python and dispatch, overhead. So is that of one
    which neither computes nor moves anything (an array of no elements; a part that is assigned to itself).

    Args:
        parts: of a trace.
        peaks: None: not known.
        roofs: of its signatures, if they are there already.

    Attributes:
        roofs: per signature.
    """

    def __init__(
        self, parts: OpParts, peaks: Peaks | None, roofs: SignatureRoofs | None = None
    ) -> None:
        trace, counts = parts.trace, parts.counts
        if roofs is None:
            roofs = signature_roofs(trace.signatures, counts.signatures, peaks)
        self.roofs: SignatureRoofs = roofs
        signature, n = parts.signature_id, parts.leaves
        compute_ns = roofs.compute_ns[signature] * n
        evaluate_ns = roofs.evaluate_ns[signature] * n
        memory_ns = roofs.memory_ns[signature] * n
        no_work = compute_ns + evaluate_ns + memory_ns == 0
        floor_ns = roofs.floor_ns[signature] * parts.calls
        declared = (signature < 0) & ~np.isnan(
            parts.flops
        )  # by the user, who did not say the dtype
        super().__init__(
            time_ns=parts.self_ns,
            compute_ns=compute_ns,
            evaluate_ns=evaluate_ns,
            memory_ns=memory_ns,
            memory_most_ns=roofs.memory_most_ns[signature] * np.maximum(n, 1),
            floor_ns=np.where(no_work & (n > 0), parts.self_ns, floor_ns),
            counted=(roofs.counted[signature] | declared) & (n > 0),
            outer=parts.outer,
            level=roofs.level[signature],
            has_roofs=peaks is not None,
        )


def _percent(part_ns: Floats, whole_ns: Floats) -> Floats:
    """100 · part ÷ whole; NaN where there is no whole."""
    result = np.full(len(part_ns), np.nan)
    np.divide(100 * part_ns, whole_ns, out=result, where=whole_ns > 0)
    return result


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
