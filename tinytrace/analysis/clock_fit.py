"""The offset of a clock from bounds on it: constant, drifting, or in pieces.

Each bound says that at a time t of the clock its offset o(t), what is to be added to it, is at least ``lower`` or at
most ``upper``. Of all offsets that obey every bound the middle is taken, and half their range is the error.

* **Constant**: max(lower) ≤ o ≤ min(upper).
* **Drifting**, where no constant obeys: o(t) = a + b·t with abs(b) ≤ `MAX_DRIFT`. For a given b there is an a when
  f(b) = min(upper − b·t) − max(lower − b·t) ≥ 0; f is concave (a minimum of lines less a maximum of lines), so that its
  maximum is found by ternary search; the b with f(b) ≥ 0 are an interval around it. At a time t, the largest offset
  that obeys is the maximum over these b of min(upper − b·t_k) + b·t, again concave; the error, being convex in t, is
  largest at the ends.
* **In pieces**, where no line obeys: as long a piece as a line is possible for, then the next. Between two pieces
  the clock was set (or the calls are not those that belong together).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.clock_models import ClockModel

Floats = NDArray[Any]
# Linux slews a clock by 500 ppm at most (adjtimex(2)), and there are two of them; crystals are within 100 ppm.
MAX_DRIFT = 1e-3
ROUNDS = 80  # of a search: (2/3)^80 of 2e-3 is 2e-17, below what a double can tell
MOST_PIECES = 64
DAY_NS = 86_400 * 10**9


@dataclass(frozen=True)
class Bounds:
    """Bounds on the offset of a clock, one pair per set of calls, in order of time; ±inf where there is none.

    Attributes:
        lower_t_ns, lower_ns: at that time of the clock, the offset is at least so much.
        upper_t_ns, upper_ns: and here at most so much.
    """

    lower_t_ns: Floats
    lower_ns: Floats
    upper_t_ns: Floats
    upper_ns: Floats

    def part(self, begin: int, end: int) -> Bounds:
        """Return those of some sets."""
        return Bounds(*(getattr(self, name)[begin:end] for name in self.__dataclass_fields__))

    def __len__(self) -> int:
        return len(self.lower_ns)


@dataclass(frozen=True)
class Fit:
    """An offset, and how far off it may be.

    Attributes:
        model: what is to be added to times.
        error_ns: the true offset is at most so far away, under the assumption of ``how``; rounded up.
        how: ``constant``, ``drifting``, ``in pieces``.
        drift_ppm: of a drifting one.
        jumps_ns: between pieces.
    """

    model: ClockModel
    error_ns: int
    how: str = "constant"
    drift_ppm: float = 0.0
    jumps_ns: tuple[int, ...] = field(default=())


@dataclass(frozen=True)
class _Line:
    a: float
    b: float
    error: float
    begin: float
    end: float

    def at(self, t: float) -> float:
        return self.a + self.b * t


def fit_clock(bounds: Bounds) -> Fit | None:
    """Return the offset that obeys the bounds; None: they leave one side open, or allow nothing in few pieces.

    Args:
        bounds: of one clock. Times and offsets are doubles: exact below 2^53 ns, 104 days.

    Example:
        >>> t = np.array([0.0, 1e9])
        >>> fit = fit_clock(Bounds(t, np.array([-5.0, 2.0]), t, np.array([8.0, 30.0])))
        >>> fit.model.offset_ns, fit.error_ns
        (5, 3)
    """
    if not (np.isfinite(bounds.lower_ns).any() and np.isfinite(bounds.upper_ns).any()):
        return None
    low, high = bounds.lower_ns.max(), bounds.upper_ns.min()
    if low <= high:
        middle = math.floor((low + high) / 2)
        return Fit(ClockModel(middle), math.ceil(max(high - middle, middle - low)))
    t0, o0 = _middle(bounds)
    moved = Bounds(
        bounds.lower_t_ns - t0, bounds.lower_ns - o0, bounds.upper_t_ns - t0, bounds.upper_ns - o0
    )
    pieces = _pieces(moved)
    if pieces is None:
        return None
    knots = [(t, line.at(t)) for line in pieces for t in (line.begin, line.end)]
    if len(pieces) == 1:  # it drifts before the first of them, too
        line = pieces[0]
        knots = [(t, line.at(t)) for t in (line.begin - DAY_NS, line.end + DAY_NS)]
    model = ClockModel(
        int(o0), tuple(int(t + t0) for t, _ in knots), tuple(extra for _, extra in knots)
    )
    error_ns = math.ceil(max(line.error for line in pieces)) + 1  # times are rounded
    if len(pieces) == 1:
        return Fit(model, error_ns, "drifting", pieces[0].b * 1e6)
    jumps = tuple(round(b.at(b.begin) - a.at(a.end)) for a, b in itertools.pairwise(pieces))
    return Fit(model, error_ns, "in pieces", 0.0, jumps)


def _middle(bounds: Bounds) -> tuple[float, float]:
    known = np.isfinite(bounds.lower_ns)
    return float(np.round(np.median(bounds.lower_t_ns[known]))), float(
        np.round(np.median(bounds.lower_ns[known]))
    )


def _pieces(bounds: Bounds) -> list[_Line] | None:
    """The longest lines that obey, one after the other; None for more than `MOST_PIECES`."""
    pieces: list[_Line] = []
    begin = 0
    while begin < len(bounds):
        if len(pieces) == MOST_PIECES:
            return None
        end = _longest(bounds, begin)
        line = _line(bounds.part(begin, end))
        if line is None:
            return None
        if math.isfinite(line.error):
            pieces.append(line)
        begin = end
    return pieces or None


def _longest(bounds: Bounds, begin: int) -> int:
    """The largest end such that a line obeys all bounds from ``begin`` to it."""
    good, step = begin + 1, 1
    while good < len(bounds):
        end = min(len(bounds), good + step)
        if not _obeyed(bounds.part(begin, end)):
            bad = end
            break
        good, step = end, step * 2
    else:
        return len(bounds)
    while bad - good > 1:
        half = (good + bad) // 2
        good, bad = (half, bad) if _obeyed(bounds.part(begin, half)) else (good, half)
    return good


def _gap(bounds: Bounds) -> Callable[[float], float]:
    """Return f of the module's text; +inf where a side is open."""

    def gap(b: float) -> float:
        low = (bounds.lower_ns - b * bounds.lower_t_ns).max()
        return float((bounds.upper_ns - b * bounds.upper_t_ns).min() - low)

    return gap


