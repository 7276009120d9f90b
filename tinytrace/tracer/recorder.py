"""The recorder: its protocol, and the one in pure Python, for where there is no compiler.

It writes what the compiled core writes, record for record, only slower. Nothing here may harm the
program: what fails ends the recording, is kept in `stats`, and the program goes on.
"""

from __future__ import annotations

import _thread
import errno
import os
import struct
import sys
import time
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any, Protocol

from tinytrace.tracer.interning import Interning
from tinytrace.tracer.records import COUNTER, SAMPLE, Entry, Flag, Kind, Stream
from tinytrace.tracer.segments import (
    HEADER_WORDS,
    WORDS_PER_RECORD,
    DiskLimit,
    RecordWriter,
    make_segment,
    segment_bytes,
)

KIND_SHIFT, FLAGS_SHIFT = 32, 40  # in the last word of a span: parent (32 bits) | kind (8) | flags (8)
WORD = 0xFFFFFFFF


class Recorder(Protocol):
    """What both recorders do. Ids count from 1, 0 is none; times are CLOCK_MONOTONIC nanoseconds."""

    core: str  # "c" or "python"

    def open(self, folder: str, disk_limit_bytes: int, /) -> None:
        """Begin recording into an existing, empty folder; raises OSError when that cannot be."""

    def close(self) -> None:
        """End recording. Nothing is recorded afterwards; closing twice is fine."""

    def stats(self) -> dict[str, int]:
        """Return what was recorded and what was not, as numbers; ``errno``: why recording ended early."""

    def put(self, entry: int, payload: bytes, /) -> None:
        """Append one entry to ``tables.tt``."""

    def label(self, name: str, args_json: str, /) -> int:
        """Return the id of a name with arguments (JSON, or "")."""

    def op(self, name: str, /) -> int:
        """Return the id of an operation's name."""

    def series(self, name: str, unit: str, /) -> int:
        """Return the id of a counter."""

    def begin(self, kind: int, label: int, /) -> int:
        """Begin a span of this thread at the caller's call site; returns its token, 0 = not recorded."""

    def end(self, token: int, flags: int, /) -> None:
        """End a span, from whichever thread."""

    def instant(self, label: int, /) -> None:
        """Record a moment."""

    def counter(self, series: int, value: float, t_ns: int = 0, /) -> None:
        """Record a counter's value; time 0 = now."""

    def internal(self, prefixes: tuple[str, ...], ours: tuple[str, ...], /) -> None:
        """Name the files (by prefix) whose frames are never call sites: libraries', and tinytrace's own."""

    def reset_after_fork(self) -> None:
        """Forget the parent's recording, in the child of a fork."""


class ThreadWriter:
    """The spans of one thread. Only that thread writes; ``next`` counts records from the thread's first."""

    __slots__ = (
        "created_ns", "end", "ident", "index", "name", "native_id", "next", "number", "open",
        "sampled_cpu_ns", "sampled_ns", "shift", "stack", "words",
    )  # fmt: skip

    def __init__(self, index: int, ident: int, native_id: int, name: str, created_ns: int) -> None:
        """Begin without a segment: the first span makes one."""
        self.index = index
        self.ident = ident
        self.native_id = native_id
        self.name = name
        self.created_ns = created_ns
        self.words: memoryview = memoryview(b"")  # the current segment
        self.shift = 0  # word of record n: n * WORDS_PER_RECORD + shift
        self.next = self.end = self.number = 0
        self.stack: list[int] = []  # open spans, outermost first
        self.open: dict[int, tuple[memoryview, int]] = {}  # those that end by a token
        self.sampled_ns = self.sampled_cpu_ns = 0  # the sampler's: when it last saw this thread

    def finish(self, words: memoryview, at: int, n: int, end_ns: int, flags: int) -> None:
        """Complete span ``n``, whose first word is ``words[at]``, however the stack lies now."""
        stack = self.stack
        if n not in stack:
            return  # recording was closed, or the process forked, inside it
        if stack[-1] != n:
            flags |= Flag.DETACHED  # spans that began inside it are still open
        stack.remove(n)
        words[at + 1] = max(0, end_ns - words[at])
        words[at + 3] = words[at + 3] & ((1 << FLAGS_SHIFT) - 1) | flags << FLAGS_SHIFT

    def discard(self, words: memoryview, at: int, n: int) -> None:
        """Leave span ``n`` out: its slot is given back if it is the last one, else left empty."""
        if n not in self.stack:
            return
        self.stack.remove(n)
        words[at] = words[at + 1] = words[at + 2] = words[at + 3] = 0
        if self.next == n + 1 and words is self.words:
            self.next = n


class _Ending:
    """Lives in a thread's local storage: when the thread ends, its segment is let go."""

    def __init__(self, writer: ThreadWriter) -> None:
        self._writer = writer

    def __del__(self) -> None:
        self._writer.words = memoryview(b"")
        self._writer.next = self._writer.end


_current: PythonRecorder | None = None


def _in_child() -> None:
    if _current is not None:
        _current.reset_after_fork()


os.register_at_fork(after_in_child=_in_child)


