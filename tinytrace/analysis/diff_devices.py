"""What differs between two traces on their devices: where the time went, which ops and kernels moved it.

How many kernels, copies and calls there were is exact. Times are of two runs that were not made in turns, often on
different devices: they are set side by side, and nothing is called faster or slower.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.counting import count_trace
from tinytrace.analysis.device_account import (
    SPENT,
    DeviceAccounts,
    Spent,
    device_windows,
)
from tinytrace.analysis.device_ops import judged_parts, launched_parts
from tinytrace.analysis.device_report import lines_of
from tinytrace.analysis.device_words import device_name
from tinytrace.analysis.device_work import DeviceWork, Sort, device_work
from tinytrace.analysis.kernel_names import short_name
from tinytrace.tracer.records import Kind
from tinytrace.tracer.trace import Trace

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class DeviceLineChange:
    """A line of the account on both sides, ns; per step where the comparison is."""

    spent: Spent
    before_ns: float
    after_ns: float


@dataclass(frozen=True, slots=True)
class DeviceChange:
    """What calls of one op launched, or all kernels of one name, on both sides.

    Attributes:
        name: of the op, or the short name of the kernels.
        before_ns, after_ns: time on the device; per step where the comparison is.
        calls_before, calls_after: calls of the op (of a kernel: how often it ran); exact.
        pieces_before, pieces_after: kernels, copies and fills; exact.
    """

    name: str
    before_ns: float
    after_ns: float
    calls_before: float
    calls_after: float
    pieces_before: float
    pieces_after: float

    @property
    def delta_ns(self) -> float:
        """After − before."""
        return self.after_ns - self.before_ns

    @property
    def same_counts(self) -> bool:
        """Whether calls and pieces are exactly the same."""
        return (self.calls_before, self.pieces_before) == (self.calls_after, self.pieces_after)


@dataclass(frozen=True, slots=True)
class DeviceDiff:
    """Two traces on the device of each that worked longest.

    Attributes:
        name_before, name_after: label and model.
        steps_before, steps_after: marked steps, if the comparison is per step; else 1.
        wall_before_ns, wall_after_ns: time of the device's account.
        lines: of the accounts; they add up to these.
        pieces_before, pieces_after: how many pieces of work of each `Sort`, exact.
        ops: those that moved the time of the device most.
        n_ops: how many there are.
        kernels: likewise.
        n_kernels: likewise.
    """

    name_before: str
    name_after: str
    steps_before: int
    steps_after: int
    wall_before_ns: float
    wall_after_ns: float
    lines: tuple[DeviceLineChange, ...]
    pieces_before: tuple[float, ...]
    pieces_after: tuple[float, ...]
    ops: tuple[DeviceChange, ...]
    n_ops: int
    kernels: tuple[DeviceChange, ...]
    n_kernels: int

    @property
    def per_step(self) -> bool:
        """Whether figures are per step."""
        return self.steps_before > 1 or self.steps_after > 1


class _Side:
    """One trace while it is compared."""

    def __init__(self, trace: Trace, work: DeviceWork) -> None:
        self.trace, self.work = trace, work
        spent_ns = np.bincount(work.device, work.dur_ns, len(work.devices))
        self.device = int(np.argmax(spent_ns))
        self.steps = int(((trace.spans.kind == Kind.STEP.value) & (trace.spans.dur_ns > 0)).sum())

    def finish(self, *, per_step: bool) -> None:
        """Add everything up, of what was launched in steps where the comparison is per step."""
        trace, work = self.trace, self.work
        self.units = self.steps if per_step else 1
        mine = work.device == self.device
        if per_step:
            mine &= trace.spans.step[work.row] >= 0
        parts = launched_parts(count_trace(trace), work)
        accounts = DeviceAccounts(trace, work, lines_of(parts, judged_parts(parts)))
        self.account = accounts.of(self.device, device_windows(trace, work))
        rows = np.flatnonzero(mine)
        self.pieces = tuple(
            float(n) / self.units for n in np.bincount(work.sort[rows], minlength=len(Sort))
        )
        known = rows[work.op[rows] >= 0]
        op_names = trace.spans.name_id[work.op[known]]
        self.ops = self._sums(known, op_names, work.op[known])
        self.kernels = self._sums(rows, trace.spans.name_id[work.row[rows]], rows)
        self.kernels = _by_short_name(self.kernels)

    def _sums(self, rows: Ints, name_id: Ints, call: Ints) -> dict[str, tuple[float, float, float]]:
        """Per name: time, different calls, pieces; each per unit."""
        found = {}
        for name in np.unique(name_id).tolist():
            mine = name_id == name
            found[self.trace.strings[name]] = (
                float(self.work.dur_ns[rows[mine]].sum()) / self.units,
                len(np.unique(call[mine])) / self.units,
                float(mine.sum()) / self.units,
            )
        return found


def device_diff(before: Trace, after: Trace, top: int = 10) -> DeviceDiff | None:
    """Compare what ran on devices; None: not on both sides something did.

    Per step where both traces have marked steps.

    Args:
        before: any trace.
        after: any other.
        top: rows of each list at most.

    Example:
        >>> device_diff(Trace(), Trace()) is None
        True
    """
    works = device_work(before), device_work(after)
    if works[0] is None or works[1] is None:
        return None
    one, two = _Side(before, works[0]), _Side(after, works[1])
    per_step = bool(one.steps and two.steps)
    one.finish(per_step=per_step)
    two.finish(per_step=per_step)
    ops, kernels = _changes(one.ops, two.ops), _changes(one.kernels, two.kernels)
    return DeviceDiff(
        name_before=device_name(one.account),
        name_after=device_name(two.account),
        steps_before=one.units,
        steps_after=two.units,
        wall_before_ns=one.account.wall_ns / one.units,
        wall_after_ns=two.account.wall_ns / two.units,
        lines=tuple(
            DeviceLineChange(
                spent,
                one.account.spent_ns(spent) / one.units,
                two.account.spent_ns(spent) / two.units,
            )
            for spent in SPENT
        ),
        pieces_before=one.pieces,
        pieces_after=two.pieces,
        ops=ops[:top],
        n_ops=len(ops),
        kernels=kernels[:top],
        n_kernels=len(kernels),
    )


def _by_short_name(
    sums: dict[str, tuple[float, float, float]],
) -> dict[str, tuple[float, float, float]]:
    found: dict[str, tuple[float, float, float]] = {}
    for name, figures in sums.items():
        old = found.get(short_name(name), (0.0, 0.0, 0.0))
        found[short_name(name)] = (old[0] + figures[0], old[1] + figures[1], old[2] + figures[2])
    return found


def _changes(
    before: dict[str, tuple[float, float, float]], after: dict[str, tuple[float, float, float]]
) -> tuple[DeviceChange, ...]:
    """What changed, in time or in counts; what moved most time first."""
    nothing = (0.0, 0.0, 0.0)
    found: Sequence[DeviceChange] = [
        DeviceChange(
            name, a[0], b[0], calls_before=a[1], calls_after=b[1], pieces_before=a[2], pieces_after=b[2],
        )
        for name in dict.fromkeys([*before, *after])
        for a, b in [(before.get(name, nothing), after.get(name, nothing))]
    ]  # fmt: skip
    return tuple(sorted(found, key=lambda change: -abs(change.delta_ns)))
