"""Time that recording adds to a small operation: 4×4 float32 ``a + b`` and ``a @ b``, everything on.

Both sides are the same loop in the same process: a `Session` with all defaults (hooks, sampling at
1 kHz, counters, array memory) is started before the one and stopped before the other. Stopping takes
every hook off, so that the other side is plain NumPy; a control shows that nothing stays behind.
The pure-Python recorder is measured in a process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from paired import (
    Figure,
    differences,
    estimate,
    in_turns,
    parser,
    publish,
    read_figures,
    rounds_of,
)

from tinytrace.tracer.options import Options
from tinytrace.tracer.session import Session

GOAL_NS = {"c": 100.0, "python": 3000.0}
NAMES = {"c": "compiled core", "python": "pure-Python recorder"}
CALLS = {"c": 40_000, "python": 8_000}  # per side and round: a few of the store's segments
WARM_UP_CALLS = 2_000  # in a new recording: signature, call site, the first and small segment

A = np.arange(16, dtype=np.float32).reshape(4, 4)
B = A + 1


def add(calls: int) -> int:
    """Return the wall time of so many ``a + b``, in ns."""
    a, b = A, B
    begin = time.perf_counter_ns()
    for _ in range(calls):
        a + b
    return time.perf_counter_ns() - begin


def matmul(calls: int) -> int:
    """Return the wall time of so many ``a @ b``, in ns."""
    a, b = A, B
    begin = time.perf_counter_ns()
    for _ in range(calls):
        a @ b
    return time.perf_counter_ns() - begin


LOOPS: dict[str, Callable[[int], int]] = {"a + b": add, "a @ b": matmul}


def plain(loop: Callable[[int], int], calls: int) -> float:
    """Measure without recording: ns per op."""
    loop(WARM_UP_CALLS)
    return loop(calls) / calls


def recorded(loop: Callable[[int], int], calls: int, folder: Path) -> float:
    """Measure while recording: ns per op."""
    session = Session(Options(folder / "trace.json"), ["benchmark"])
    session.start()
    try:
        loop(WARM_UP_CALLS)
        return loop(calls) / calls
    finally:
        session.stop()
        session.discard()


def check_recorded(folder: Path) -> None:
    """A recorder that records nothing would be fast.

    Raises:
        SystemExit: not every op became a span.
    """
    session = Session(Options(folder / "trace.json"), ["benchmark"])
    session.start()
    add(1000)
    session.stop()
    spans = len(session.trace().spans.start_ns)
    session.discard()
    if spans < 1000:
        raise SystemExit(f"only {spans} of 1,000 operations were recorded")


def measure(core: str, rounds: int) -> list[Figure]:
    """Measure with one recorder, in this process."""
    os.environ["TINYTRACE_CORE"] = core
    calls = CALLS[core]
    untouched = {
        name: estimate(plain(loop, calls) for _ in range(9)) for name, loop in LOOPS.items()
    }
    figures = []
    with tempfile.TemporaryDirectory() as name:
        check_recorded(Path(name))
        for op, loop in LOOPS.items():
            sides: dict[str, Callable[[], float]] = {
                "plain": partial(plain, loop, calls),
                "recorded": partial(recorded, loop, calls, Path(name)),
            }
            ns = in_turns(sides, rounds)
            added = differences(ns["recorded"], ns["plain"])
            left = estimate(x - untouched[op].median for x in ns["plain"])
            figures += [
                Figure(f"added to a 4×4 float32 {op}, {NAMES[core]}", added, "ns", GOAL_NS[core]),
                Figure(f"  {op} itself, plain", estimate(ns["plain"]), "ns"),
                Figure("  control: plain after recordings − before the first", left, "ns"),
            ]
    return figures


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__)
    arguments.add_argument("--core", choices=("c", "python"), help="this recorder alone")
    options = arguments.parse_args()
    rounds = rounds_of(options, full=100, quick=1)
    if options.core:
        publish(measure(options.core, rounds), options.json)
        return
    figures = []
    for core in NAMES:
        command = [sys.executable, __file__, "--core", core, "--rounds", str(rounds), "--json"]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        figures += read_figures(output)
    publish(figures, options.json)


if __name__ == "__main__":
    main()
