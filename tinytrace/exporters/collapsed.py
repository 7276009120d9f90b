"""Collapsed stacks: a line per stack, as Brendan Gregg's flamegraph.pl, speedscope and others read it.

::

    python (pid 10);MainThread (tid 10);<module> (train.py:90);forward (train.py:42) 1500000

Process, thread and frames, outermost first, then the sum of the weights of the samples in nanoseconds. In names
a backslash is doubled; a ``;`` and what ends a line are written ``\\x3b``, ``\\x0a``…
"""

from __future__ import annotations

import re
from typing import BinaryIO

from tinytrace.exporters.registry import Progress
from tinytrace.exporters.stacks import (
    NO_STACK,
    StackTexts,
    frame_label,
    process_label,
    stack_sums,
    thread_label,
)
from tinytrace.tracer.trace import Trace

LINES_PER_PIECE = 10_000
# All that some reader takes for the end of a line or of a frame.
_TAKEN = re.compile("[\\\\;\x00-\x1f\x7f-\x9f\u2028\u2029]")


class CollapsedExporter:
    """Collapsed stacks."""

    name = "collapsed"
    suffix = ".collapsed"
    help = "collapsed stack samples, weights in ns: flamegraph.pl, speedscope"

    def write(self, trace: Trace, out: BinaryIO, progress: Progress | None = None) -> None:
        """Write the samples; see `tinytrace.exporters.registry.Exporter`."""
        texts = StackTexts(trace, lambda row: escaped(frame_label(trace, row)), b";")
        threads = [_thread(trace, thread) for thread in range(len(trace.threads))]
        rows, weight_ns, _ = stack_sums(trace.samples)
        samples = trace.samples.take(rows)
        columns = (samples.thread.tolist(), samples.stack_id.tolist(), weight_ns.tolist())
        lines: list[bytes] = []
        for thread, stack_id, weight in zip(*columns, strict=True):
            stack = texts[stack_id] if stack_id >= 0 else NO_STACK.encode()
            lines.append(b"%b;%b %d\n" % (threads[thread], stack, weight))
            if len(lines) >= LINES_PER_PIECE:
                out.write(b"".join(lines))
                lines.clear()
        out.write(b"".join(lines))
        if progress is not None:
            progress(1.0)


class FoldedExporter(CollapsedExporter):
    """The same, under the other name that people give it."""

    name = "folded"
    suffix = ".folded"
    help = "the same as collapsed"


def escaped(name: str) -> bytes:
    r"""Return a name as a part of a line.

    >>> escaped("a;b\\c\n")
    b'a\\x3bb\\\\c\\x0a'
    """
    return _TAKEN.sub(_escape, name).encode()


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return "\\\\" if match[0] == "\\" else f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def _thread(trace: Trace, thread: int) -> bytes:
    labels = (process_label(trace, thread), thread_label(trace, thread))
    return b";".join(escaped(label) for label in labels if label)