def _obeyed(bounds: Bounds) -> bool:
    gap = _gap(bounds)
    return gap(0.0) >= 0 or gap(_highest(gap, -MAX_DRIFT, MAX_DRIFT)) >= 0


def _line(bounds: Bounds) -> _Line | None:
    """The line in the middle of all that obey; None: there is none."""
    gap = _gap(bounds)
    best = _highest(gap, -MAX_DRIFT, MAX_DRIFT)
    if gap(best) < 0:
        return None
    times = np.concatenate([bounds.lower_t_ns, bounds.upper_t_ns])
    times = times[np.isfinite(np.concatenate([bounds.lower_ns, bounds.upper_ns]))]
    if not math.isfinite(gap(best)):
        return _Line(0.0, 0.0, math.inf, 0.0, 0.0)
    begin, end = float(times.min()), float(times.max())
    least = _edge(gap, best, -MAX_DRIFT)
    most = _edge(gap, best, MAX_DRIFT)
    (a0, e0), (a1, e1) = (_extent(bounds, t, least, most) for t in (begin, end))
    b = (a1 - a0) / (end - begin) if end > begin else 0.0
    return _Line(a0 - b * begin, b, max(e0, e1), begin, end)


def _extent(bounds: Bounds, t: float, least: float, most: float) -> tuple[float, float]:
    """Middle and half width of the offsets at a time that obey."""

    def top(b: float) -> float:
        return float((bounds.upper_ns - b * bounds.upper_t_ns).min() + b * t)

    def bottom(b: float) -> float:
        return -float((bounds.lower_ns - b * bounds.lower_t_ns).max() + b * t)

    high, low = top(_highest(top, least, most)), -bottom(_highest(bottom, least, most))
    return (high + low) / 2, max(0.0, (high - low) / 2)


def _highest(of: Callable[[float], float], low: float, high: float) -> float:
    """Where a concave function is highest."""
    for _ in range(ROUNDS):
        third = (high - low) / 3
        if of(low + third) < of(high - third):
            low += third
        else:
            high -= third
    return (low + high) / 2


def _edge(gap: Callable[[float], float], inside: float, outside: float) -> float:
    """The last slope towards ``outside`` at which a line obeys."""
    if gap(outside) >= 0:
        return outside
    for _ in range(ROUNDS):
        half = (inside + outside) / 2
        inside, outside = (half, outside) if gap(half) >= 0 else (inside, half)
    return inside
