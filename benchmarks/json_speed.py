"""How fast the trace JSON is written and read, and how large it is, beside the plain ways to do it.

Two traces: a synthetic one (a million op spans with all their arguments, 200 signatures and call sites,
nothing else) and one that is recorded here, ``samples/train_mlp.py`` with all defaults (ops, samples and
counters). All ways do the same work in one run, in turns. The plain ways: one ``orjson.dumps`` per
event, and one ``orjson.loads`` of the whole file, which gives dictionaries and no `Trace`.

An event is a line of the file that viewers show. Speed counts all of them. Size per op event is that of
the lines of op events alone, and beside it the whole file by its op events.
"""

from __future__ import annotations

import gc
import gzip
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import orjson
from paired import (
    ROOT,
    Estimate,
    Figure,
    estimate,
    exactly,
    in_turns,
    parser,
    publish,
    rounds_of,
    run,
)

from tests.builders import big_trace
from tinytrace.analysis.chrome_lines import core_name
from tinytrace.analysis.reader import load
from tinytrace.exporters import export
from tinytrace.tracer.trace import Trace

GOAL_MILLIONS_PER_S = 1.0
GOAL_BYTES, GOAL_BYTES_GZIPPED = 250.0, 15.0
WRITE, WRITE_PLAIN = "written to .json", "written by orjson, event by event"
READ, READ_PLAIN = "read from .json", "read by orjson, dictionaries only"
WRITE_GZ, READ_GZ = "written to .json.gz", "read from .json.gz"


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


@dataclass(frozen=True)
class Sizes:
    """Of one trace: how many events, how many of ops; bytes."""

    events: int
    ops: int
    op_bytes: int
    op_bytes_gzipped: int
    file_bytes: int
    file_bytes_gzipped: int


def sizes_of(plain: Path, gzipped: Path, events: list[dict[str, Any]]) -> Sizes:
    """Count what is in a file."""
    op_lines = [line for line in plain.read_bytes().splitlines(True) if b'"cat":"op"' in line]
    return Sizes(
        events=sum(event["ph"] != "M" for event in events),
        ops=len(op_lines),
        op_bytes=sum(map(len, op_lines)),
        op_bytes_gzipped=len(gzip.compress(b"".join(op_lines), 7)),
        file_bytes=plain.stat().st_size,
        file_bytes_gzipped=gzipped.stat().st_size,
    )


def per_s(events: int, times: Sequence[float]) -> Estimate:
    """Return millions of events per second."""
    return estimate(events / t / 1e6 for t in times)


def speeds(what: str, events: int, times: Mapping[str, Sequence[float]]) -> list[Figure]:
    """Return what was achieved, and how that compares."""
    figures = []
    for way, plain in ((WRITE, WRITE_PLAIN), (READ, READ_PLAIN)):
        ratio = estimate(b / a for a, b in zip(times[way], times[plain], strict=True))
        figures += [
            Figure(f"JSON {way}, {what}", per_s(events, times[way]), "M events/s", GOAL_MILLIONS_PER_S, True),
            Figure(f"  {plain}", per_s(events, times[plain]), "M events/s"),
            Figure("  ours is so many times as fast", ratio, "×"),
        ]  # fmt: skip
    return figures + [
        Figure(f"  {way}", per_s(events, times[way]), "M events/s") for way in (WRITE_GZ, READ_GZ)
    ]


def sizes(what: str, s: Sizes) -> list[Figure]:
    """Return bytes per op event."""
    return [
        Figure(f"bytes per op event with all arguments, {what}", exactly(s.op_bytes / s.ops), "B", GOAL_BYTES),
        Figure(f"bytes per op event, gzipped, {what}", exactly(s.op_bytes_gzipped / s.ops), "B",
               GOAL_BYTES_GZIPPED),
        Figure("  whole file by op events", exactly(s.file_bytes / s.ops), "B"),
        Figure("  whole file by op events, gzipped", exactly(s.file_bytes_gzipped / s.ops), "B"),
        Figure("  op events", exactly(s.ops), ""),
        Figure("  events of all kinds", exactly(s.events), ""),
    ]  # fmt: skip


def measure(what: str, trace: Trace, rounds: int, folder: Path) -> list[Figure]:
    """Measure writing and reading one trace."""
    ours, gzipped, plain = (folder / n for n in ("a.json", "b.json.gz", "c.json"))
    export(trace, ours)
    export(trace, gzipped)
    events = orjson.loads(ours.read_bytes())
    works: dict[str, Callable[[], object]] = {
        WRITE: partial(export, trace, ours),
        WRITE_PLAIN: partial(write_one_by_one, events, plain),
        READ: partial(load, ours),
        READ_PLAIN: lambda: orjson.loads(ours.read_bytes()),
        WRITE_GZ: partial(export, trace, gzipped),
        READ_GZ: partial(load, gzipped),
    }
    gc.freeze()  # the collector need not look at the events of the plain way while ours is measured
    times = in_turns({way: partial(seconds, work) for way, work in works.items()}, rounds)
    gc.unfreeze()
    size = sizes_of(ours, gzipped, events)
    return [*speeds(what, size.events, times), *sizes(what, size)]


def recorded(folder: Path, quick: bool) -> Trace:
    """Record the sample."""
    file = folder / "recorded.json"
    sample = [str(ROOT / "samples" / "train_mlp.py"), *(["--epochs", "1"] if quick else [])]
    run([sys.executable, "-m", "tinytrace", "-q", "-o", str(file), *sample], folder)
    return load(file)


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__)
    arguments.add_argument("--spans", type=int, help="of the synthetic trace; default: a million")
    options = arguments.parse_args()
    rounds = rounds_of(options, full=9, quick=1)
    n = options.spans or (10_000 if options.quick else 1_000_000)
    core = "compiled core" if core_name() == "c" else "pure Python"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures = measure(f"synthetic trace ({core})", big_trace(n), rounds, folder)
        sample = recorded(folder, options.quick)
        figures += measure(f"train_mlp.py recorded ({core})", sample, rounds, folder)
    publish(figures, options.json)


if __name__ == "__main__":
    main()
