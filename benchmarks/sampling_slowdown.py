"""How much slower a loop is while it is sampled at 1 kHz; operations are not recorded.

Sampling alone: both sides are the same loop in one process, some 50 ms of it per round, with and
without a `Session` that has hooks off. Starting and stopping are not in it (`start_stop.py`). Each
recorder is measured in a process of its own.

CPU time is shown beside it: where others use the machine too, it tells more than wall time. That of the
loop's thread is what the program pays; that of all threads has the sampling thread in it, which runs on
another core where there is one.

For information: the same loops as whole programs, plain, under tinytrace, py-spy and
viztracer. There the loop times itself: no profiler's start or end is in it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from loops import LOOPS
from paired import (
    Figure,
    estimate,
    in_turns,
    parser,
    percent_more,
    publish,
    read_figures,
    rounds_of,
    run,
)

from tinytrace.tracer.options import Options
from tinytrace.tracer.session import Session

GOAL_PERCENT = 1.0
RATE_HZ = 1000.0
NAMES = {"c": "compiled core", "python": "pure-Python recorder"}
TIMES = {"python": 20, "numpy": 40}  # some 50 ms
TIMES_AS_PROGRAM = {"python": 400, "numpy": 800}  # some 1 s
LOOP_FILE = Path(__file__).with_name("loops.py")


class Times(NamedTuple):
    """Of one loop, in ns: wall time, CPU time of its thread, CPU time of all threads."""

    wall_ns: int
    thread_ns: int
    process_ns: int


def plain(loop: Callable[[int], int], times: int) -> Times:
    """Measure the loop."""
    process_ns, thread_ns = time.process_time_ns(), time.thread_time_ns()
    wall_ns = loop(times)
    return Times(wall_ns, time.thread_time_ns() - thread_ns, time.process_time_ns() - process_ns)


def sampled(loop: Callable[[int], int], times: int, folder: Path) -> Times:
    """Measure the loop while it is sampled."""
    session = Session(Options(folder / "trace.json", rate_hz=RATE_HZ, ops=False), ["benchmark"])
    session.start()
    try:
        return plain(loop, times)
    finally:
        session.stop()
        session.discard()


def check_sampled(loop: Callable[[int], int], folder: Path) -> float:
    """Return the rate that was achieved, in Hz: a sampler that takes no samples would be cheap.

    Raises:
        SystemExit: next to nothing was sampled.
    """
    session = Session(Options(folder / "trace.json", rate_hz=RATE_HZ, ops=False), ["benchmark"])
    session.start()
    loop(5)
    duration_ns = loop(60)
    session.stop()
    samples = session.trace().samples
    session.discard()
    weight_ns = int(samples.weight_ns.sum())
    if weight_ns < duration_ns / 2:
        raise SystemExit(f"samples stand for {weight_ns} of {duration_ns} ns only")
    return len(samples) / (weight_ns / 1e9)


def measure(core: str, rounds: int) -> list[Figure]:
    """Measure with one recorder, in this process."""
    os.environ["TINYTRACE_CORE"] = core
    figures = []
    with tempfile.TemporaryDirectory() as name:
        for kind, loop in LOOPS.items():
            rates = [check_sampled(loop, Path(name)) for _ in range(min(rounds, 3))]
            sides: dict[str, Callable[[], Times]] = {
                "plain": partial(plain, loop, TIMES[kind]),
                "sampled": partial(sampled, loop, TIMES[kind], Path(name)),
            }
            ns = in_turns(sides, rounds)
            more = [
                percent_more(a, b)
                for a, b in zip(
                    zip(*ns["sampled"], strict=True), zip(*ns["plain"], strict=True), strict=True
                )
            ]
            what = f"{kind} loop slowed down by sampling at 1 kHz, {NAMES[core]}"
            figures += [
                Figure(what, more[0], "%", GOAL_PERCENT),
                Figure("  CPU time of the loop's thread", more[1], "%"),
                Figure("  CPU time of all threads", more[2], "%"),
                Figure("  achieved rate", estimate(rates), "Hz"),
            ]  # fmt: skip
    return figures


def as_program(command: list[str], kind: str, times: int, folder: Path) -> float:
    """Run a loop as a program; returns what it measured itself, in ns."""
    done = run([*command, str(LOOP_FILE), kind, str(times)], folder)
    return next(float(text.split()[1]) for _, text in done.lines if text.startswith("loop_ns"))


def measure_programs(rounds: int, quick: bool) -> list[Figure]:
    """Measure the loops as whole programs under each profiler."""
    scripts = Path(sys.executable).parent
    python = sys.executable
    profilers = {
        "tinytrace --no-ops": [python, "-m", "tinytrace", "-q", "--no-ops", "--no-calibrate"],
        f"py-spy {version('py-spy')}, 1 kHz": [
            str(scripts / "py-spy"), "record", "-r", "1000", "-f", "raw", "-o", "spy.txt",
            "--", python,
        ],
        f"viztracer {version('viztracer')}": [
            str(scripts / "viztracer"), "--quiet", "-o", "viz.json", "--",
        ],
    }  # fmt: skip
    figures = []
    with tempfile.TemporaryDirectory() as name:
        for kind, full in TIMES_AS_PROGRAM.items():
            times = full // 4 if quick else full  # py-spy must find it still running
            sides = {
                who: partial(as_program, command, kind, times, Path(name))
                for who, command in ({"plain": [python]} | profilers).items()
            }
            ns = in_turns(sides, rounds, warm_up=0 if quick else 1)
            figures += [
                Figure(
                    f"  {kind} loop as a program under {who}",
                    percent_more(ns[who], ns["plain"]), "%",
                )
                for who in profilers
            ]  # fmt: skip
    return figures


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__)
    arguments.add_argument("--core", choices=("c", "python"), help="this recorder alone, no peers")
    options = arguments.parse_args()
    rounds = rounds_of(options, full=200, quick=1)
    if options.core:
        publish(measure(options.core, rounds), options.json)
        return
    figures = []
    for core in NAMES:
        command = [sys.executable, __file__, "--core", core, "--rounds", str(rounds), "--json"]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        figures += read_figures(output)
    figures += measure_programs(1 if options.quick else max(rounds // 20, 1), options.quick)
    publish(figures, options.json)


if __name__ == "__main__":
    main()
