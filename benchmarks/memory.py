"""Memory and disk of a recording of 50 million small operations, beside plain Python.

The program reports its own memory after every fifth of them, so what it cost to write the trace is not
in it: that is shown as the peak of the whole process. Two recordings: all defaults, and with
``--disk-limit 200MB``, which sums up closed parts while it runs. Pages of the store count as pages of
files; the kernel may drop them at any time.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paired import Figure, estimate, exactly, in_turns, parser, publish, rounds_of, run

GOAL_MB = 100.0
FLAT_MB = 5.0  # what "flat" means here: more than this between 10 and 50 million would be growth
DISK_LIMIT_MB = 200.0
PROGRAM = Path(__file__).with_name("small_ops.py")
RECORD = [sys.executable, "-m", "tinytrace", "-q", "--no-calibrate"]
SIDES = {
    "plain": [sys.executable],
    "all defaults": RECORD,
    "--disk-limit 200MB": [*RECORD, "--disk-limit", "200MB"],
}


@dataclass(frozen=True)
class Memory:
    """What a process reported, oldest first; and its peak and wall time as its parent saw them."""

    reports: list[dict[str, Any]]
    peak_mb: float
    after_s: float
    trace_mb: float


def measure_one(command: list[str], operations: int) -> Memory:
    """Run the program once."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = folder / ".tinytrace"
        done = run([*command, str(PROGRAM), str(operations), str(store)], folder)
        said = [(at_s, text) for at_s, text in done.lines if text.startswith("memory ")]
        reports = [json.loads(text.removeprefix("memory ")) for _, text in said]
        trace = folder / "trace.json"
        size_mb = trace.stat().st_size / 1e6 if trace.exists() else 0.0
        return Memory(reports, done.peak_rss_bytes / 1e6, done.wall_s - said[-1][0], size_mb)


def above_mb(side: Memory, plain: Memory, field: str) -> list[float]:
    """Return how much more than plain Python after each part, in MB."""
    pairs = zip(side.reports, plain.reports, strict=True)
    return [(a[field] - b[field]) * 1024 / 1e6 for a, b in pairs]


def measure(operations: int, rounds: int) -> list[Figure]:
    """Run all sides in turns."""
    sides = {name: lambda c=command: measure_one(c, operations) for name, command in SIDES.items()}
    measured = in_turns(sides, rounds, warm_up=0)
    millions = f"{operations / 1e6:g}M"
    figures = []
    for name in SIDES:
        if name == "plain":
            continue
        rounds_of_it = list(zip(measured[name], measured["plain"], strict=True))
        rss = [above_mb(side, plain, "rss_kb") for side, plain in rounds_of_it]
        anon = [above_mb(side, plain, "anon_kb") for side, plain in rounds_of_it]
        disk = [side.reports[-1]["disk_bytes"] / 1e6 for side, _ in rounds_of_it]
        limit = DISK_LIMIT_MB if name != "all defaults" else None
        figures += [
            Figure(f"RSS above plain Python after {millions} ops, {name}",
                   estimate(r[-1] for r in rss), "MB", GOAL_MB),
            Figure("  more than after the first fifth of them (flat)",
                   estimate(r[-1] - r[0] for r in rss), "MB", FLAT_MB),
            Figure("  of it anonymous", estimate(r[-1] for r in anon), "MB"),
            Figure("  disk taken by the run folder at the end", estimate(disk), "MB", limit),
            Figure("  after the program: time", estimate(s.after_s for s, _ in rounds_of_it), "s"),
            Figure("  after the program: peak RSS", estimate(s.peak_mb for s, _ in rounds_of_it), "MB"),
            Figure("  size of the trace", estimate(s.trace_mb for s, _ in rounds_of_it), "MB"),
        ]  # fmt: skip
        for part, report in enumerate(measured[name][0].reports):
            figures.append(
                Figure(
                    f"  RSS above plain after {report['operations'] / 1e6:g}M",
                    exactly(rss[0][part]), "MB",
                )
            )  # fmt: skip
    return figures


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__)
    arguments.add_argument("--operations", type=int, help="instead of 50 million")
    options = arguments.parse_args()
    operations = options.operations or (100_000 if options.quick else 50_000_000)
    publish(measure(operations, rounds_of(options, full=1, quick=1)), options.json)


if __name__ == "__main__":
    main()
