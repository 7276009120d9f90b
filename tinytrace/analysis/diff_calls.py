"""The calls of a trace, kept one by one or aggregated, in groups that can be found again in another trace."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.counting import UNCOUNTED, Figure, count_trace
from tinytrace.analysis.diff_intervals import Blocks, blocks_of
from tinytrace.analysis.diff_timeline import Timeline, in_steps
from tinytrace.analysis.spans import self_ns
from tinytrace.tracer.groups import first_rows, group_ids, sums
from tinytrace.tracer.records import Flag, Kind
from tinytrace.tracer.trace import Signature, Trace

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

# Names in which other tools have put a place: viztracer's "f (/a/b.py:12)", torch.profiler's "b.py(12): f".
_PLACES = (
    re.compile(r"(?P<function>.+) \((?P<file>.+):(?P<line>\d+)\)"),
    re.compile(r"(?P<file>.+\.py)\((?P<line>\d+)\): (?P<function>.+)"),
)
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")  # "<built-in method f of C object at 0x7f…>"
_NUMBER = re.compile(r"[#\s]*\d+$")  # "ProfilerStep#7"


class Key(NamedTuple):
    """What calls are of: equal in two traces when nothing was edited. None, and line 0: not known."""

    kind: int
    name: str
    signature: Signature | None
    file: str | None
    function: str | None
    line: int


@dataclass(frozen=True, slots=True)
class Side:
    """What one run spent on one kind of call.

    Attributes:
        calls: how many.
        self_ns: time in them and in no span inside them, all threads.
        account_ns: the part of it in the thread whose time is accounted.
        flops: of the calls that are counted; None: of none (uncounted, or the ops inside have the figures).
        transcendentals: likewise.
        bytes: likewise, what they must at least move.
        uncounted_calls: innermost calls whose FLOPs nobody knows.
    """

    calls: int
    self_ns: int
    account_ns: int
    flops: int | None
    transcendentals: int | None
    bytes: int | None
    uncounted_calls: int


class Calls:
    """Groups of calls: of one kind, name, signature and call site.

    Args:
        trace: any trace.
        line: the thread that is accounted.
        per_step: leave out spans that began outside of steps (of aggregated ones that is not known).
        only_ops: leave out what is no op.

    Attributes:
        keys: per group.
    """

    def __init__(self, trace: Trace, line: Timeline, *, per_step: bool, only_ops: bool) -> None:
        self._counts = counts = count_trace(trace)
        spans, folded = trace.spans, trace.aggregates
        kept, kept_folded = _wanted(spans.kind, only_ops), _wanted(folded.kind, only_ops)
        if per_step:
            kept &= in_steps(line, spans.start_ns)
        self._rows, self._folds = np.flatnonzero(kept), np.flatnonzero(kept_folded)
        rows, folds = self._rows, self._folds
        self._own_ns = np.concatenate([self_ns(spans)[rows], folded.self_ns[folds]])
        self._calls = np.concatenate([np.ones(len(rows), "i8"), folded.count[folds]])
        mine = np.append(spans.thread[rows], folded.thread[folds]) == line.thread
        mine[: len(rows)] &= spans.flags[rows] & Flag.DETACHED == 0
        self._accounted = mine
        columns = [
            np.append(getattr(spans, name)[rows], getattr(folded, name)[folds])
            for name in ("kind", "name_id", "signature_id", "callsite_id")
        ]
        if _is_pyspy(trace):  # the place of its frames is in their arguments
            columns.append(np.append(spans.args_id[rows], folded.args_id[folds]))
        groups, count = group_ids(columns)
        first = first_rows(groups, count)
        told = [_key(trace, row) for row in zip(*(c[first].tolist() for c in columns), strict=True)]
        numbers: dict[Key, int] = {}
        of_group = np.array([numbers.setdefault(key, len(numbers)) for key in told], "i8")
        self.keys: tuple[Key, ...] = tuple(numbers)
        self._groups = of_group[groups] if count else groups
        leaf_folds = folded.leaves[folds]
        self._leaves = np.append(counts.leaf[rows].astype("i8"), leaf_folds)

    def sides(self, row_of: Ints, n_rows: int) -> list[Side]:
        """Return the sums over the groups of each row.

        Args:
            row_of: per group its row.
            n_rows: how many rows there are.
        """
        ids = row_of[self._groups]
        flops, uncounted = self._figure("flops", ids, n_rows)
        moved, _ = self._figure("bytes", ids, n_rows)
        columns = (
            sums(ids, n_rows, self._calls).tolist(),
            sums(ids, n_rows, self._own_ns).tolist(),
            sums(ids, n_rows, np.where(self._accounted, self._own_ns, 0)).tolist(),
            flops,
            self._transcendentals(ids, n_rows),
            moved,
            uncounted,
        )
        return [Side(*row) for row in zip(*columns, strict=True)]

    def blocks(self, row_of: Ints, n_rows: int) -> Blocks:
        """Return the times of the calls of each row that are in the trace one by one and ended."""
        spans = self._counts.trace.spans
        ended = spans.flags[self._rows] & Flag.OPEN == 0
        row = row_of[self._groups[: len(self._rows)]][ended]
        own_ns = self._own_ns[: len(self._rows)][ended]
        return blocks_of(row, spans.start_ns[self._rows][ended], own_ns, n_rows)

    def _figure(self, figure: Figure, ids: Ints, n: int) -> tuple[list[int | None], list[int]]:
        """Exact sums per row, None where no call is counted; and how many innermost calls are uncounted."""
        counts, rows = self._counts, self._rows
        values = counts.per_span(figure)[rows]
        known = (values >= 0) & ~counts.elsewhere(figure)[rows]
        lost = sums(ids[: len(rows)], n, values < 0).tolist()
        total = _exact(ids[: len(rows)][known], n, values[known])
        seen = np.bincount(ids[: len(rows)][known], minlength=n).tolist()
        folded = self._counts.trace.aggregates
        each = counts.per_aggregate(figure) if len(self._folds) else []
        leaves = folded.leaves[self._folds].tolist()
        places = zip(self._folds.tolist(), ids[len(rows) :].tolist(), leaves, strict=True)
        for fold, row, n_leaves in places:
            work = each[fold]
            if work is None:
                lost[row] += n_leaves
            elif work or n_leaves:
                total[row] += work
                seen[row] += 1
        return [t if s else None for t, s in zip(total, seen, strict=True)], lost

    def _transcendentals(self, ids: Ints, n: int) -> list[int | None]:
        counts, trace = self._counts, self._counts.trace
        signature = np.append(
            trace.spans.signature_id[self._rows], trace.aggregates.signature_id[self._folds]
        )
        each = np.append(counts.transcendentals, UNCOUNTED)[signature]
        cut = trace.spans.flags[self._rows] & (Flag.RAISED | Flag.OPEN) != 0
        leaves = self._leaves.copy()
        leaves[: len(self._rows)][cut] = 0
        known = (each >= 0) & (leaves > 0)
        seen = np.bincount(ids[known], minlength=n).tolist()
        once = known & (leaves == 1)
        total = _exact(ids[once], n, each[once])
        for i in np.flatnonzero(known & (leaves > 1)).tolist():
            total[int(ids[i])] += int(each[i]) * int(leaves[i])
        return [t if s else None for t, s in zip(total, seen, strict=True)]


def _wanted(kind: NDArray[np.uint8], only_ops: bool) -> Mask:
    return np.asarray(kind == Kind.OP if only_ops else kind != Kind.INSTANT, "?")


def _is_pyspy(trace: Trace) -> bool:
    foreign = trace.meta.get("foreign")
    return isinstance(foreign, dict) and foreign.get("producer") == "py-spy"


def _key(trace: Trace, row: tuple[int, ...]) -> Key:
    """The key of a group: kind, name, signature, call site and perhaps arguments, as numbers."""
    kind, name_id, signature_id, site, args_id = (*row, -1)[:5]
    name = _ADDRESS.sub("", trace.strings[name_id])
    if kind == Kind.STEP:
        name = _NUMBER.sub("", name) or name
    signature = trace.signatures[signature_id] if signature_id >= 0 else None
    if site >= 0:
        frames, strings = trace.frames, trace.strings
        ids = (int(frames.file_id[site]), int(frames.name_id[site]))
        file, function = (strings[i] if i >= 0 else None for i in ids)
        return Key(kind, name, signature, file, function, int(frames.line[site]))
    file, function, line = _told_place(name, trace.strings[args_id] if args_id >= 0 else "")
    return Key(kind, function or name, signature, file, function, line)


def _told_place(name: str, arguments: str) -> tuple[str | None, str | None, int]:
    for form in _PLACES:
        if match := form.fullmatch(name):
            return match["file"], match["function"], int(match["line"][:9])
    try:
        told = json.loads(arguments) if arguments else {}
        file, line = told.get("filename"), told.get("line")
    except (ValueError, AttributeError, RecursionError):
        return None, None, 0
    if not isinstance(file, str):
        return None, None, 0
    return file, name, line if isinstance(line, int) and 0 <= line < 2**31 else 0


def _exact(ids: Ints, n: int, values: Ints) -> list[int]:
    """Sums per id in whole numbers of any size: both halves of the 64 bits apart."""
    high, low = sums(ids, n, values >> 32), sums(ids, n, values & 0xFFFFFFFF)
    return [(h << 32) + part for h, part in zip(high.tolist(), low.tolist(), strict=True)]


def total(values: Sequence[int | None]) -> int | None:
    """Return the sum of what is known; None: nothing is.

    >>> total([1, None, 2]), total([None])
    (3, None)
    """
    known = [value for value in values if value is not None]
    return sum(known) if known else None
