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
