"""Ranks of a job with clocks of their own: what each of them would have recorded, made by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.builders import TraceBuilder
from tinytrace.tracer.records import Kind
from tinytrace.tracer.trace import Trace

MS, US = 1_000_000, 1000
Clock = Callable[[int], int]
BEGIN_NS = 10**12


def steady(offset_ns: int, drift: float = 0.0) -> Clock:
    """A clock that shows the true time less an offset, and runs fast by a share."""
    return lambda t_ns: t_ns - offset_ns + round((t_ns - BEGIN_NS) * drift)


class Ranks:
    """Ranks that compute for a random time, then meet in an all_reduce that takes 20 to 40 µs; again and again.

    Args:
        clocks: one per rank: from the true time to what it shows.
        hosts: one name per rank; ranks of one host share a clock.
        meetings: how often they meet.
        slow: a rank that takes 3 ms longer each time.
        seed: of the random times.
    """

    def __init__(
        self,
        clocks: list[Clock],
        hosts: list[str],
        meetings: int = 200,
        slow: int = -1,
        seed: int = 0,
    ) -> None:
        rng = np.random.default_rng(seed)
        n = len(clocks)
        self.builders = [self._begun(rank, n, host) for rank, host in enumerate(hosts)]
        now_ns = BEGIN_NS
        for _ in range(meetings):
            came = now_ns + rng.integers(100 * US, 2 * MS, n)
            if slow >= 0:
                came[slow] += 3 * MS
            left = came.max() + rng.integers(20 * US, 40 * US, n)
            for rank, clock in enumerate(clocks):
                begin, end = clock(int(came[rank])), clock(int(left[rank]))
                self.builders[rank].span(
                    0, begin, end - begin, "all_reduce", kind=Kind.SPAN,
                    args={"communication": "all_reduce", "group": "0", "ranks": f"0-{n - 1}",
                          "rank": rank, "bytes": 4096},
                )  # fmt: skip
            now_ns = int(left.max())
        for rank, builder in enumerate(self.builders):
            pid, name, *_ = builder.processes[0]
            builder.processes[0] = (pid, name, clocks[rank](BEGIN_NS), clocks[rank](now_ns), -1)

    @staticmethod
    def _begun(rank: int, n: int, host: str) -> TraceBuilder:
        builder = TraceBuilder()
        builder.thread(builder.process(1000 + rank % 2, "train.py"), 1000 + rank % 2)
        builder.meta |= {
            "rank": {"rank": rank, "world_size": n},
            "ranks": [{"process": 0, "rank": rank, "world_size": n, "host": host}],
            "clock_domain": {"host": host, "boot_id": f"boot of {host}"},
        }
        return builder

    def traces(self) -> list[Trace]:
        """One trace per rank."""
        return [builder.build() for builder in self.builders]


def entries(trace: Trace) -> list[dict[str, Any]]:
    """Return what a merged trace says of its ranks."""
    found: list[dict[str, Any]] = trace.meta["ranks"]
    return found
