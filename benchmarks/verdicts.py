"""How often the verdicts of `compare` are right: identical code against itself, and a planted difference.

    python -m benchmarks.verdicts [--pairs 500] [--rounds 30] [--plot docs/verdicts.png]
    python -m benchmarks.verdicts --cpu-time
    python -m benchmarks.verdicts --fresh 40

For each pair the same timings are judged in two ways: in turns, as `compare` does, and as if they had been taken one
after the other (all of the one, then all of the other, by Mann-Whitney's test at 5 %), which is what most people do.
The planted difference is 5 % more iterations of the same loop. With ``--cpu-time`` all is timed by the CPU time of
the thread, as ``clock=time.thread_time_ns`` has it. With ``--fresh`` the same function is held against
itself in so many suites instead, each form in a fresh process every round. Needs scipy (the extra ``test``).
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import scipy.stats  # type: ignore[import-untyped]

from tinytrace.analysis.comparison import Verdict, speedup
from tinytrace.toolkit.rounds import Clock, in_turns
from tinytrace.toolkit.suite import benchmark_suite

ITERATIONS = 4_000  # some 100 µs
PLANTED = 1.05
ALPHA = 0.05
DIFFERENT = {Verdict.FASTER, Verdict.SLOWER}


class Outcome(NamedTuple):
    """Of one pair: the verdict in turns, and whether the test of sequential timings called it different."""

    verdict: Verdict
    sequential: bool


def work(iterations: int) -> Callable[[], int]:
    """Return a loop of so many iterations."""

    def loop() -> int:
        total = 0
        for i in range(iterations):
            total += i & 3
        return total

    return loop


def pair(
    baseline: Callable[[], int], other: Callable[[], int], rounds: int, clock: Clock
) -> Outcome:
    """Measure a pair in both ways."""
    before, after, again = in_turns([baseline, other, baseline], rounds, clock)
    [first] = in_turns([baseline], rounds, clock)
    [second] = in_turns([other], rounds, clock)
    p = scipy.stats.mannwhitneyu(first, second).pvalue
    return Outcome(speedup(before, after, again).verdict, bool(p < ALPHA))


def shares(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Return the share of each verdict, and of the pairs that sequential timing called different."""
    counts = Counter(outcome.verdict.value for outcome in outcomes)
    found = {verdict.value: counts[verdict.value] / len(outcomes) for verdict in Verdict}
    return found | {"sequential": sum(o.sequential for o in outcomes) / len(outcomes)}


def in_fresh_processes(suites: int) -> Counter[str]:
    """Return how often the same function got which verdict against itself."""
    models = dict.fromkeys(("one", "same"), "benchmarks.agreement_work:elementwise")
    found: Counter[str] = Counter()
    for _ in range(suites):
        row = benchmark_suite(models, fresh=True, progress=False)["same"]
        found["failed" if row.speedup is None else row.speedup.verdict.value] += 1
    return found


def plot(rows: dict[str, dict[str, float]], path: Path) -> None:
    """Draw the shares as stacked bars, and sequential timing beside them."""
    from matplotlib.figure import Figure

    colours = {
        "faster": "#1a7f37", "slower": "#cf222e", "equivalent": "#0969da", "inconclusive": "#afb8c1",
        "invalid": "#8250df",
    }  # fmt: skip
    figure = Figure(figsize=(8, 1.2 + 0.9 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for place, found in enumerate(rows.values()):
        left = 0.0
        for verdict, colour in colours.items():
            share = 100 * found[verdict]
            label = verdict if place == 0 else None
            axes.barh(place - 0.18, share, 0.34, left=left, color=colour, label=label)
            left += share
        axes.barh(
            place + 0.22, 100 * found["sequential"], 0.26, color="#bf8700",
            label="one after the other: Mann-Whitney says different" if place == 0 else None,
        )  # fmt: skip
    axes.set_yticks(range(len(rows)), list(rows))
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel("% of the pairs")
    figure.legend(loc="outside lower center", ncols=3, fontsize="small")
    figure.savefig(path, dpi=120)


def main() -> None:
    """Measure, and print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--cpu-time", action="store_true")
    parser.add_argument("--fresh", type=int, metavar="SUITES")
    arguments = parser.parse_args()
    if arguments.fresh:
        found = in_fresh_processes(arguments.fresh)
        print(", ".join(f"{verdict}: {count}" for verdict, count in found.most_common()))
        return
    base, same, slower = work(ITERATIONS), work(ITERATIONS), work(round(ITERATIONS * PLANTED))
    clock = time.thread_time_ns if arguments.cpu_time else time.perf_counter_ns
    rows: dict[str, dict[str, float]] = {}
    for name, other in (("identical", same), ("5 % slower", slower)):
        outcomes = [pair(base, other, arguments.rounds, clock) for _ in range(arguments.pairs)]
        rows[name] = shares(outcomes)
    names = [verdict.value for verdict in Verdict]
    print(f"{arguments.pairs} pairs of each, {arguments.rounds} rounds")
    print(f"| pair | {' | '.join(names)} | one after the other: different |")
    print("|---|" + "---:|" * (len(names) + 1))
    for name, found in rows.items():
        cells = [f"{100 * found[key]:.1f} %" for key in (*names, "sequential")]
        print(f"| {name} | {' | '.join(cells)} |")
    if arguments.plot:
        plot(rows, arguments.plot)


if __name__ == "__main__":
    main()
