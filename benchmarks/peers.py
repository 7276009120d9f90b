"""What other profilers cost on the same programs: an honest table, no goals.

They do different jobs. tinytrace records each NumPy operation and samples stacks; viztracer and cProfile
record each function call; py-spy samples from another process. So the cost per event is of their own kind
of event. Whole processes, in turns; every profiler with its defaults, py-spy at 1 kHz.

* slowdown: of ``samples/train_mlp.py`` (10 epochs, in the steady environment of `training_slowdown.py`)
  while it runs, from its first to its last statement;
* after: from the end of the program to the end of the process, more than plain;
* file: its size, and that by the events in it;
* cost per event: what it adds to a small event of its kind, in a loop that does nothing else: an
  addition of 4×4 arrays for tinytrace, a call of an empty Python function for the others.
"""

from __future__ import annotations

import json
import pstats
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path

from paired import (
    Figure,
    differences,
    estimate,
    in_turns,
    parser,
    percent_more,
    publish,
    rounds_of,
    run,
)
from training_slowdown import MARKED, STEADY, Parts, train

EVENTS = 200_000  # of the loops below: fewer than viztracer's buffer of a million holds
ADDITIONS = """\
import sys, time, numpy
a = numpy.ones((4, 4), numpy.float32)
def loop(n):
    begin = time.perf_counter_ns()
    for _ in range(n):
        a + a
    return time.perf_counter_ns() - begin
loop(2000)
n = int(sys.argv[1])
print("per_event_ns", loop(n) / n)
"""
CALLS = """\
import sys, time
def nothing():
    pass
def loop(n):
    begin = time.perf_counter_ns()
    for _ in range(n):
        nothing()
    return time.perf_counter_ns() - begin
loop(2000)
n = int(sys.argv[1])
print("per_event_ns", loop(n) / n)
"""


def chrome_events(file: Path) -> int:
    """Return how many events of a Chrome trace are shown."""
    events = json.loads(file.read_bytes())
    events = events["traceEvents"] if isinstance(events, dict) else events
    return sum(event["ph"] != "M" for event in events)


def raw_samples(file: Path) -> int:
    """Return how many samples py-spy counted."""
    return sum(int(line.rpartition(" ")[2]) for line in file.read_text().splitlines())


def profiled_calls(file: Path) -> int:
    """Return how many calls cProfile counted: a file of totals, not of events."""
    return int(vars(pstats.Stats(str(file)))["total_calls"])


@dataclass(frozen=True)
class Peer:
    """A profiler.

    Attributes:
        name: with its version.
        command: what stands before the program.
        file: what it writes.
        count: file → events in it.
        small: a loop of one small event of its kind per pass; None: it has no cost per event.
        kind: what an event is.
        totals: the file holds sums, and not each event.
    """

    name: str
    command: list[str]
    file: str = ""
    count: Callable[[Path], int] | None = None
    small: str | None = None
    kind: str = ""
    totals: bool = False
    sizes: list[tuple[float, int]] = field(default_factory=list)


def peers() -> list[Peer]:
    """Return ours, then the others."""
    python = sys.executable
    scripts = Path(python).parent
    tinytrace = [python, "-m", "tinytrace", "-q", "--no-calibrate"]
    py_spy = [str(scripts / "py-spy"), "record", "-r", "1000", "-f", "raw", "-o", "spy.txt"]
    return [
        Peer(f"tinytrace {version('tinytrace')}", tinytrace, "trace.json", chrome_events, ADDITIONS, "operation"),
        Peer(f"tinytrace {version('tinytrace')} --no-ops", [*tinytrace, "--no-ops"], "trace.json", chrome_events),
        Peer(f"py-spy {version('py-spy')}", [*py_spy, "--", python], "spy.txt", raw_samples, totals=True),
        Peer(f"viztracer {version('viztracer')}",
             [str(scripts / "viztracer"), "--quiet", "-o", "viz.json", "--"],
             "viz.json", chrome_events, CALLS, "call"),
        Peer(f"cProfile of Python {sys.version.split()[0]}",
             [python, "-m", "cProfile", "-o", "profile.out"],
             "profile.out", profiled_calls, CALLS, "call", totals=True),
    ]  # fmt: skip


def train_under(peer: Peer, arguments: list[str], folder: Path) -> Parts:
    """Run the sample under a profiler, and look at what it wrote."""
    parts = train(peer.command, arguments, folder, STEADY)
    file = folder / peer.file
    if peer.count is not None:
        peer.sizes.append((file.stat().st_size, peer.count(file)))
        file.unlink()
    return parts


def small_events(command: list[str], script: str, n: int, folder: Path) -> float:
    """Return the time per pass of a loop, in ns."""
    (folder / "small.py").write_text(script)
    done = run([*command, "small.py", str(n)], folder)
    return next(float(t.split()[1]) for _, t in done.lines if t.startswith("per_event_ns"))


def measure_training(rounds: int, arguments: list[str], warm_up: int, folder: Path) -> list[Figure]:
    """Measure the sample under each."""
    (folder / "marked.py").write_text(MARKED)
    everyone = [Peer("plain", [sys.executable]), *peers()]
    sides = {p.name: partial(train_under, p, arguments, folder) for p in everyone}
    parts = in_turns(sides, rounds, warm_up=warm_up)
    plain = parts["plain"]
    figures = []
    for peer in everyone[1:]:
        ours = parts[peer.name]
        sizes = [size for size, _ in peer.sizes]
        events = [count for _, count in peer.sizes]
        figures += [
            Figure(f"train_mlp.py slowed down while it runs, {peer.name}",
                   percent_more([p.running_s for p in ours], [p.running_s for p in plain]), "%"),
            Figure("  after the program", differences([p.after_s for p in ours], [p.after_s for p in plain]), "s"),
            Figure("  events that the file adds up" if peer.totals else "  events in the file",
                   estimate(events), ""),
            Figure("  size of the file", estimate(size / 1e6 for size in sizes), "MB"),
        ]  # fmt: skip
        if not peer.totals:
            each = estimate(size / max(count, 1) for size, count in peer.sizes)
            figures.append(Figure("  bytes per event", each, "B"))
    return figures


def measure_small(rounds: int, n: int, folder: Path) -> list[Figure]:
    """Measure what one small event costs under each that records events."""
    figures = []
    for peer in peers():
        if peer.small is None:
            continue
        sides = {
            who: partial(small_events, command, peer.small, n, folder)
            for who, command in (("plain", [sys.executable]), ("recorded", peer.command))
        }
        ns = in_turns(sides, rounds, warm_up=0)
        added = differences(ns["recorded"], ns["plain"])
        figures.append(Figure(f"added to a small {peer.kind}, {peer.name}", added, "ns"))
    return figures


def main() -> None:
    """Measure and print."""
    options = parser(__doc__).parse_args()
    rounds = rounds_of(options, full=9, quick=1)
    arguments = ["--epochs", "1"] if options.quick else ["--epochs", "10"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        warm_up = 0 if options.quick else 1
        figures = measure_training(rounds, arguments, warm_up, folder)
        figures += measure_small(rounds, 5000 if options.quick else EVENTS, folder)
    publish(figures, options.json)


if __name__ == "__main__":
    main()
