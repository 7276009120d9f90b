"""Many traces together: one trace → a summary that can be merged, two summaries → one. docs/fleet.md explains it.

Merging is commutative, and exact in every sum; memory is bounded however many traces there are
(`kept_rows.KeptRows`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from tinytrace.analysis.account import Accounts, Where, part_verdicts
from tinytrace.analysis.counting import count_trace
from tinytrace.analysis.kept_rows import FirstOf, KeptRows, kept_rows
from tinytrace.analysis.op_parts import OpParts, op_parts
from tinytrace.analysis.operands import operands_text
from tinytrace.analysis.places import site
from tinytrace.analysis.quantile_sketch import Sketch, sketch_of, sketches
from tinytrace.tracer.trace import Trace

MOST_OPS = 5000  # rows of ops kept: some 2 MB per summary
MOST_GROUPS = 500  # machines and ranks
MOST_NAMES = 20  # of slow traces, of skipped ones


class OpKey(NamedTuple):
    """What makes calls of ops in different traces the same: op, operands, call site; ``""``: not known."""

    op: str
    operands: str
    site: str


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls of an op, added up over traces; everything is an integer, so that adding is exact.

    Attributes:
        traces: in how many traces they were.
        calls: how many.
        self_ns, total_ns: as in `OpParts`.
        flops, bytes: of those calls that are counted, which took ``flops_ns`` and ``bytes_ns``.
        uncounted: calls without a formula, or that did not end normally.
        durations: of calls that were not folded.
    """

    traces: int = 0
    calls: int = 0
    self_ns: int = 0
    total_ns: int = 0
    flops: int = 0
    flops_ns: int = 0
    bytes: int = 0
    bytes_ns: int = 0
    uncounted: int = 0
    durations: Sketch = field(default_factory=Sketch)

    @property
    def size(self) -> int:
        """Rows with most self time are kept."""
        return self.self_ns

    @property
    def gflops(self) -> float | None:
        """10⁹ FLOPs per second of counted calls; None: none is."""
        return self.flops / self.flops_ns if self.flops_ns else None

    @property
    def gbps(self) -> float | None:
        """10⁹ bytes (compulsory) per second; None: of no call they are known."""
        return self.bytes / self.bytes_ns if self.bytes_ns else None

    def __add__(self, other: Calls) -> Calls:
        """Return both together."""
        return Calls(*(getattr(self, n) + getattr(other, n) for n in self.__slots__))


class GroupKey(NamedTuple):
    """Where traces come from: the machine as the trace describes it, and the rank; None: none."""

    machine: str
    rank: int | None


