"""What the tests of the formats share: a small trace, and files as bytes."""

from __future__ import annotations

from typing import BinaryIO, cast

from tests.builders import START_NS, TraceBuilder
from tinytrace.exporters.registry import Exporter
from tinytrace.tracer.records import Kind
from tinytrace.tracer.trace import Trace

MS = 1_000_000


def pieces(exporter: Exporter, trace: Trace) -> list[bytes]:
    """The file as it is written, piece by piece."""
    file = _Pieces()
    exporter.write(trace, cast(BinaryIO, file))
    return file


def content(exporter: Exporter, trace: Trace) -> bytes:
    """The whole file."""
    return b"".join(pieces(exporter, trace))


class _Pieces(list[bytes]):
    """A file that remembers what was written to it."""

    def write(self, piece: bytes) -> None:
        """Take the next piece."""
        self.append(piece)


def two_threads() -> Trace:
    """`main` for 5 ms with a gap of 2 ms; a worker without a stack; a step with an op."""
    builder = TraceBuilder()
    process = builder.process(10)
    main, worker = builder.thread(process, 10, "main"), builder.thread(process, 11, "worker")
    module = builder.frame("<module>", "/home/me/train.py", 90)
    forward = builder.frame("forward", "/home/me/train.py", 42)
    hostile = builder.frame("<script>alert(1)</script>", "/home/me/train.py", 43)
    for t_ms, weight_ms, stack in ((1, 1, [module, forward]), (3, 2, [module, hostile])):
        builder.sample(main, START_NS + t_ms * MS, weight_ms * MS, stack)
    builder.sample(main, START_NS + 7 * MS, 2 * MS, [module])
    builder.sample(worker, START_NS + 4 * MS, 4 * MS, [])
    step = builder.span(main, START_NS, 9 * MS, "step", kind=Kind.STEP)
    builder.span(main, START_NS + MS, MS, "matmul", parent=step, callsite=forward)
    builder.span(main, START_NS + 2 * MS, 0, "here", kind=Kind.INSTANT, parent=step)
    return builder.build()
