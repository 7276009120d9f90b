"""How long merging the ranks of a job takes, and its memory: `python -m tinytrace merge`, files read and written.

The ranks are synthetic: ops of a few µs as in a training run, an all_reduce of all ranks per 1,000 of them, on hosts of
their own, whose clocks differ by up to 100 ms. CPU time is what counts (merging computes, it does not wait); wall time
beside it. The planted differences between clocks are compared with those that were found.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from paired import Figure, Run, estimate, exactly, parser, publish, rounds_of, run

from tests.builders import big_trace
from tinytrace.analysis.reader import load
from tinytrace.exporters import export
from tinytrace.tracer.records import Kind
from tinytrace.tracer.trace import Trace

RANKS = 8
EVENTS = 1_000_000  # of each
GOAL_S, GOAL_MB, GOAL_US = 60.0, 4_000.0, 50.0
OPS_PER_MEETING = 1_000
TRANSFER_NS = 20_000


def skew_ns(rank: int) -> int:
    """How much the clock of a rank is behind that of the first: 1 to 100 ms, either way."""
    return 0 if rank == 0 else round((-1) ** rank * 1e6 * 100 ** ((rank - 1) / max(1, RANKS - 2)))


def of_rank(rank: int, ranks: int, n: int) -> Trace:
    """What one rank recorded."""
    trace = big_trace(n)
    columns = {name: column.copy() for name, column in trace.spans.columns()}
    meet = np.arange(OPS_PER_MEETING - 1, n, OPS_PER_MEETING)
    # All leave within the transfer; each has come up to 0.1 ms before the last. What follows is later by as much.
    columns["start_ns"] += np.arange(n) // OPS_PER_MEETING * 200_000
    begin = columns["start_ns"][meet] + 100_000
    rng = np.random.default_rng(rank)
    waits = np.random.default_rng(99).integers(0, 100_000, (ranks, len(meet)))
    waits[np.random.default_rng(98).integers(0, ranks, len(meet)), np.arange(len(meet))] = 0
    columns["start_ns"][meet] = begin - waits[rank]
    columns["dur_ns"][meet] = waits[rank] + rng.integers(TRANSFER_NS, 2 * TRANSFER_NS, len(meet))
    args = {
        "communication": "all_reduce",
        "group": "0",
        "ranks": f"0-{ranks - 1}",
        "rank": rank,
        "bytes": 4096,
    }
    strings = (*trace.strings, "all_reduce", json.dumps(args))
    for name, value in (
        ("kind", Kind.SPAN.value), ("name_id", len(strings) - 2), ("args_id", len(strings) - 1),
        ("signature_id", -1), ("parent", -1),
    ):  # fmt: skip
        columns[name][meet] = value
    columns["start_ns"] -= skew_ns(rank)
    host = f"host{rank}"
    meta = {
        **trace.meta,
        "ranks": [{"process": 0, "rank": rank, "world_size": ranks, "host": host}],
        "clock_domain": {"host": host, "boot_id": host},
    }
    return replace(trace, spans=type(trace.spans)(**columns), strings=strings, meta=meta)


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__)
    arguments.add_argument(
        "--write", nargs=4, metavar=("RANK", "RANKS", "N", "FILE"), help="only write a rank's trace"
    )
    options = arguments.parse_args()
    if options.write:
        rank, ranks, n = map(int, options.write[:3])
        export(of_rank(rank, ranks, n), options.write[3])
        return
    ranks, n = (2, 20_000) if options.quick else (RANKS, EVENTS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "job")
        folder.mkdir()
        for rank in range(ranks):
            file = folder / f"trace-rank{rank}.json"
            # In a process of its own: a large parent counts as the child's resident memory until its exec.
            run([sys.executable, __file__, "--write", str(rank), str(ranks), str(n), file], folder)
        output = Path(name, "all.json")
        command = [sys.executable, "-m", "tinytrace", "merge", "-q", folder, "-o", output]
        runs = [run(command, folder) for _ in range(rounds_of(options, full=3, quick=1))]
        found = load(output).meta["ranks"]
    publish(figures(runs, f"{ranks} ranks × {n:,} events", found), options.json)


def figures(runs: list[Run], what: str, found: list[dict[str, int]]) -> list[Figure]:
    """What was measured, and how far the clocks that were found are from those that were planted."""
    wrong_us = [abs(entry["offset_ns"] - skew_ns(entry["rank"])) / 1e3 for entry in found]
    told_us = [entry["error_ns"] / 1e3 for entry in found]
    return [
        Figure(f"merge, {what}", estimate(one.cpu_s for one in runs), "s", GOAL_S),
        Figure("  wall time", estimate(one.wall_s for one in runs), "s"),
        Figure(
            "  peak of resident memory",
            estimate(one.peak_rss_bytes / 1e6 for one in runs),
            "MB",
            GOAL_MB,
        ),
        Figure("clocks, 1 to 100 ms apart: largest error", exactly(max(wrong_us)), "us", GOAL_US),
        Figure("  largest error that is told", exactly(max(told_us)), "us"),
    ]


if __name__ == "__main__":
    main()
