"""The recorder in pure Python, for where there is no compiler: see `Recorder` in protocol.py.

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

from tinytrace.tracer.audit import LEFT_OUT
from tinytrace.tracer.caps import CAPS, Caps
from tinytrace.tracer.disk_limit import FOLDED, Closed, DiskLimit, tables_room
from tinytrace.tracer.interning import Interning
from tinytrace.tracer.records import (
    COUNTER,
    FLOW,
    SAMPLE,
    Entry,
    Flag,
    Kind,
    Stream,
    cpu_halves,
    span_token,
)
from tinytrace.tracer.segments import (
    HEADER_WORDS,
    WORDS_PER_RECORD,
    RecordWriter,
    keep_reserve,
    make_segment,
    release_reserve,
    shorten_segment,
)
from tinytrace.tracer.thread_writer import (
    KIND_SHIFT,
    MAX_DEPTH,
    OPEN,
    UINT32_MAX,
    ThreadEnd,
    ThreadWriter,
)

NO_ROOM = "the disk limit is reached and nothing is left to fold: what found no room is counted as dropped"


class PythonRecorder:
    """The recorder in pure Python.

    Args:
        clock: CLOCK_MONOTONIC in nanoseconds (`time.perf_counter_ns` is that clock on Linux).
        native_id: the kernel's id of the calling thread.

    Example:
        >>> import tempfile
        >>> recorder = PythonRecorder()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     recorder.open(folder, 10**9)
        ...     token = recorder.begin(Kind.SPAN, recorder.label("load", ""))
        ...     recorder.end(token, 0)
        ...     recorder.close()
        >>> recorder.stats()["spans"]
        1
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
        self.hidden: set[int] = set()  # ids of the code objects of hooks: in nobody's stack
        self.op_cost: Callable[..., int] | None = None  # given by hooks: ns to record a call
        self.forget_places: Callable[[], object] = list  # given by hooks: to forget call sites
        self.local = _thread._local()  # .writer: the calling thread's ThreadWriter
        self._generation = 0
        self._prefixes: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
        self._caps = CAPS
        self._forget()

    def _forget(self) -> None:
        self.active = False
        self._generation += 1
        self._folder = ""
        self._lock = _thread.RLock()  # reentrant: signal handlers and finalizers do operations too
        self.tables = Interning(self.hidden, self.fail, self._caps)
        self.writers: list[ThreadWriter] = []
        self._by_ident: dict[int, ThreadWriter] = {}
        self._samples = RecordWriter(Stream.SAMPLES, SAMPLE)
        self._counters = RecordWriter(Stream.COUNTERS, COUNTER)
        self._flows = RecordWriter(Stream.FLOWS, FLOW)
        self._disk = DiskLimit("")
        self._no_room_said = False
        self._error = self._dropped = 0

    def open(self, folder: str, disk_limit_bytes: int, /) -> None:
        """See `Recorder.open`.

        Raises:
            OSError: the folder is not there, or cannot be written to.
            ValueError: the limit is too small to work with.
            RuntimeError: already recording, or this machine's byte order is not supported.
        """
        if self.tables.is_open:
            raise RuntimeError("already recording")
        if sys.byteorder != "little":
            raise RuntimeError("recording needs a little-endian machine")
        self._forget()
        self._folder = os.fspath(folder)
        self._disk = DiskLimit(self._folder, disk_limit_bytes)
        self.tables.open(self._folder, tables_room(disk_limit_bytes))
        try:
            keep_reserve(self._folder)
            for stream in (self._samples, self._counters):
                self._roll_stream(stream)
        except OSError:
            self.tables.close()
            raise
        self.tables.internal(*self._prefixes)
        self.active = True
        _recording.append(self)

    def close(self) -> None:
        """See `Recorder.close`."""
        self.active = False
        for writer in self.writers:
            writer.let_go()
        self._samples.let_go()
        self._counters.let_go()
        self._flows.let_go()
        if self.tables.is_open:
            release_reserve(self._folder)
        self.tables.close()
        if self in _recording:
            _recording.remove(self)

    def fail(self, problem: BaseException) -> None:
        """End recording, keep the reason; the program goes on."""
        self.active = False
        for writer in self.writers:
            writer.end = 0  # the next span asks for a segment, and is refused
        if self._error:
            return
        memory = errno.ENOMEM if isinstance(problem, MemoryError) else errno.EIO
        self._error = getattr(problem, "errno", None) or memory
        release_reserve(self._folder)
        self.put(Entry.WARNING, f"recording ended early: {os.strerror(self._error)}".encode())

    def drop(self) -> None:
        """Count a span that is not recorded."""
        self._dropped += 1

    def stats(self) -> dict[str, int]:
        """See `Recorder.stats`."""
        return {
            "spans": sum(writer.next - writer.empty for writer in self.writers),
            "dropped": self._dropped,
            "skipped_elements": 0,
            **{name: getattr(self._disk, name) for name in FOLDED},
            **{name: getattr(self.tables, name) for name in LEFT_OUT},
            "errno": self._error,
            "threads": len(self.writers),
        }

    def reset_after_fork(self) -> None:
        """See `Recorder.reset_after_fork`: spans that are open in the parent are not ended here."""
        for writer in self.writers:
            writer.let_go()
        self.tables.close()
        self._forget()

    def put(self, entry: int, payload: bytes, /) -> None:
        """See `Recorder.put`."""
        self.tables.put(entry, payload)

    def op(self, name: str, /) -> int:
        """See `Recorder.op`."""
        return self.tables.name(Entry.OP, name, "")

    def label(self, name: str, args_json: str, /) -> int:
        """See `Recorder.label`."""
        return self.tables.name(Entry.LABEL, name, args_json)

    def series(self, name: str, unit: str, /) -> int:
        """See `Recorder.series`."""
        return self.tables.name(Entry.SERIES, name, unit)

    def on_new_place(self, call: Callable[[], None] | None, /) -> None:
        """See `Recorder.on_new_place`."""
        self.tables.on_new_place = call

    def internal(self, prefixes: tuple[str, ...], ours: tuple[str, ...], /) -> None:
        """See `Recorder.internal`."""
        self._prefixes = tuple(prefixes), tuple(ours)
        self.tables.internal(*self._prefixes)
        self.forget_places()

    def caps(self, *numbers: int) -> None:
        """See `Recorder.caps`."""
        self._caps = Caps(*numbers)

    # ---- threads ----

    def enter(self) -> ThreadWriter | None:
        """Return the calling thread's writer, made on its first span; None: not recording."""
        if not self.active:
            return None
        writer = self.thread(_thread.get_ident(), self._native_id())
        self.local.writer = writer
        self.local.end = ThreadEnd(writer, self._retire)
        return writer

    def _retire(self, writer: ThreadWriter) -> None:
        """Let go of the segment of a thread that has ended, and of the part that it left empty."""
        if not self.active or writer.generation != self._generation:
            writer.let_go()
        if writer.stack or not len(writer.words):
            return  # open spans may be ended by another thread
        used = writer.next - (HEADER_WORDS - writer.shift) // WORDS_PER_RECORD
        number = writer.number - 1
        opened = writer.words.nbytes
        size = shorten_segment(self._folder, writer.words, writer.index, number, used)
        writer.let_go()
        self._disk.closed(Closed(Stream.SPANS, writer.index, number, opened, size))

    def thread(self, ident: int, native_id: int) -> ThreadWriter:
        """Return a thread's writer; native id 0: not known.

        Idents are used again when a thread has ended: another native id is another thread.
        """
        with self._lock:
            known = self._by_ident.get(ident)
            if known is not None and (known.native_id == native_id or not native_id):
                return known
            if known is not None and not known.native_id:
                known.native_id = native_id
            else:
                index, now = len(self.writers), self.clock()
                known = ThreadWriter(index, ident, native_id, self._generation, now)
                self.writers.append(known)
                self._by_ident[ident] = known
            active = getattr(sys.modules.get("threading"), "_active", {})
            name = str(getattr(active.get(ident), "_name", ""))
            head = struct.pack("<IQ", known.index, native_id)
            self.put(Entry.THREAD, head + name.encode("utf-8", "surrogatepass"))
            return known

    # ---- spans ----

    def writer(self) -> ThreadWriter | None:
        """Return the calling thread's writer, with room for a span; None: do not record it."""
        try:
            writer: ThreadWriter | None = self.local.writer
        except AttributeError:
            writer = self.enter()
        else:
            if writer is not None and writer.generation != self._generation:
                writer = self.enter()
        if writer is None or writer.next < writer.end:
            return writer
        if not self.active or writer.rolling:
            self._dropped += writer.rolling or self._error != 0
            return None
        writer.rolling = True  # a finalizer's op may come in between
        try:
            if self._roll(writer):
                return writer
        except (OSError, MemoryError) as problem:
            self.fail(problem)
        finally:
            writer.rolling = False
        self._dropped += 1
        return None

    def _roll(self, writer: ThreadWriter) -> bool:
        first = writer.next
        if len(writer.words):  # first: it may have to be folded to make room
            size = writer.words.nbytes
            full = Closed(Stream.SPANS, writer.index, writer.number - 1, size, size)
            stack, began = writer.stack, (HEADER_WORDS - writer.shift) // WORDS_PER_RECORD
            full.ended = lambda: not any(began <= n < first for n in stack)
            writer.words = memoryview(b"")
            self._disk.closed(full)
        capacity = self._disk.reserve(Stream.SPANS, writer.number)
        if not capacity:
            self._no_room()
            return False
        try:
            mapped = make_segment(
                self._folder, Stream.SPANS, writer.index, writer.number, capacity, first,
                self.clock(), writer.around(),
            )  # fmt: skip
        except OSError:
            self._disk.give_back(Stream.SPANS, writer.number, capacity)
            raise
        writer.words = memoryview(mapped).cast("Q")
        writer.shift = HEADER_WORDS - first * WORDS_PER_RECORD
        writer.number += 1
        writer.end = first + capacity
        return True

    def _no_room(self) -> None:
        """Nothing is left to fold: what finds no room is counted, and recording goes on."""
        if not self._no_room_said:
            self._no_room_said = True
            self.put(Entry.WARNING, NO_ROOM.encode())

    def _begin(self, kind: int, what: int) -> tuple[ThreadWriter, int, memoryview, int] | None:
        """Begin a span of the caller's caller: writer, number, segment, first word; None: not."""
        if not self.active:
            return None
        site = self.tables.call_site(sys._getframe(2))
        writer = self.writer()
        if writer is None:
            return None
        if len(writer.stack) >= MAX_DEPTH:
            self.drop()
            return None
        what = what & UINT32_MAX | site << 32
        n, words, at, _up = writer.begin(what, kind << KIND_SHIFT | OPEN, self.clock)
        return writer, n, words, at

    def begin(self, kind: int, label: int, /) -> int:
        """See `Recorder.begin`."""
        begun = self._begin(kind, label)
        if begun is None:
            return 0
        writer, n, words, at = begun
        writer.open[n] = words, at
        return span_token(writer.index, n)

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
        begun = self._begin(Kind.INSTANT, label)
        if begun is not None:
            writer, n, words, at = begun
            writer.finish(words, at, n, words[at], 0)

    # ---- samples, counters, flows ----

    def _roll_stream(self, stream: RecordWriter) -> bool:
        if full := stream.retire():
            number, size = full
            self._disk.closed(Closed(stream.stream, 0, number, size, size))
        capacity = self._disk.reserve(stream.stream, stream.number)
        if capacity:
            stream.roll(self._folder, capacity, self.clock())
        else:
            self._no_room()
        return capacity > 0

    def _record(self, stream: RecordWriter, values: tuple[float, ...]) -> None:
        if not self.active:
            return
        try:
            with self._lock:
                if stream.is_full and not self._roll_stream(stream):
                    self._dropped += 1
                else:
                    stream.write(values)
        except (OSError, MemoryError) as problem:
            self.fail(problem)

    def counter(self, series: int, value: float, t_ns: int = 0, /) -> None:
        """See `Recorder.counter`."""
        if series:
            self._record(self._counters, (t_ns or self.clock(), value, series, 0, 0))

    def flow(self, source: int, target: int, label: int, /) -> None:
        """See `Recorder.flow`."""
        if source and target:
            self._record(self._flows, (self.clock(), source, target, label, 0))

    def sample(self, t_ns: int, weight_ns: int, cpu_ns: int, thread: int, stack: int) -> None:
        """Record a stack sample; CPU time −1: not known."""
        low, high = cpu_halves(cpu_ns)
        self._record(self._samples, (t_ns, weight_ns, low, thread, stack, high))


_recording: list[PythonRecorder] = []


def _in_child() -> None:
    """The child of a fork shares the parent's maps and files: it lets go of everything at once."""
    for recorder in list(_recording):
        recorder.reset_after_fork()
    _recording.clear()


os.register_at_fork(after_in_child=_in_child)
