"""pprof's profile.proto, gzipped: what stack samples and ops cost, by function and line.

https://github.com/google/pprof/blob/main/proto/profile.proto. A profile is a sum, without times: stack samples are
added up by thread and stack, ops by thread, call site and signature. Every entry has a value of each type; those of
samples are 0 in the types of ops, and the other way round. Written by wire bytes, of which the format needs two
sorts: numbers, and bytes with their length.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import BinaryIO

from tinytrace.analysis.counting import FIGURES, count_trace
from tinytrace.analysis.op_parts import IN_DECLARED, LEAF, OpParts, op_parts
from tinytrace.exporters.chrome_text import shown
from tinytrace.exporters.registry import Progress
from tinytrace.exporters.stacks import (
    NO_STACK,
    StackTexts,
    file_of,
    function_of,
    process_label,
    stack_sums,
    started_unix_ns,
    thread_label,
)
from tinytrace.tracer.trace import Signature, Trace

# name, unit. Self times, so that they add up however ops lie in one another.
TYPES = (
    ("samples", "count"), ("time", "nanoseconds"),
    ("op_calls", "count"), ("op_time", "nanoseconds"), ("flops", "count"), ("bytes", "bytes"),
)  # fmt: skip
DEFAULT_TYPE = "time"
COMMENT = "time: of stack samples; flops and bytes: counted from the shapes of the ops, at least"
LARGEST = 2**63 - 1
# pprof prints names as they are, and a terminal would obey these.
CONTROLS = dict.fromkeys([*range(0x20), *range(0x7F, 0xA0)], "\ufffd")
BYTES_PER_PIECE = 1 << 20
GZIP_LEVEL = 7

# Fields of the messages.
(SAMPLE_TYPE, SAMPLE, MAPPING, LOCATION, FUNCTION, STRING, TIME, DURATION, COMMENTS, DEFAULT) = (
    1, 2, 3, 4, 5, 6, 9, 10, 13, 14,
)  # fmt: skip
LOCATION_IDS, VALUES, LABELS = 1, 2, 3  # of a sample


class PprofExporter:
    """pprof's profile."""

    name = "pprof"
    suffix = ".pb.gz"
    help = "stack samples, FLOPs and bytes by function and line: go tool pprof"

    def write(self, trace: Trace, out: BinaryIO, progress: Progress | None = None) -> None:
        """Write sums of samples and ops; see `tinytrace.exporters.registry.Exporter`."""
        gzip = zlib.compressobj(GZIP_LEVEL, wbits=31)
        gathered: list[bytes] = []
        size = 0
        for message in _Profile(trace).messages():
            gathered.append(message)
            size += len(message)
            if size >= BYTES_PER_PIECE:
                out.write(gzip.compress(b"".join(gathered)))
                gathered, size = [], 0
        out.write(gzip.compress(b"".join(gathered)) + gzip.flush())
        if progress is not None:
            progress(1.0)


