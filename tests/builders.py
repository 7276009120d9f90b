"""Readable test data: traces from a mini-language, random valid traces, and big ones.

The mini-language, by example::

    trace_of("step(matmul:5 relu:2)")                a step of 7 µs with two ops inside
    trace_of("step:10(matmul:5 _:1 relu:2)")         `_` is idle time; the step lasts 10 µs
    trace_of("layer=fc1(matmul:5)")                  kind=name; a kind alone is a name too
    trace_of("matmul[2x3,3x4->2x4]:5")               a signature; `.` is a 0-d operand
    trace_of("add[8:f4,8:f4->8:f4]@train.py:42:fwd") dtypes, and a call site file:line:function
    trace_of("add! exp? io~")                        raised, open (never ended), detached
    trace_of("matmul:5", worker="add:3")             a second thread

Everything else that can be in a trace is made with `TraceBuilder`.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tinytrace.tracer.records import Flag, Kind, Layout
from tinytrace.tracer.trace import (
    Aggregates,
    Counters,
    Flows,
    Frames,
    Operand,
    Processes,
    Samples,
    Series,
    Signature,
    Spans,
    Stacks,
    Threads,
    Trace,
)

START_NS = 1_000_000_000_000
FLAG_MARKS = {"!": Flag.RAISED, "?": Flag.OPEN, "~": Flag.DETACHED}
ITEM = re.compile(
    r"""\s*(?:(?P<close>\))|(?P<word>[^\s\[\]()@:!?~]+)
        (?P<flags>[!?~]*)
        (?:\[(?P<signature>[^\]]*)\])?
        (?::(?P<dur>\d+(?:\.\d{1,3})?))?
        (?:@(?P<site>[^\s()!?~]+))?
        (?P<late_flags>[!?~]*)(?P<open>\()?)""",
    re.VERBOSE,
)


@dataclass
class TraceBuilder:
    """Builds a `Trace` row by row; interns what is interned; `build` sorts and checks."""

    strings: dict[str, int] = field(default_factory=dict)
    signatures: dict[Signature, int] = field(default_factory=dict)
    frames: dict[tuple[int, int, int], int] = field(default_factory=dict)
    stacks: dict[tuple[int, int], int] = field(default_factory=dict)
    processes: list[tuple[int, ...]] = field(default_factory=list)
    threads: list[tuple[int, ...]] = field(default_factory=list)
    series_rows: list[tuple[int, ...]] = field(default_factory=list)
    spans: list[tuple[int, ...]] = field(default_factory=list)
    aggregates: list[tuple[int, ...]] = field(default_factory=list)
    samples: list[tuple[int, ...]] = field(default_factory=list)
    counters: list[tuple[float, ...]] = field(default_factory=list)
    flows: list[tuple[int, ...]] = field(default_factory=list)
    meta: dict[str, Any] = field(default_factory=lambda: {"format_version": 1})
    warnings: list[str] = field(default_factory=list)

    def string(self, text: str) -> int:
        """Intern a string."""
        return self.strings.setdefault(text, len(self.strings))

    def signature(self, signature: Signature) -> int:
        """Intern a signature."""
        return self.signatures.setdefault(signature, len(self.signatures))

    def frame(self, function: str | None, file: str | None, line: int) -> int:
        """Intern a frame; None is "not known"."""
        ids = [-1 if text is None else self.string(text) for text in (function, file)]
        return self.frames.setdefault((ids[0], ids[1], line), len(self.frames))

    def stack(self, frame_ids: Iterable[int]) -> int:
        """Intern a stack, outermost frame first; −1 for the empty one."""
        parent = -1
        for frame_id in frame_ids:
            parent = self.stacks.setdefault((frame_id, parent), len(self.stacks))
        return parent

    def process(
        self,
        pid: int,
        name: str = "python",
        start_ns: int = START_NS,
        end_ns: int = START_NS,
        parent: int = -1,
    ) -> int:
        """Add a process."""
        self.processes.append((pid, self.string(name), start_ns, end_ns, parent))
        return len(self.processes) - 1

    def thread(self, process: int, tid: int, name: str = "MainThread") -> int:
        """Add a thread."""
        self.threads.append((process, tid, self.string(name)))
        return len(self.threads) - 1

    def span(
        self,
        thread: int,
        start_ns: int,
        dur_ns: int,
        name: str,
        *,
        kind: Kind = Kind.OP,
        flags: int = 0,
        parent: int = -1,
        signature: Signature | None = None,
        callsite: int = -1,
        step: int = -1,
        args: dict[str, Any] | None = None,
    ) -> int:
        """Add a span; the number returned names it as a parent or in a flow."""
        args_id = -1 if args is None else self.string(json.dumps(args))
        signature_id = -1 if signature is None else self.signature(signature)
        self.spans.append((
            start_ns, dur_ns, self.string(name), kind, flags, thread, parent, signature_id,
            callsite, step, args_id,
        ))  # fmt: skip
        return len(self.spans) - 1

    def sample(
        self, thread: int, t_ns: int, weight_ns: int, frame_ids: Sequence[int], cpu_ns: int = -1
    ) -> None:
        """Add a stack sample, outermost frame first."""
        self.samples.append((t_ns, weight_ns, cpu_ns, thread, self.stack(frame_ids)))

    def series(self, name: str, unit: str, process: int = 0) -> int:
        """Add a counter series."""
        self.series_rows.append((self.string(name), self.string(unit), process))
        return len(self.series_rows) - 1

    def counter(self, series: int, t_ns: int, value: float) -> None:
        """Add a value to a series."""
        self.counters.append((t_ns, series, value))

    def flow(self, from_span: int, to_span: int, kind: str = "backward") -> None:
        """Add an arrow between two spans."""
        self.flows.append((from_span, to_span, self.string(kind)))

    def build(self) -> Trace:
        """Return the trace: spans sorted by thread and start, parents before children."""
        spans = _table(Spans, self.spans)
        order = np.lexsort((np.arange(len(spans)), spans.start_ns, spans.thread))
        row_of = np.empty(len(spans) + 1, "i8")
        row_of[order] = np.arange(len(spans))
        row_of[-1] = -1
        columns = dict(spans.take(order).columns())
        columns["parent"] = row_of[columns["parent"]]
        flows = _table(Flows, self.flows)
        samples = _table(Samples, self.samples)
        counters = _table(Counters, self.counters)
        return Trace(
            strings=tuple(self.strings),
            signatures=tuple(self.signatures),
            spans=Spans(**columns),
            aggregates=_table(Aggregates, [_whole_aggregate(row) for row in self.aggregates]),
            samples=samples.take(np.lexsort((samples.t_ns, samples.thread))),
            stacks=_table(Stacks, list(self.stacks)),
            frames=_table(Frames, list(self.frames)),
            counters=counters.take(np.lexsort((counters.t_ns, counters.series_id))),
            series=_table(Series, self.series_rows),
            flows=Flows(row_of[flows.from_span], row_of[flows.to_span], flows.kind_id),
            processes=_table(Processes, self.processes),
            threads=_table(Threads, self.threads),
            meta=self.meta,
            warnings=tuple(self.warnings),
        )


def _whole_aggregate(row: tuple[int, ...]) -> tuple[int, ...]:
    """A row of `Aggregates`; what is left out at its end: no arguments, every span ended normally."""
    return row if len(row) == len(Aggregates.DTYPES) else (*row, -1, -1, row[5])


def _table(cls: Any, rows: Sequence[Sequence[float]]) -> Any:
    """Rows → a table of columns."""
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(cls.DTYPES)
    return cls(
        **{
            name: np.array(column, dtype)
            for (name, dtype), column in zip(cls.DTYPES.items(), columns, strict=True)
        }
    )


def signature_of(op: str, text: str, attributes: str = "") -> Signature:
    """``signature_of("matmul", "2x3,3x4->2x4")``; an operand is ``shape[:dtype]``, ``.`` is 0-d."""
    sides = [[o for o in side.split(",") if o] for side in text.split("->")]
    operands = []
    for operand in (o for side in sides for o in side):
        shape, _, dtype = operand.partition(":")
        dims = () if shape == "." else tuple(int(d) for d in shape.split("x"))
        numpy_dtype = np.dtype(dtype or "f8")
        operands.append(Operand(numpy_dtype.name, dims, itemsize=numpy_dtype.itemsize))
    return Signature(op, tuple(operands), len(sides[0]), attributes)


def trace_of(text: str, *, signatures: dict[str, Signature] | None = None, **threads: str) -> Trace:
    """Build a trace from the mini-language (see the module); a further thread per keyword.

    ``signatures`` gives op names a signature where the text has none.
    """
    builder = TraceBuilder()
    builder.process(100)
    end_ns = START_NS
    for number, (name, program) in enumerate({"MainThread": text, **threads}.items()):
        builder.thread(0, 100 + number, name)
        parser = _Parser(builder, number, program, signatures or {})
        end_ns = max(end_ns, parser.items(START_NS, -1, -1))
    builder.processes[0] = (*builder.processes[0][:3], end_ns, -1)
    return builder.build()


@dataclass
class _Parser:
    builder: TraceBuilder
    thread: int
    text: str
    signatures: dict[str, Signature]
    at: int = 0
    steps: int = 0

    def items(self, now_ns: int, parent: int, step: int) -> int:
        """Parse items up to a closing parenthesis or the end; returns the time reached."""
        while self.text[self.at :].strip():
            match = ITEM.match(self.text, self.at)
            if match is None:
                raise ValueError(f"not understood: {self.text[self.at :]!r}")
            self.at = match.end()
            if match["close"]:
                break
            now_ns = self.item(match, now_ns, parent, step)
        return now_ns

    def item(self, match: re.Match[str], now_ns: int, parent: int, step: int) -> int:
        dur_ns = None if match["dur"] is None else round(float(match["dur"]) * 1000)
        if match["word"] == "_":
            return now_ns + (1000 if dur_ns is None else dur_ns)
        kind_name, _, name = match["word"].partition("=")
        kind = Kind.__members__.get(kind_name.upper(), Kind.OP)
        name = name or kind_name
        if kind == Kind.STEP:
            step, self.steps = self.steps, self.steps + 1
        flags = 0
        for mark in match["flags"] + match["late_flags"]:
            flags |= FLAG_MARKS[mark]
        row = self.builder.span(
            self.thread, now_ns, 0, name, kind=kind, flags=flags, parent=parent,
            signature=self._signature(name, match["signature"], kind),
            callsite=self._site(match["site"]), step=step,
        )  # fmt: skip
        default_ns = 0 if kind == Kind.INSTANT else 1000
        end_ns = self.items(now_ns, row, step) if match["open"] else now_ns + default_ns
        end_ns = end_ns if dur_ns is None else max(end_ns, now_ns + dur_ns)
        if dur_ns is not None and not match["open"]:
            end_ns = now_ns + dur_ns
        span = self.builder.spans[row]
        self.builder.spans[row] = (span[0], end_ns - now_ns, *span[2:])
        return end_ns

    def _signature(self, name: str, text: str | None, kind: Kind) -> Signature | None:
        if text is not None:
            return signature_of(name, text)
        return self.signatures.get(name) if kind == Kind.OP else None

    def _site(self, text: str | None) -> int:
        if text is None:
            return -1
        file, line, *function = text.split(":")
        return self.builder.frame(function[0] if function else None, file, int(line))


# --- random traces ------------------------------------------------------------------------------

NAMES = (
    "matmul", "add.reduce", "forward", "größe", "層", "🚀 launch", "a\"b\\c", "<b>&amp;</b>",
    "tab\tnew\nline", "\x00\x1a\x7f\u2028", "lone \udc80 surrogate", "", " ", "x" * 300, "NaN", "]",
)  # fmt: skip
VALUES = (
    0.0, -0.0, 1.5, -2.25, 1e-300, 1e300, 123456789.123456789, float("inf"), float("-inf"),
    float("nan"),
)  # fmt: skip
DTYPES = ("float64", "float32", "complex128", "int8", "bool", "float", "object", "<U7")
FEATURES = (
    "aggregates", "samples", "counters", "flows", "meta", "warnings", "detached", "strange parents",
)  # fmt: skip


def random_signature(rng: random.Random) -> Signature:
    """Return a signature that may have anything in it that a signature may have."""
    operands = []
    for number in range(rng.randrange(4)):
        shape = tuple(rng.choice((0, 1, 3, 128, 10**6)) for _ in range(rng.randrange(4)))
        layout = rng.choice(list(Layout)) | rng.choice((0, 0, 128))
        strided = layout & 15 == Layout.STRIDED
        operands.append(
            Operand(
                rng.choice(DTYPES),
                shape,
                layout,  # type: ignore[arg-type]
                tuple(rng.choice((0, -8, 24)) for _ in shape) if strided else (),
                rng.randrange(number) if number and rng.random() < 0.3 else -1,
                rng.choice((1, 4, 8, 28)),
            )
        )
    inputs = rng.randint(0, len(operands))
    attributes = rng.choice(("", "axis=1", "ij,jk->ik", "+", "größe"))
    return Signature(rng.choice(NAMES), tuple(operands), inputs, attributes)


def random_trace(
    seed: int, n_spans: int = 30, features: frozenset[str] = frozenset(FEATURES)
) -> Trace:
    """Return an arbitrary valid trace; `features` says which parts beside plain spans it has."""
    return _Random(random.Random(seed), features).trace(n_spans)


def traces(max_spans: int = 40) -> st.SearchStrategy[Trace]:
    """Arbitrary valid traces for hypothesis; shrinks to few spans and few features."""
    return st.builds(
        random_trace,
        st.integers(0, 2**32),
        st.integers(0, max_spans),
        st.frozensets(st.sampled_from(FEATURES)),
    )


@dataclass
class _Random:
    rng: random.Random
    features: frozenset[str]
    builder: TraceBuilder = field(default_factory=TraceBuilder)

    def trace(self, n_spans: int) -> Trace:
        rng, builder = self.rng, self.builder
        builder.string("never used")
        for number in range(rng.randint(1, 3)):
            start_ns = START_NS - rng.randrange(10**9)
            pid = rng.choice((10, 10 + number))  # an exec keeps the pid
            builder.process(pid, rng.choice(NAMES), start_ns, start_ns + 10**10, number - 1)
        for number in range(rng.randint(1, 4)):
            process = rng.randrange(len(builder.processes))
            builder.thread(process, rng.choice((10, 10 + number)), rng.choice(NAMES))
        self.signatures = [random_signature(rng) for _ in range(4)]
        self.frame_ids = [self.frame() for _ in range(6)]
        for thread in range(len(builder.threads)):
            self.spans(thread, n_spans // len(builder.threads))
        for feature, add in (
            ("aggregates", self.aggregates), ("samples", self.samples),
            ("counters", self.counters), ("flows", self.flows), ("meta", self.meta),
        ):  # fmt: skip
            if feature in self.features:
                add()
        if "warnings" in self.features:
            builder.warnings += rng.choices(NAMES, k=2)
        return builder.build()

    def frame(self) -> int:
        rng = self.rng
        file = rng.choice((None, "train.py", "/tmp/größe \udcff.py", "C:\\a\\b.py"))
        function = rng.choice((None, "forward", "<lambda>", "層"))
        return self.builder.frame(function, file, rng.choice((0, 1, 42)))

    def spans(self, thread: int, n_spans: int) -> None:
        """Spans that nest, by a random walk; detached ones lie anywhere."""
        rng, now_ns, open_spans = self.rng, START_NS, list[tuple[int, int]]()
        for _ in range(n_spans):
            while open_spans and rng.random() < 0.4:
                now_ns = max(now_ns, open_spans.pop()[1])
            while open_spans and now_ns > open_spans[-1][1]:
                open_spans.pop()
            room_ns = open_spans[-1][1] - now_ns if open_spans else 10**8
            start_ns = now_ns + rng.choice((0, 0, rng.randint(0, room_ns)))
            left_ns = room_ns - (start_ns - now_ns)
            dur_ns = rng.choice((0, left_ns, rng.randint(0, left_ns)))
            detached = "detached" in self.features and rng.random() < 0.1
            parent = open_spans[-1][0] if open_spans else -1
            if "strange parents" in self.features and rng.random() < 0.1:
                parent = -1
            row = self.span(thread, start_ns, dur_ns + detached * rng.randrange(10**7), parent,
                            Flag.DETACHED * detached)  # fmt: skip
            now_ns = start_ns
            if not detached and self.builder.spans[row][3] != Kind.INSTANT:
                open_spans.append((row, start_ns + dur_ns))

    def span(self, thread: int, start_ns: int, dur_ns: int, parent: int, flags: int) -> int:
        rng = self.rng
        kind = rng.choice((Kind.OP, Kind.OP, *Kind))
        signature = rng.choice((None, *self.signatures)) if kind == Kind.OP else None
        args = {"n": rng.choice((1, None, "\udc80", 2**70)), "step": 1, rng.choice(NAMES): [1.5]}
        return self.builder.span(
            thread, start_ns, 0 if kind == Kind.INSTANT else dur_ns,
            signature.op if signature else rng.choice(NAMES), kind=kind,
            flags=flags | rng.choice((0, 0, Flag.RAISED, Flag.OPEN)), parent=parent,
            signature=signature, callsite=rng.choice((-1, *self.frame_ids)),
            step=rng.choice((-1, 0, 7)), args=rng.choice((None, None, {}, args)),
        )  # fmt: skip

    def aggregates(self) -> None:
        rng, builder = self.rng, self.builder
        for _ in range(3):
            signature = rng.choice(self.signatures)
            count = rng.choice((1, 10**12))
            builder.aggregates.append((
                builder.string(signature.op), Kind.OP, rng.randrange(len(builder.threads)),
                builder.signature(signature), rng.choice((-1, *self.frame_ids)), count,
                rng.randint(0, count), count * 9, count * 5, 0, 9, START_NS, START_NS + 10**9,
            ))  # fmt: skip

    def samples(self) -> None:
        rng = self.rng
        for thread in range(len(self.builder.threads)):
            t_ns = START_NS
            for _ in range(rng.randrange(20)):
                weight_ns = rng.choice((0, 999, 10**6, 12345678))
                t_ns += weight_ns + rng.choice((0, 0, 10**6))
                depth = rng.randint(1, 5)
                cpu_ns = rng.choice((-1, 0, weight_ns))
                self.builder.sample(thread, t_ns, weight_ns, self.frame_ids[:depth], cpu_ns)

    def counters(self) -> None:
        rng, builder = self.rng, self.builder
        for name, unit in (("rss", "MB"), ("cpu", "%"), ("層", ""), (rng.choice(NAMES), "\udc80")):
            series = builder.series(name, unit, rng.randrange(len(builder.processes)))
            for _ in range(rng.randrange(6)):
                t_ns = START_NS + rng.randrange(10**9)
                builder.counter(series, t_ns, rng.choice(VALUES))

    def flows(self) -> None:
        count = len(self.builder.spans)
        for _ in range(min(count, 3)):
            self.builder.flow(self.rng.randrange(count), self.rng.randrange(count))

    def meta(self) -> None:
        self.builder.meta |= {
            "command": ["train.py", "--name", "\udc80\x1a"], "big": 2**80, "inf": float("inf"),
            "nested": {"größe": [None, True, {"a": -1.5}]}, "machine": {"cpu": "🚀"},
        }  # fmt: skip


# --- big traces ---------------------------------------------------------------------------------


def big_trace(n: int, *, seed: int = 0, kinds: int = 200) -> Trace:
    """Return a trace of `n` op spans with `kinds` distinct pairs of signature and call site.

    One thread; ops of a few µs one after the other, 1,000 of them per step, as in a training run: a
    step goes through layers, and the layers of one sort run the same 20 ops, five times.
    """
    rng = np.random.default_rng(seed)
    builder = TraceBuilder()
    builder.process(4711)
    builder.thread(0, 4711)
    ops = ("matmul", "add", "multiply", "exp", "add.reduce", "maximum", "copy", "subtract")
    names, signature_ids, callsite_ids = [], [], []
    for number in range(kinds):
        op = ops[number % len(ops)]
        rows, columns, inner = (int(x) for x in rng.choice((10, 32, 64, 128, 256, 512), 3))
        shapes = {
            "matmul": f"{rows}x{inner}:f4,{inner}x{columns}:f4->{rows}x{columns}:f4",
            "exp": f"{rows}x{columns}:f4->{rows}x{columns}:f4",
            "copy": f"{rows}x{columns}:f4->{rows}x{columns}:f4",
            "add.reduce": f"{rows}x{columns}:f4->{rows}:f4",
        }.get(op, f"{rows}x{columns}:f4,{columns}:f4->{rows}x{columns}:f4")
        attributes = "axis=1" if op == "add.reduce" else ""
        names.append(builder.string(op))
        signature_ids.append(builder.signature(signature_of(op, shapes, attributes)))
        function = ("forward", "backward", "update")[number % 3]
        callsite_ids.append(builder.frame(function, "/home/me/project/train.py", 10 + number))
    layers = np.arange(kinds).reshape(-1, min(20, kinds))
    pick = np.resize(np.repeat(layers, 5, axis=0), n)
    dur_ns = (rng.gamma(2.0, 1500.0, n) + 100).astype("i8")
    gap_ns = rng.integers(50, 500, n)
    start_ns = START_NS + np.cumsum(dur_ns + gap_ns) - dur_ns
    trace = builder.build()
    spans = Spans(
        start_ns=start_ns, dur_ns=dur_ns, name_id=np.array(names)[pick],
        kind=np.zeros(n), flags=np.zeros(n), thread=np.zeros(n), parent=np.full(n, -1),
        signature_id=np.array(signature_ids)[pick], callsite_id=np.array(callsite_ids)[pick],
        step=np.arange(n) // 1000, args_id=np.full(n, -1),
    )  # fmt: skip
    return Trace(
        strings=trace.strings, signatures=trace.signatures, spans=spans, frames=trace.frames,
        processes=trace.processes, threads=trace.threads, meta=trace.meta,
    )  # fmt: skip
