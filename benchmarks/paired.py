"""What the benchmarks share: sides measured in turns, ratios with intervals, goals beside them.

Machines drift: they heat up, and other people use them. So both sides of a comparison are measured in
one run, once per round, in an order that is random in one round and the reverse of it in the next
(ABBA). What counts is the difference or the ratio *within* a round, and of those the median, with an
interval that needs no assumption about their distribution.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # what is measured is the tree that this file lies in
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A median, and an interval that contains the true one with a probability of `CONFIDENCE`.

    With fewer than 6 values there is no such interval: then it is from the least to the greatest.
    """

    median: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Figure:
    """One measured figure.

    Attributes:
        name: what was measured.
        estimate: in ``unit``.
        unit: "" for a bare number.
        goal: in ``unit``; None: there is none, it is for information.
        at_least: the goal is a lower bound.
    """

    name: str
    estimate: Estimate
    unit: str
    goal: float | None = None
    at_least: bool = False

    @property
    def verdict(self) -> str:
        """``met`` or ``missed`` by the median; not certain where the goal lies in the interval."""
        if self.goal is None:
            return ""
        e = self.estimate
        met = e.median >= self.goal if self.at_least else e.median <= self.goal
        certain = "" if not e.low <= self.goal <= e.high or e.low == e.high else ", not certain"
        return ("met" if met else "missed") + certain

    def to_json(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        return {**asdict(self), "verdict": self.verdict}

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> Figure:
        """Return what `to_json` was made from."""
        kept = {key: value for key, value in values.items() if key != "verdict"}
        return Figure(**{**kept, "estimate": Estimate(**values["estimate"])})


def in_turns(
    sides: Mapping[str, Callable[[], T]], rounds: int, *, warm_up: int = 1, seed: int = 0
) -> dict[str, list[T]]:
    """Call every side once per round.

    Args:
        sides: name → what measures it.
        rounds: those that count.
        warm_up: rounds before them, whose results are dropped.
        seed: of the order.

    Returns:
        name → its results, one per round.

    Example:
        >>> in_turns({"a": lambda: 1, "b": lambda: 2}, rounds=2)
        {'a': [1, 1], 'b': [2, 2]}
    """
    rng = random.Random(seed)
    results: dict[str, list[T]] = {name: [] for name in sides}
    order = list(sides)
    for n in range(-warm_up, rounds):
        if n % 2:
            order.reverse()
        else:
            rng.shuffle(order)
        for name in order:
            result = sides[name]()
            if n >= 0:
                results[name].append(result)
    return results


def estimate(values: Iterable[float]) -> Estimate:
    """Return the median with its interval between order statistics.

    The k-th smallest and the k-th largest of n values enclose the median with the probability that
    of n fair coins at least k and at most n − k show heads (Conover, Practical Nonparametric
    Statistics, 3rd ed., section 3.2).

    Raises:
        ValueError: no values.

    Example:
        >>> estimate([5, 1, 4, 2, 3, 6])
        Estimate(median=3.5, low=1, high=6, n=6)
    """
    ordered = sorted(values)
    n = len(ordered)
    if not n:
        raise ValueError("nothing was measured")
    k, below = 0, 0.0  # below: P(fewer than k + 1 heads)
    while True:
        below += math.comb(n, k) / 2**n
        if below > (1 - CONFIDENCE) / 2:
            break
        k += 1
    at = max(k - 1, 0)
    return Estimate(statistics.median(ordered), ordered[at], ordered[n - 1 - at], n)


def differences(one: Sequence[float], other: Sequence[float], scale: float = 1.0) -> Estimate:
    """Return the median over the rounds of (one − other) · scale."""
    return estimate((a - b) * scale for a, b in zip(one, other, strict=True))


def percent_more(one: Sequence[float], other: Sequence[float]) -> Estimate:
    """Return the median over the rounds of how much greater ``one`` is, in % of ``other``.

    Example:
        >>> percent_more([110, 330], [100, 300]).median
        10.0
    """
    return estimate(100 * (a - b) / b for a, b in zip(one, other, strict=True))


def number(value: float) -> str:
    """Return three significant digits, with separators: 0.0123, 12.3, 12,300."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}"


def goal_text(figure: Figure) -> str:
    """Return the goal with its sign and unit; "" where there is none."""
    if figure.goal is None:
        return ""
    sign = "≥" if figure.at_least else "≤"
    return f"{sign} {figure.goal:,.10g} {figure.unit}".rstrip()


def measured_text(figure: Figure) -> tuple[str, str]:
    """Return the median with its unit, and the interval with the number of values; "" for one value."""
    e = figure.estimate
    spread = f"{number(e.low)} … {number(e.high)}, n = {e.n}" if e.n > 1 else ""
    return f"{number(e.median)} {figure.unit}".rstrip(), spread


def line(figure: Figure) -> str:
    """Return a figure as a line of text."""
    measured, interval = measured_text(figure)
    spread = f"({interval})" if interval else ""
    goal = f"goal {goal_text(figure)}: {figure.verdict}" if figure.goal is not None else ""
    return f"{figure.name:<76} {measured:>14}  {spread:<34} {goal}".rstrip()


def markdown_table(figures: Sequence[Figure]) -> str:
    """Return figures as a table of Markdown; what has a goal stands out."""
    rows = ["| figure | measured | interval | goal | |", "|---|--:|---|---|---|"]
    for figure in figures:
        measured, interval = measured_text(figure)
        name = figure.name.strip().replace("|", "\\|")
        if figure.goal is None:
            rows.append(f"| {name} | {measured} | {interval} | | |")
        else:
            cells = (f"**{measured}**", interval, goal_text(figure), f"**{figure.verdict}**")
            rows.append(f"| **{name}** | {' | '.join(cells)} |")
    return "\n".join(rows)


def exactly(value: float) -> Estimate:
    """Return what was counted, or measured once."""
    return Estimate(value, value, value, 1)


def publish(figures: Sequence[Figure], as_json: bool) -> None:
    """Print figures: one per line, or as one JSON list."""
    if as_json:
        print(json.dumps([figure.to_json() for figure in figures]))
        return
    for figure in figures:
        print(line(figure))


def read_figures(text: str) -> list[Figure]:
    """Return what another benchmark printed with ``--json``."""
    return [Figure.from_json(values) for values in json.loads(text)]


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options that every benchmark has: ``--rounds``, ``--quick``, ``--json``."""
    made = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    made.add_argument("--rounds", type=int, help="rounds that count")
    made.add_argument("--quick", action="store_true", help="few rounds: does it run at all?")
    made.add_argument("--json", action="store_true", help="print figures as a JSON list")
    return made


def rounds_of(options: argparse.Namespace, full: int, quick: int) -> int:
    """Return the number of rounds that the options ask for."""
    return int(options.rounds or (quick if options.quick else full))


@dataclass(frozen=True)
class Run:
    """A process that has ended.

    Attributes:
        wall_s: from before it was started to after it was waited for.
        cpu_s: CPU time of it and of the children that it waited for, user and system.
        peak_rss_bytes: the most memory that was resident in it.
        lines: what it printed, each line with the time of its arrival since the start, s.
    """

    wall_s: float
    cpu_s: float
    peak_rss_bytes: int
    lines: list[tuple[float, str]]


def run(command: Sequence[str | Path], cwd: Path, **environment: str) -> Run:
    """Run a process; it sees this tree, and its lines arrive as they are printed.

    Compiled modules are kept on disk, as they are for everybody who has not forbidden it: the warm-up
    round writes them.

    Raises:
        SystemExit: it failed; with what it wrote to stderr.
    """
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **environment}
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    lines = []
    with tempfile.TemporaryFile("w+") as errors:
        begin = time.perf_counter()
        process = subprocess.Popen(
            [str(word) for word in command], cwd=cwd, env=variables, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors,
        )  # fmt: skip
        assert process.stdout is not None
        for text in process.stdout:
            lines.append((time.perf_counter() - begin, text.rstrip("\n")))
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - begin
        process.stdout.close()
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            said = errors.read().strip()[-2000:]
            raise SystemExit(f"exit {process.returncode} of {' '.join(map(str, command))}\n{said}")
    cpu_s = usage.ru_utime + usage.ru_stime
    return Run(wall_s, cpu_s, usage.ru_maxrss * 1024, lines)
