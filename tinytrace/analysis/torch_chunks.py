"""What torch's profiler wrote beneath a recording, chunk by chunk, on the clock of the recording."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from tinytrace.analysis.foreign import load_foreign
from tinytrace.errors import TraceFormatError
from tinytrace.tracer.trace import Trace

# Numbers of single events: a text for each of them would be most of a trace.
NUMBERS = ("External id", "Ev Idx", "Record function id", "Sequence number", "Fwd thread id")
DEVICE = ("kernel", "gpu_memcpy", "gpu_memset")
PSEUDO_PROCESSES = ("Spans", "Traces", "")  # of what Kineto says of itself
FACTS = ("pid", "begin_ns", "end_ns", "unix_ahead_ns", "clock_error_ns")


@dataclass(frozen=True)
class Chunk:
    """A stretch that torch's profiler saw.

    Attributes:
        trace: its events, times on CLOCK_MONOTONIC.
        pid: of the process.
        begin_ns, end_ns: of the stretch.
        clock_error_ns: how far its times may be off, beyond what the profiler itself rounds.
        torch: the version.
        devices: what Kineto says of the GPUs.
    """

    trace: Trace
    pid: int
    begin_ns: int
    end_ns: int
    clock_error_ns: int
    torch: str
    devices: list[Any]


def chunk_files(folder: Path) -> list[Path]:
    """Return the chunks of a process, in order of time."""
    found = [p for p in folder.glob("torch-*.json") if p.stem.removeprefix("torch-").isdecimal()]
    return sorted(found, key=lambda p: int(p.stem.removeprefix("torch-")))


def read_chunk(path: Path) -> Chunk:
    """Read one.

    Raises:
        TraceFormatError: it is not what Kineto writes, or its clock is not known.
    """
    try:
        about = json.loads(path.with_suffix(".clock.json").read_bytes())
        facts = {name: int(about[name]) for name in FACTS}
        written = orjson.loads(path.read_bytes())
        events, base_ns = written["traceEvents"], int(written.get("baseTimeNanoseconds", 0))
        written["traceEvents"] = list(_on_our_clock(events, base_ns - facts.pop("unix_ahead_ns")))
        trace = load_foreign(written, path) if written["traceEvents"] else Trace()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
        raise TraceFormatError(f"{path.name}: no chunk of torch's profiler: {problem}") from problem
    devices = written.get("deviceProperties")
    return Chunk(
        trace, **facts, torch=str(about.get("torch", "")), devices=devices if isinstance(devices, list) else []
    )  # fmt: skip


def _on_our_clock(events: list[dict[str, Any]], shift_ns: int) -> Iterator[dict[str, Any]]:
    """Move the times of events, in place; leave out what is no operation, mark, kernel or arrow."""
    has_work = any(
        event.get("ph") == "X" and event.get("pid") not in PSEUDO_PROCESSES for event in events
    )
    unused: tuple[str, ...] = NUMBERS
    if any(event.get("cat") in DEVICE for event in events):
        unused = NUMBERS[1:]  # the number that ties a kernel to its operation
    for event in events:
        if event.get("pid") in PSEUDO_PROCESSES:
            continue
        if event.get("ph") == "M" and not has_work:
            continue
        if event.get("ph") != "M":
            event["ts"] = (round(event["ts"] * 1000) + shift_ns) / 1000
        args = event.get("args")
        if args:
            for name in unused:
                args.pop(name, None)
        yield event
