"""What pairs of measurements tell about a ratio: an estimate with an interval that assumes no distribution.

Measured one after the other on a shared machine, a thing differs "significantly" from itself half of the time. So two
things are measured in turns, and what is looked at is the logarithm of their ratio in each round: the median of
its Walsh averages (Hodges and Lehmann, 1963) and the interval of the signed-rank test (Wilcoxon, 1945): M. Hollander,
D. A. Wolfe, E. Chicken, *Nonparametric Statistical Methods*, 3rd ed., 2014, section 3.3. Outliers stay in, and
weigh no more than others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate, and between which values the truth lies with the asked confidence."""

    estimate: float
    low: float
    high: float


def signed_rank_interval(values: Sequence[float], alpha: float) -> Interval:
    """Return the centre of a symmetric distribution, from n independent values of it.

    The n(n+1)/2 Walsh averages are (xᵢ + xⱼ)/2 for i ≤ j. Their median is the estimate. With k the largest number
    for which P(T ≤ k) ≤ α/2, T being the sum of the ranks of positive values where signs are thrown by a coin, the
    interval reaches from the (k+1)-th smallest to the (k+1)-th largest of them.

    Args:
        values: n.
        alpha: the probability of missing the truth that is allowed.

    Raises:
        ValueError: there are too few values for any such interval.

    Example:
        >>> signed_rank_interval([1, 2, 3, 4, 5, 6], alpha=0.05)
        Interval(estimate=3.5, low=1.0, high=6.0)
    """
    k = _critical(len(values), alpha)
    x = np.asarray(values, "f8")
    i, j = np.triu_indices(len(x))
    walsh = np.sort((x[i] + x[j]) / 2)
    return Interval(float(np.median(walsh)), float(walsh[k]), float(walsh[len(walsh) - 1 - k]))


def median_interval(values: Sequence[float], alpha: float) -> Interval:
    """Return the median of a distribution of any shape, from n independent values of it.

    The k-th smallest and the k-th largest value enclose it unless fewer than k of n fair coins show heads, or fewer
    than k show tails; k is the largest for which the probability of that is at most α (W. J. Conover, *Practical
    Nonparametric Statistics*, 3rd ed., 1999, section 3.2).

    Args:
        values: n.
        alpha: the probability of missing the truth that is allowed.

    Raises:
        ValueError: there are too few values for any such interval.

    Example:
        >>> median_interval([5, 1, 4, 2, 3, 60], alpha=0.05)
        Interval(estimate=3.5, low=1.0, high=60.0)
    """
    n = len(values)
    below = np.cumsum([math.comb(n, heads) / 2**n for heads in range(n)])
    k = int(np.searchsorted(below, alpha / 2, side="right"))
    if not k:
        raise ValueError(f"{n} values are too few for an interval that misses in {alpha:g}")
    ordered = np.sort(np.asarray(values, "f8"))
    return Interval(float(np.median(ordered)), float(ordered[k - 1]), float(ordered[n - k]))


def ratio_interval(above: Sequence[float], below: Sequence[float], alpha: float) -> Interval:
    """Return the ratio of two things that were measured in the same rounds.

    Args:
        above: n positive values: what the one took in each round.
        below: n, of the other.
        alpha: the probability of missing the true ratio that is allowed.

    Raises:
        ValueError: there are too few rounds for any such interval.

    Example:
        >>> ratio = ratio_interval([20, 40, 20, 40, 20, 40], [10, 20, 10, 20, 10, 20], alpha=0.05)
        >>> round(ratio.estimate, 9)
        2.0
    """
    logs = [math.log(a / b) for a, b in zip(above, below, strict=True)]
    found = signed_rank_interval(logs, alpha)
    return Interval(math.exp(found.estimate), math.exp(found.low), math.exp(found.high))


def signed_rank_distribution(n: int) -> NDArray[np.float64]:
    """Return P(T = t) for t = 0…n(n+1)/2: each of the ranks 1…n is in the sum T or not, with equal chances.

    Args:
        n: number of values.

    Example:
        >>> signed_rank_distribution(2).tolist()
        [0.25, 0.25, 0.25, 0.25]
    """
    ways = np.ones(1)
    for rank in range(1, n + 1):
        longer = np.zeros(len(ways) + rank)
        longer[: len(ways)] += ways / 2
        longer[rank:] += ways / 2
        ways = longer
    return ways


def _critical(n: int, alpha: float) -> int:
    """The largest k with P(T ≤ k) ≤ α/2."""
    below = np.cumsum(signed_rank_distribution(n))
    k = int(np.searchsorted(below, alpha / 2, side="right")) - 1
    if k < 0:
        raise ValueError(f"{n} values are too few for an interval that misses in {alpha:g}")
    return k
