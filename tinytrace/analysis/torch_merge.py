"""What torch's profiler saw, put into the trace of the recording that it ran beneath."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinytrace.errors import TinytraceError
from tinytrace.tracer.records import Kind
from tinytrace.tracer.store import process_folders
from tinytrace.tracer.trace import Flows, Frames, Processes, Threads, Trace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tinytrace.analysis.torch_chunks import Chunk

Ints = NDArray[np.int64]
GPU = "GPU"


def with_torch(trace: Trace, run: Path) -> Trace:
    """Return the trace of a run with what torch's profiler saw in its processes.

    Operations, kernels and arrows come in where they ran: below the layers and marks of their thread, kernels on
    threads of their own (a stream each) of a process that stands for the GPU. What we marked ourselves is not taken
    again. ``meta["torch_profiler"]`` says which stretches of time were seen (``windows_ns``), and how exact its
    clock is.

    Args:
        trace: as it was read from the run folder.
        run: that folder.

    Example:
        >>> with_torch(Trace(), Path("nowhere")) == Trace()
        True
    """
    files = [(folder, f) for folder in process_folders(run) for f in folder.glob("torch-*.json")]
    if not files:
        return trace
    from tinytrace.analysis.torch_chunks import chunk_files, read_chunk

    joining = _Joining(trace)
    problems = []
    with _no_collections():
        for folder in dict.fromkeys(folder for folder, _ in files):
            for path in chunk_files(folder):
                try:
                    joining.add(read_chunk(path))
                except TinytraceError as problem:
                    problems.append(f"operations of torch are missing: {problem}")
        joined = joining.trace()
    return replace(joined, warnings=tuple(dict.fromkeys((*joined.warnings, *problems))))


@contextlib.contextmanager
def _no_collections() -> Iterator[None]:
    """Keep the garbage collector from looking through torch's objects for each 700 of a chunk: half of the time."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


