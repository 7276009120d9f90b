"""Ops and stack samples as flat tables, a row each: what CSV, Parquet and Arrow files hold.

Names stand in every row, so that no other table is needed; times are ns since the beginning of the trace. A table
is made in chunks of rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.counting import FIGURES, UNCOUNTED, Figure, count_trace
from tinytrace.analysis.spans import self_ns
from tinytrace.exporters.chrome_text import shown
from tinytrace.exporters.collapsed import escaped
from tinytrace.exporters.span_keys import Figures
from tinytrace.exporters.stacks import StackTexts, frame_label
from tinytrace.tracer.groups import distinct
from tinytrace.tracer.records import Flag, Kind
from tinytrace.tracer.trace import Column, Spans, Trace

Kinds = Literal["int", "bool", "word", "text"]


@dataclass(frozen=True, eq=False)
class Words:
    """Texts by number; −1: none."""

    codes: Column
    texts: Sequence[str]


@dataclass(frozen=True, eq=False)
class Texts:
    """Texts of which too many may differ to keep them all; None: none."""

    rows: list[str | None]


@dataclass(frozen=True, eq=False)
class Numbers:
    """Integers, or truth values; those that are ``missing`` are not known."""

    values: Column
    missing: NDArray[np.bool_] | None = None


Cells = Words | Texts | Numbers
Chunk = dict[str, Cells]


class FlatTable(Protocol):
    """A table that is made in chunks.

    Attributes:
        KINDS: what each column holds.
    """

    KINDS: ClassVar[dict[str, Kinds]]

    def __len__(self) -> int:
        """Number of rows."""

    def chunks(self, size: int) -> Iterator[Chunk]:
        """Yield the rows in chunks of at most that many; none for an empty table."""


class OpsTable:
    """All ops of a trace. Those that were folded have a row per group, with the number of their calls."""

    KINDS: ClassVar[dict[str, Kinds]] = {
        "op": "word", "start_ns": "int", "dur_ns": "int", "self_ns": "int", "calls": "int",
        "flops": "int", "bytes": "int", "transcendentals": "int", "shapes": "word",
        "dtypes": "word", "n_inputs": "int", "attributes": "word", "file": "word", "line": "int",
        "function": "word", "step": "int", "pid": "int", "process": "word", "tid": "int",
        "thread": "word", "ops_inside": "bool", "raised": "bool", "open": "bool",
        "detached": "bool", "args": "word",
    }  # fmt: skip

    def __init__(self, trace: Trace) -> None:
        spans, folded, signatures = trace.spans, trace.aggregates, trace.signatures
        self._trace = trace
        self._rows = np.flatnonzero(spans.kind == Kind.OP)
        self._folded = np.flatnonzero(folded.kind == Kind.OP)
        self._own_ns = self_ns(spans)
        self._counts = count_trace(trace)

        def used(name: str) -> tuple[Column, Column]:
            return getattr(spans, name)[self._rows], getattr(folded, name)[self._folded]

        self._places = _Places(trace, used("callsite_id"), used("thread"))
        self._names, self._args = (
            _Vocabulary(self._places.strings, used(name)) for name in ("name_id", "args_id")
        )
        of_signature = used("signature_id")
        self._shapes, self._dtypes, self._attributes = (
            _Vocabulary(texts, of_signature)
            for texts in (
                [_json([o.shape for o in one.operands]) for one in signatures],
                [_json([shown(o.dtype) for o in one.operands]) for one in signatures],
                [shown(one.attributes) for one in signatures],
            )
        )
        self._n_inputs = np.array([*(one.n_inputs for one in signatures), 0], "i8")
        self._transcendentals = np.append(self._counts.transcendentals, UNCOUNTED)

    def __len__(self) -> int:
        return len(self._rows) + len(self._folded)

    def chunks(self, size: int) -> Iterator[Chunk]:
        """Yield spans, then what was folded."""
        for first in range(0, len(self._rows), size):
            yield self._spans(self._rows[first : first + size])
        for first in range(0, len(self._folded), size):
            yield self._aggregates(self._folded[first : first + size])

    def _spans(self, rows: Column) -> Chunk:
        spans: Spans = self._trace.spans.take(rows)
        figures = Figures.of(self._counts, rows)
        flops, moved, leaf = figures.flops, figures.bytes, figures.leaf
        evaluations = self._transcendentals[spans.signature_id]
        evaluations[(flops < 0) | ~leaf] = UNCOUNTED
        return {
            "op": self._names.words(spans.name_id),
            "start_ns": Numbers(spans.start_ns - self._trace.start_ns),
            "dur_ns": Numbers(spans.dur_ns),
            "self_ns": Numbers(self._own_ns[rows]),
            "calls": Numbers(np.ones(len(rows), "i8")),
            "flops": _known(flops),
            "bytes": _known(moved),
            "transcendentals": _known(evaluations),
            **self._of_signature(spans.signature_id),
            **self._places.of_frame(spans.callsite_id),
            "step": _known(spans.step),
            **self._places.of_thread(spans.thread),
            "ops_inside": Numbers(~leaf),
            "raised": Numbers(spans.flags & Flag.RAISED != 0),
            "open": Numbers(spans.flags & Flag.OPEN != 0),
            "detached": Numbers(spans.flags & Flag.DETACHED != 0),
            "args": self._args.words(spans.args_id),
        }

    def _aggregates(self, rows: Column) -> Chunk:
        folded = self._trace.aggregates.take(rows)
        flops, moved = (self._of_aggregates(figure, rows) for figure in FIGURES)
        no = np.zeros(len(rows), "?")
        return {
            "op": self._names.words(folded.name_id),
            "start_ns": Numbers(folded.start_ns - self._trace.start_ns),
            "dur_ns": Numbers(folded.total_ns),
            "self_ns": Numbers(folded.self_ns),
            "calls": Numbers(folded.count),
            "flops": _known(flops),
            "bytes": _known(moved),
            "transcendentals": Numbers(no.astype("i8"), ~no),
            **self._of_signature(folded.signature_id),
            **self._places.of_frame(folded.callsite_id),
            "step": Numbers(no.astype("i8"), ~no),
            **self._places.of_thread(folded.thread),
            "ops_inside": Numbers(folded.leaves == 0),
            "raised": Numbers(no, folded.ended < folded.count),
            "open": Numbers(no, folded.ended < folded.count),
            "detached": Numbers(no, ~no),
            "args": self._args.words(folded.args_id),
        }

    def _of_aggregates(self, figure: Figure, rows: Column) -> NDArray[np.int64]:
        """Figures of folded ops; −1: not known, or other ops have it."""
        counts, folded = self._counts, self._trace.aggregates.take(rows)
        all_rows = counts.per_aggregate(figure)
        some = (all_rows[row] for row in rows.tolist())
        found = np.array([v if v is not None and v < 2**63 else UNCOUNTED for v in some], "i8")
        own = np.append(counts.flops if figure == "flops" else counts.bytes, UNCOUNTED)
        elsewhere = (own[folded.signature_id] != 0) | (folded.leaves == 0)
        found[(found == 0) & elsewhere] = UNCOUNTED
        return found

    def _of_signature(self, signature_id: Column) -> Chunk:
        return {
            "shapes": self._shapes.words(signature_id),
            "dtypes": self._dtypes.words(signature_id),
            "n_inputs": Numbers(self._n_inputs[signature_id], signature_id < 0),
            "attributes": self._attributes.words(signature_id),
        }


class SamplesTable:
    """All stack samples of a trace; ``stack`` is that of `tinytrace.exporters.collapsed`."""

    KINDS: ClassVar[dict[str, Kinds]] = {
        "t_ns": "int", "weight_ns": "int", "cpu_ns": "int", "file": "word", "line": "int",
        "function": "word", "stack": "text", "pid": "int", "process": "word", "tid": "int",
        "thread": "word",
    }  # fmt: skip

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._frame_id = np.append(trace.stacks.frame_id, -1)  # stack −1 finds the last one
        frames = distinct(self._frame_id[distinct(trace.samples.stack_id)])
        self._places = _Places(trace, (frames,), (trace.samples.thread,))
        self._texts = StackTexts(trace, lambda row: escaped(frame_label(trace, row)), b";")

    def __len__(self) -> int:
        return len(self._trace.samples)

    def chunks(self, size: int) -> Iterator[Chunk]:
        """Yield the samples in their order."""
        for first in range(0, len(self), size):
            samples = self._trace.samples.take(slice(first, first + size))
            frame_id = self._frame_id[samples.stack_id]
            known = distinct(samples.stack_id[samples.stack_id >= 0]).tolist()
            text: dict[int, str | None] = {i: self._texts[i].decode() for i in known} | {-1: None}
            yield {
                "t_ns": Numbers(samples.t_ns - self._trace.start_ns),
                "weight_ns": Numbers(samples.weight_ns),
                "cpu_ns": _known(samples.cpu_ns),
                **self._places.of_frame(frame_id),
                "stack": Texts([text[i] for i in samples.stack_id.tolist()]),
                **self._places.of_thread(samples.thread),
            }


class _Vocabulary:
    """The texts that a column needs, each once.

    Args:
        texts: some of which are needed.
        ids: numbers of those, as often as they come; −1: none.
    """

    def __init__(self, texts: Sequence[str], ids: Iterable[Column]) -> None:
        used = np.zeros(len(texts) + 1, "?")
        for column in ids:
            used[column] = True
        number: dict[str, int] = {}
        self._code = np.full(len(used), -1, "i4")  # number −1 finds the last one
        for row in np.flatnonzero(used[:-1]).tolist():
            self._code[row] = number.setdefault(texts[row], len(number))
        self._texts = list(number)

    def words(self, ids: Column) -> Words:
        """Return a column of these numbers."""
        return Words(self._code[ids], self._texts)


class _Places:
    """Names of frames and threads.

    Args:
        trace: whose names.
        frames: the frames that will be asked for, as often as they come.
        of_threads: the threads, likewise.
    """

    def __init__(
        self, trace: Trace, frames: Iterable[Column], of_threads: Iterable[Column]
    ) -> None:
        self.strings = [shown(text) for text in trace.strings]
        places, threads, processes = trace.frames, trace.threads, trace.processes
        # Number −1 finds the last one.
        self._file, self._function = np.append(places.file_id, -1), np.append(places.name_id, -1)
        self._line = np.append(places.line, 0)
        self._pid = np.append(processes.pid, 0)
        self._process_name = np.append(processes.name_id, -1)
        self._tid, self._thread, self._process = threads.tid, threads.name_id, threads.process
        seen = [distinct(ids) for ids in frames]
        self._files = _Vocabulary(self.strings, [self._file[ids] for ids in seen])
        self._functions = _Vocabulary(self.strings, [self._function[ids] for ids in seen])
        seen = [distinct(ids) for ids in of_threads]
        self._threads = _Vocabulary(self.strings, [self._thread[ids] for ids in seen])
        named = [self._process_name[self._process[ids]] for ids in seen]
        self._processes = _Vocabulary(self.strings, named)

    def of_frame(self, frame_id: Column) -> Chunk:
        """File, line and function; −1: no frame."""
        line = self._line[frame_id]
        return {
            "file": self._files.words(self._file[frame_id]),
            "line": Numbers(line, line <= 0),
            "function": self._functions.words(self._function[frame_id]),
        }

    def of_thread(self, thread: Column) -> Chunk:
        """Number and name of thread and process."""
        process = self._process[thread]
        return {
            "pid": Numbers(self._pid[process], process < 0),
            "process": self._processes.words(self._process_name[process]),
            "tid": Numbers(self._tid[thread]),
            "thread": self._threads.words(self._thread[thread]),
        }


def _json(value: list[Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _known(values: Column) -> Numbers:
    """Numbers of which negative ones stand for "not known"."""
    return Numbers(np.maximum(values, 0), values < 0)