class _Profile:
    """Numbers strings, functions and locations as they are met; they are written at the end."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._strings: dict[str, int] = {"": 0}
        self._functions: dict[tuple[str, str], int] = {}
        self._locations: dict[tuple[int, int], int] = {}
        self._labels = [self._thread_labels(thread) for thread in range(len(trace.threads))]

    def messages(self) -> Iterator[bytes]:
        """Yield the fields of the profile."""
        for kind, unit in TYPES:
            yield _bytes(
                SAMPLE_TYPE, _number(1, self._string(kind)) + _number(2, self._string(unit))
            )
        yield from self._samples()
        yield from self._ops()
        # A mapping that has everything keeps pprof from looking for a binary with symbols.
        yield _bytes(MAPPING, _number(1, 1) + b"".join(_number(has, 1) for has in (7, 8, 9)))
        for (function, line), location in self._locations.items():
            place = _number(1, function) + _number(2, line)
            yield _bytes(LOCATION, _number(1, location) + _number(2, 1) + _bytes(4, place))
        for (name, file), function in self._functions.items():
            fields = ((1, function), (2, self._string(name)), (4, self._string(file)))
            yield _bytes(FUNCTION, b"".join(_number(*field) for field in fields))
        if started_ns := started_unix_ns(self._trace):
            yield _number(TIME, started_ns)
        yield _number(DURATION, self._trace.end_ns - self._trace.start_ns)
        yield _number(COMMENTS, self._string(COMMENT))
        yield _number(DEFAULT, self._string(DEFAULT_TYPE))
        for text in self._strings:
            yield _bytes(STRING, text.encode())

    def _samples(self) -> Iterator[bytes]:
        trace = self._trace
        no_stack = varint(self._location(NO_STACK, "", 0))
        texts = StackTexts(trace, self._frame, b"", innermost_first=True)
        rows, weight_ns, count = stack_sums(trace.samples)
        found = trace.samples.take(rows)
        columns = (column.tolist() for column in (found.thread, found.stack_id, count, weight_ns))
        for thread, stack_id, n, weight in zip(*columns, strict=True):
            stack = texts[stack_id] if stack_id >= 0 else no_stack
            yield _sample(stack, (n, weight, 0, 0, 0, 0), self._labels[thread])

    def _ops(self) -> Iterator[bytes]:
        """Yield the ops: the op itself, called from its call site."""
        trace = self._trace
        parts = op_parts(count_trace(trace))
        for part in range(len(parts)):
            op = shown(trace.strings[parts.name_id[part]])
            stack = varint(self._location(op, "", 0))
            if (callsite := int(parts.callsite_id[part])) >= 0:
                stack += self._frame(callsite)
            labels = self._labels[parts.thread[part]] + self._label("op", op)
            signature_id = int(parts.signature_id[part])
            if signature_id >= 0:
                labels += self._label("signature", _shapes(trace.signatures[signature_id]))
            flops, moved = float(parts.flops[part]), float(parts.bytes[part])
            if missing := _uncounted(parts, part):
                labels += self._label("uncounted", missing)
            values = (
                0,
                0,
                int(parts.calls[part]),
                int(parts.self_ns[part]),
                _work(flops),
                _work(moved),
            )
            yield _sample(stack, values, labels)

    def _thread_labels(self, thread: int) -> bytes:
        labels = self._label("thread", thread_label(self._trace, thread))
        process = process_label(self._trace, thread)
        return labels + (self._label("process", process) if process else b"")

    def _label(self, key: str, value: str) -> bytes:
        return _bytes(LABELS, _number(1, self._string(key)) + _number(2, self._string(value)))

    def _frame(self, frame_id: int) -> bytes:
        trace = self._trace
        line = int(trace.frames.line[frame_id])
        return varint(self._location(function_of(trace, frame_id), file_of(trace, frame_id), line))

    def _location(self, name: str, file: str, line: int) -> int:
        function = self._functions.setdefault((name, file), len(self._functions) + 1)
        return self._locations.setdefault((function, line), len(self._locations) + 1)

    def _string(self, text: str) -> int:
        text = text.translate(CONTROLS)
        return self._strings.setdefault(text, len(self._strings))


def _uncounted(parts: OpParts, part: int) -> str:
    """Return what is not known of the work of these calls, so that its 0 is not a figure.

    The 0 of an op with ops inside it, or in one with figures by the user, is one: those have its work.
    """
    state, found = int(parts.state[part]), []
    for number, name in enumerate(FIGURES):
        known = float(getattr(parts, name)[part]) <= LARGEST
        told_elsewhere = not state & LEAF or state & (IN_DECLARED << number)
        if not known and not told_elsewhere and (parts.uncounted[part] or not parts.folded[part]):
            found.append(name)
    return ", ".join(found)


def _work(figure: float) -> int:
    return int(figure) if figure <= LARGEST else 0


def _shapes(signature: Signature) -> str:
    """Return dtypes and shapes: ``float64(2,3) float64(3,4) -> float64(2,4)``."""
    texts = [f"{o.dtype}({','.join(map(str, o.shape))})" for o in signature.operands]
    n = signature.n_inputs
    text = f"{' '.join(texts[:n])} -> {' '.join(texts[n:])}".strip()
    return shown(f"{text} {signature.attributes}".strip())


def _sample(stack: bytes, values: tuple[int, ...], labels: bytes) -> bytes:
    packed = b"".join(map(varint, values))
    return _bytes(SAMPLE, _bytes(LOCATION_IDS, stack) + _bytes(VALUES, packed) + labels)


def varint(number: int) -> bytes:
    r"""Return a number in 7-bit groups, lowest first; a negative one as its 64-bit complement.

    >>> varint(1), varint(300), len(varint(-1))
    (b'\x01', b'\xac\x02', 10)
    """
    number &= 2**64 - 1
    groups = bytearray()
    while number > 127:
        groups.append(number & 127 | 128)
        number >>= 7
    groups.append(number)
    return bytes(groups)


def _number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(value)) + value
