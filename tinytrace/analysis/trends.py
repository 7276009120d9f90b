"""Does a series rise? A line through points that a few odd ones do not bend."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MAX_POINTS = 1_000  # half a million pairs: 10 ms; more points are thinned out evenly
MIN_POINTS = 8  # with fewer, all pairs together hardly bound a slope at 95 %
Z_95 = 1.959964  # Φ⁻¹(0.975)
Floats = NDArray[np.float64]


class Slope(NamedTuple):
    """The slope of a line, and its 95 % interval, in units of y per unit of x; from `points` points."""

    estimate: float
    low: float
    high: float
    points: int


def theil_sen(x: Floats, y: Floats) -> Slope | None:
    """Return the median of the slopes of all pairs of points; None: fewer than 8 different x.

    The interval is Sen's, from the variance of Kendall's S with ties in y. It supposes that deviations from
    the line are independent of one another: where they come in waves, it is too narrow.

    Source: P. K. Sen, "Estimates of the regression coefficient based on Kendall's tau", Journal of the American
    Statistical Association 63 (1968).

    Args:
        x: (n,) finite, ascending.
        y: (n,) finite.

    Example:
        >>> x = np.arange(9.0)
        >>> theil_sen(x, np.where(x == 4, 99, 2 * x)).estimate
        2.0
    """
    if len(x) > MAX_POINTS:
        kept = np.linspace(0, len(x) - 1, MAX_POINTS).astype("i8")
        x, y = x[kept], y[kept]
    apart = np.append(True, np.diff(x) > 0)
    if np.count_nonzero(apart) < MIN_POINTS:
        return None
    x, y = x[apart].astype("f8"), y[apart].astype("f8")
    n = len(x)
    left, right = np.triu_indices(n, 1)
    slopes = np.sort((y[right] - y[left]) / (x[right] - x[left]))
    runs = np.diff(np.flatnonzero(np.diff(np.sort(y), prepend=np.nan, append=np.nan) != 0))
    ties = float((runs * (runs - 1) * (2 * runs + 5)).sum())
    half = Z_95 * np.sqrt((n * (n - 1) * (2 * n + 5) - ties) / 18)
    low = max(0, round((len(slopes) - half) / 2) - 1)
    high = min(len(slopes) - 1, round((len(slopes) + half) / 2))
    return Slope(float(np.median(slopes)), float(slopes[low]), float(slopes[high]), n)
