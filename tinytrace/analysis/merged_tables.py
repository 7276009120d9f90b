"""Several traces as one: their tables one after the other, what is interned interned anew, numbers kept apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.clock_models import ClockModel
from tinytrace.tracer.trace import (
    Frames,
    Processes,
    Signature,
    Spans,
    Stacks,
    Table,
    Threads,
    Trace,
)

Ints = NDArray[Any]
# Numbers of processes end below 2^22 on Linux (PID_MAX_LIMIT); viewers take up to 2^31.
SHIFT_BITS, MOST_SHIFTS = 22, 511
# Columns that are rows of another table.
LINKS = {
    "name_id": "strings", "args_id": "strings", "outer_args_id": "strings", "file_id": "strings",
    "unit_id": "strings", "kind_id": "strings", "signature_id": "signatures", "callsite_id": "frames",
    "frame_id": "frames", "stack_id": "stacks", "thread": "threads", "process": "processes",
    "series_id": "series", "from_span": "spans", "to_span": "spans",
}  # fmt: skip
PARENTS = {Spans: "spans", Stacks: "stacks", Processes: "processes"}
TIMES = ("start_ns", "end_ns", "t_ns")
TABLES = (
    "spans", "aggregates", "samples", "stacks", "counters", "series", "flows", "processes", "threads",
)  # fmt: skip


@dataclass(frozen=True)
class Joined:
    """Several traces as one; ``meta`` and ``warnings`` are empty.

    Attributes:
        trace: the tables, each part's rows behind those of the part before.
        ends: per table that has rows of its own in each part, per part the row after its last.
        moved_pids: per part whether its processes and threads have got other numbers.
    """

    trace: Trace
    ends: dict[str, tuple[int, ...]]
    moved_pids: tuple[bool, ...]

    def part_of(self, table: str) -> Ints:
        """Return per row of a table the part that it is of."""
        lengths = np.diff([0, *self.ends[table]])
        return np.repeat(np.arange(len(lengths)), lengths)

    def begin(self, table: str, part: int) -> int:
        """Return the first row of a part."""
        return self.ends[table][part - 1] if part else 0


def join(traces: Sequence[Trace]) -> Joined:
    """Put traces one after the other, times as they are.

    Strings, signatures and frames that are the same become one. Processes and threads of different parts never have
    the same numbers: where they would, those of the later part get others.

    Args:
        traces: at least one.
    """
    strings: dict[str, int] = {}
    signatures: dict[Signature, int] = {}
    frames: dict[tuple[int, ...], int] = {}
    taken: set[tuple[int, int]] = set()
    tables: dict[str, list[Any]] = {name: [] for name in TABLES}
    ends: dict[str, list[int]] = {name: [] for name in TABLES}
    moved_pids = []
    for trace in traces:
        maps: dict[str, Any] = {name: rows[-1] if rows else 0 for name, rows in ends.items()}
        maps["strings"] = _interned(strings, trace.strings)
        maps["signatures"] = _interned(signatures, trace.signatures)
        maps["frames"] = _interned(frames, _frame_keys(trace.frames, maps["strings"]))
        processes, threads, moved = _apart(trace, taken)
        own = {"processes": processes, "threads": threads}
        moved_pids.append(moved)
        for name in TABLES:
            table = own.get(name, getattr(trace, name))
            tables[name].append(_renumbered(table, maps))
            ends[name].append(maps[name] + len(table))
    columns = np.array(list(frames), "i8").reshape(-1, 3).T
    whole = {name: _stacked(of_parts) for name, of_parts in tables.items()}
    trace = Trace(
        strings=tuple(strings), signatures=tuple(signatures), frames=Frames(*columns), **whole
    )
    return Joined(trace, {name: tuple(rows) for name, rows in ends.items()}, tuple(moved_pids))


def retimed(joined: Joined, clocks: Sequence[ClockModel]) -> Trace:
    """Return the trace with the times of each part on one clock.

    Durations are what is left between a start and an end: what lay in something still does.

    Args:
        joined: of `join`.
        clocks: one per part.
    """
    if all(clock.is_identity for clock in clocks):
        return joined.trace
    tables = {}
    for name in TABLES:
        table = getattr(joined.trace, name)
        columns = {n: column.copy() for n, column in table.columns() if n in TIMES or n == "dur_ns"}
        if not columns:
            continue
        for part, clock in enumerate(clocks):
            rows = slice(joined.begin(name, part), joined.ends[name][part])
            _set_times({n: column[rows] for n, column in columns.items()}, clock)
        tables[name] = type(table)(**{**dict(table.columns()), **columns})
    return replace(joined.trace, **tables)


def _interned(rows: dict[Any, int], values: Sequence[Any]) -> Ints:
    """Number values, equal ones alike over all parts; a further −1 at the end, for "none"."""
    ids = [rows.setdefault(value, len(rows)) for value in values]
    return np.array([*ids, -1], "i4")


def _frame_keys(frames: Frames, strings: Any) -> list[tuple[int, ...]]:
    columns = (strings[frames.name_id], strings[frames.file_id], frames.line)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def _renumbered(table: Any, maps: dict[str, Any]) -> Any:
    """One table of a part, with the rows of the result."""
    columns = {}
    for name, column in table.columns():
        target = PARENTS.get(type(table)) if name == "parent" else LINKS.get(name)
        columns[name] = column if target is None else _mapped(column, maps[target])
    return type(table)(**columns)


def _mapped(ids: Ints, by: Any) -> Ints:
    if not isinstance(by, int):
        return np.asarray(by[ids])
    return ids if by == 0 else np.where(ids >= 0, ids + ids.dtype.type(by), ids)


def _set_times(columns: dict[str, Ints], clock: ClockModel) -> None:
    if "dur_ns" in columns:
        end_ns = clock.apply(columns["start_ns"] + columns["dur_ns"])
        columns["start_ns"][:] = clock.apply(columns["start_ns"])
        columns["dur_ns"][:] = end_ns - columns["start_ns"]
        return
    for column in columns.values():
        column[:] = clock.apply(column)


def _stacked(tables: list[Any]) -> Any:
    cls: type[Table] = type(tables[0])
    if len(tables) == 1:
        return tables[0]
    columns = {}
    for name in cls.DTYPES:
        columns[name] = np.concatenate([getattr(table, name) for table in tables])
    return cls(**columns)


def _apart(trace: Trace, taken: set[tuple[int, int]]) -> tuple[Processes, Threads, bool]:
    """Processes and threads under numbers that no earlier part has; notes them in ``taken``."""
    processes, threads = trace.processes, trace.threads
    pids = processes.pid.tolist()
    tids = threads.tid.tolist()
    mine = {(0, pid) for pid in pids} | {(1, tid) for tid in tids}
    if taken.isdisjoint(mine):
        taken |= mine
        return processes, threads, False
    pid_for = _free_numbers(sorted({0, *pids, *tids}), taken)
    pid = np.array([pid_for[p] for p in pids], "i8")
    tid = np.array([pid_for[t] for t in tids], "i8")
    taken |= {(0, number) for number in pid.tolist()} | {(1, number) for number in tid.tolist()}
    moved_processes = Processes(**{**dict(processes.columns()), "pid": pid})
    return moved_processes, Threads(**{**dict(threads.columns()), "tid": tid}), True


def _free_numbers(numbers: list[int], taken: set[tuple[int, int]]) -> dict[int, int]:
    """Other numbers, all moved by the same, so that a main thread still has its process's; else any free ones."""
    used = {number for _, number in taken}
    for shift in range(1, MOST_SHIFTS):
        moved = {n: n + (shift << SHIFT_BITS) for n in numbers}
        if all(0 < m < 1 << 31 for m in moved.values()) and used.isdisjoint(moved.values()):
            return moved
    following = iter(n for n in range(1, 1 << 31) if n not in used)
    return {n: next(following) for n in numbers}
