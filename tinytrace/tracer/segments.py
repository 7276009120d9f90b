"""Segments written from Python.

The layouts are those of `tinytrace.tracer.records`.
"""

from __future__ import annotations

import mmap
import os
import struct
import sys
from typing import Any

from tinytrace.tracer.records import (
    FORMAT_VERSION,
    RECORD_BYTES,
    RESERVE_BYTES,
    RESERVE_NAME,
    SEGMENT_HEADER,
    SEGMENT_HEADER_BYTES,
    SEGMENT_MAGIC,
    STREAM_NAMES,
    Stream,
)

TIME = struct.Struct("<Q")  # the first word of every record
WORDS_PER_RECORD = RECORD_BYTES // 8
HEADER_WORDS = SEGMENT_HEADER_BYTES // 8
# The first segment of a thread is small, so that many short threads cost little.
FIRST_CAPACITY = {
    Stream.SPANS: 4096,
    Stream.SAMPLES: 2048,
    Stream.COUNTERS: 2048,
    Stream.FLOWS: 2048,
}
CAPACITY = {Stream.SPANS: 65536, Stream.SAMPLES: 16384, Stream.COUNTERS: 16384, Stream.FLOWS: 16384}

# A map holds a duplicate of its file's number, which the program may close and use for a file of its own.
_WITHOUT_FD: dict[str, Any] = {"trackfd": False} if sys.version_info >= (3, 13) else {}
_MAP_FIXED = 0x10


def segment_name(stream: Stream, thread: int, number: int) -> str:
    """Return the file name of a segment."""
    return f"{STREAM_NAMES[stream]}-{thread}-{number}.seg"


def segment_bytes(capacity: int) -> int:
    """Return the size of a segment's file."""
    return SEGMENT_HEADER_BYTES + capacity * RECORD_BYTES


def make_segment(  # noqa: PLR0917
    folder: str,
    stream: Stream,
    thread: int,
    number: int,
    capacity: int,
    first_index: int,
    created_ns: int,
    around: tuple[int, int] = (0, 0),
) -> mmap.mmap:
    """Create a segment for so many records, and map it.

    Its blocks are allocated before it is mapped: a full disk is an error here, not a SIGBUS later.
    The map goes away with the last reference to it.

    Raises:
        OSError: no space, no such folder, too many maps. Nothing is left behind.
    """
    size = segment_bytes(capacity)
    path = f"{folder}/{segment_name(stream, thread, number)}"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(fd, 0, size)
        mapped = _map(fd, size)
    except BaseException:
        os.unlink(path)  # noqa: PTH108  (pathlib is not loaded before the program)
        raise
    finally:
        os.close(fd)
    SEGMENT_HEADER.pack_into(
        mapped, 0, SEGMENT_MAGIC, FORMAT_VERSION, stream, RECORD_BYTES, capacity, thread, number,
        os.getpid(), first_index, created_ns, 0, *around,
    )  # fmt: skip
    return mapped


def _map(fd: int, size: int) -> mmap.mmap:
    """Map a file. The map holds no file open: its number could by now be one of the program's."""
    if _WITHOUT_FD:
        return mmap.mmap(fd, size, mmap.MAP_SHARED, **_WITHOUT_FD)
    import ctypes

    mapped = mmap.mmap(-1, size)  # of no file; this one is put in its place
    start = ctypes.addressof(ctypes.c_char.from_buffer(mapped))
    place = ctypes.CDLL(None, use_errno=True).mmap
    place.restype = ctypes.c_void_p
    place.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long)
    access = mmap.PROT_READ | mmap.PROT_WRITE
    if place(start, size, access, mmap.MAP_SHARED | _MAP_FIXED, fd, 0) != start:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return mapped


def shorten_segment(folder: str, words: memoryview, thread: int, number: int, used: int) -> int:
    """Cut off what a thread that has ended has left empty of its last segment of spans.

    Args:
        folder: of the process.
        words: the segment, as 64-bit words.
        thread: its index.
        number: of the segment.
        used: records in it.

    Returns:
        bytes that it takes now.
    """
    size = segment_bytes(used)
    # Number of records (32 bits) | thread; first, since a file that is too long is still whole.
    words[2] = used | thread << 32
    try:
        os.truncate(f"{folder}/{segment_name(Stream.SPANS, thread, number)}", size)
    except OSError:
        return words.nbytes
    return size


def keep_reserve(folder: str) -> None:
    """Take disk space for the last words of a recording that a full disk ends.

    Raises:
        OSError: there is none.
    """
    fd = os.open(f"{folder}/{RESERVE_NAME}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(fd, 0, RESERVE_BYTES)
    finally:
        os.close(fd)


def release_reserve(folder: str) -> None:
    """Give that space back."""
    try:
        os.unlink(f"{folder}/{RESERVE_NAME}")  # noqa: PTH108
    except OSError:
        return


class RecordWriter:
    """One stream of whole records (samples, counters) with one writer at a time."""

    def __init__(self, stream: Stream, layout: struct.Struct) -> None:
        """Prepare; the first segment is made with the first record."""
        self.stream = stream
        self._pack_rest = struct.Struct(f"<{layout.format.removeprefix('<Q')}").pack_into
        self._map: mmap.mmap | None = None
        self._position = self._end = 0
        self.number = self.written = 0  # of the next segment; records

    def let_go(self) -> None:
        """End the stream; its map goes away."""
        self._map = None

    @property
    def is_full(self) -> bool:
        """Whether the next record needs another segment."""
        return self._map is None or self._position == self._end

    def write(self, values: tuple[float, ...]) -> None:
        """Append a record; there is room for it."""
        mapped = self._map
        assert mapped is not None
        time, *rest = values
        self._pack_rest(mapped, self._position + TIME.size, *rest)
        TIME.pack_into(mapped, self._position, time)  # last: this makes it a record
        self._position += RECORD_BYTES
        self.written += 1

    def retire(self) -> tuple[int, int] | None:
        """Let go of the full segment; returns its number and size, None: there is none."""
        if self._map is None:
            return None
        self._map = None
        return self.number - 1, self._end

    def roll(self, folder: str, capacity: int, now_ns: int) -> None:
        """Make the next segment, for so many records.

        The first one is made at the start and not by the sampling thread with its first record: a process
        that was just forked may be about to close every file and to open its own.

        Raises:
            OSError: the disk is full.
        """
        self._map = make_segment(
            folder, self.stream, 0, self.number, capacity, self.written, now_ns
        )
        self.number += 1
        self._position, self._end = SEGMENT_HEADER_BYTES, segment_bytes(capacity)