class PythonRecorder:
    """The recorder in pure Python.

    Args:
        clock: CLOCK_MONOTONIC in nanoseconds (`time.perf_counter_ns` is that clock on Linux).
        native_id: the kernel's id of the calling thread.
    """

    core = "python"

    def __init__(
        self,
        clock: Callable[[], int] = time.perf_counter_ns,
        native_id: Callable[[], int] = _thread.get_native_id,
    ) -> None:
        """Prepare; nothing is recorded before `open`."""
        self.clock = clock
        self._native_id = native_id
        self._prefixes: tuple[str, ...] = ()
        self._ours: tuple[str, ...] = ()
        self._lock = _thread.allocate_lock()  # interning, and making segments
        self.hidden: set[int] = set()  # ids of the code objects of hooks: in nobody's stack
        self._forget()

    def _forget(self) -> None:
        self.active = False
        self._folder = ""
        self._fd = -1
        self.local = _thread._local()  # .writer: the calling thread's ThreadWriter
        self.writers: list[ThreadWriter] = []
        self._by_ident: dict[int, ThreadWriter] = {}
        self._names: dict[tuple[int, str, str], int] = {}
        self._counts = dict.fromkeys(Entry, 0)
        self._signatures: dict[bytes, int] = {}
        self._sites: dict[tuple[int, int], tuple[int, int]] = {}
        self._codes: dict[int, CodeType] = {}  # keeps the ids of code objects meaningful
        self._stacks: dict[tuple[int, int], int] = {}
        self._samples = RecordWriter(Stream.SAMPLES, SAMPLE)
        self._counters = RecordWriter(Stream.COUNTERS, COUNTER)
        self._disk = DiskLimit("", 0)
        self._error = 0
        self._lost = dict.fromkeys(
            ("dropped", "sites_left_out", "signatures_left_out", "stacks_left_out"), 0
        )

    def open(self, folder: str, disk_limit_bytes: int, /) -> None:
        """See `Recorder.open`.

        Raises:
            OSError: the folder is not there, or cannot be written to.
            RuntimeError: already recording, or this machine's byte order is not supported.
        """
        global _current  # noqa: PLW0603
        if self._fd >= 0:
            raise RuntimeError("already recording")
        if sys.byteorder != "little":
            raise RuntimeError("recording needs a little-endian machine")
        path = f"{os.fspath(folder)}/{TABLES_NAME}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        fd = os.open(path, flags, 0o600)
        self._forget()
        self._fd = fd
        self._folder = os.fspath(folder)
        self._disk = DiskLimit(self._folder, disk_limit_bytes)
        head = TABLES_MAGIC + struct.pack("<II", FORMAT_VERSION, 0)
        try:
            written = os.write(fd, head)
        except OSError:
            self.close()
            raise
        if written != len(head):
            self.close()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        self.active = True
        _current = self

    def close(self) -> None:
        """See `Recorder.close`. Maps go away with the last op that is still inside one."""
        self._stop()
        for writer in self.writers:
            writer.stack.clear()
            writer.open.clear()
            writer.words = memoryview(b"")
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _stop(self) -> None:
        self.active = False
        for writer in self.writers:
            writer.end = 0  # so that the next span asks for a segment, and is refused

    def fail(self, problem: BaseException) -> None:
        """End recording, keep the reason; the program goes on."""
        if not self._error:
            self._error = getattr(problem, "errno", None) or errno.EIO
        self._stop()

    def stats(self) -> dict[str, int]:
        """See `Recorder.stats`."""
        return {
            "spans": sum(writer.next for writer in self.writers),
            **self._lost,
            "skipped_elements": 0,
            "folded_spans": self._disk.folded_spans,
            "folded_segments": self._disk.folded_segments,
            "errno": self._error,
            "threads": len(self.writers),
        }

    def reset_after_fork(self) -> None:
        """See `Recorder.reset_after_fork`. What is still open in the parent is never written here."""
        for writer in self.writers:
            writer.end = 0
            writer.stack.clear()
            writer.open.clear()
            writer.words = memoryview(b"")
        fd = self._fd
        self._lock = _thread.allocate_lock()
        self._forget()
        if fd >= 0:
            os.close(fd)

    # ---- tables ----

    def put(self, entry: int, payload: bytes, /) -> None:
        """See `Recorder.put`."""
        try:
            self.tables.put(entry, payload)
        except OSError as problem:
            self.fail(problem)

    def op(self, name: str, /) -> int:
        """See `Recorder.op`."""
        return self.tables.name(Entry.OP, name, "")

    def label(self, name: str, args_json: str, /) -> int:
        """See `Recorder.label`."""
        return self.tables.name(Entry.LABEL, name, args_json)

    def series(self, name: str, unit: str, /) -> int:
        """See `Recorder.series`."""
        return self.tables.name(Entry.SERIES, name, unit)

    def internal(self, prefixes: tuple[str, ...], ours: tuple[str, ...], /) -> None:
        """See `Recorder.internal`."""
        self.tables.internal(prefixes, ours)

    # ---- threads ----

    def enter(self) -> ThreadWriter | None:
        """Return the calling thread's writer, made on its first span; None: not recording."""
        if not self.active:
            return None
        writer = self.thread(_thread.get_ident(), self._native_id())
        self.local.writer = writer
        self.local.ending = _Ending(writer)
        return writer

    def thread(self, ident: int, native_id: int) -> ThreadWriter:
        """Return the writer of a thread; a reused ident with another native id is another thread."""
        known = self._by_ident.get(ident)
        if known is not None and known.native_id == native_id:
            return known
        with self._lock:
            threading = sys.modules.get("threading")
            thread = getattr(threading, "_active", {}).get(ident)
            name = str(getattr(thread, "_name", ""))
            writer = ThreadWriter(len(self.writers), ident, native_id, name, self.clock())
            self.writers.append(writer)
            self._by_ident[ident] = writer
            text = name.encode("utf-8", "surrogatepass")
            self.put(Entry.THREAD, struct.pack("<IQ", writer.index, native_id) + text)
        return writer

    # ---- spans ----

    def roll(self, writer: ThreadWriter) -> bool:
        """Give a writer its next segment; False: recording has ended."""
        if not self.active:
            return False
        first, number = writer.next, writer.number
        try:
            with self._lock:
                mapped, capacity = make_segment(
                    self._folder, Stream.SPANS, writer.index, number, first, self.clock()
                )
                if number:
                    began = writer.end - len(writer.words) // WORDS_PER_RECORD
                    self._closed(writer, began)
                    self._disk.hold()
        except (OSError, MemoryError) as problem:
            self.fail(problem)
            return False
        writer.words = memoryview(mapped).cast("Q")
        writer.shift = HEADER_WORDS - first * WORDS_PER_RECORD
        writer.number = number + 1
        writer.end = first + capacity
        return True

    def _closed(self, writer: ThreadWriter, began: int) -> None:
        stack, ended = writer.stack, writer.end
        size = segment_bytes(len(writer.words) // WORDS_PER_RECORD)
        self._disk.closed_spans(
            writer.index,
            writer.number - 1,
            size,
            lambda: not any(began <= n < ended for n in stack),
        )

    def take(self, kind: int, what: int, site: int) -> tuple[ThreadWriter, int, memoryview, int] | None:
        """Begin a span: its writer, its number there, its segment and first word; None: not recorded."""
        try:
            writer = self.local.writer
        except AttributeError:
            writer = self.enter()
        if writer is None or (writer.next >= writer.end and not self.roll(writer)):
            self._lost["dropped"] += self._error != 0
            return None
        n = writer.next
        writer.next = n + 1
        words, at = writer.words, n * WORDS_PER_RECORD + writer.shift
        up = n - writer.stack[-1] if writer.stack else 0
        writer.stack.append(n)
        words[at + 2] = what | site << 32
        words[at + 3] = (up if up <= WORD else 0) | kind << KIND_SHIFT | Flag.OPEN << FLAGS_SHIFT
        words[at] = self.clock()  # last: this makes it a record
        return writer, n, words, at

    def begin(self, kind: int, label: int, /) -> int:
        """See `Recorder.begin`."""
        if not self.active:
            return 0
        taken = self.take(kind, label, self.site_of(sys._getframe(1)))
        if taken is None:
            return 0
        writer, n, words, at = taken
        writer.open[n] = words, at
        return (writer.index << 40 | n) + 1

    def end(self, token: int, flags: int, /) -> None:
        """See `Recorder.end`."""
        now = self.clock()
        index, n = (token - 1) >> 40, (token - 1) & ((1 << 40) - 1)
        if not token or not self.active or index >= len(self.writers):
            return
        writer = self.writers[index]
        place = writer.open.pop(n, None)
        if place is not None:
            if writer is not getattr(self.local, "writer", None):
                flags |= Flag.DETACHED
            writer.finish(*place, n, now, flags)

    def instant(self, label: int, /) -> None:
        """See `Recorder.instant`."""
        if not self.active:
            return
        taken = self.take(Kind.INSTANT, label, self.site_of(sys._getframe(1)))
        if taken is not None:
            writer, n, words, at = taken
            writer.finish(words, at, n, words[at], 0)

    # ---- samples and counters ----

    def _record(self, writer: RecordWriter, values: tuple[float, ...]) -> None:
        if not self.active:
            return
        try:
            with self._lock:
                self._disk.closed(writer.write(self._folder, self.clock(), values))
        except (OSError, MemoryError) as problem:
            self.fail(problem)

    def counter(self, series: int, value: float, t_ns: int = 0, /) -> None:
        """See `Recorder.counter`."""
        self._record(self._counters, (t_ns or self.clock(), value, series, 0, 0))

    def sample(self, t_ns: int, weight_ns: int, cpu_ns: int | None, thread: int, stack: int) -> None:
        """Record a stack sample; CPU time None = not known. For one thread at a time (the sampler's)."""
        known = WORD if cpu_ns is None or cpu_ns >= WORD else cpu_ns
        self._record(self._samples, (t_ns, weight_ns, known, thread, stack, 0))
