"""The segments and sums of one process folder, read back as records that can be true.

Nothing here trusts a file: it may be cut off, partly overwritten, or not ours. What cannot be true is left
out, and how much that was is said in ``warnings``.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinytrace.tracer.condensing import IS_OWN, SIGNED_SUM_DTYPE, SUM_FIELDS, Condenser
from tinytrace.tracer.records import (
    FORMAT_VERSION,
    RECORD_BYTES,
    SEGMENT_HEADER,
    SEGMENT_HEADER_BYTES,
    SEGMENT_MAGIC,
    STREAM_NAMES,
    SUM_BYTES,
    SUMS_HEADER,
    SUMS_HEADER_BYTES,
    SUMS_MAGIC,
    Flag,
    Kind,
    Stream,
)
from tinytrace.tracer.trace import Column
from tinytrace.tracer.windows import Course, Windows, choose_windows

SPAN_DTYPE = np.dtype(
    [("start_ns", "<u8"), ("dur_ns", "<u8"), ("what", "<u4"), ("site", "<u4"), ("parent", "<u4"),
     ("kind", "u1"), ("flags", "u1"), ("zero", "<u2")]
)  # fmt: skip
SPAN_COLUMNS = ("start_ns", "dur_ns", "what", "site", "parent", "kind", "flags")
SAMPLE_DTYPE = np.dtype(
    [("t_ns", "<u8"), ("weight_ns", "<u8"), ("cpu_low", "<u4"), ("thread", "<u4"), ("stack", "<u4"),
     ("cpu_high", "<u4")]
)  # fmt: skip
COUNTER_DTYPE = np.dtype(
    [("t_ns", "<u8"), ("value", "<f8"), ("series", "<u4"), ("zero", "<u4"), ("zero2", "<u8")]
)
SUM_DTYPE = np.dtype(
    [(n, "<u4") for n in ("what", "site", "kind", "outer")] + [(n, "<u8") for n in SUM_FIELDS]
)
FLOW_DTYPE = np.dtype(
    [("t_ns", "<u8"), ("source", "<u8"), ("target", "<u8"), ("label", "<u4"), ("zero", "<u4")]
)
DTYPES = {
    Stream.SPANS: SPAN_DTYPE, Stream.SAMPLES: SAMPLE_DTYPE, Stream.COUNTERS: COUNTER_DTYPE,
    Stream.FLOWS: FLOW_DTYPE,
}  # fmt: skip
LATEST_NS = 2**61  # 73 years: sums of two times stay within 64 bits
LONGEST_NS = (
    2**53
)  # 104 days: further from the beginning a trace file cannot give times to the nanosecond
PART_RECORDS = 131_072  # are condensed at a time: many enough for NumPy, and 20 MB
OWN_SHARE = (
    4  # the program's own spans are all kept if they are no more than this part of the limit
)
SLACK_NS = 60 * 10**9
CLOCK_STEP_NS = 86_400 * 10**9  # by how much the calendar clock may have been set back since
ALL_FLAGS = Flag.OPEN | Flag.RAISED | Flag.DETACHED


@dataclass(frozen=True)
class _Segment:
    stream: Stream
    number: int
    first_number: int  # of those that were folded into it; else its own
    folded: int  # how many records were folded into those that are left
    first_index: int
    created_ns: int
    path: Path
    count: int

    @property
    def records(self) -> Column:
        """All slots: of a file that has become shorter, those that are left."""
        slots = np.empty(self.count, DTYPES[self.stream])
        return slots[: self.read_into(slots)]

    def read_into(self, slots: Column) -> int:
        """Read as many as fit and are there, which is faster than the faults of a map; return how many."""
        with self.path.open("rb", buffering=0) as file:
            file.seek(SEGMENT_HEADER_BYTES)
            return (file.readinto(slots.view("u1").data) or 0) // RECORD_BYTES


class ProcessRecords:
    """What the process of a folder recorded, stream by stream.

    Args:
        folder: ``p<pid>-<n>``.
        meta: what its tables say of it; nothing in it is relied on.
        span_limit: about how many spans are read at most; the others become sums.

    Attributes:
        spans: by thread index, the columns `SPAN_COLUMNS` in order of the slots; ``index``: the number of each in
            its thread.
        index: see ``spans``.
        samples, counters, flows: in order of writing.
        is_folded: per sample, whether it stands for several.
        sums: by thread index: groups of folded spans, those that were folded here included: `SIGNED_SUM_DTYPE`.
        condensed: what was kept of spans that were too many, in words; None: all of them.
        folded_samples, folded_counters, folded_flows: how many records were folded into fewer, or none.
        warnings: what is lost.
    """

    def __init__(self, folder: Path, meta: dict[str, Any], span_limit: int) -> None:
        """Read everything."""
        self._folder = folder
        self._damaged = 0
        self.warnings: list[str] = []
        sums = self._read_sums()
        found = {stream: self._segments(stream) for stream in Stream}
        self._note_missing(found, sums)
        every = [s for threads in found.values() for segments in threads.values() for s in segments]
        self._first_ns, self._last_ns = plausible_times(meta, [s.created_ns for s in every])
        self.spans: dict[int, dict[str, Column]] = {}
        self.index: dict[int, Column] = {}
        self.condensed: str | None = None
        self.sums = {thread: self._true_sums(rows) for thread, (_, _, rows) in sorted(sums.items())}
        of_spans = found[Stream.SPANS]
        for thread in sums.keys() & of_spans.keys():
            of_spans[thread] = [s for s in of_spans[thread] if s.number != sums[thread][0]]
        self._read_spans(of_spans, span_limit)
        samples = found[Stream.SAMPLES].get(0, [])
        self.samples, self.is_folded = self._read_samples(samples)
        counters = found[Stream.COUNTERS].get(0, [])
        self.counters = self._read_counters([s.records for s in counters])
        self.folded_samples = sum(s.folded for s in samples)
        self.folded_counters = sum(s.folded for s in counters)
        flows = found[Stream.FLOWS].get(0, [])
        self.flows = self._read_flows([s.records for s in flows])
        self.folded_flows = sum(s.folded for s in flows)
        if self._damaged:
            self._warn(f"{self._damaged} damaged records were left out")

    def _warn(self, text: str) -> None:
        self.warnings.append(f"{self._folder.name}: {text}")

    # ---- files ----

    def _segments(self, stream: Stream) -> dict[int, list[_Segment]]:
        """Return per thread what is there, in order; those that were folded into another are not."""
        found: dict[int, list[_Segment]] = {}
        name = re.compile(rf"{STREAM_NAMES[stream]}-(\d{{1,9}})-(\d{{1,9}})\.seg")
        for path in sorted(self._folder.iterdir()):
            if match := name.fullmatch(path.name):
                segment = self._segment(path, stream, int(match[1]), int(match[2]))
                if segment is not None:
                    found.setdefault(int(match[1]), []).append(segment)
        for segments in found.values():
            segments.sort(key=lambda s: -s.number)
            left, count = None, len(segments)
            for s in list(segments):
                if left is not None and s.number >= left:
                    segments.remove(s)
                else:
                    left = s.first_number
            segments.reverse()
            if len(segments) < count:  # killed between folding them and deleting them
                self._warn(
                    f"{count - len(segments)} segments are in a folded one already: left out"
                )
        return found

    def _note_missing(
        self,
        found: dict[Stream, dict[int, list[_Segment]]],
        sums: dict[int, tuple[int, int, Column]],
    ) -> None:
        for stream, threads in found.items():
            for thread, segments in threads.items():
                held = sum(s.number - s.first_number + 1 for s in segments)
                if stream == Stream.SPANS and thread in sums:
                    last, folded, _ = sums[thread]
                    held += folded - any(s.number == last for s in segments)
                if held <= segments[-1].number:
                    count = segments[-1].number + 1 - held
                    self._warn(f"{count} segments of {STREAM_NAMES[stream]} are missing")

    def _segment(self, path: Path, stream: Stream, thread: int, number: int) -> _Segment | None:
        try:
            size = path.stat().st_size
            with path.open("rb") as file:
                data = file.read(SEGMENT_HEADER_BYTES)
        except (OSError, ValueError) as problem:
            self._warn(f"{path.name} cannot be read: {problem}")
            return None
        if size < SEGMENT_HEADER_BYTES or data[:8] != SEGMENT_MAGIC:
            if any(data):  # else it was just being made
                self._warn(f"{path.name} is not a segment, or its beginning is lost: left out")
            return None
        head = SEGMENT_HEADER.unpack_from(data)
        _, version, kind, record, capacity, of, told, _, index, created, folded, first, before = (
            head
        )
        if version > FORMAT_VERSION or kind != stream or record != RECORD_BYTES:
            self._warn(f"{path.name} has a layout that is not known here: left out")
            return None
        whole = (size - SEGMENT_HEADER_BYTES) // RECORD_BYTES
        if whole < capacity:
            self._warn(f"{path.name} is cut off: {capacity - whole} of {capacity} slots are lost")
        if (of, told) != (thread, number) or whole > capacity or not 0 <= folded <= 1:
            self._warn(f"the beginning of {path.name} is damaged")
            folded = 0
        if not folded or first > number:
            first = number
        return _Segment(stream, number, first, before if folded else 0, index, created, path, whole)

    def _read_sums(self) -> dict[int, tuple[int, int, Column]]:
        """Return per thread the number of the segment folded last, how many were, and the sums."""
        found: dict[int, tuple[int, int, Column]] = {}
        for path in sorted(self._folder.iterdir()):
            match = re.fullmatch(r"sums-(\d{1,9})\.tt", path.name)
            if not match:
                continue
            try:
                data = path.read_bytes()
            except OSError as problem:
                self._warn(f"{path.name} cannot be read, folded spans are lost: {problem}")
                continue
            if len(data) < SUMS_HEADER_BYTES or data[:8] != SUMS_MAGIC:
                self._warn(f"{path.name} is not readable: folded spans are lost")
                continue
            _, version, number, _, count, segments, _ = SUMS_HEADER.unpack_from(data)
            if version > FORMAT_VERSION:
                self._warn(f"{path.name} has a layout that is not known here: left out")
                continue
            whole = (len(data) - SUMS_HEADER_BYTES) // SUM_BYTES
            if whole < count:
                self._warn(f"{path.name} is cut off: {count - whole} of {count} sums are lost")
            rows = np.frombuffer(data, SUM_DTYPE, min(count, whole), SUMS_HEADER_BYTES)
            found[int(match[1])] = number, segments, rows
        return found

    # ---- records ----

    def _true(self, records: Column, may_be: Column) -> Column:
        """Return the mask, and count what it leaves out."""
        self._damaged += len(records) - int(may_be.sum())
        return may_be

    def _in_run(self, t_ns: Column) -> NDArray[np.bool_]:
        after, before = t_ns >= np.uint64(self._first_ns), t_ns <= np.uint64(self._last_ns)
        return np.asarray(after & before, "?")

    def _read_spans(self, threads: dict[int, list[_Segment]], limit: int) -> None:
        """Read all spans, or, where those are more than the limit, what `choose_windows` chooses and sums."""
        count = sum(s.count for segments in threads.values() for s in segments)
        windows, keep_own = None, False
        if count > limit:
            windows, keep_own = self._windows(threads, limit)
            self.condensed = windows.text
        for thread, segments in sorted(threads.items()):
            if windows is not None:
                condenser = Condenser(windows, keep_own=keep_own)
                for part in self._span_parts(segments, PART_RECORDS):
                    condenser.add(*part)
                records, index, rows = condenser.finish()
                self.sums[thread] = np.concatenate([self.sums.get(thread, rows[:0]), rows])
            else:
                self._read_whole(thread, segments)
                continue
            if len(records):
                self.spans[thread] = {name: records[name] for name in SPAN_COLUMNS}
                self.index[thread] = index

    def _read_whole(self, thread: int, segments: list[_Segment]) -> None:
        """Read all spans of a thread, segment by segment: a column at a time reads little memory."""
        size = sum(s.count for s in segments)
        columns = {name: np.empty(size, SPAN_DTYPE[name]) for name in SPAN_COLUMNS}
        index, filled = np.empty(size, "i8"), 0
        slots = np.empty(max((s.count for s in segments), default=0), SPAN_DTYPE)
        for records, numbers in self._span_parts(segments, 1, slots):
            here = slice(filled, filled + len(records))
            for name, column in columns.items():
                column[here] = records[name]
            index[here] = numbers
            filled = here.stop
        if filled:
            self.spans[thread] = {name: column[:filled] for name, column in columns.items()}
            self.index[thread] = index[:filled]

    def _span_parts(
        self, segments: list[_Segment], part_records: int, slots: Column | None = None
    ) -> Iterator[tuple[Column, Column]]:
        """Yield records of spans that can be true, and their numbers in the thread, so many at a time.

        In ``slots``, if given: what was yielded is gone then with the next.
        """
        end = 0
        for group in _in_groups(segments, part_records):
            size = sum(s.count for s in group)
            r = np.empty(size, SPAN_DTYPE) if slots is None else slots[:size]
            numbers, filled = np.empty(len(r), "i8"), 0
            for s in group:
                first = s.first_index if end <= s.first_index < LATEST_NS else end
                end = first + s.count
                found = r[filled : filled + s.count]
                found = found[: s.read_into(found)]
                written = found["start_ns"] != 0
                count = int(np.count_nonzero(written))
                here = slice(filled, filled + count)
                if not written[:count].all():  # mostly, those that were not written come last
                    r[here] = found[written]
                numbers[here] = np.flatnonzero(written) + first
                filled += count
            r, numbers = r[:filled], numbers[:filled]
            keep = self._true(r, self._may_be_span(r))
            yield (r, numbers) if keep.all() else (r[keep], numbers[keep])

    def _may_be_span(self, r: Column) -> Column:
        keep = self._in_run(r["start_ns"])
        keep &= r["dur_ns"] <= np.uint64(self._last_ns) - r["start_ns"]
        keep &= (r["kind"] < len(Kind)) & (r["flags"] <= ALL_FLAGS.value) & (r["zero"] == 0)
        return keep

    def _windows(self, threads: dict[int, list[_Segment]], limit: int) -> tuple[Windows, bool]:
        """What to read whole, and whether there are few enough spans of the program's own to keep them all."""
        courses, steps, own = [], [np.empty((0, 2), "i8")], 0
        for segments in threads.values():
            t_ns, begun = [], [0]
            for s in segments:
                found = s.records
                begin_ns = found["start_ns"][found["start_ns"] != 0]
                t_ns.append(int(begin_ns[0]) if len(begin_ns) else s.created_ns)
                begun.append(begun[-1] + len(begin_ns))
                own += int(IS_OWN[found["kind"] % len(Kind)].sum())
                r = np.array(found[found["kind"] == Kind.STEP])
                r = r[self._may_be_span(r)]
                steps.append(np.stack([r["start_ns"], r["start_ns"] + r["dur_ns"]], 1).astype("i8"))
            t_ns.append(max([*t_ns, *begin_ns[-1:].tolist()]))
            courses.append(Course(np.maximum.accumulate(np.array(t_ns, "i8")), np.array(begun)))
        keep_own = own <= limit // OWN_SHARE
        limit -= own if keep_own else 0
        return choose_windows(courses, np.concatenate(steps), limit), keep_own

    def _read_samples(self, segments: list[_Segment]) -> tuple[Column, Column]:
        found = [s.records for s in segments]
        r = np.concatenate([np.empty(0, SAMPLE_DTYPE), *found])
        parts = [np.full(len(f), s.folded > 0) for f, s in zip(found, segments, strict=True)]
        folded = np.concatenate([np.empty(0, "?"), *parts])
        written = r["t_ns"] != 0
        r, folded = r[written], folded[written]
        keep = self._in_run(r["t_ns"]) & (r["weight_ns"] <= r["t_ns"] - np.uint64(self._first_ns))
        keep = self._true(r, keep & (r["cpu_high"] < LATEST_NS >> 32))
        return r[keep], folded[keep]

    def _read_counters(self, parts: list[Column]) -> Column:
        r = np.concatenate([np.empty(0, COUNTER_DTYPE), *parts])
        r = r[r["t_ns"] != 0]
        r = r[self._true(r, self._in_run(r["t_ns"]) & (r["zero"] == 0) & (r["zero2"] == 0))]
        return np.asarray(r)

    def _read_flows(self, parts: list[Column]) -> Column:
        r = np.concatenate([np.empty(0, FLOW_DTYPE), *parts])
        r = r[r["t_ns"] != 0]
        has_ends = (r["source"] > 0) & (r["target"] > 0) & (r["zero"] == 0)
        return np.asarray(r[self._true(r, self._in_run(r["t_ns"]) & has_ends)])

    def _true_sums(self, r: Column) -> Column:
        keep = (r["kind"] < len(Kind)) & self._in_run(r["start_ns"]) & self._in_run(r["end_ns"])
        ascending = (
            ("leaves", "ended", "count"),
            ("min_ns", "max_ns", "total_ns"),
            ("start_ns", "end_ns"),
        )
        for names in ascending:
            for less, more in pairwise(names):
                keep &= r[less] <= r[more]
        for name in ("count", "total_ns", "self_ns"):
            keep &= r[name] < LATEST_NS
        return r[self._true(r, keep)].astype(SIGNED_SUM_DTYPE)


