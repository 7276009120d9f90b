"""How fast the trace JSON is written and read, and how large it is, beside the plain ways to do it.

    python -m benchmarks.json_speed [SPANS [ROUNDS]]

Both sides do the same work in one run, in turns; the median of the rounds counts. The plain ways: one
`orjson.dumps` per event, and one `orjson.loads` of the whole file, which gives dictionaries and no `Trace`.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import orjson

from tests.builders import big_trace
from tinytrace.analysis.chrome_lines import core_name
from tinytrace.analysis.reader import load
from tinytrace.exporters import export

GOAL_PER_S = 1_000_000
GOAL_BYTES, GOAL_BYTES_GZIPPED = 250, 15


def seconds(work: Callable[[], object]) -> float:
    """How long the work takes once."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def write_one_by_one(events: list[object], path: Path) -> None:
    """The plain way: an event at a time."""
    with open(path, "wb") as out:
        out.write(b"[\n")
        for event in events:
            out.write(orjson.dumps(event) + b",\n")
        out.write(b"{}]\n")


def report(name: str, spans: int, times: list[float], goal_per_s: int | None = None) -> float:
    """Print a line; returns the median."""
    median = statistics.median(times)
    verdict = ""
    if goal_per_s is not None:
        verdict = "goal met" if spans / median >= goal_per_s else "GOAL MISSED"
        verdict = f"   (goal: {goal_per_s:,}/s: {verdict})"
    spread = f"{spans / max(times):,.0f}…{spans / min(times):,.0f}"
    print(f"{name:<34}{spans / median:>12,.0f} spans/s   {spread:<24}{verdict}")
    return median


def main() -> None:
    """Measure and print."""
    spans = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    trace = big_trace(spans)
    print(
        f"{spans:,} op spans with all their arguments; {rounds} rounds in turns; core: {core_name()}"
    )
    with tempfile.TemporaryDirectory() as folder:
        ours, gzipped, plain = (Path(folder) / n for n in ("a.json", "b.json.gz", "c.json"))
        export(trace, ours)
        events = orjson.loads(ours.read_bytes())
        works: dict[str, Callable[[], object]] = {
            "write .json": lambda: export(trace, ours),
            "write, orjson event by event": lambda: write_one_by_one(events, plain),
            "read .json": lambda: load(ours),
            "read, orjson, dictionaries only": lambda: orjson.loads(plain.read_bytes()),
            "write .json.gz": lambda: export(trace, gzipped),
            "read .json.gz": lambda: load(gzipped),
        }
        times: dict[str, list[float]] = {name: [] for name in works}
        for _ in range(rounds):
            for name, work in works.items():
                times[name].append(seconds(work))
        goals = {"write .json": GOAL_PER_S, "read .json": GOAL_PER_S}
        medians = {n: report(n, spans, t, goals.get(n)) for n, t in times.items()}
        for kind, other in (
            ("write", "orjson event by event"),
            ("read", "orjson, dictionaries only"),
        ):
            ratio = medians[f"{kind}, {other}"] / medians[f"{kind} .json"]
            print(f"{kind} .json is {ratio:.1f} times as fast as {other}")
        for file, goal in ((ours, GOAL_BYTES), (gzipped, GOAL_BYTES_GZIPPED)):
            size = file.stat().st_size / spans
            verdict = "met" if size <= goal else "MISSED"
            print(
                f"{''.join(file.suffixes):<10}{size:6.1f} bytes per op event (goal: {goal}: {verdict})"
            )


if __name__ == "__main__":
    main()
