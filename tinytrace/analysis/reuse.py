"""Where the operands of an op come from, modelled: footprint and reuse distance. Nothing here is measured.

An op that runs again on operands of the same size finds them in a cache if little else was touched since. The reuse
distance (Mattson and others, IBM Systems Journal 9, 2, 1970) is modelled as the compulsory bytes of all counted ops
of the thread between two calls with the same signature at the same place. That is an upper bound of the distinct
bytes, which would be exact: what was touched twice counts twice; and ops that are not counted are missing from it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.aten_names import footprint_of
from tinytrace.analysis.op_parts import OpParts
from tinytrace.analysis.peaks import LevelName, Peaks

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Reuse:
    """Modelled use of the caches by the calls of one op with one signature at one place.

    Attributes:
        footprint_bytes: of the distinct operands of one call; None: not known.
        distance_bytes: touched between one call and the next, at the median; None: it ran once, or was folded.
        fits: the level that the footprint fits; None: not known.
        level: the level that still holds the operands when they are used again: the one that distance and
            footprint together fit; None: not known.
    """

    footprint_bytes: int | None
    distance_bytes: int | None
    fits: LevelName | None
    level: LevelName | None


Traffic = tuple[tuple[LevelName, int], ...]


@dataclass(frozen=True, slots=True)
class ModelledTraffic:
    """Compulsory bytes of the counted ops of one process, by the level that they come from: between two bounds.

    Who touched an operand last is not recorded. At best it was touched just before, and lies as near as it has room; at
    worst nobody has touched it since the same call before this one.

    Attributes:
        total_bytes: of all counted calls.
        at_best: per level, from the fastest: of each call as much from every cache as that can hold, as in
            `Peaks.level_of`. Fewer than all where the size of operands is not known.
        at_worst: per level the bytes of the calls whose operands it still holds, by the distance to the call before
            (`Reuse.level`, but call by call).
        unknown_bytes: of calls without such a level: the first of its kind, folded ones, where sizes of caches or of
            operands are not known. At worst they come from memory.
    """

    total_bytes: int
    at_best: Traffic
    at_worst: Traffic
    unknown_bytes: int


def pushed_out(reuse: Reuse) -> tuple[str, ...]:
    """Return, in words, that operands lie farther away than their footprint needs; () where they do not.

    >>> pushed_out(Reuse(1000, 50_000_000, "L2", "DRAM"))
    ('operands that are used again may come from DRAM, though they would fit L2 (modelled)',)
    """
    if reuse.level is None or reuse.level == reuse.fits:
        return ()
    return (
        f"operands that are used again may come from {reuse.level}, though they would fit {reuse.fits} (modelled)",
    )


class Reuses:
    """The modelled reuse of parts of one trace.

    Args:
        parts: of a trace.
        peaks: with the sizes of the caches; None: not known.
    """

    def __init__(self, parts: OpParts, peaks: Peaks | None) -> None:
        self._parts, self._peaks = parts, peaks
        moved = np.append(np.maximum(parts.counts.bytes, 0), 0)  # the last one: no signature
        each = np.where(parts.leaves > 0, moved[parts.signature_id], 0)
        of_call = each[parts.part_of].astype("f8")
        self._after = np.cumsum(of_call)
        self._before = self._after - of_call

    def of(self, part: int) -> Reuse:
        """The reuse of one part."""
        signature = int(self._parts.signature_id[part])
        footprint = None
        if signature >= 0:
            footprint = footprint_of(self._parts.trace.signatures[signature])
        distance = self._distance(part)
        together = None if footprint is None or distance is None else footprint + distance
        return Reuse(footprint, distance, self._level(footprint), self._level(together))

    def traffic(self, process: int) -> ModelledTraffic:
        """Return what the ops of a process (row of ``Trace.processes``) move, by level."""
        parts = self._parts
        mine = parts.trace.threads.process[parts.thread] == process
        of_part = _sums(parts.part_of, self._after - self._before, len(parts))
        is_folded = parts.folded & (parts.leaves > 0)
        of_part[is_folded] = np.nan_to_num(parts.bytes[is_folded])
        of_part *= mine
        footprint = self._footprints()[parts.signature_id]
        levels = () if self._peaks is None else self._peaks.levels
        room = np.array([np.inf if one.size_bytes is None else one.size_bytes for one in levels])
        held = np.minimum(room[:, None], footprint) / np.maximum(footprint, 1.0)
        best = np.nansum(np.diff(held, axis=0, prepend=0) * of_part, axis=1)
        worst = self._at_worst(footprint, mine, room)
        total = float(of_part.sum())
        names = [level.name for level in levels]
        return ModelledTraffic(
            total_bytes=round(total),
            at_best=tuple(zip(names, map(round, best.tolist()), strict=True)),
            at_worst=tuple(zip(names, map(round, worst.tolist()), strict=True)),
            unknown_bytes=round(total - float(worst.sum())),
        )

    def _at_worst(self, footprint: Floats, mine: NDArray[np.bool_], room: Floats) -> Floats:
        """Bytes per level, of calls that were preceded by the same one and are there one by one."""
        parts = self._parts
        order, begins = parts.by_part
        part = parts.part_of[order]
        moved = (self._after - self._before)[order] * mine[part]
        held = footprint[part]
        held[1:] += self._before[order[1:]] - self._after[order[:-1]]
        held[begins[:-1][np.diff(begins) > 0]] = np.nan  # the first call of each part
        at = np.searchsorted(room, held)  # a NaN is beyond all
        return _sums(at, moved, len(room) + 1)[: len(room)]

    def _footprints(self) -> Floats:
        """Per signature; NaN: not known, and at the end for those without one."""
        known = map(footprint_of, self._parts.trace.signatures)
        return np.array([*(np.nan if n is None else n for n in known), np.nan], "f8")

    def _distance(self, part: int) -> int | None:
        """The median of what was touched between two calls."""
        order, begins = self._parts.by_part
        calls = order[begins[part] : begins[part + 1]]
        if len(calls) < 2:
            return None
        between = self._before[calls[1:]] - self._after[calls[:-1]]
        return int(np.median(between))

    def _level(self, held_bytes: int | None) -> LevelName | None:
        level = None
        if held_bytes is not None and self._peaks is not None:
            level = self._peaks.level_of(held_bytes)
        return None if level is None else level.name


def _sums(ids: Ints, values: Floats, count: int) -> Floats:
    """Sum of the values of each id; of none at all NumPy makes integers."""
    return np.bincount(ids, values, count).astype("f8")
