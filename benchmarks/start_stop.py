"""Time of ``import tinytrace``, and of starting and stopping a recording, in fresh processes.

Import: a process that imports tinytrace, less one that imports nothing, in turns. Start + stop: in a
process that has imported NumPy, the time from before the first import of our session to after
`Session.stop`, so that all that is loaded for it counts; hooks, sampling, counters and memory on.
Reading the records back and writing a file come after it and are shown beside it.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from paired import Figure, differences, estimate, in_turns, parser, publish, rounds_of, run

GOAL_IMPORT_MS, GOAL_START_STOP_MS = 30.0, 150.0
NAMES = {"c": "compiled core", "python": "pure-Python recorder"}
TIMED_IMPORT = """\
import time
begin = time.perf_counter()
import tinytrace
print(1e3 * (time.perf_counter() - begin))
"""
START_STOP = """\
import pathlib, time, numpy
begin = time.perf_counter()
from tinytrace.tracer.options import Options
from tinytrace.tracer.session import Session
session = Session(Options(pathlib.Path("trace.json").absolute()), ["benchmark"])
session.start()
started = time.perf_counter()
session.stop()
print(1e3 * (started - begin), 1e3 * (time.perf_counter() - started))
session.discard()
"""
TRACE_NOTHING = """\
import time, numpy, tinytrace
begin = time.perf_counter()
with tinytrace.trace("trace.json"):
    pass
print(1e3 * (time.perf_counter() - begin))
"""


def wall_ms(code: str, folder: Path) -> float:
    """Return the wall time of a process that runs some code."""
    return 1e3 * run([sys.executable, "-c", code], folder).wall_s


def printed(code: str, folder: Path, core: str = "c") -> tuple[float, ...]:
    """Return the numbers that a process prints."""
    done = run([sys.executable, "-c", code], folder, TINYTRACE_CORE=core)
    return tuple(float(word) for word in done.lines[-1][1].split())


def measure(rounds: int) -> list[Figure]:
    """Measure everything in one run."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        processes: dict[str, Callable[[], float]] = {
            "nothing": partial(wall_ms, "pass", folder),
            "import": partial(wall_ms, "import tinytrace", folder),
        }
        inside: dict[str, Callable[[], tuple[float, ...]]] = {
            "import": partial(printed, TIMED_IMPORT, folder),
            "c": partial(printed, START_STOP, folder, "c"),
            "python": partial(printed, START_STOP, folder, "python"),
            "trace": partial(printed, TRACE_NOTHING, folder),
        }
        ms = in_turns(processes, rounds)
        parts = in_turns(inside, rounds)
    imported = differences(ms["import"], ms["nothing"])
    figures = [
        Figure("import tinytrace, more than a process that imports nothing", imported, "ms", GOAL_IMPORT_MS),
        Figure("  the import statement alone", estimate(t for (t,) in parts["import"]), "ms"),
    ]  # fmt: skip
    for core, who in NAMES.items():
        both = estimate(start + stop for start, stop in parts[core])
        figures += [
            Figure(f"start + stop of a recording, {who}", both, "ms", GOAL_START_STOP_MS),
            Figure("  start, importing our part included", estimate(t for t, _ in parts[core]), "ms"),
            Figure("  stop", estimate(t for _, t in parts[core]), "ms"),
        ]  # fmt: skip
    whole = estimate(t for (t,) in parts["trace"])
    return [*figures, Figure("  tt.trace(file) around nothing, file written", whole, "ms")]


def main() -> None:
    """Measure and print."""
    options = parser(__doc__).parse_args()
    publish(measure(rounds_of(options, full=40, quick=1)), options.json)


if __name__ == "__main__":
    main()
