"""The roofline of a trace: its ops as points under the roofs of the machine that it was recorded on.

A point is what ran of one op, in one dtype, with operands that fit one level of the memory hierarchy: only such
calls have roofs in common. The roofline is Williams, Waterman and Patterson's (CACM 52, 4, 2009); verdicts are those
of `tinytrace.analysis.roofline`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.counting import count_trace
from tinytrace.analysis.datasheets import DeviceRoofs
from tinytrace.analysis.device_work import device_work
from tinytrace.analysis.op_groups import Grouping, OpGroup
from tinytrace.analysis.op_parts import op_parts
from tinytrace.analysis.peaks import LEVEL_NAMES, Level, LevelName, Peak, Peaks
from tinytrace.analysis.roofline import Judgement, PartRoofs
from tinytrace.analysis.signature_roofs import NO_LEVEL, arithmetic_dtype, uses_matrices
from tinytrace.tracer.groups import first_rows, group_ids, sums
from tinytrace.tracer.trace import Signature, Trace

Ints = NDArray[np.int64]
NO_DTYPE = -1
# The roofs that are of interest where no op tells which: what most programs compute in.
USUAL_DTYPES = ("float32", "float64")


@dataclass(frozen=True, slots=True)
class Ceiling:
    """A roof of computing: a horizontal line.

    Attributes:
        sort: of what: ``matrix`` products, or ``arithmetic`` on arrays, element by element.
        dtype: of the numbers.
        gflops: 10⁹ FLOPs per second.
    """

    sort: Literal["matrix", "arithmetic"]
    dtype: str
    gflops: Peak

    def ridge(self, level: Level) -> float | None:
        """Return the FLOPs per byte from which on this roof, and not the level's bandwidth, is the lower one.

        None: the bandwidth is not known.

        Example:
            >>> roof = Ceiling("matrix", "float64", Peak(40.0, 40.0, 40.0, 1))
            >>> roof.ridge(Level("DRAM", None, Peak(10.0, 10.0, 10.0, 1), True))
            4.0
        """
        return None if level.gbps is None else self.gflops.value / level.gbps.value


@dataclass(frozen=True, slots=True)
class RooflinePoint:
    """Calls of one op in one dtype on one level.

    Attributes:
        group: their figures.
        judgement: what bounds them.
        dtype: that they compute in; None: not known.
        level: of the memory hierarchy that their operands fit, modelled from footprints; None: not known, or
            they move nothing.
        matrix: they are matrix products, or are made of such: their ceiling is that of matrix products.
        signature: of the calls that took most time; None: not known.
    """

    group: OpGroup
    judgement: Judgement
    dtype: str | None
    level: LevelName | None
    matrix: bool
    signature: Signature | None = None

    @property
    def place(self) -> tuple[float, float] | None:
        """FLOPs per byte and GFLOP/s; None: it has no place, since one of them is 0 or not known.

        Copies have no FLOPs; neither have exp or sqrt, whose evaluations are no FLOPs.
        """
        intensity, gflops = self.group.flops_per_byte, self.group.gflops
        return (intensity, gflops) if intensity and gflops else None


@dataclass(frozen=True, slots=True)
class Roofline:
    """What `roofline_of` tells.

    Attributes:
        peaks: the roofs; None: the trace has none.
        ceilings: those of the dtypes that the points compute in, the highest first.
        points: those with most self time first.
        n_points: how many there are in all.
        op_ns: self time of all ops; with several threads their sum.
        point_ns: the same of the points.
        placed_ns: the same of the points that have a place in the picture.
        wall_ns: duration of the run.
        command: that was recorded; None: not known.
        start_unix_ns: when; None: not known.
        cpu: name of the processor that the trace was recorded on; None: not known.
        device: what ran the ops, if it was not the processor: ``GPU 0 (NVIDIA B200)``.
        nominal: the datasheet that the roofs are from; None: they were measured, or there are none.
    """

    peaks: Peaks | None
    ceilings: tuple[Ceiling, ...]
    points: tuple[RooflinePoint, ...]
    n_points: int
    op_ns: int
    point_ns: int
    placed_ns: int
    wall_ns: int
    command: str | None
    start_unix_ns: int | None
    cpu: str | None
    device: str | None = None
    nominal: DeviceRoofs | None = None


def roofline_of(trace: Trace, top: int | None = None) -> Roofline:
    """Return the ops of a trace as points, and the roofs above them.

    Of a trace in which a device (GPU) did the work: what ran on the busiest one, under its nominal roofs.

    Args:
        trace: any trace; one without roofs has points all the same.
        top: how many points at most, those with most self time; None: all.

    Example:
        >>> roofline_of(Trace()).points
        ()
    """
    if device_work(trace) is not None:
        from tinytrace.analysis.device_roofline import (
            device_roofline,
        )  # which is made of these classes

        return device_roofline(trace, top)
    peaks = Peaks.of(trace)
    grouping, dtypes, levels, judged_by = _grouped(trace, peaks)
    self_ns = grouping.sum(grouping.parts.self_ns)
    chosen = grouping.largest(self_ns, top)
    judged = judged_by.judged(grouping.ids, grouping.count)
    points = tuple(
        RooflinePoint(
            group=row,
            judgement=judged[group],
            dtype=dtypes[group],
            level=levels[group],
            matrix=uses_matrices(row.op),
            signature=_signature(grouping, group),
        )
        for group, row in zip(chosen.tolist(), grouping.rows(chosen), strict=True)
    )
    return Roofline(
        peaks=peaks,
        ceilings=ceilings_of(peaks, points),
        points=points,
        n_points=grouping.count,
        op_ns=int(self_ns.sum()),
        point_ns=int(self_ns[chosen].sum()),
        placed_ns=sum(point.group.self_ns for point in points if point.place),
        wall_ns=max(0, trace.end_ns - trace.start_ns),
        command=command_of(trace),
        start_unix_ns=_whole(trace.meta.get("start_unix_ns")),
        cpu=_cpu(trace),
    )


def _grouped(
    trace: Trace, peaks: Peaks | None
) -> tuple[Grouping, list[str | None], list[LevelName | None], PartRoofs]:
    """Parts by op, dtype and level; and of each group the latter two."""
    parts = op_parts(count_trace(trace))
    roofs = PartRoofs(parts, peaks)
    names = [arithmetic_dtype(signature) for signature in trace.signatures]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(filter(None, names)))}
    # One more row stands for "no signature": the last one, which −1 finds.
    dtype_of = np.array([*(numbers.get(name, NO_DTYPE) for name in names), NO_DTYPE], "i8")
    dtype = dtype_of[parts.signature_id]
    level = np.where(parts.outer, NO_LEVEL, roofs.roofs.level[parts.signature_id])
    ids, count = group_ids([parts.name_id, dtype, level])
    first = first_rows(ids, count)
    known = list(numbers)
    dtypes = [None if n == NO_DTYPE else known[n] for n in dtype[first].tolist()]
    levels = [None if n == NO_LEVEL else LEVEL_NAMES[n] for n in level[first].tolist()]
    grouping = Grouping(parts, ids, count, lambda part: trace.strings[parts.name_id[part]])
    return grouping, dtypes, levels, roofs


def _signature(grouping: Grouping, group: int) -> Signature | None:
    parts, mine = grouping.parts, grouping.parts_of(group)
    known = mine[parts.signature_id[mine] >= 0]
    if not len(known):
        return None
    ids, count = group_ids([parts.signature_id[known]])
    longest = int(np.argmax(sums(ids, count, parts.self_ns[known])))
    return parts.trace.signatures[int(parts.signature_id[known][first_rows(ids, count)[longest]])]


def ceilings_of(peaks: Peaks | None, points: Sequence[RooflinePoint]) -> tuple[Ceiling, ...]:
    """Return the roofs above points that have a place; without such, those of the usual dtypes."""
    if peaks is None:
        return ()
    placed = [point for point in points if point.place]
    products = {point.dtype for point in placed if point.matrix}
    others = {point.dtype for point in placed if not point.matrix}
    if not placed:
        products = others = set(USUAL_DTYPES)
    found = [Ceiling("matrix", d, peak) for d, peak in peaks.gemm_gflops.items() if d in products]
    found += [
        Ceiling("arithmetic", d, peak) for d, peak in peaks.vector_gflops.items() if d in others
    ]
    return tuple(sorted(found, key=lambda ceiling: -ceiling.gflops.value))


def command_of(trace: Trace) -> str | None:
    """Return what was run, without the interpreter in front of a script; None: not known."""
    told = trace.meta.get("command")
    if isinstance(told, list) and told and all(isinstance(word, str) for word in told):
        return " ".join(told if len(told) < 2 or told[1].startswith("-") else told[1:])
    return told if isinstance(told, str) and told else None


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _cpu(trace: Trace) -> str | None:
    told = trace.meta.get("machine")
    name = told.get("cpu") if isinstance(told, dict) else None
    return name if isinstance(name, str) and name else None
