"""What keeps the files of a process under the disk limit while Python records. `native/keeper.c` does the same.

The limit L is for all files of one process, as the disk counts them: whole blocks. It is shared out so
that it holds at every moment, whatever comes next:

* ``L/8`` is kept for the tables, which cannot be folded: when they have it, further names, call sites,
  signatures and stacks are left out, and counted. `MAX_TABLES_BYTES` is what the caps of `interning` allow.
* ``L/8`` is kept for the one file that a fold is writing beside those that it will replace.
  `MAX_FOLD_BYTES`: the largest sums of a thread are ``MAX_SUMS * SUM_BYTES``, 5.8 MB.
* `RESERVE_BYTES`, and `BASE_BYTES` for the folders, ``run.json``, the last entries of the tables.
* The rest is for segments and sums. Of it, sums take at most ``L/8``; segments are large only while the open
  ones together take no more than ``L/8``, so that many threads, or a small limit, get small ones.

Closed segments are folded, the oldest first, as soon as less is free than the next large segment takes. A
segment that finds no room waits until those are folded that can be; if that does not help, its records
are dropped and counted, and recording goes on.
"""

from __future__ import annotations

import _thread
import contextlib
import os
from collections.abc import Callable
from itertools import pairwise

from tinytrace.tracer import segments
from tinytrace.tracer.folding import fold_into_sums, merge
from tinytrace.tracer.records import MIN_DISK_LIMIT_BYTES, RESERVE_BYTES, Stream
from tinytrace.tracer.segments import segment_bytes, segment_name

DISK_SHARES = 8
MAX_TABLES_BYTES = 256_000_000
MAX_FOLD_BYTES = 8_000_000
BASE_BYTES = 131_072
BLOCK_BYTES, NAME_BYTES = 4096, 64  # of a file; of its name in its folder, about
WHOLE_SEGMENTS = (
    2  # of spans and of flows, the first two that are closed in the process: never folded
)
# What `DiskLimit` counts.
FOLDED = ("folded_spans", "folded_segments", "folded_samples", "folded_counters", "folded_flows")
LONGEST_WAIT_S = 1.0  # for another thread that folds


