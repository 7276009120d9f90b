"""Commands and importable functions measured in turns, each in fresh processes: `bench`."""

from __future__ import annotations

import json
import random
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinytrace.analysis.comparison import CONFIDENCE, SEED, Speedup, speedup
from tinytrace.analysis.paired import Interval, median_interval
from tinytrace.errors import UsageError
from tinytrace.toolkit.results import AGAIN
from tinytrace.toolkit.rounds import BUDGET_S, Progress, check_budget, check_rounds, enough
from tinytrace.tracer.machine import machine, numerics

WARM_UP = 1  # round left out: files come from the disk, compiled modules are written
FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
LONGEST_OUTPUT = 300  # of a failed command, in the message
# Runs a function in a fresh process and prints ns per call: called once to warm up, then for a tenth of a second.
CHILD = """
import importlib, os, sys, time
sys.path.insert(0, os.getcwd())
module, _, path = sys.argv[1].partition(":")
function = importlib.import_module(module)
for name in path.split("."):
    function = getattr(function, name)
out = os.dup(1)
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
function()
begin = time.perf_counter_ns()
function()
once = max(1, time.perf_counter_ns() - begin)
loop = max(1, 100_000_000 // once)
begin = time.perf_counter_ns()
for _ in range(loop):
    function()
os.write(out, b"%d" % ((time.perf_counter_ns() - begin) / loop))
"""


# Reads commands, one JSON list a line, and answers each with what it took. Output beyond a pipe's buffer goes to files.
LAUNCHER = """
import json, os, resource, subprocess, sys, tempfile, time
def own_peak():
    try:  # not getrusage: that, in turn, begins with the peak of who started us
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for line in sys.stdin:
    words = json.loads(line)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        own = own_peak()
        begin = time.perf_counter_ns()
        try:
            process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        except OSError as problem:
            print(json.dumps({"problem": problem.strerror}), flush=True)
            continue
        _, status, usage = os.wait4(process.pid, 0)
        ns = time.perf_counter_ns() - begin
        process.returncode = code = os.waitstatus_to_exitcode(status)
        err.seek(max(0, err.seek(0, 2) - 2000))
        out.seek(0)
        answer = {"ns": ns, "code": code, "rss": usage.ru_maxrss, "own_rss": own,
                  "said": err.read().decode("utf-8", "replace"), "printed": out.read(100).decode("utf-8", "replace")}
    print(json.dumps(answer), flush=True)
"""
ROOM = 1.05  # a peak must exceed that of the launcher by this: less is that of the launcher


@dataclass(frozen=True)
class Timed:
    """One command or function.

    Attributes:
        name: as it was given.
        time_ms: median; of a whole process, or of one call of a function.
        interval: of that median, 95 %, ms.
        peak_rss_mb: least and most of the peaks of resident memory of its processes, MB; None: not known, it is
            less than a bare Python takes.
        speedup: time of the first one ÷ its own; None: it is the first.
    """

    name: str
    time_ms: float
    interval: Interval
    peak_rss_mb: tuple[float, float] | None
    speedup: Speedup | None


@dataclass(frozen=True)
class Bench:
    """What `bench` measured.

    Attributes:
        rows: in the order in which they were given.
        times_ms: per name and round; the first one's second time of each round last.
        machine: what they were measured on.
        stopped: why it ended before all rounds were run: these are those that were complete; None: it did not.
        interrupted: whether that was by Ctrl-C.
    """

    rows: tuple[Timed, ...]
    times_ms: dict[str, list[float]]
    machine: dict[str, Any]
    stopped: str | None = None
    interrupted: bool = False

    @property
    def rounds(self) -> int:
        """How many were measured."""
        return len(next(iter(self.times_ms.values())))


