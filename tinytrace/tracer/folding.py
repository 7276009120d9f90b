"""What keeps the disk bounded while Python records: closed segments are folded, the oldest first.

`tinytrace.tracer.records` says what folding leaves. Nothing is kept in memory: what was folded before is
read from its file. `native/fold.c` does the same.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from itertools import groupby, pairwise
from operator import itemgetter
from typing import Any

from tinytrace.tracer.records import (
    COUNTER,
    FORMAT_VERSION,
    MAX_SUMS,
    RECORD_BYTES,
    SAMPLE,
    SEGMENT_HEADER,
    SEGMENT_HEADER_BYTES,
    SEGMENT_MAGIC,
    SPAN,
    SUM,
    SUMS_HEADER,
    SUMS_HEADER_BYTES,
    SUMS_MAGIC,
    Flag,
    Kind,
    Stream,
)
from tinytrace.tracer.segments import segment_bytes, segment_name

CPU_NOT_KNOWN = 0xFFFFFFFF
NOT_ENDED = Flag.RAISED | Flag.OPEN
Row = tuple[Any, ...]
WHOLE_SEGMENTS = 2  # of spans, the first two that are closed in the process: never folded


class Closed:
    """A segment that is whole on disk, or several that were folded into one."""

    def __init__(self, stream: Stream, thread: int, number: int, size: int) -> None:
        """Begin with a segment that was never folded."""
        self.stream = stream
        self.thread = thread
        self.number = self.first = number
        self.size = size
        self.level = 0  # how often it was folded
        self.ended: Callable[[], bool] = lambda: True  # whether all its spans have


class DiskLimit:
    """Keeps the files of a process under a limit, as far as folding can.

    Args:
        folder: of the process.
        limit_bytes: for closed segments, sums and tables together.
        tables_bytes: how large the tables are.
    """

    def __init__(
        self, folder: str, limit_bytes: int, tables_bytes: Callable[[], int] = lambda: 0
    ) -> None:
        """Begin with nothing closed."""
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._tables_bytes = tables_bytes
        self._incoming: list[Closed] = []
        self._closed: list[Closed] = []
        self._kept = self._bytes = 0
        self.folded_spans = self.folded_segments = 0
        self.folded_samples = self.folded_counters = 0

    def closed(self, segment: Closed) -> None:
        """Count a segment that is full; it may be folded once ``segment.ended()``."""
        self._incoming.append(segment)

    def hold(self) -> None:
        """Fold until the limit holds, or nothing is left to fold. One caller at a time.

        Raises:
            OSError: a file cannot be written. Nothing is lost; the next call tries again.
        """
        while self._incoming:
            segment = self._incoming.pop(0)
            self._bytes += segment.size
            if segment.stream == Stream.SPANS and self._kept < WHOLE_SEGMENTS:
                self._kept += 1
            else:
                self._closed.append(segment)
        for segment in [s for s in self._closed if not s.level and s.ended()]:
            if not self._is_over():
                return
            if segment.stream == Stream.SPANS:
                self._fold_spans(segment)
            else:
                self._merge(segment, segment)
        while self._is_over() and (pair := self._pair()):
            self._merge(*pair)

    def _is_over(self) -> bool:
        return self._bytes + self._tables_bytes() > self._limit_bytes

    def _fold_spans(self, segment: Closed) -> None:
        path = f"{self._folder}/{segment_name(segment.stream, segment.thread, segment.number)}"
        with open(path, "rb") as file:
            data = file.read()
        spans, grown = fold_into_sums(self._folder, segment.thread, segment.number, data)
        self._closed.remove(segment)
        self._bytes += grown - segment.size
        self.folded_spans += spans
        self.folded_segments += 1
        os.unlink(path)  # noqa: PTH108  (pathlib is not loaded before the program)

    def _pair(self) -> tuple[Closed, Closed] | None:
        """Two folded neighbours; those that were folded least, of these the oldest."""
        best: tuple[Closed, Closed] | None = None
        for stream in (Stream.SAMPLES, Stream.COUNTERS):
            row = [s for s in self._closed if s.stream == stream and s.level]
            for one, next_ in pairwise(row):
                level = max(one.level, next_.level)
                if best is None or level < max(best[0].level, best[1].level):
                    best = one, next_
        return best

    def _merge(self, first: Closed, last: Closed) -> None:
        """Put one segment with fewer records in the place of one or of two neighbours."""
        numbers = sorted({first.number, last.number})
        paths = [f"{self._folder}/{segment_name(first.stream, 0, n)}" for n in numbers]
        rows: list[Row] = []
        before, created_ns, pid = 0, 0, 0
        layout = SAMPLE if first.stream == Stream.SAMPLES else COUNTER
        for path in reversed(paths):
            with open(path, "rb") as file:
                data = file.read()
            told = SEGMENT_HEADER.unpack_from(data)
            pid, created_ns = told[7], told[9]
            body = data[SEGMENT_HEADER_BYTES:]
            found = [row for row in layout.iter_unpack(body) if row[0]]
            before += told[12] if told[10] else len(found)
            rows = found + rows
        rows = fold_samples(rows) if first.stream == Stream.SAMPLES else fold_counters(rows)
        head = SEGMENT_HEADER.pack(
            SEGMENT_MAGIC, FORMAT_VERSION, first.stream, RECORD_BYTES, len(rows), 0, last.number,
            pid, 0, created_ns, 1, first.first, before,
        )  # fmt: skip
        _replace(paths[-1], head + b"".join(layout.pack(*row) for row in rows))
        if first is not last:
            self._closed.remove(first)
            self._bytes -= first.size
            os.unlink(paths[0])  # noqa: PTH108
        elif first.stream == Stream.SAMPLES:
            self.folded_samples += before
        else:
            self.folded_counters += before
        self._bytes += segment_bytes(len(rows)) - last.size
        last.size = segment_bytes(len(rows))
        last.level = max(first.level, last.level) + 1
        last.first = first.first


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


def fold_into_sums(folder: str, thread: int, number: int, segment: bytes) -> tuple[int, int]:
    """Add the records of a segment to the sums of its thread; returns how many, and bytes more on disk.

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
    spans = _sum_up(groups, rows, told[11], told[12] - told[8])
    head = SUMS_HEADER.pack(
        SUMS_MAGIC, FORMAT_VERSION, number, thread, len(groups), segments + 1, 0
    )
    data = head + b"".join(SUM.pack(*key, *group) for key, group in groups.items())
    _replace(path, data)
    return spans, len(data) - size


def _sum_up(
    groups: dict[tuple[int, int, int, int], list[int]],
    rows: list[tuple[int, ...]],
    label: int,
    since: int,
) -> int:
    """Sum up spans. A parent in an earlier segment keeps its whole time there.

    Args:
        groups: what to add to.
        rows: the records of a segment.
        label: of the op with arguments that was open when the segment was made, 0 = none.
        since: its index, counted from the segment's first record: negative.
    """
    outer, child_ns, has_op = _nested(rows, label, since)
    spans = 0
    for i, (start, dur, what, site, _, kind, flags, _) in enumerate(rows):
        if not start:
            continue
        spans += 1
        key = what if kind != Kind.STEP else 0, site, kind, outer[i]
        if key not in groups and len(groups) >= MAX_SUMS - len(Kind):
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
            outer[i] = rows[above][2] if rows[above][5] == Kind.LABELLED_OP else outer[above]
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
            low, high = cpu & 0xFFFFFFFF, cpu >> 32
            if key[2] == 2:
                low, high = CPU_NOT_KNOWN, 0
            elif low == CPU_NOT_KNOWN:
                low -= 1
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
