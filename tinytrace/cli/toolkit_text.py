"""What the toolkit prints: top operations of a profiler."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from tinytrace.analysis.figures import clean
from tinytrace.analysis.op_groups import OpGroup
from tinytrace.tracer.trace import Trace


def print_top_operations(trace: Trace, rows: Sequence[OpGroup], n: int, file: TextIO) -> None:
    """Print one line per group of operations, then what they do not add up to.

    Args:
        trace: what was recorded.
        rows: all groups, those with most self time first.
        n: how many to print.
        file: where to.
    """
    lines = [f"{_share(row.percent)} - {clean(row.label or 'not known')}" for row in rows[:n]]
    left = rows[n:]
    rest = sum(row.percent for row in left)
    if left:
        lines.append(f"{_share(rest)} - {len(left)} more")
    outside = 100 - sum(row.percent for row in rows)
    if outside >= 0:  # else those of several threads add up to more
        lines.append(f"{_share(outside)} - outside of operations: Python, waiting")
    if not rows:
        lines.insert(0, "No operation of NumPy was recorded.")
    print("\n".join(lines), file=file)


def _share(percent: float) -> str:
    """Return whole percents; what is there is never 0."""
    return "<1%" if 0 < percent < 0.5 else f"{percent:.0f}%"
