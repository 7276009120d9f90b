"""Ranks of a job whose calls, ops and samples are placed by hand."""

from __future__ import annotations

from typing import Any

from tests.builders import START_NS, TraceBuilder
from tinytrace.tracer.records import Kind
from tinytrace.tracer.trace import Trace

US = 1000


class Job:
    """Ranks whose calls are placed by hand, in µs; each lives for so many.

    Args:
        n: how many.
        errors_us: of their clocks.
        world_size: of how many they are; 0: not told.
        life_us: how long they live.
    """

    def __init__(
        self, n: int, errors_us: list[int] | None = None, world_size: int = 0, life_us: int = 100
    ) -> None:
        self.builder = TraceBuilder()
        self.n = n
        for row in range(n):
            process = self.builder.process(100, f"rank {row}", START_NS, START_NS + life_us * US)
            self.builder.thread(process, 100)
        entries: list[dict[str, Any]] = [{"process": row, "rank": row} for row in range(n)]
        for entry, error_us in zip(entries, errors_us or [], strict=False):
            entry["error_ns"] = error_us * US
        if world_size:
            entries[0]["world_size"] = world_size
        self.builder.meta["ranks"] = entries

    def call(self, rank: int, op: str, start_us: int, end_us: int, **args: Any) -> None:
        """A call that communicates, at sync.py:5; further arguments as in `communication_names.ARGUMENTS`."""
        given = {"communication": op, "group": "0", "ranks": f"0-{self.n - 1}", **args}
        if op in {"send", "receive", "wait"}:
            del given["group"], given["ranks"]
        site = self.builder.frame("sync", "sync.py", 5)
        self.span(rank, op, start_us, end_us, Kind.SPAN, args=given, callsite=site)

    def op(self, rank: int, name: str, start_us: int, end_us: int, line: int = 1) -> None:
        """An op at this line of train.py."""
        site = self.builder.frame("step", "train.py", line)
        self.span(rank, name, start_us, end_us, Kind.OP, callsite=site)

    def span(self, rank: int, name: str, start: int, end: int, kind: Kind, **more: Any) -> None:
        """Anything; further arguments as of `TraceBuilder.span`."""
        self.builder.span(rank, START_NS + start * US, (end - start) * US, name, kind=kind, **more)

    def trace(self) -> Trace:
        """What was recorded."""
        return self.builder.build()