def bench(
    what: Sequence[str],
    rounds: int,
    progress: Progress = lambda share: None,
    budget_s: float = BUDGET_S,
) -> Bench:
    """Measure in turns, each in a fresh process.

    Args:
        what: commands as a shell takes them, or ``module:function``.
        rounds: how many are kept; at least 6.
        progress: is told the share that is done, 0…1.
        budget_s: what would take longer is refused after the first round, and how long it would take is said.

    Raises:
        UsageError: a command cannot be run or fails, one is given twice, too few rounds, or it would take longer than
            the budget. What fails, or is interrupted, when enough rounds are complete, is `Bench.stopped`.
        KeyboardInterrupt: it was interrupted before that.

    Example:
        >>> found = bench(["true", "sleep 0.01"], rounds=6)
        >>> [row.name for row in found.rows], found.rounds
        (['true', 'sleep 0.01'], 6)
    """
    names = list(dict.fromkeys(what))
    if len(names) < len(what):
        raise UsageError(
            "the same command was given twice: what differs from run to run is measured anyway"
        )
    check_rounds(rounds, len(names))
    times: list[list[float]] = [[] for _ in (*names, AGAIN)]
    peaks: list[list[float | None]] = [[] for _ in times]
    stopped, interrupted = None, False
    with Launcher() as launcher:
        runs = [_runner(name, launcher) for name in (*names, names[0])]
        try:
            _measure(runs, rounds, progress, budget_s, (times, peaks))
        except (UsageError, KeyboardInterrupt) as problem:
            interrupted = isinstance(problem, KeyboardInterrupt)
            stopped = "it was interrupted" if interrupted else str(problem)
            rounds = min(map(len, peaks))
            if rounds < enough(len(names)):
                raise
    times = [column[:rounds] for column in times]
    peaks = [column[:rounds] for column in peaks]
    rows = []
    for place, name in enumerate(names):
        faster = None
        if place:
            faster = speedup(times[0], times[place], times[-1], comparisons=len(names) - 1)
        known = [peak for peak in peaks[place] if peak is not None]
        rows.append(
            Timed(
                name,
                float(np.median(times[place])),
                median_interval(times[place], 1 - CONFIDENCE),
                (min(known), max(known)) if len(known) == rounds else None,
                faster,
            )
        )
    by_name = dict(zip([*names, AGAIN], times, strict=True))
    return Bench(tuple(rows), by_name, machine() | numerics(), stopped, interrupted)


def _measure(
    runs: Sequence[Callable[[], tuple[float, float | None]]],
    rounds: int,
    progress: Progress,
    budget_s: float,
    found: tuple[list[list[float]], list[list[float | None]]],
) -> None:
    """Add to what was found, per run its ms and its peak in each round."""
    times, peaks = found
    begin_s = time.monotonic()
    order = random.Random(SEED)  # a schedule, nothing secret
    places = list(range(len(runs)))
    for number in range(WARM_UP + rounds):
        order.shuffle(places)
        for place in places:
            took_ms, peak_mb = runs[place]()
            if number >= WARM_UP:
                times[place].append(took_ms)
                peaks[place].append(peak_mb)
        progress((number + 1) / (WARM_UP + rounds))
        if number == 0:
            check_budget((time.monotonic() - begin_s) * (WARM_UP + rounds), rounds, budget_s)


class Launcher:
    """A small process that starts the others and waits for them.

    What the kernel calls the peak memory of a process begins with that of the one that started it: started from here,
    none would seem to need less than NumPy does.
    """

    def __enter__(self) -> Launcher:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", LAUNCHER],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def run(self, what: str, words: list[str]) -> tuple[int, float | None, str]:
        """Run a process to its end: ns, peak of resident memory in MB, and what it printed."""
        pipe = self._process
        assert pipe.stdin is not None
        assert pipe.stdout is not None
        pipe.stdin.write(json.dumps(words) + "\n")
        pipe.stdin.flush()
        answer = pipe.stdout.readline()
        if not answer:
            raise UsageError(f"{what}: what starts the commands has ended")
        done = json.loads(answer)
        if "problem" in done:
            raise UsageError(f"{words[0]}: cannot be run: {done['problem']}")
        if done["code"]:
            said = " ".join(done["said"].split())[-LONGEST_OUTPUT:]
            raise UsageError(f"{what}: exit code {done['code']}: {said}")
        unit = 1 if sys.platform == "darwin" else 1024
        own, peak = done["own_rss"] * unit / 1e6, done["rss"] * unit / 1e6
        return done["ns"], peak if peak > ROOM * own else None, done["printed"]


def _runner(what: str, launcher: Launcher) -> Callable[[], tuple[float, float | None]]:
    """Return what runs it once: ms, and the peak of resident memory in MB."""
    if FUNCTION.fullmatch(what):
        return lambda: _run_function(what, launcher)
    try:
        words = shlex.split(what)
    except ValueError as problem:
        raise UsageError(f"{what!r} is no command: {problem}") from None
    if not words:
        raise UsageError("an empty command cannot be measured")

    def run() -> tuple[float, float | None]:
        took_ns, peak_mb, _ = launcher.run(what, words)
        return took_ns / 1e6, peak_mb

    return run


def _run_function(what: str, launcher: Launcher) -> tuple[float, float | None]:
    _, peak_mb, printed = launcher.run(what, [sys.executable, "-c", CHILD, what])
    return int(printed) / 1e6, peak_mb
