"""Whether the samples say the truth: share of time per phase of a program whose phases are known.

`three_phases.py` times its phases itself: that is the truth. Per round and side, the figure is the
greatest difference, over the three phases, between the share that the samples give and the true one of
the same run. All defaults but the rate; beside it, by how much ``sorted()``, which holds the lock, gets
too much (a difference that stays the same over the rounds is a bias and not chance), what counting the
same samples would have given (every sample for one), and py-spy, which counts. OpenBLAS is given one thread:
its threads wait in busy loops, which makes phases of very different length and takes the CPU away that the
sampling thread would need.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from paired import Figure, Run, estimate, in_turns, parser, publish, rounds_of, run

from tinytrace.analysis.reader import load
from tinytrace.tracer.trace import Trace

GOAL_POINTS = 2.0
RATES_HZ = (100, 1000, 10_000)
NAMES = {"c": "compiled core", "python": "pure-Python recorder"}
PROGRAM = Path(__file__).with_name("three_phases.py")
ONE_BLAS_THREAD = {"OPENBLAS_NUM_THREADS": "1"}
UNDER = "timed"  # the function of the program that its timed phases are called by
PREFIX = "phase_"
SORTED = "phase_sorted"
Shares = Mapping[str, float]


def shares(amounts: Mapping[str, float]) -> Shares:
    """Return amounts per phase as percent of their sum."""
    total = sum(amounts.values())
    return {phase: 100 * amount / total for phase, amount in amounts.items()}


def greatest_error(measured: Shares, truth: Shares) -> float:
    """Return the greatest difference of a share, in points."""
    return max(abs(measured[phase] - share) for phase, share in truth.items())


def truth_of(done: Run) -> Shares:
    """Return the true shares, as the program printed them."""
    text = next(text for _, text in done.lines if text.startswith("phases "))
    return shares(json.loads(text.removeprefix("phases ")))


def phase_of_stacks(trace: Trace) -> list[str]:
    """Return per stack the timed phase that it lies in; "" for none."""
    names = [trace.strings[i].rpartition(".")[2] for i in trace.frames.name_id]
    phases: list[str] = []
    timed: list[bool] = []
    rows = zip(trace.stacks.frame_id.tolist(), trace.stacks.parent.tolist(), strict=True)
    for frame, parent in rows:  # parents come first
        name = names[frame]
        timed.append(name == UNDER or (parent >= 0 and timed[parent]))
        inherited = phases[parent] if parent >= 0 else ""
        phases.append(name if name.startswith(PREFIX) and timed[-1] else inherited)
    return phases


class Errors(NamedTuple):
    """Of weighing samples: the greatest, and of ``sorted`` with its sign; of counting them. In points."""

    weighed: float
    of_sorted: float
    counted: float


def tinytrace(core: str, rate_hz: int, cycles: int, folder: Path) -> Errors:
    """Record the program and compare."""
    file = folder / "trace.json"
    command = [sys.executable, "-m", "tinytrace", "-q", "-o", str(file), "--rate", str(rate_hz)]
    environment = {"TINYTRACE_CORE": core, **ONE_BLAS_THREAD}
    truth = truth_of(run([*command, str(PROGRAM), str(cycles)], folder, **environment))
    trace = load(file)
    phases = phase_of_stacks(trace)
    weights = dict.fromkeys(truth, 0.0)
    counts = dict.fromkeys(truth, 0.0)
    samples = trace.samples
    for stack, weight_ns in zip(samples.stack_id.tolist(), samples.weight_ns.tolist(), strict=True):
        if stack >= 0 and phases[stack]:
            weights[phases[stack]] += weight_ns
            counts[phases[stack]] += 1
    given = shares(weights)
    of_sorted = given[SORTED] - truth[SORTED]
    return Errors(greatest_error(given, truth), of_sorted, greatest_error(shares(counts), truth))


def py_spy(rate_hz: int, cycles: int, folder: Path) -> Errors:
    """Run the program under py-spy; it counts, it does not weigh."""
    command = [
        str(Path(sys.executable).with_name("py-spy")), "record", "-r", str(rate_hz), "-f", "raw",
        "-o", "spy.txt", "--", sys.executable, str(PROGRAM), str(cycles),
    ]  # fmt: skip
    truth = truth_of(run(command, folder, **ONE_BLAS_THREAD))
    counts = dict.fromkeys(truth, 0.0)
    for line in (folder / "spy.txt").read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        functions = [frame.partition(" ")[0] for frame in stack.split(";")]
        inside = [f for f in functions if f in counts]
        if UNDER in functions and inside:
            counts[inside[-1]] += int(count)
    given = shares(counts)
    error = greatest_error(given, truth)
    return Errors(error, given[SORTED] - truth[SORTED], error)


def measure(rounds: int, cycles: int, rates_hz: tuple[int, ...]) -> list[Figure]:
    """Measure all sides at all rates, in turns."""
    figures = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for rate_hz in rates_hz:
            sides: dict[str, Callable[[], Errors]] = {
                core: partial(tinytrace, core, rate_hz, cycles, folder) for core in NAMES
            }
            sides["py-spy"] = partial(py_spy, rate_hz, cycles, folder)
            errors = in_turns(sides, rounds, warm_up=0)
            for core, who in NAMES.items():
                weighed, of_sorted, counted = map(estimate, zip(*errors[core], strict=True))
                what = f"greatest error of a phase's share at {rate_hz:,} Hz, {who}"
                figures += [
                    Figure(what, weighed, "points", GOAL_POINTS),
                    Figure("  sorted(): share given − true", of_sorted, "points"),
                    Figure("  had the samples been counted", counted, "points"),
                ]
            spied = estimate(e.counted for e in errors["py-spy"])
            figures.append(
                Figure(f"  py-spy {version('py-spy')} at {rate_hz:,} Hz", spied, "points")
            )
    return figures


def main() -> None:
    """Measure and print."""
    options = parser(__doc__).parse_args()
    rounds = rounds_of(options, full=9, quick=1)
    if options.quick:
        publish(measure(rounds, cycles=2, rates_hz=(1000,)), options.json)
        return
    publish(measure(rounds, cycles=12, rates_hz=RATES_HZ), options.json)


if __name__ == "__main__":
    main()
