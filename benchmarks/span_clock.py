"""How far the clock of spans is from CLOCK_MONOTONIC, which everything else in a trace uses.

Where the kernel keeps its clock by the processor's time stamp counter, the compiled core reads the counter
for spans and converts it: two readings of the system's clock are half of what recording a small op costs.
Both clocks are read in turns while a recording runs; a reading between two of the other clock is off by
what it lies outside of them.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from paired import Figure, estimate, parser, publish, rounds_of

from tinytrace.tracer import _native
from tinytrace.tracer.options import Options
from tinytrace.tracer.session import Session

GOAL_NS = 1000.0
READINGS = 2000
PAUSE_S = 0.1


def outside_ns(before: int, span: int, after: int) -> int:
    """Return how far a reading lies outside of the two that it was taken between."""
    return max(before - span, span - after, 0)


def main() -> None:
    """Measure and print."""
    options = parser(__doc__).parse_args()
    rounds = rounds_of(options, full=100, quick=7)
    worst, counter = [], 0
    with tempfile.TemporaryDirectory() as name:
        session = Session(Options(Path(name) / "trace.json"), ["benchmark"])
        session.start()
        try:
            for _ in range(rounds):
                time.sleep(PAUSE_S)
                readings = [_native.clock() for _ in range(READINGS)]
                worst.append(max(outside_ns(*reading[:3]) for reading in readings))
                counter += all(reading[3] for reading in readings)
        finally:
            session.stop()
            session.discard()
    share = Figure(
        "rounds in which spans were timed by the counter", estimate([100 * counter / rounds]), "%"
    )
    publish(
        [Figure("clock of spans off by at most, per round", estimate(worst), "ns", GOAL_NS), share],
        options.json,
    )


if __name__ == "__main__":
    main()
