"""Which process is which rank of a job: from ``meta["ranks"]``, and from what torch.profiler writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinytrace.tracer.trace import Trace


@dataclass(frozen=True)
class Ranks:
    """The ranks of a trace.

    Attributes:
        entries: ``meta["ranks"]``, or what stands for it: a dict per rank with at least ``process`` (row of its
            main process) and ``rank``; often ``world_size``, ``host``, ``processes`` (all of its rows),
            ``offset_ns``, ``error_ns``, ``method``.
        member: (processes,) per process the row of its entry; those of no rank are numbered after them, one each.
        rank: (processes,) per process the number of its rank; −1: not known.
    """

    entries: tuple[dict[str, Any], ...]
    member: NDArray[np.int64]
    rank: NDArray[np.int64]


def ranks_of(trace: Trace) -> Ranks:
    """Return which process of a trace is which rank.

    Args:
        trace: of one rank or several. Where there is one alone, all of its processes are that rank's; else a process
            without an entry is its parent's.

    Example:
        >>> ranks_of(Trace()).entries
        ()
    """
    n = len(trace.processes)
    entries = _entries(trace, n)
    member = np.full(n, -1, "i8")
    for row, entry in enumerate(entries):
        for process in _processes(entry, n):
            if member[process] < 0:
                member[process] = row
    if len(entries) == 1:
        member[:] = 0
    parents = trace.processes.parent.tolist()
    for process in range(n):  # processes are few; a parent stands before its children
        if member[process] < 0 and 0 <= parents[process] < n:
            member[process] = member[parents[process]]
    rank = np.array([*(entry["rank"] for entry in entries), -1], "i8")[member]
    nobody = np.flatnonzero(member < 0)
    member[nobody] = len(entries) + np.arange(len(nobody))
    return Ranks(tuple(entries), member, rank)


def _entries(trace: Trace, n_processes: int) -> list[dict[str, Any]]:
    given = trace.meta.get("ranks")
    if isinstance(given, list):
        return [
            entry
            for entry in given
            if isinstance(entry, dict)
            and is_number(entry.get("rank"))
            and is_number(entry.get("process"))
            and entry["process"] < n_processes
        ]
    foreign = trace.meta.get("foreign")
    header = foreign.get("header") if isinstance(foreign, dict) else None
    told = header.get("distributedInfo") if isinstance(header, dict) else None
    if not isinstance(told, dict) or not is_number(told.get("rank")) or not n_processes:
        return []
    entry: dict[str, Any] = {"process": 0, "rank": told["rank"]}
    if is_number(told.get("world_size")):
        entry["world_size"] = told["world_size"]
    if isinstance(header, dict) and isinstance(header.get("host_name"), str):
        entry["host"] = header["host_name"]
    return [entry]


def _processes(entry: dict[str, Any], n_processes: int) -> list[int]:
    more = entry.get("processes")
    rows = [entry["process"], *(more if isinstance(more, list) else [])]
    return [row for row in rows if is_number(row) and row < n_processes]


def is_number(value: Any) -> bool:
    """Whether this is a plain integer of a reasonable size, and not negative."""
    return type(value) is int and 0 <= value < 1 << 31