@dataclass(frozen=True, slots=True)
class Runs:
    """Traces from one place: how many, the wall time of their main threads, and where it went by `Where`."""

    traces: int = 0
    wall_ns: int = 0
    spent_ns: Mapping[Where, int] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Groups with most wall time are kept."""
        return self.wall_ns

    def __add__(self, other: Runs) -> Runs:
        """Return both together."""
        mine, theirs = self.spent_ns, other.spent_ns
        spent = {w: mine.get(w, 0) + theirs.get(w, 0) for w in Where if w in mine or w in theirs}
        return Runs(self.traces + other.traces, self.wall_ns + other.wall_ns, spent)


@dataclass(frozen=True)
class Fleet:
    """The summary of any number of traces.

    Attributes:
        ops: by op, operands and call site.
        groups: by machine and rank; of traces that have an account (a main thread, and time).
        walls: wall times of traces, a sketch.
        slowest: (−wall time in ns, name) of the slowest.
        skipped: (name, reason) of what could not be read.
        unaccounted: traces without an account.
        warned: traces that say that something of them was not seen.
    """

    ops: KeptRows[OpKey, Calls]
    groups: KeptRows[GroupKey, Runs]
    walls: Sketch = field(default_factory=Sketch)
    slowest: FirstOf = field(default_factory=lambda: FirstOf(MOST_NAMES))
    skipped: FirstOf = field(default_factory=lambda: FirstOf(MOST_NAMES))
    unaccounted: int = 0
    warned: int = 0

    @property
    def traces(self) -> int:
        """How many traces are in it."""
        return self.slowest.count

    @cached_property
    def calls(self) -> Calls:
        """All calls of ops together."""
        return sum(self.ops.all_rows(), Calls())

    @cached_property
    def runs(self) -> Runs:
        """All groups together: the account of the fleet."""
        return sum(self.groups.all_rows(), Runs())

    def merged(self, other: Fleet) -> Fleet:
        """Return both together.

        Raises:
            ValueError: they were made to keep different numbers of rows.
        """
        return Fleet(
            self.ops.merged(other.ops),
            self.groups.merged(other.groups),
            self.walls + other.walls,
            self.slowest.merged(other.slowest),
            self.skipped.merged(other.skipped),
            self.unaccounted + other.unaccounted,
            self.warned + other.warned,
        )

    def to_json(self, top: int | None = None) -> dict[str, Any]:
        """Return plain JSON values, as docs/fleet.md explains them; of ``top`` ops, or of all that are kept."""
        return {
            "traces": self.traces,
            "skipped": {
                "count": self.skipped.count,
                "first": [list(i) for i in self.skipped.items],
            },
            "warned": self.warned,
            "unaccounted": self.unaccounted,
            "wall": {"total_ns": self.runs.wall_ns, **_quantiles(self.walls)},
            "slowest": [{"name": name, "wall_ns": -wall} for wall, name in self.slowest.items],
            "account_ns": _account(self.runs),
            "groups": [{**key._asdict(), **_runs(runs)} for key, runs in self.groups.rows.items()],
            "other_groups": _runs(self.groups.others),
            "ops": [
                {**key._asdict(), **_calls(row)} for key, row in list(self.ops.rows.items())[:top]
            ],
            "other_ops": _calls(
                sum(list(self.ops.rows.values())[top:] if top else [], self.ops.others)
            ),
            "missing_self_ns_at_most": self.ops.missing,
        }


def empty_fleet(most_ops: int = MOST_OPS) -> Fleet:
    """Return the summary of no trace.

    >>> empty_fleet().traces
    0
    """
    return Fleet(kept_rows({}, most_ops, Calls()), kept_rows({}, MOST_GROUPS, Runs()))


def skipped_trace(name: str, reason: str, most_ops: int = MOST_OPS) -> Fleet:
    """Return the summary of a trace that cannot be read."""
    empty = empty_fleet(most_ops)
    return Fleet(empty.ops, empty.groups, skipped=FirstOf(MOST_NAMES, ((name, reason),), 1))


def trace_fleet(trace: Trace, name: str, most_ops: int = MOST_OPS) -> Fleet:
    """Return the summary of one trace.

    Args:
        trace: any.
        name: by which people find it again.
        most_ops: how many rows of ops are kept.

    Example:
        >>> trace_fleet(Trace(), "empty.json").traces
        1
    """
    parts = op_parts(count_trace(trace))
    account = Accounts(parts, part_verdicts(parts)).of(None, 0)
    wall_ns = account.wall_ns if account else trace.end_ns - trace.start_ns
    groups: dict[GroupKey, Runs] = {}
    if account is not None:
        spent = {entry.where: entry.spent_ns for entry in account.entries}
        groups[_group(trace.meta)] = Runs(1, wall_ns, spent)
    return Fleet(
        kept_rows(_rows(parts), most_ops, Calls()),
        kept_rows(groups, MOST_GROUPS, Runs()),
        sketch_of([wall_ns]),
        FirstOf(MOST_NAMES, ((-wall_ns, name),), 1),
        unaccounted=int(account is None),
        warned=int(bool(trace.warnings)),
    )


def _rows(parts: OpParts) -> dict[OpKey, Calls]:
    """The ops of a trace by what they are in every trace."""
    trace = parts.trace
    operands = [operands_text(signature) for signature in trace.signatures] + [""]
    keys: dict[OpKey, int] = {}
    names = (parts.name_id, parts.signature_id, parts.callsite_id)
    ids = np.array(
        [
            keys.setdefault(
                OpKey(trace.strings[name], operands[s], site(trace, at) or ""), len(keys)
            )
            for name, s, at in zip(*(column.tolist() for column in names), strict=True)
        ],
        "i8",
    )
    durations = sketches(ids[parts.part_of], len(keys), trace.spans.dur_ns[parts.rows])
    columns = {"calls": parts.calls, "self_ns": parts.self_ns, "total_ns": parts.total_ns}
    for figure, values in (("flops", parts.flops), ("bytes", parts.bytes)):
        known = np.isfinite(values)
        columns[figure] = np.where(known, values, 0)
        columns[f"{figure}_ns"] = np.where(known, parts.work_ns, 0)
    columns["uncounted"] = parts.uncounted
    sums = [dict.fromkeys(columns, 0) for _ in keys]
    # Python's integers: FLOPs may exceed 64 bits. Parts are some hundreds.
    for name, column in columns.items():
        for key, value in zip(ids.tolist(), column.tolist(), strict=True):
            sums[key][name] += int(value)
    return {
        key: Calls(traces=1, durations=sketch, **sums[number])
        for (key, number), sketch in zip(keys.items(), durations, strict=True)
    }


def _group(meta: Mapping[str, Any]) -> GroupKey:
    machine = meta.get("machine")
    machine = machine if isinstance(machine, dict) else {}
    cpus = machine.get("usable_cpus")
    words = [str(machine.get("cpu") or "?")] + ([f"{cpus} CPUs"] if cpus else [])
    ranks = meta.get("ranks")
    told = ranks[0].get("rank") if isinstance(ranks, list) and len(ranks) == 1 else None
    return GroupKey(", ".join(words), told if type(told) is int else None)


def _quantiles(sketch: Sketch) -> dict[str, float | None]:
    return {f"p{q}_ns": sketch.quantile(q / 100) for q in (50, 90, 99)}


def _calls(row: Calls) -> dict[str, Any]:
    """A row as JSON; ``buckets``: see `Sketch`."""
    plain = {name: getattr(row, name) for name in Calls.__slots__ if name != "durations"}
    rates = {"gflops": row.gflops, "gbps": row.gbps}
    return {**plain, **rates, **_quantiles(row.durations), "buckets": row.durations.to_json()}


def _runs(runs: Runs) -> dict[str, Any]:
    return {"traces": runs.traces, "wall_ns": runs.wall_ns, "account_ns": _account(runs)}


def _account(runs: Runs) -> dict[str, int]:
    return {where.value: runs.spent_ns.get(where, 0) for where in Where}
