"""Fewer samples that weigh the same, fewer counter values with the same extremes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.json_size import SampleSizes
from tinytrace.tracer.groups import first_rows, group_ids, sums
from tinytrace.tracer.trace import Column, Counters, Samples

Ints = NDArray[np.int64]


def merge_samples(samples: Samples, sizes: SampleSizes, limit_bytes: int) -> Samples:
    """Return samples whose estimated size is within the limit, merged no more than needed.

    First, neighbours in the same stack become one. Then, in windows of 2, 4, 8… samples of a
    thread, all those in the same stack become one: within a window the order is lost, the weights
    are exact. What ran is not merged with what waited, so that shares of time on the CPU stay exact
    as well. Only when one sample per thread and stack is still too much, the lightest are dropped.

    Args:
        samples: by thread, then time.
        sizes: estimates for their trace.
        limit_bytes: at least 0.
    """
    if sizes.bytes(samples) <= limit_bytes:
        return samples
    runs = merged = _merge(samples, _runs(samples))
    per_window = 1
    while sizes.bytes(merged) > limit_bytes and per_window < len(runs):
        per_window *= 2
        merged = _merge(runs, _rank_in_thread(runs.thread) // per_window)
    heaviest = np.argsort(-merged.weight_ns, kind="stable")
    kept = len(merged)
    while sizes.bytes(merged) > limit_bytes:
        kept //= 2
        merged = merged.take(np.sort(heaviest[:kept]))
        heaviest = np.argsort(-merged.weight_ns, kind="stable")
    return merged


def _state(samples: Samples) -> Ints:
    """0: not known whether it ran, 1: waited, 2: ran."""
    return np.where(samples.cpu_ns < 0, 0, 1 + samples.on_cpu.astype("i8"))


def _runs(samples: Samples) -> Ints:
    """Number stretches without a change of thread, stack or state, and without a hole in time."""
    same = np.ones(max(len(samples) - 1, 0), "?")
    for column in (samples.thread, samples.stack_id, _state(samples)):
        same &= column[1:] == column[:-1]
    hole_ns = (samples.t_ns - samples.weight_ns)[1:] - samples.t_ns[:-1]
    same &= hole_ns <= samples.weight_ns[1:]
    return np.append(np.zeros(min(len(samples), 1), "i8"), np.cumsum(~same))


def _rank_in_thread(thread: Column) -> Ints:
    """Number of earlier rows of the same thread; threads follow one another."""
    row = np.arange(len(thread))
    begins = np.append(np.ones(min(len(thread), 1), "?"), thread[1:] != thread[:-1])
    return row - np.maximum.accumulate(np.where(begins, row, 0))


def _merge(samples: Samples, window: Ints) -> Samples:
    """Make one sample of those of one thread, window, stack and state.

    They are laid one after another from the beginning of their window, in the order in which they
    first occur.
    """
    windows, n_windows = group_ids([samples.thread, window])
    ids, count = group_ids([windows, samples.stack_id, _state(samples)])
    first = first_rows(ids, count)
    weight_ns = sums(ids, count, samples.weight_ns)
    cpu_ns = np.where(samples.cpu_ns[first] < 0, -1, sums(ids, count, samples.cpu_ns))
    last_ns = np.zeros(n_windows, "i8")
    last_ns[windows] = samples.t_ns  # the last one of each window stays
    order = np.argsort(first)
    rows = first[order]
    begins = first_rows(windows[rows], n_windows)
    start_ns = (samples.t_ns - samples.weight_ns)[rows[begins]]
    total_ns = np.cumsum(weight_ns[order])
    before_ns = (total_ns - weight_ns[order])[begins]
    laid_ns = (start_ns - before_ns)[windows[rows]] + total_ns
    return Samples(
        t_ns=np.minimum(laid_ns, last_ns[windows[rows]]),
        weight_ns=weight_ns[order],
        cpu_ns=cpu_ns[order],
        thread=samples.thread[rows],
        stack_id=samples.stack_id[rows],
    )


def thin_counters(counters: Counters, limit: int) -> Counters:
    """Return at most ``limit`` values: per series the first, the last, and extremes in between.

    Each series is cut into buckets of equally many values, the smallest and the largest of which
    are kept. A limit too small for that keeps the largest value of each series, as far as it goes.

    Args:
        counters: by series, then time.
        limit: at least 0.
    """
    if len(counters) <= limit:
        return counters
    series, n_series = group_ids([counters.series_id])
    length = np.bincount(series, minlength=n_series)
    rank = _rank_in_thread(series)
    buckets = length * limit // (2 * len(counters)) - 1
    kept = np.zeros(len(counters), "?")
    if (buckets < 1).any():
        kept[_extremes(series, counters.value)[1][:limit]] = True
        return _taken(counters, kept)
    kept[(rank == 0) | (rank == length[series] - 1)] = True
    bucket, _ = group_ids([series, rank * buckets[series] // length[series]])
    for rows in _extremes(bucket, counters.value):
        kept[rows] = True
    return _taken(counters, kept)


def _taken(counters: Counters, kept: NDArray[np.bool_]) -> Counters:
    taken: Counters = counters.take(kept)
    return taken


def _extremes(bucket: Ints, value: NDArray[np.float64]) -> tuple[Ints, Ints]:
    """Rows of the smallest and the largest value of each bucket; what is no number counts as 0."""
    order = np.lexsort((np.where(np.isnan(value), 0.0, value), bucket))
    ends = np.flatnonzero(np.append(np.diff(bucket[order]) != 0, True))
    return order[np.append(0, ends[:-1] + 1)], order[ends]
