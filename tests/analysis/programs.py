"""Runs written as letters: each letter is a line of code that runs one op of 1 µs, 0.1 µs apart."""

from __future__ import annotations

from collections.abc import Mapping

from tests.builders import START_NS, TraceBuilder

OP_NS, GAP_NS = 1000, 100
PERIOD_NS = OP_NS + GAP_NS


def run_of(
    text: str, *, function: str = "train", slow: Mapping[int, int] | None = None, thread: int = 0
) -> TraceBuilder:
    """Return the builder of a run; capitals are lines of ``Adam.step``; ``_`` is 1.1 µs without an op.

    Args:
        text: one letter per op.
        function: name of the function of lower-case letters.
        slow: position in the text → duration in ns.
        thread: how many idle threads come before the one that runs it.
    """
    builder = TraceBuilder()
    builder.process(100)
    for number in range(thread + 1):
        builder.thread(0, 100 + number)
    now_ns = START_NS
    for position, letter in enumerate(text):
        dur_ns = (slow or {}).get(position, OP_NS)
        if letter != "_":
            name = "Adam.step" if letter.isupper() else function
            site = builder.frame(name, "train.py", ord(letter))
            builder.span(thread, now_ns, dur_ns, "add", callsite=site)
        now_ns += dur_ns + GAP_NS
    return builder