def _in_groups(segments: list[_Segment], records: int) -> Iterator[list[_Segment]]:
    """Yield neighbours that have at least so many slots together."""
    group: list[_Segment] = []
    for s in segments:
        group.append(s)
        if sum(one.count for one in group) >= records or s is segments[-1]:
            yield group
            group = []


def plausible_times(meta: dict[str, Any], created_ns: list[int]) -> tuple[int, int]:
    """Return the earliest and the latest time that a record of a process can have.

    From its start to its end; if it was killed, to now by the calendar. Times that contradict the segments'
    times of creation are not believed.
    """
    first_ns = whole_number(meta.get("start_ns"), 0)
    last_ns = whole_number(meta.get("end_ns"), 0)
    if not last_ns and first_ns and whole_number(meta.get("start_unix_ns"), 0):
        last_ns = first_ns + time.time_ns() - meta["start_unix_ns"] + CLOCK_STEP_NS
    first_ns = min([first_ns, *created_ns])
    if last_ns <= max([first_ns, *created_ns]):
        last_ns = LATEST_NS
    last_ns = min(LATEST_NS, last_ns + SLACK_NS, first_ns + LONGEST_NS)
    return max(1, first_ns - SLACK_NS), max(1, last_ns)


def whole_number(value: Any, otherwise: int) -> int:
    """Return a non-negative integer below `LATEST_NS`, or what stands in for something else."""
    usable = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < LATEST_NS
    return value if usable else otherwise
