"""The span lines of the trace JSON: columns ↔ text, and which span lies in which.

A span line is::

    {"ph":"X","ts":12.345,"dur":1.000,"args":{"step":3,"":17,…

What differs from span to span comes first; from ``"":`` on, the *rest* of the line is the same for all
spans of one key and is rendered once. Each function is there twice, compiled
(``tracer/native/json.c``) and here, with the same result to the byte.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

# The key is called "k" in files of version 1.
LINE = re.compile(
    rb'\{"ph":"X","ts":([0-9]{1,15})\.([0-9]{3}),"dur":([0-9]{1,15})\.([0-9]{3}),"args":\{'
    rb'(?:"step":([0-9]{1,9}),)?"k?":([0-9]{1,9})[,}].*\},?',
    re.DOTALL,
)
MAX_TIME_NS = 10**18 - 1  # 15 digits of µs: the sum of two times is far below 2**63


def compiled() -> ModuleType | None:
    """Return the compiled core, unless there is none or ``TINYTRACE_CORE=python`` forbids it."""
    if os.environ.get("TINYTRACE_CORE") == "python":
        return None
    try:
        from tinytrace.tracer import _native
    except ImportError:
        return None
    return _native if hasattr(_native, "json_render") else None


def core_name() -> str:
    """``c`` or ``python``: which functions are used."""
    return "python" if compiled() is None else "c"


def microseconds(t_ns: int) -> str:
    """Integer nanoseconds as microseconds with exactly three decimals.

    >>> microseconds(1_234_567)
    '1234.567'
    """
    sign, t_ns = ("-", -t_ns) if t_ns < 0 else ("", t_ns)
    return f"{sign}{t_ns // 1000}.{t_ns % 1000:03d}"


def render(
    rests: list[bytes],
    start_ns: NDArray[np.int64],
    dur_ns: NDArray[np.int64],
    key: NDArray[np.int32],
    step: NDArray[np.int32],
) -> bytes:
    """Return the lines of these spans.

    Args:
        rests: the rest of the line per key, from ``"":`` to the end of the line.
        start_ns: since the epoch of the file, not negative.
        dur_ns: not negative.
        key: index into ``rests``.
        step: negative for none.
    """
    native = compiled()
    if native is not None:
        text: bytes = native.json_render(rests, start_ns, dur_ns, key, step)
        return text
    lines = []
    rows = zip(start_ns.tolist(), dur_ns.tolist(), key.tolist(), step.tolist(), strict=True)
    for start, dur, k, s in rows:
        if start < 0 or dur < 0 or k < 0:
            raise ValueError("no such key, or a negative time")
        lines.append(
            b'{"ph":"X","ts":%d.%03d,"dur":%d.%03d,"args":{%b%b'
            % (
                start // 1000, start % 1000, dur // 1000, dur % 1000,
                b'"step":%d,' % s if s >= 0 else b"", rests[k],
            )
        )  # fmt: skip
    return b"".join(lines)


def parse(
    text: bytes | memoryview, skips: tuple[bytes, ...]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Parse complete lines.

    Args:
        text: lines, separated by newlines.
        skips: a line that starts with one of these is passed over.

    Returns:
        The span lines, one row each: start_ns, dur_ns, key, step (−1: none). And all other lines, one row
        each: offset of the line, offset of its end, number of span lines before it.
    """
    native = compiled()
    if native is not None:
        rows, others = native.json_parse(text, skips)
        return np.frombuffer(rows, "i8").reshape(-1, 4), np.frombuffer(others, "i8").reshape(-1, 3)
    return _parse_in_python(bytes(text), skips)


def _parse_in_python(
    text: bytes, skips: tuple[bytes, ...]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    rows: list[tuple[int, ...]] = []
    others: list[tuple[int, ...]] = []
    at = 0
    for line in text.split(b"\n"):
        match = LINE.fullmatch(line)
        if match:
            start, start_part, dur, dur_part, step, key = match.groups()
            rows.append((
                int(start) * 1000 + int(start_part), int(dur) * 1000 + int(dur_part), int(key),
                -1 if step is None else int(step),
            ))  # fmt: skip
        elif line and not line.startswith(skips):
            others.append((at, at + len(line), len(rows)))
        at += len(line) + 1
    return np.array(rows, "i8").reshape(-1, 4), np.array(others, "i8").reshape(-1, 3)


def nest(
    thread: NDArray[np.int32],
    start_ns: NDArray[np.int64],
    dur_ns: NDArray[np.int64],
    apart: NDArray[np.uint8],
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Find the span that each span lies in, by their times alone.

    Args:
        thread: spans of one thread follow one another.
        start_ns: in order within a thread.
        dur_ns: of each span.
        apart: not 0 for a span that encloses nothing (an instant, a detached one).

    Returns:
        The row of the innermost earlier span that is not over when this one starts (−1: none); and whether
        the span lies wholly within it: a viewer's thread track shows such spans only. A span that does not,
        or is apart, encloses nothing.
    """
    native = compiled()
    if native is not None:
        parent_bytes, fits_bytes = native.json_nest(thread, start_ns, dur_ns, apart)
        return np.frombuffer(parent_bytes, "i4"), np.frombuffer(fits_bytes, "?")
    parent, fits = np.empty(len(thread), "i4"), np.empty(len(thread), "?")
    stack: list[tuple[int, int, int]] = []
    before = None
    columns: Sequence[list[Any]] = [c.tolist() for c in (thread, start_ns, dur_ns, apart)]
    for row, (t, start, dur, is_apart) in enumerate(zip(*columns, strict=True)):
        if t != before:
            stack, before = [], t
        while stack and stack[-1][1] <= start:
            stack.pop()
        end = start + dur
        parent[row] = stack[-1][2] if stack else -1
        fits[row] = (
            not is_apart
            and end >= start
            and (not stack or (start >= stack[-1][0] and end <= stack[-1][1]))
        )
        if fits[row]:
            stack.append((start, end, row))
    return parent, fits
