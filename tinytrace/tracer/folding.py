"""Folding closed segments into fewer records, from Python; `tinytrace.tracer.disk_limit` decides which.

`tinytrace.tracer.records` says what folding leaves. Nothing is kept in memory: what was folded before is
read from its file. `native/fold.c` does the same.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from itertools import groupby
from operator import itemgetter
from typing import Any

from tinytrace.tracer.records import (
    COUNTER,
    CPU_NOT_KNOWN,
    FLOW,
    FORMAT_VERSION,
    MAX_SUMS,
    RECORD_BYTES,
    SAMPLE,
    SEGMENT_HEADER,
    SEGMENT_HEADER_BYTES,
    SEGMENT_MAGIC,
    SPAN,
    SUM,
    SUM_BYTES,
    SUMS_HEADER,
    SUMS_HEADER_BYTES,
    SUMS_MAGIC,
    Flag,
    Kind,
    Stream,
    cpu_halves,
)
from tinytrace.tracer.segments import segment_bytes, segment_name

NOT_ENDED = Flag.RAISED | Flag.OPEN
Row = tuple[Any, ...]


def _replace(path: str, data: bytes) -> None:
    try:
        with open(f"{path}.new", "wb") as file:
            file.write(data)
        os.replace(f"{path}.new", path)  # noqa: PTH105
    except OSError:
        if os.path.lexists(f"{path}.new"):
            os.unlink(f"{path}.new")  # noqa: PTH108
        raise


# ---- spans ----


def fold_into_sums(
    folder: str,
    thread: int,
    number: int,
    segment: bytes,
    most_bytes: Callable[[int], int] = lambda before: MAX_SUMS * SUM_BYTES,
) -> tuple[int, int, int]:
    """Add the records of a segment to the sums of its thread.

    Args:
        folder: of the process.
        thread: its index.
        number: of the segment.
        segment: the whole file.
        most_bytes: by the size of the sums up to now, how large they may become; further groups are summed
            up as `MAX_SUMS` says.

    Returns:
        how many spans; the size of the sums before and after.

    Raises:
        OSError: the sums cannot be read or written; they are as they were.
    """
    path = f"{folder}/sums-{thread}.tt"
    groups: dict[tuple[int, int, int, int], list[int]] = {}
    segments = size = 0
    try:
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        data = b""
    if data:
        size = len(data)
        segments = SUMS_HEADER.unpack_from(data)[5]
        for row in SUM.iter_unpack(data[SUMS_HEADER_BYTES:]):
            groups[row[:4]] = list(row[4:])
    told = SEGMENT_HEADER.unpack_from(segment)
    rows = list(SPAN.iter_unpack(segment[SEGMENT_HEADER_BYTES:]))
    most = (most_bytes(size) - SUMS_HEADER_BYTES) // SUM_BYTES
    # What is in it stays; a kind of its own needs no more.
    most = min(MAX_SUMS, max(most, len(groups) + len(Kind)))
    spans = _sum_up(groups, rows, told[11], told[12] - told[8], most)
    head = SUMS_HEADER.pack(
        SUMS_MAGIC, FORMAT_VERSION, number, thread, len(groups), segments + 1, 0
    )
    data = head + b"".join(SUM.pack(*key, *group) for key, group in groups.items())
    _replace(path, data)
    return spans, size, len(data)


def _sum_up(
    groups: dict[tuple[int, int, int, int], list[int]],
    rows: list[tuple[int, ...]],
    label: int,
    since: int,
    most: int,
) -> int:
    """Sum up spans. A parent in an earlier segment keeps its whole time there.

    Args:
        groups: what to add to.
        rows: the records of a segment.
        label: of the op with arguments that was open when the segment was made, 0 = none.
        since: its index, counted from the segment's first record: negative.
        most: groups in all.
    """
    outer, child_ns, has_op = _nested(rows, label, since)
    spans = 0
    for i, (start, dur, what, site, _, kind, flags, _) in enumerate(rows):
        if not start:
            continue
        spans += 1
        key = what if kind != Kind.STEP else 0, site, kind, outer[i]
        if key not in groups and len(groups) >= most - len(Kind):
            key = 0, 0, kind, 0
        group = groups.setdefault(key, [0, 0, 0, 0, 0, dur, 0, start, 0])
        ended = not flags & NOT_ENDED
        group[0] += 1
        group[1] += ended
        group[2] += ended and not has_op[i]
        group[3] += dur
        group[4] += max(0, dur - child_ns[i])
        group[5] = min(group[5], dur)
        group[6] = max(group[6], dur)
        group[7] = min(group[7], start)
        group[8] = max(group[8], start + dur)
    return spans


def _has_figures(row: tuple[int, ...]) -> bool:
    """Whether the figures of an op stand for what ran inside it; those of one that did not end normally do not."""
    return row[5] == Kind.LABELLED_OP and not row[6] & NOT_ENDED


def _nested(
    rows: list[tuple[int, ...]], label: int, since: int
) -> tuple[list[int], list[int], bytearray]:
    """Per span: the op with arguments around it, the time of its children, whether an op ran inside.

    A span that outlives its parent is detached; a detached one has no children.
    """
    count = len(rows)
    up, outer, child_ns, has_op = [-1] * count, [0] * count, [0] * count, bytearray(count)
    detached = bytearray(count)
    for i, (start, dur, _, _, distance, _, flags, _) in enumerate(rows):
        above = i - distance if start and 0 < distance <= i else -1
        while above >= 0 and detached[above]:
            above = up[above]
        up[i] = above
        outlives = above >= 0 and start + dur > rows[above][0] + rows[above][1]
        detached[i] = outlives or bool(flags & Flag.DETACHED)
        if above >= 0 and not detached[i]:
            child_ns[above] += dur
            outer[i] = rows[above][2] if _has_figures(rows[above]) else outer[above]
        elif not detached[i] and distance > i and i - distance >= since:
            outer[i] = label
    for i in range(count - 1, -1, -1):
        above = up[i]
        if (
            above >= 0
            and not detached[i]
            and (has_op[i] or rows[i][5] in {Kind.OP, Kind.LABELLED_OP})
        ):
            has_op[above] = 1
    return outer, child_ns, has_op


# ---- samples and counters ----


def merge(folder: str, stream: Stream, first: tuple[int, int], last: int) -> tuple[int, int]:
    """Put one segment with fewer records in the place of one or of two neighbours.

    Args:
        folder: of the process.
        stream: samples, counters or flows.
        first: number of the earlier one, and of the first that went into it.
        last: number of the later one, or of the same.

    Returns:
        how many records there were before anything was folded; the size of the new segment.

    Raises:
        OSError: a file cannot be read or written. Nothing is lost.
    """
    paths = [f"{folder}/{segment_name(stream, 0, n)}" for n in sorted({first[0], last})]
    rows: list[Row] = []
    before, created_ns, pid = 0, 0, 0
    layout = {Stream.SAMPLES: SAMPLE, Stream.COUNTERS: COUNTER, Stream.FLOWS: FLOW}[stream]
    for path in reversed(paths):
        with open(path, "rb") as file:
            data = file.read()
        told = SEGMENT_HEADER.unpack_from(data)
        pid, created_ns = told[7], told[9]
        found = [row for row in layout.iter_unpack(data[SEGMENT_HEADER_BYTES:]) if row[0]]
        before += told[12] if told[10] else len(found)
        rows = found + rows
    rows = FOLDS[stream](rows)
    head = SEGMENT_HEADER.pack(
        SEGMENT_MAGIC, FORMAT_VERSION, stream, RECORD_BYTES, len(rows), 0, last, pid, 0, created_ns,
        1, first[1], before,
    )  # fmt: skip
    _replace(paths[-1], head + b"".join(layout.pack(*row) for row in rows))
    if len(paths) > 1:
        os.unlink(paths[0])  # noqa: PTH108  (pathlib is not loaded before the program)
    return before, segment_bytes(len(rows))


def fold_samples(rows: Iterable[Row]) -> list[Row]:
    """Return one sample per (thread, stack, state); a thread's weights add up to what they were.

    The state: on CPU for at least half of the time, or not, or not known.
    """
    groups: dict[tuple[int, int, int], list[int]] = {}
    last_ns: dict[int, int] = {}
    for t, weight, low, thread, stack, high in rows:
        known = low != CPU_NOT_KNOWN
        cpu = low | high << 32 if known else 0
        state = 2 if not known else int(2 * cpu >= weight)
        group = groups.setdefault((thread, stack, state), [0, 0])
        group[0] += weight
        group[1] += cpu
        last_ns[thread] = max(last_ns.get(thread, 0), t)
    found: list[Row] = []
    for thread, keys in groupby(sorted(groups), itemgetter(0)):
        mine = list(keys)
        t = last_ns[thread] - sum(groups[key][0] for key in mine)
        for key in mine:
            weight, cpu = groups[key]
            t += weight
            low, high = cpu_halves(cpu if key[2] != 2 else -1)
            found.append((max(t, 1), weight, low, thread, key[1], high))
    return found


def fold_counters(rows: Iterable[Row]) -> list[Row]:
    """Return the first, the least, the greatest and the last value of each series, at their times."""
    found: list[Row] = []
    by_series = sorted(rows, key=itemgetter(2, 0))
    for _, group in groupby(by_series, itemgetter(2)):
        mine = list(group)
        places = {0, len(mine) - 1}
        finite = [i for i, row in enumerate(mine) if row[1] == row[1]]
        if finite:
            places.add(min(finite, key=lambda i: mine[i][1]))
            places.add(max(finite, key=lambda i: mine[i][1]))
        found += [mine[i] for i in sorted(places)]
    return found


def drop_flows(rows: Iterable[Row]) -> list[Row]:
    """Return none: the spans that they join are folded as well."""
    return []


FOLDS: dict[Stream, Callable[[Iterable[Row]], list[Row]]] = {
    Stream.SAMPLES: fold_samples, Stream.COUNTERS: fold_counters, Stream.FLOWS: drop_flows,
}  # fmt: skip
