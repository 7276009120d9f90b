"""What the case studies share: find with the report, prove with `compare`, draw."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import tinytrace as tt


def investigate(
    before: Callable[[], Any], after: Callable[[], Any], times: int, rounds: int = 30
) -> None:
    """Record the slow form, say what is found, and measure both forms in turns.

    Args:
        before: the slow form.
        after: the same, mended.
        times: how often the slow form runs while it is recorded.
        rounds: of the comparison.
    """
    with tt.trace() as recording:
        for _ in range(times):
            with tt.step():
                before()
    assert recording.result is not None
    show(recording.result)
    difference = np.max(np.abs(np.asarray(before(), "f8") - np.asarray(after(), "f8")))
    print(f"\nLargest difference of the results: {difference:.2g}\n")
    prove({"before": before, "after": after}, rounds)


def show(trace: tt.Trace) -> None:
    """Print the first finding of a trace."""
    from tinytrace.analysis.findings import findings

    found = findings(trace)
    if not found:
        print("Nothing is wrong that a rule knows.")
        return
    first = found[0]
    print(f"Found: {first.title}")
    print(
        f"at {Path(first.file or '?').name}:{first.line}, rule {first.rule}, {first.confidence} confidence"
    )
    for fact in first.evidence:
        print(textwrap.fill(f"- {fact}", 100, subsequent_indent="  "))
    if first.ceiling_ns is not None:
        print(f"To be won at most: {first.ceiling_share:.0%} of the run (a bound)")
    print(textwrap.indent(first.code, "    "))


def prove(models: dict[str, Callable[..., Any]], rounds: int, data: Any = None) -> None:
    """Measure the forms in turns, print the table, and draw it where a file is named on the command line."""
    suite = tt.benchmark_suite(models, data, rounds=rounds)
    print(suite)
    if len(sys.argv) > 1:
        tt.plot_performance_comparison(suite, sys.argv[1])
