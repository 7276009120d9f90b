"""Arrows between spans, from the records of a process to rows of the trace."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tinytrace.tracer.groups import lookup
from tinytrace.tracer.records import TOKEN_THREAD_SHIFT
from tinytrace.tracer.trace import Column, Flows


def arrows(
    records: Column,
    index: Mapping[int, Column],
    first_row: Mapping[int, int],
    labels: Mapping[int, int],
) -> tuple[Flows, int]:
    """Return the arrows whose spans were read, in order of recording, and how many lost an end.

    Args:
        records: `reading.FLOW_DTYPE`.
        index: by thread, the ascending numbers of the spans that were read.
        first_row: by thread, the row of the first of these.
        labels: by label, a row of the strings.
    """
    source, target = (_rows(records[end], index, first_row) for end in ("source", "target"))
    kind = lookup(labels, records["label"])
    whole = (source >= 0) & (target >= 0) & (kind >= 0)
    return Flows(source[whole], target[whole], kind[whole]), int(np.count_nonzero(~whole))


def _rows(
    tokens: Column, index: Mapping[int, Column], first_row: Mapping[int, int]
) -> NDArray[np.int64]:
    """Row of the span that each token stands for; −1: it is not there."""
    at = tokens - np.uint64(1)
    thread = at >> np.uint64(TOKEN_THREAD_SHIFT)
    number = (at & np.uint64((1 << TOKEN_THREAD_SHIFT) - 1)).astype("i8")
    row = np.full(len(tokens), -1, "i8")
    for of, first in first_row.items():
        mine = np.flatnonzero(thread == np.uint64(of))
        numbers = index[of]
        place = np.minimum(np.searchsorted(numbers, number[mine]), len(numbers) - 1)
        row[mine] = np.where(numbers[place] == number[mine], first + place, -1)
    return row


def say_lost(kept: int, lost: int) -> list[str]:
    """Say how many arrows went with their spans.

    Example:
        >>> say_lost(10, 2), say_lost(10, 0)
        (['2 of 12 arrows between spans are not in the trace: an end was summed up'], [])
    """
    if not lost:
        return []
    return [
        f"{lost:,} of {kept + lost:,} arrows between spans are not in the trace: an end was summed up"
    ]