@dataclass
class _Joining:
    """A trace that chunks are being put into."""

    base: Trace
    strings: dict[str, int] = field(default_factory=dict)
    signatures: dict[Any, int] = field(default_factory=dict)
    frames: list[tuple[int, ...]] = field(default_factory=list)
    processes: list[tuple[int, ...]] = field(default_factory=list)
    threads: dict[tuple[int, int], int] = field(default_factory=dict)  # (process, tid) → row
    thread_names: list[int] = field(default_factory=list)
    devices: dict[tuple[int, str], int] = field(default_factory=dict)  # (process, name) → process
    spans: list[dict[str, Ints]] = field(default_factory=list)
    flows: list[tuple[Ints, Ints, Ints]] = field(default_factory=list)
    count: int = 0
    chunks: list[Chunk] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        base = self.base
        self.strings = {text: row for row, text in enumerate(base.strings)}
        self.signatures = {signature: row for row, signature in enumerate(base.signatures)}
        self.frames = _rows(base.frames)
        self.processes = _rows(base.processes)
        for row, (process, tid, name) in enumerate(_rows(base.threads)):
            self.threads.setdefault((process, tid), row)
            self.thread_names.append(name)
        self._keys = [(process, tid) for process, tid, _ in _rows(base.threads)]
        self._marked = self._names_of_marks()

    def _names_of_marks(self) -> set[str]:
        """Names of the marks (`record_function`) that we saw ourselves."""
        spans = self.base.spans
        own = np.isin(spans.kind, (Kind.SPAN, Kind.OPTIMIZER, Kind.DATA)) & (spans.args_id >= 0)
        pairs = np.unique(np.stack([spans.name_id[own], spans.args_id[own]], axis=1), axis=0)
        texts = self.base.strings
        return {texts[name] for name, args in pairs.tolist() if "user_annotation" in texts[args]}

    def string(self, text: str) -> int:
        return self.strings.setdefault(text, len(self.strings))

    def add(self, chunk: Chunk) -> None:
        """Take the events of a chunk."""
        trace, spans = chunk.trace, chunk.trace.spans
        text = np.array([*map(self.string, trace.strings), -1], np.int64)
        signature = [self.signatures.setdefault(s, len(self.signatures)) for s in trace.signatures]
        frame = self._add_frames(trace, text)
        thread = np.array(list(self._threads(chunk, text)), np.int64)
        doubles = [row for name, row in self.strings.items() if name in self._marked]
        name_id = text[spans.name_id]
        is_mark = np.isin(spans.kind, (Kind.SPAN, Kind.OPTIMIZER, Kind.DATA))
        kept = ~(is_mark & np.isin(name_id, doubles) & np.isin(spans.thread, self._hosts(trace)))
        row = np.where(kept, np.cumsum(kept) - 1 + self.count, -1)
        columns = dict(spans.columns()) | {
            "name_id": name_id,
            "args_id": text[spans.args_id],
            "signature_id": np.array([*signature, -1], np.int64)[spans.signature_id],
            "callsite_id": frame[spans.callsite_id],
            "thread": thread[spans.thread],
            "step": np.full(len(spans), -1),
        }
        self.spans.append({name: np.asarray(column)[kept] for name, column in columns.items()})
        ends = row[trace.flows.from_span], row[trace.flows.to_span]
        whole = (ends[0] >= 0) & (ends[1] >= 0)
        self.flows.append((ends[0][whole], ends[1][whole], text[trace.flows.kind_id[whole]]))
        self.count += int(kept.sum())
        self.chunks.append(replace(chunk, trace=Trace()))
        self.said += [w for w in trace.warnings if w.startswith("events that were skipped")]

    @staticmethod
    def _hosts(trace: Trace) -> Ints:
        """Threads that are no stream of a GPU."""
        device = [trace.strings[i].startswith(GPU) for i in trace.processes.name_id.tolist()]
        return np.flatnonzero(~np.array(device, bool)[trace.threads.process])

    def _add_frames(self, trace: Trace, text: Ints) -> Ints:
        first = len(self.frames)
        for name, file, line in _rows(trace.frames):
            self.frames.append((int(text[name]), int(text[file]), line))
        return np.array([*range(first, len(self.frames)), -1], np.int64)

    def _threads(self, chunk: Chunk, text: Ints) -> Iterable[int]:
        """Return the row of each thread of a chunk."""
        trace = chunk.trace
        host = next((row for row, p in enumerate(self.processes) if p[0] == chunk.pid), -1)
        if host < 0:
            name = self.string(f"process {chunk.pid}")
            host = len(self.processes)
            self.processes.append((chunk.pid, name, chunk.begin_ns, chunk.end_ns, -1))
        for process, tid, name in _rows(trace.threads):
            of = trace.strings[trace.processes.name_id[process]]
            row = self._device(host, of) if of.startswith(GPU) else host
            key = row, tid
            found = self.threads.get(key)
            if found is None:
                found = self.threads[key] = len(self._keys)
                self._keys.append(key)
                self.thread_names.append(int(text[name]))
            yield found

    def _device(self, host: int, name: str) -> int:
        """Return the row of the process that stands for a GPU of a process."""
        row = self.devices.get((host, name))
        if row is None:
            taken = {p[0] for p in self.processes}
            number = next(n for n in range(len(taken) + 1) if n not in taken)
            row = self.devices[host, name] = len(self.processes)
            _, _, start_ns, end_ns, _ = self.processes[host]
            self.processes.append((number, self.string(name), start_ns, end_ns, host))
        return row

    def trace(self) -> Trace:
        """Return all of it."""
        if not self.chunks:
            return self.base
        from tinytrace.analysis.torch_nesting import joined_spans
        from tinytrace.analysis.torch_owners import ARROW, with_call_sites, with_layers

        base = self.base
        spans, row_of = joined_spans(base, self.spans, self._keys)
        first, arrows = len(base.spans), base.flows
        flows = [(row_of[arrows.from_span], row_of[arrows.to_span], arrows.kind_id)]
        flows += [(row_of[a + first], row_of[b + first], kind) for a, b, kind in self.flows]
        source, target, kind = (np.concatenate(part) for part in zip(*flows, strict=True))
        spans = with_call_sites(spans, self.strings, len(self.frames))
        to_node = kind == self.string(ARROW)
        spans = with_layers(
            spans, tuple(self.strings), self.string, (source[to_node], target[to_node])
        )
        spans = with_call_sites(spans, self.strings, len(self.frames))
        keys = np.array(self._keys, np.int64).reshape(-1, 2)
        return replace(
            base,
            strings=tuple(self.strings),
            signatures=tuple(self.signatures),
            spans=spans,
            frames=Frames(*_columns(self.frames, 3)),
            flows=Flows(source, target, kind),
            processes=Processes(*_columns(self.processes, 5)),
            threads=Threads(keys[:, 0], keys[:, 1], np.array(self.thread_names, np.int64)),
            meta=self._meta(len(spans)),
            warnings=tuple(dict.fromkeys((*base.warnings, *self.said))),
        )  # fmt: skip

    def _meta(self, n_spans: int) -> dict[str, Any]:
        meta, chunks = self.base.meta, self.chunks
        known = meta.get("torch_profiler")
        facts: dict[str, Any] = dict(known) if isinstance(known, dict) else {}
        facts |= {
            "version": chunks[0].torch,
            "events": self.count,
            "windows_ns": [[c.pid, c.begin_ns, c.end_ns] for c in chunks],
            "clock_error_ns": max(c.clock_error_ns for c in chunks),
        }
        if devices := next((c.devices for c in chunks if c.devices), None):
            facts["devices"] = devices
        audit = dict(meta.get("audit", {})) | {"spans": n_spans}
        audit |= _with_cost(audit, facts.get("busy_ns"), self.base.end_ns - self.base.start_ns)
        return {**meta, "torch_profiler": facts, "audit": audit}


def _with_cost(audit: dict[str, Any], busy_ns: Any, wall_ns: int) -> dict[str, float]:
    """Return our own overhead with what stopping torch's profiler and writing took, in % of the wall time.

    What it adds to each operation while it runs is not in it: about 1 us, which nothing here can measure.
    """
    known = audit.get("own_overhead_percent")
    if not isinstance(known, (int, float)) or not isinstance(busy_ns, int) or wall_ns <= 0:
        return {}
    return {"own_overhead_percent": round(known + 100 * busy_ns / wall_ns, 3)}


def _rows(table: Any) -> list[tuple[int, ...]]:
    return list(zip(*(column.tolist() for _, column in table.columns()), strict=True))


def _columns(rows: Sequence[tuple[int, ...]], width: int) -> Ints:
    return np.asarray(np.array(rows, np.int64).reshape(-1, width).T)
