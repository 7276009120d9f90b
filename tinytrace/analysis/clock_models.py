"""From the times of one clock to those of another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ClockModel:
    """What is to be added to the times of a clock: a broken line, constant before its first and after its last knot.

    Attributes:
        offset_ns: exact part, the same for all times.
        knots_ns: ascending times of the clock.
        extra_ns: what is to be added beside, at these times; between them in proportion.

    Example:
        >>> model = ClockModel(1_000_000, (0, 1000), (0.0, 10.0))
        >>> model.apply(np.array([-5, 0, 500, 2000])).tolist()
        [999995, 1000000, 1000505, 1002010]
    """

    offset_ns: int = 0
    knots_ns: tuple[int, ...] = ()
    extra_ns: tuple[float, ...] = ()

    @property
    def is_identity(self) -> bool:
        """Whether all times stay what they are."""
        return not self.offset_ns and not any(self.extra_ns)

    def apply(self, t_ns: NDArray[Any]) -> NDArray[np.int64]:
        """Return times on the other clock; never one before another that was after it."""
        moved: NDArray[np.int64] = np.asarray(t_ns, "i8") + np.int64(self.offset_ns)
        if not any(self.extra_ns):
            return moved
        # Where a clock jumped ahead the line falls faster than time rises: such times become one.
        knots = np.array(self.knots_ns, "i8")
        base = knots[0]
        at = np.maximum.accumulate((knots - base) + np.array(self.extra_ns)) - (knots - base)
        extra = np.interp((t_ns - base).astype("f8"), (knots - base).astype("f8"), at)
        return np.asarray(moved + np.rint(extra).astype("i8"), "i8")

    def offset_at(self, t_ns: int) -> int:
        """Return what is added to one time."""
        return int(self.apply(np.array([t_ns]))[0]) - t_ns
