"""How fast a trace is exported, in each format for viewers, beside the exports of other profilers.

Ours: a synthetic trace (a million op spans with all their arguments, 200 signatures and call sites), from memory
to a complete file. The plain way to Perfetto's protobuf: an object of the package ``perfetto`` per packet, with three
arguments where ours have eight. The others export what they record themselves: viztracer calls of a function,
without arguments; torch (where it is installed: the CPU build is enough) additions of small tensors with their
shapes. So speed is per event that a viewer shows. CPU time of the process, in turns: all of them write with one
thread, and other programs use the machine too.
"""

from __future__ import annotations

import importlib.util
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from paired import Estimate, Figure, estimate, exactly, in_turns, parser, publish, rounds_of

from tests.builders import big_trace
from tinytrace.analysis.chrome_lines import core_name
from tinytrace.exporters import export
from tinytrace.tracer.trace import Trace

GOALS_MILLIONS_PER_S = {".json": 1.0, ".json.gz": None, ".pftrace": 0.5}
PLAIN = "an object of the package perfetto per packet"
VIZTRACER, TORCH = "viztracer's, JSON", "torch.profiler's, JSON"


@dataclass(frozen=True)
class Export:
    """One export: events that are shown, CPU seconds, bytes of the file."""

    events: int
    cpu_s: float
    size: int

    @property
    def millions_per_s(self) -> float:
        """Speed."""
        return self.events / self.cpu_s / 1e6


def timed(events: int, path: Path, work: Callable[[], object]) -> Export:
    """Export once."""
    begin = time.process_time()
    work()
    return Export(events, time.process_time() - begin, path.stat().st_size)


def ours(trace: Trace, path: Path) -> Export:
    """Write a trace of nothing but spans; the two rates derived from them have a value per ms."""
    return timed(len(trace.spans), path, partial(export, trace, path))


def plain(n: int, path: Path) -> Export:
    """Write spans of the same names and times by Perfetto's package."""
    from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as schema
    from perfetto.trace_builder.proto_builder import TraceProtoBuilder

    def write() -> None:
        builder = TraceProtoBuilder()
        for number in range(n):
            packet = builder.add_packet()
            packet.timestamp = 1000 * number
            packet.trusted_packet_sequence_id = 1
            event = packet.track_event
            event.type = schema.TrackEvent.TYPE_SLICE_BEGIN
            event.track_uuid = 1
            event.name = "matmul"
            for key in ("flops", "bytes", "step"):
                annotation = event.debug_annotations.add()
                annotation.name = key
                annotation.int_value = number
            packet = builder.add_packet()
            packet.timestamp = 1000 * number + 900
            packet.trusted_packet_sequence_id = 1
            packet.track_event.type = schema.TrackEvent.TYPE_SLICE_END
            packet.track_event.track_uuid = 1
        path.write_bytes(builder.serialize())

    return timed(n, path, write)


def shown_events(path: Path) -> int:
    """Return how many events of a Chrome trace are shown."""
    return sum(event["ph"] != "M" for event in json.loads(path.read_bytes())["traceEvents"])


def nothing() -> None:
    """What viztracer records."""


def viztracer(n: int, path: Path) -> Export:
    """Record calls, then export them."""
    from viztracer import VizTracer

    tracer = VizTracer(tracer_entries=n + 10_000, verbose=0)
    tracer.start()
    for _ in range(n):
        nothing()
    tracer.stop()
    exported = timed(n, path, partial(tracer.save, str(path)))
    tracer.clear()
    return exported


def torch_profiler(n: int, path: Path) -> Export:
    """Record additions, then export them."""
    import torch

    a = torch.ones(4, 4)
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, record_shapes=True) as recorded:
        for _ in range(n):
            a + a
    exported = timed(0, path, partial(recorded.export_chrome_trace, str(path)))
    return Export(shown_events(path), exported.cpu_s, exported.size)


def speed(exports: Sequence[Export]) -> Estimate:
    """Return millions of events per second."""
    return estimate(one.millions_per_s for one in exports)


def figures_of(results: dict[str, list[Export]]) -> list[Figure]:
    """Return what was achieved, and how that compares."""
    core = "compiled core" if core_name() == "c" else "pure Python"
    others = [name for name in (PLAIN, VIZTRACER, TORCH) if name in results]
    figures = []
    for suffix, goal in GOALS_MILLIONS_PER_S.items():
        mine = results[suffix]
        figures += [
            Figure(f"exported to {suffix} ({core})", speed(mine), "M events/s", goal, True),
            Figure("  bytes per event", exactly(mine[0].size / mine[0].events), "B"),
        ]
        for other in others:
            ratios = [
                a.millions_per_s / b.millions_per_s
                for a, b in zip(mine, results[other], strict=True)
            ]
            figures.append(Figure(f"  so many times as fast as {other}", estimate(ratios), "×"))
    for other in others:
        one = results[other][0]
        figures += [
            Figure(other, speed(results[other]), "M events/s"),
            Figure("  bytes per event", exactly(one.size / one.events), "B"),
            Figure("  events", exactly(one.events), ""),
        ]
    return figures


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__)
    arguments.add_argument("--spans", type=int, help="of the synthetic trace; default: a million")
    options = arguments.parse_args()
    rounds = rounds_of(options, full=9, quick=1)
    n = options.spans or (10_000 if options.quick else 1_000_000)
    trace = big_trace(n)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sides: dict[str, Callable[[], Any]] = {
            suffix: partial(ours, trace, folder / f"ours{suffix}")
            for suffix in GOALS_MILLIONS_PER_S
        }
        sides[PLAIN] = partial(plain, n // 20, folder / "plain.pftrace")
        sides[VIZTRACER] = partial(viztracer, n // 2, folder / "viztracer.json")
        if importlib.util.find_spec("torch") is not None:
            sides[TORCH] = partial(torch_profiler, n // 10, folder / "torch.json")
        results = in_turns(sides, rounds)
    publish(figures_of(results), options.json)


if __name__ == "__main__":
    main()