def on_disk(size: int) -> int:
    """Return what a file takes on disk.

    Example:
        >>> on_disk(1), on_disk(4097)
        (4160, 8256)
    """
    return -(-size // BLOCK_BYTES) * BLOCK_BYTES + NAME_BYTES


def tables_room(limit_bytes: int) -> int:
    """Return how large the tables may become."""
    return min(limit_bytes // DISK_SHARES, MAX_TABLES_BYTES)


class Closed:
    """A segment that is whole on disk, or several that were folded into one."""

    def __init__(self, stream: Stream, thread: int, number: int, opened: int, size: int) -> None:
        """Begin with a segment that was never folded: its size while it was open, and now."""
        self.stream = stream
        self.thread = thread
        self.number = self.first = number
        self.opened = opened
        self.size = size
        self.level = 0  # how often it was folded
        self.ended: Callable[[], bool] = lambda: True  # whether all its spans have


class DiskLimit:
    """Keeps the files of a process under a limit.

    Args:
        folder: of the process.
        limit_bytes: for all of them, at least `MIN_DISK_LIMIT_BYTES`.

    Raises:
        ValueError: the limit is less.
    """

    def __init__(self, folder: str, limit_bytes: int = MIN_DISK_LIMIT_BYTES) -> None:
        """Begin with nothing on disk."""
        if limit_bytes < MIN_DISK_LIMIT_BYTES:
            text = (
                f"the disk limit must be at least {MIN_DISK_LIMIT_BYTES} bytes, not {limit_bytes}"
            )
            raise ValueError(text)
        self._folder = folder
        self._share = limit_bytes // DISK_SHARES
        self._fold_room = min(self._share, MAX_FOLD_BYTES)
        kept = tables_room(limit_bytes) + self._fold_room + RESERVE_BYTES + BASE_BYTES
        self._room = limit_bytes - kept
        # What is kept free, as long as there is something to fold.
        self.ahead_bytes = min(self._share, on_disk(segment_bytes(segments.CAPACITY[Stream.SPANS])))
        self._lock, self._holder = _thread.allocate_lock(), 0
        self._incoming: list[Closed] = []
        self._closed: list[Closed] = []
        self._open_bytes = self._closed_bytes = self._sums_bytes = 0
        self._kept = {Stream.SPANS: 0, Stream.FLOWS: 0}
        self._in_vain = False  # the last segment found no room, and none was closed since
        self.folded_spans = self.folded_segments = 0
        self.folded_samples = self.folded_counters = self.folded_flows = 0

    def closed(self, segment: Closed) -> None:
        """Count a segment that is full; it may be folded once ``segment.ended()``."""
        self._incoming.append(segment)
        self._in_vain = False

    def reserve(self, stream: Stream, number: int) -> int:
        """Take room for a segment, after folding what must be folded for it.

        Args:
            stream: of the segment.
            number: of the segment; the first one of a thread is small.

        Returns:
            how many records it may have; 0: there is no room.

        Raises:
            MemoryError: there is no memory for folding; nothing is lost.
        """
        mine = _thread.get_ident()
        # A finalizer or a signal handler may come here while this very thread is folding.
        if self._in_vain or self._holder == mine or not self._lock.acquire(timeout=LONGEST_WAIT_S):
            return 0
        self._holder = mine
        try:
            return self._reserve(stream, number)
        finally:
            self._holder = 0
            self._lock.release()

    def give_back(self, stream: Stream, number: int, capacity: int) -> None:
        """Return the room of a segment that could not be made."""
        self._incoming.append(Closed(stream, 0, number, segment_bytes(capacity), -1))

    def _reserve(self, stream: Stream, number: int) -> int:
        self._take_incoming()
        small, large = segments.FIRST_CAPACITY[stream], segments.CAPACITY[stream]
        with contextlib.suppress(OSError):  # the next segment is another chance
            self._fold()
        size = on_disk(segment_bytes(large))
        if number and self._open_bytes + size <= self._share and size <= self._free():
            self._open_bytes += size
            return large
        size = on_disk(segment_bytes(small))
        self._in_vain = size > self._free()
        if self._in_vain:
            return 0
        self._open_bytes += size
        return small

    def _take_incoming(self) -> None:
        while self._incoming:
            segment = self._incoming.pop(0)
            self._open_bytes -= on_disk(segment.opened)
            if segment.size < 0:
                continue
            self._closed_bytes += on_disk(segment.size)
            if self._kept.get(segment.stream, WHOLE_SEGMENTS) < WHOLE_SEGMENTS:
                self._kept[segment.stream] += 1
            else:
                self._closed.append(segment)

    def _free(self) -> int:
        return max(0, self._room - self._open_bytes - self._closed_bytes)

    def _fold(self) -> None:
        for segment in [s for s in self._closed if not s.level and s.ended()]:
            if self._free() >= self.ahead_bytes:
                return
            if segment.stream == Stream.SPANS:
                self._fold_spans(segment)
            else:
                self._merge(segment, segment)
        while self._free() < self.ahead_bytes and (pair := self._pair()):
            self._merge(*pair)

    def _fold_spans(self, segment: Closed) -> None:
        path = f"{self._folder}/{segment_name(segment.stream, segment.thread, segment.number)}"
        with open(path, "rb") as file:
            data = file.read()

        def most_bytes(before: int) -> int:
            others = self._sums_bytes - (on_disk(before) if before else 0)
            beside = before + segment.size + self._free()
            return min(beside, self._fold_room, max(0, self._share - others))

        spans, before, after = fold_into_sums(
            self._folder, segment.thread, segment.number, data, most_bytes
        )
        self._closed.remove(segment)
        grown = on_disk(after) - (on_disk(before) if before else 0)
        self._sums_bytes += grown
        self._closed_bytes += grown - on_disk(segment.size)
        self.folded_spans += spans
        self.folded_segments += 1
        os.unlink(path)  # noqa: PTH108  (pathlib is not loaded before the program)

    def _pair(self) -> tuple[Closed, Closed] | None:
        """Two folded neighbours; those that were folded least, of these the oldest."""
        best: tuple[Closed, Closed] | None = None
        for stream in (Stream.SAMPLES, Stream.COUNTERS, Stream.FLOWS):
            row = [s for s in self._closed if s.stream == stream and s.level]
            for one, next_ in pairwise(row):
                level = max(one.level, next_.level)
                if one.size + next_.size > self._fold_room:
                    continue
                if best is None or level < max(best[0].level, best[1].level):
                    best = one, next_
        return best

    def _merge(self, first: Closed, last: Closed) -> None:
        before, size = merge(self._folder, first.stream, (first.number, first.first), last.number)
        if first is not last:
            self._closed.remove(first)
            self._closed_bytes -= on_disk(first.size)
        elif first.stream == Stream.SAMPLES:
            self.folded_samples += before
        elif first.stream == Stream.COUNTERS:
            self.folded_counters += before
        else:
            self.folded_flows += before
        self._closed_bytes += on_disk(size) - on_disk(last.size)
        last.size = size
        last.level = max(first.level, last.level) + 1
        last.first = first.first
