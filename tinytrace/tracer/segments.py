"""Segments written from Python, and the sums of those that were folded.

The layouts are those of `tinytrace.tracer.records`.
"""

from __future__ import annotations

import mmap
import os
import struct
import sys
from collections.abc import Callable
from typing import Any

from tinytrace.tracer.records import (
    FORMAT_VERSION,
    RECORD_BYTES,
    SEGMENT_HEADER,
    SEGMENT_HEADER_BYTES,
    SEGMENT_MAGIC,
    SPAN,
    STREAM_NAMES,
    SUM,
    SUMS_HEADER,
    SUMS_MAGIC,
    Kind,
    Stream,
)

WORDS_PER_RECORD = RECORD_BYTES // 8
HEADER_WORDS = SEGMENT_HEADER_BYTES // 8
# The first segment of a thread is small, so that many short threads cost little.
FIRST_CAPACITY = {Stream.SPANS: 4096, Stream.SAMPLES: 2048, Stream.COUNTERS: 2048}
CAPACITY = {Stream.SPANS: 65536, Stream.SAMPLES: 16384, Stream.COUNTERS: 16384}
MAX_SUMS = 65536  # groups per thread; further ones are summed as (0, 0, kind)

# A map holds a duplicate of its file's number, which the program may close and use for a file of its own.
_WITHOUT_FD: dict[str, Any] = {"trackfd": False} if sys.version_info >= (3, 13) else {}


def segment_name(stream: Stream, thread: int, number: int) -> str:
    """Return the file name of a segment."""
    return f"{STREAM_NAMES[stream]}-{thread}-{number}.seg"


def segment_bytes(capacity: int) -> int:
    """Return the size of a segment's file."""
    return SEGMENT_HEADER_BYTES + capacity * RECORD_BYTES


def make_segment(  # noqa: PLR0917
    folder: str, stream: Stream, thread: int, number: int, first_index: int, created_ns: int
) -> tuple[mmap.mmap, int]:
    """Create a segment and map it; returns the map and how many records it holds.

    Its blocks are allocated before it is mapped: a full disk is an error here, not a SIGBUS later.
    The map goes away with the last reference to it.

    Raises:
        OSError: no space, no such folder, too many maps. Nothing is left behind.
    """
    capacity = (CAPACITY if number else FIRST_CAPACITY)[stream]
    size = segment_bytes(capacity)
    path = f"{folder}/{segment_name(stream, thread, number)}"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(fd, 0, size)
        mapped = mmap.mmap(fd, size, mmap.MAP_SHARED, **_WITHOUT_FD)
    except BaseException:
        os.unlink(path)  # noqa: PTH108  (pathlib is not loaded before the program)
        raise
    finally:
        os.close(fd)
    SEGMENT_HEADER.pack_into(
        mapped, 0, SEGMENT_MAGIC, FORMAT_VERSION, stream, RECORD_BYTES, capacity, thread, number,
        os.getpid(), first_index, created_ns, 0,
    )  # fmt: skip
    return mapped, capacity


class RecordWriter:
    """One stream of whole records (samples, counters) with one writer at a time."""

    def __init__(self, stream: Stream, layout: struct.Struct) -> None:
        """Prepare; the first segment is made with the first record."""
        self._stream = stream
        self._pack_into = layout.pack_into
        self._map: mmap.mmap | None = None
        self._position = self._end = 0
        self._number = self.written = 0

    def let_go(self) -> None:
        """End the stream; its map goes away."""
        self._map = None

    def write(self, folder: str, clock: Callable[[], int], values: tuple[float, ...]) -> int:
        """Append a record; returns the bytes of the segment that was full before (mostly 0).

        Raises:
            OSError: there is no room for another segment.
        """
        filled = 0
        if self._position == self._end or self._map is None:
            filled = self._end
            number = self._number
            self._number += 1
            self._map, capacity = make_segment(
                folder, self._stream, 0, number, self.written, clock()
            )
            self._position, self._end = SEGMENT_HEADER_BYTES, segment_bytes(capacity)
        self._pack_into(self._map, self._position, *values)
        self._position += RECORD_BYTES
        self.written += 1
        return filled


