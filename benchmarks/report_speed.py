"""How long a report takes, and its memory: `python -m tinytrace report`, reading the file included.

A process of its own per report. CPU time is what counts (the report computes, it does not wait); wall time beside it.
The traces are synthetic: ops of a few µs, 1,000 per step, 200 distinct ones, a sample per 200 ops, memory every 50
ms, with roofs. The steps are not marked, so that they are searched for: every section has something to do.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from paired import Estimate, Figure, Run, estimate, in_turns, parser, publish, rounds_of, run

from tests.builders import START_NS, big_trace
from tests.peaks_by_hand import with_peaks
from tinytrace.exporters import export
from tinytrace.tracer.trace import Counters, Samples, Series, Stacks, Trace

GOAL_S = {1_000_000: 2.0, 10_000_000: 20.0}
GOAL_MB = 4_000.0
OPS_PER_SAMPLE = 200
COUNTER_NS = 50_000_000  # as `tinytrace` reads them


def sampled(n: int) -> Trace:
    """A trace of n ops, with samples, memory and roofs, whose steps nobody marked."""
    trace = big_trace(n)
    at = np.arange(0, n, OPS_PER_SAMPLE)[1:]
    t_ns = trace.spans.start_ns[at]
    weight_ns = np.diff(t_ns, prepend=START_NS)
    stacks = Stacks(np.arange(len(trace.frames)), np.full(len(trace.frames), -1))
    samples = Samples(t_ns, weight_ns, weight_ns, np.zeros(len(at)), trace.spans.callsite_id[at])
    spans = replace(trace.spans, step=np.full(n, -1))
    return with_peaks(with_memory(replace(trace, spans=spans, samples=samples, stacks=stacks)))


def with_memory(trace: Trace) -> Trace:
    """The trace with readings of its memory: a few MB, that vary."""
    t_ns = np.arange(trace.start_ns, trace.end_ns, COUNTER_NS)
    varying = np.random.default_rng(0).normal(5.0, 1.0, len(t_ns))
    columns = {
        "rss_mb": 100 + varying,
        "array_mb": varying,
        "array_peak_mb": varying + 1,
        "allocations": np.arange(len(t_ns)) * 10_000.0,
    }
    n = len(columns)
    strings = len(trace.strings) + np.arange(n)
    return replace(
        trace,
        strings=(*trace.strings, *columns),
        series=Series(name_id=strings, unit_id=strings, process=np.zeros(n)),
        counters=Counters(
            np.tile(t_ns, n),
            np.repeat(np.arange(n), len(t_ns)),
            np.concatenate([*columns.values()]),
        ),
    )


def report(path: Path) -> Run:
    """Make one report."""
    return run([sys.executable, "-m", "tinytrace", "report", path], path.parent)


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__)
    arguments.add_argument(
        "--write", nargs=2, metavar=("N", "FILE"), help="only write such a trace"
    )
    options = arguments.parse_args()
    if options.write:
        export(sampled(int(options.write[0])), options.write[1])
        return
    rounds = rounds_of(options, full=5, quick=1)
    sizes = (10_000, 20_000) if options.quick else tuple(GOAL_S)
    goals = dict(zip(sizes, GOAL_S.values(), strict=True))
    with tempfile.TemporaryDirectory() as name:
        paths = {n: Path(name, f"{n}.json") for n in sizes}
        for n, path in paths.items():
            # In a process of its own: a large parent counts as the child's resident memory until its exec.
            run([sys.executable, __file__, "--write", str(n), path], path.parent)
        runs = in_turns({str(n): partial(report, path) for n, path in paths.items()}, rounds)
    publish(figures({n: runs[str(n)] for n in sizes}, goals), options.json)


def figures(runs: Mapping[int, list[Run]], goals: Mapping[int, float]) -> list[Figure]:
    """What was measured, per number of ops, and how it grows."""
    found = []
    for n, measured in runs.items():
        what = f"{n:,} ops"
        found += [
            Figure(f"report, {what}", cpu(measured), "s", goals[n]),
            Figure(f"  {what}, wall time", estimate(one.wall_s for one in measured), "s"),
            Figure(
                f"  {what}, peak of resident memory",
                estimate(one.peak_rss_bytes / 1e6 for one in measured),
                "MB",
                GOAL_MB,
            ),
        ]
    (few, small), (many, large) = runs.items()
    growth = [(b.cpu_s / a.cpu_s) / (many / few) for a, b in zip(small, large, strict=True)]
    return [*found, Figure("  time per op, the larger by the smaller", estimate(growth), "×")]


def cpu(measured: list[Run]) -> Estimate:
    """CPU time of all threads, s."""
    return estimate(one.cpu_s for one in measured)


if __name__ == "__main__":
    main()
