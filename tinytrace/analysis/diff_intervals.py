"""How far the time of a call differs between two runs, with an interval; whole tables at once.

A block bootstrap of the ratio of means: calls that follow one another are alike (a busy neighbour, a warm
cache), so not calls are drawn again but blocks of them (Künsch, Annals of Statistics 17, 1989). The drawings
are the same for all rows, so that all intervals are a few matrix products.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

BLOCKS = 32  # enough for the spread of a mean to be known to 12 %, 1/sqrt(2 (32 - 1))
RESAMPLES = 1000  # in each of two drawings: 50 of the 2,000 lie beyond each end of the interval
QUANTILES = 1024  # of durations: their median is known to a thousandth of their number
LEAST_CALLS = 8  # fewer say too little of their own spread
ROWS_AT_ONCE = 512  # 2 x 1,000 x 512 doubles are 8 MB
Z = 1.959964  # 97.5 % of a normal distribution lie below it: intervals are of 95 %


@dataclass(frozen=True, eq=False)
class Blocks:
    """Calls of each row in order of time, cut into up to 32 blocks of nearly equally many.

    Attributes:
        total_ns: (rows, 32) time per block.
        calls: (rows, 32) calls per block; 0: no such block.
        n_blocks: (rows,) how many blocks there are.
    """

    total_ns: Floats
    calls: Floats
    n_blocks: Ints


def blocks_of(row: Ints, start_ns: Ints, dur_ns: Ints, n_rows: int) -> Blocks:
    """Cut the calls of each row into blocks.

    Args:
        row: (n,) row of each call.
        start_ns: (n,) when it began.
        dur_ns: (n,) how long it took.
        n_rows: how many rows there are.
    """
    order = np.lexsort((start_ns, row))
    row = row[order]
    length = np.bincount(row, minlength=n_rows)
    rank = np.arange(len(row)) - (np.cumsum(length) - length)[row]
    n_blocks = np.minimum(length, BLOCKS)
    code = row * BLOCKS + rank * n_blocks[row] // np.maximum(length[row], 1)
    shape = (n_rows, BLOCKS)
    total_ns = np.bincount(code, dur_ns[order].astype("f8"), n_rows * BLOCKS).reshape(shape)
    calls = np.bincount(code, minlength=n_rows * BLOCKS).reshape(shape).astype("f8")
    return Blocks(total_ns.astype("f8"), calls, np.asarray(n_blocks, "i8"))


def log_ratio_spread(before: Blocks, after: Blocks) -> tuple[Floats, Floats]:
    """Return how far the logarithm of (mean after ÷ mean before) may lie below and above its estimate.

    At 95 %. The spread of each side is widened to what Student's distribution has for so few blocks.
    Exchanging the sides exchanges the two results.

    Args:
        before: of the first run.
        after: of the second, with the same rows.

    Returns:
        Per row two distances ≥ 0 or so; NaN where either side has fewer than 8 calls, or no time.
    """
    n_rows = len(before.n_blocks)
    low, high = np.full(n_rows, np.nan), np.full(n_rows, np.nan)
    known = (before.n_blocks >= LEAST_CALLS) & (after.n_blocks >= LEAST_CALLS)
    known &= (before.total_ns.sum(1) > 0) & (after.total_ns.sum(1) > 0)
    shapes = before.n_blocks * (BLOCKS + 1) + after.n_blocks
    for shape in np.unique(shapes[known]).tolist():
        rows = np.flatnonzero(known & (shapes == shape))
        n_before, n_after = divmod(shape, BLOCKS + 1)
        for at in range(0, len(rows), ROWS_AT_ONCE):
            some = rows[at : at + ROWS_AT_ONCE]
            # Both drawings on both sides, so that it makes no difference which run is called the first.
            drawn = [
                _deviations(after, some, n_after, which)
                - _deviations(before, some, n_before, 1 - which)
                for which in (0, 1)
            ]
            ends = np.quantile(np.concatenate(drawn, axis=1), (0.025, 0.975), axis=1)
            low[some], high[some] = -ends[0], ends[1]
    return low, high


def _deviations(blocks: Blocks, rows: Ints, n_blocks: int, which: int) -> Floats:
    """(rows, resamples): logarithm of a mean drawn again, less that of the mean."""
    weights = _drawing(n_blocks, which)
    total_ns, calls = blocks.total_ns[rows, :n_blocks], blocks.calls[rows, :n_blocks]
    least_ns = (
        total_ns.sum(1, keepdims=True) * 1e-9
    )  # of a drawing that met blocks without time only
    drawn = np.maximum(total_ns @ weights, least_ns) / (calls @ weights)
    mean = total_ns.sum(1, keepdims=True) / calls.sum(1, keepdims=True)
    return np.asarray(np.log(drawn / mean) * widening(n_blocks), "f8")


@functools.cache
def _drawing(n_blocks: int, which: int) -> Floats:
    """(blocks, resamples): how often each block is drawn; always the same."""
    random = np.random.default_rng([n_blocks, which])
    shares = np.full(n_blocks, 1 / n_blocks)
    drawn: Floats = random.multinomial(n_blocks, shares, RESAMPLES).T.astype("f8")
    return drawn


def median_spread(before: Ints, after: Ints) -> tuple[tuple[float, float], float, float]:
    """Return two medians, and how far the logarithm of after ÷ before may lie below and above its estimate.

    As `log_ratio_spread`, of medians instead of means: of up to 1,024 quantiles it is known how many lie in which
    block, and a drawing of blocks is a sum of these numbers.

    Args:
        before: (n,) durations of the first run in order of time; not empty.
        after: (m,) of the second.

    Returns:
        The medians, and two distances; these NaN where either side has fewer than 8.

    Example:
        >>> median_spread(np.full(9, 10), np.full(9, 20))
        ((10.0, 20.0), 0.0, 0.0)
    """
    medians = float(np.median(before)), float(np.median(after))
    if min(len(before), len(after)) < LEAST_CALLS:
        return medians, math.nan, math.nan
    drawn = [_drawn_medians(after, which) - _drawn_medians(before, 1 - which) for which in (0, 1)]
    low, high = np.quantile(np.concatenate(drawn), (0.025, 0.975)).tolist()
    return medians, 0.0 - low, high


def _drawn_medians(dur_ns: Ints, which: int) -> Floats:
    """(resamples,): logarithm of a median drawn again, less that of the median."""
    n = len(dur_ns)
    n_blocks, n_bins = min(n, BLOCKS), min(n, QUANTILES)
    order = np.argsort(dur_ns, kind="stable")
    place = np.arange(n) * n_bins // n
    code = place * n_blocks + order * n_blocks // n
    number = np.bincount(code, minlength=n_bins * n_blocks).reshape(n_bins, n_blocks)
    # In the middle of each bin; 1 ns at least, for the logarithm.
    value = np.log(np.maximum(dur_ns[order][(np.arange(n_bins) * n + n // 2) // n_bins], 1))
    below = np.cumsum(number, axis=0)
    drawn = below @ _drawing(n_blocks, which)
    median = value[np.argmax(2 * drawn >= drawn[-1], axis=0)]
    middle = value[np.argmax(2 * below.sum(1) >= n)]
    return np.asarray((median - middle) * widening(n_blocks), "f8")


def widening(n_blocks: int) -> float:
    """Return what a bootstrap of few blocks is too narrow by.

    √(k ÷ (k − 1)), and the quantile of Student's distribution with k − 1 degrees of freedom over that of the
    normal one, by its expansion (Abramowitz & Stegun 26.7.5).

    >>> round(widening(8), 2), round(widening(32), 2)
    (1.29, 1.06)
    """
    nu = n_blocks - 1
    t = Z + (Z**3 + Z) / (4 * nu) + (5 * Z**5 + 16 * Z**3 + 3 * Z) / (96 * nu**2)
    return float((n_blocks / nu) ** 0.5 * t / Z)


def weighted_median(values: Floats, weights: Floats) -> float:
    """Return the median of values of which each counts by its weight; between two, their mean.

    >>> weighted_median(np.array([1.0, 2.0, 9.0]), np.array([1.0, 1.0, 1.0]))
    2.0
    """
    order = np.argsort(values)
    reached = np.cumsum(weights[order])
    half = reached[-1] / 2
    low = int(np.searchsorted(reached, half * (1 - 1e-12)))
    high = int(np.searchsorted(reached, half * (1 + 1e-12)))
    return float((values[order][low] + values[order][min(high, len(values) - 1)]) / 2)