class Sums:
    """The sums of one thread's folded segments, a row per (signature or label, site, kind)."""

    def __init__(self, folder: str, thread: int) -> None:
        """Begin with nothing folded."""
        self._folder = folder
        self._thread = thread
        self._segments = 0
        # count, leaves, total_ns, self_ns, min_ns, max_ns, start_ns, end_ns
        self._groups: dict[tuple[int, int, int], list[int]] = {}

    def fold(self, number: int) -> int:
        """Take one segment into the sums, then delete it; returns how many spans it held.

        The sums replace their file before the segment goes: a process that dies in between leaves a
        segment that the sums name as "folded last".

        Raises:
            OSError: the sums cannot be written; the segment is still there, and whole.
        """
        path = f"{self._folder}/{segment_name(Stream.SPANS, self._thread, number)}"
        before = {key: list(group) for key, group in self._groups.items()}
        with open(path, "rb") as file:
            spans = self._add(file.read()[SEGMENT_HEADER_BYTES:])
        try:
            self._write(number)
        except OSError:
            self._groups = before
            raise
        self._segments += 1
        os.unlink(path)  # noqa: PTH108
        return spans

    def _add(self, records: bytes) -> int:
        """Sum up records. A parent in an earlier segment keeps its whole time there."""
        count = len(records) // RECORD_BYTES
        child_ns = [0] * count
        has_op = bytearray(count)
        rows = list(SPAN.iter_unpack(records))
        for i, (start, dur, _what, _site, up, kind, _flags, _zero) in enumerate(rows):
            if start and 0 < up <= i:
                child_ns[i - up] += dur
                if kind in {Kind.OP, Kind.LABELLED_OP}:
                    has_op[i - up] = 1
        spans = 0
        for i, (start, dur, what, site, _up, kind, _flags, _zero) in enumerate(rows):
            if not start:
                continue
            spans += 1
            group = self._group(what, site, kind, start)
            group[0] += 1
            group[1] += not has_op[i]
            group[2] += dur
            group[3] += max(0, dur - child_ns[i])
            group[4] = min(group[4], dur)
            group[5] = max(group[5], dur)
            group[6] = min(group[6], start)
            group[7] = max(group[7], start + dur)
        return spans

    def _group(self, what: int, site: int, kind: int, start: int) -> list[int]:
        key = (what, site, kind)
        group = self._groups.get(key)
        if group is None:
            if len(self._groups) >= MAX_SUMS and (what or site):
                return self._group(0, 0, kind, start)
            group = self._groups[key] = [0, 0, 0, 0, 0xFFFFFFFFFFFFFFFF, 0, start, 0]
        return group

    def _write(self, number: int) -> None:
        path = f"{self._folder}/sums-{self._thread}.tt"
        head = (FORMAT_VERSION, number, self._thread, len(self._groups), self._segments + 1, 0)
        rows = [SUM.pack(*key, 0, *group) for key, group in self._groups.items()]
        with open(f"{path}.new", "wb") as file:
            file.write(SUMS_HEADER.pack(SUMS_MAGIC, *head) + b"".join(rows))
        os.replace(f"{path}.new", path)  # noqa: PTH105


class DiskLimit:
    """Keeps closed segments under a limit by folding the oldest; a thread's first two never."""

    KEEP_FIRST_SEGMENTS = 2

    def __init__(self, folder: str, limit_bytes: int) -> None:
        """Begin with nothing closed."""
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._bytes = 0
        # thread, number, bytes, whether all its spans have ended
        self._whole: list[tuple[int, int, int, Callable[[], bool]]] = []
        self._sums: dict[int, Sums] = {}
        self.folded_spans = self.folded_segments = 0

    def closed(self, size: int) -> None:
        """Count a full segment of samples or counters."""
        self._bytes += size

    def closed_spans(self, thread: int, number: int, size: int, ended: Callable[[], bool]) -> None:
        """Count a full span segment; it may be folded once ``ended()`` is true."""
        self._bytes += size
        if number >= self.KEEP_FIRST_SEGMENTS:
            self._whole.append((thread, number, size, ended))

    def hold(self) -> None:
        """Fold until the limit holds, or nothing is left to fold.

        Raises:
            OSError: sums cannot be written. Nothing is lost; the next call tries again.
        """
        waiting = []
        while self._bytes > self._limit_bytes and self._whole:
            item = thread, number, size, ended = self._whole[0]
            if ended():
                if thread not in self._sums:
                    self._sums[thread] = Sums(self._folder, thread)
                self.folded_spans += self._sums[thread].fold(number)
                self.folded_segments += 1
                self._bytes -= size
            else:
                waiting.append(item)
            del self._whole[0]
        self._whole[:0] = waiting
