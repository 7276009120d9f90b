"""Tables of what ran on a device: kernels, and the ops that launched them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.counting import TraceCounts
from tinytrace.analysis.device_ops import LaunchedParts, launched_parts, nominal_times
from tinytrace.analysis.device_work import DeviceWork, Sort
from tinytrace.analysis.kernel_names import short_name
from tinytrace.analysis.op_groups import By, layer_of
from tinytrace.analysis.places import site
from tinytrace.analysis.roofline import Judgement
from tinytrace.tracer.groups import first_rows, group_ids, sums
from tinytrace.tracer.trace import Trace

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class KernelRow:
    """All kernels (or copies, fills) of one name on a device.

    Attributes:
        name: as recorded.
        short_name: for people.
        sort: ``compute``, ``communication``, ``copy`` or ``fill``.
        device_ns: the sum of their durations.
        percent: of the time of the device's account.
        calls: how many.
        p50_ns: half of them took at most this long.
        op: the op that launched most of their time; None: none did, or it is not known.
        n_ops: how many different ops.
        callsite: the place that most of their time was launched from; None: not recorded.
        n_callsites: how many places.
    """

    name: str
    short_name: str
    sort: str
    device_ns: int
    percent: float
    calls: int
    p50_ns: int
    op: str | None
    n_ops: int
    callsite: str | None
    n_callsites: int


@dataclass(frozen=True, slots=True)
class DeviceOpRow:
    """Calls of ops that launched work on a device, such as all of one op.

    Attributes:
        label: what they have in common: the op, the place, the layer, the step; None: not known.
        op: the op with most of the time.
        device_ns: time of all that they launched.
        percent: of the time of the device's account.
        host_ns: durations of the calls on the host, which mostly do not wait for the device.
        calls: how many calls.
        pieces: kernels, copies and fills that they launched.
        flops, bytes: their work, where it is counted; None: of no call it is.
        tflops: 10¹² FLOPs per second of the device's time of the counted calls; None: none.
        gbps: 10⁹ bytes (compulsory) per second, likewise.
        flops_per_byte: of the calls for which both are known; None: none.
        judgement: by nominal roofs.
        callsite: the place with most of the time; None: not recorded.
        n_callsites: how many places.
    """

    label: str | None
    op: str
    device_ns: int
    percent: float
    host_ns: int
    calls: int
    pieces: int
    flops: float | None
    bytes: float | None
    tflops: float | None
    gbps: float | None
    flops_per_byte: float | None
    judgement: Judgement
    callsite: str | None
    n_callsites: int


def kernel_rows(
    trace: Trace, work: DeviceWork, device: int, wall_ns: int, top: int
) -> tuple[tuple[KernelRow, ...], int]:
    """Return the kernels with most time on a device, and how many names there are.

    Args:
        trace: any.
        work: of its devices.
        device: index into ``work.devices``.
        wall_ns: what percentages are of.
        top: how many at most.
    """
    spans = trace.spans
    mine = np.flatnonzero(work.device == device)
    ids, count = group_ids([spans.name_id[work.row[mine]]])
    device_ns = sums(ids, count, work.dur_ns[mine])
    calls = np.bincount(ids, minlength=count)
    op_name = np.append(spans.name_id, -1)[work.op[mine]].astype("i8")
    place = spans.callsite_id[work.row[mine]].astype("i8")
    found = []
    for i in np.argsort(-device_ns, kind="stable")[:top].tolist():
        rows = np.flatnonzero(ids == i)
        dur_ns = work.dur_ns[mine[rows]]
        op, n_ops = leading(op_name[rows], dur_ns)
        callsite, n_callsites = leading(place[rows], dur_ns)
        first = int(mine[rows[0]])
        name = trace.strings[spans.name_id[work.row[first]]]
        found.append(
            KernelRow(
                name=name,
                short_name=short_name(name),
                sort=Sort(int(work.sort[first])).name.lower(),
                device_ns=int(device_ns[i]),
                percent=100 * int(device_ns[i]) / max(1, wall_ns),
                calls=int(calls[i]),
                p50_ns=int(np.sort(dur_ns)[(len(dur_ns) - 1) // 2]),
                op=None if op < 0 else trace.strings[op],
                n_ops=n_ops,
                callsite=site(trace, callsite),
                n_callsites=n_callsites,
            )
        )
    return tuple(found), count


def leading(values: Ints, weights: Ints) -> tuple[int, int]:
    """Return the value that has most weight, and how many there are (−1, not known, is one only if it is all).

    Example:
        >>> leading(np.array([4, -1, 4, 5]), np.array([1, 9, 1, 1]))
        (4, 2)
    """
    known = values >= 0
    if not known.any():
        return -1, 0
    values, weights = values[known], weights[known]
    ids, count = group_ids([values])
    most = int(np.argmax(sums(ids, count, weights)))
    return int(values[first_rows(ids, count)[most]]), count


class DeviceOps:
    """The ops that launched work, grouped.

    Args:
        counts: of a trace.
        work: of its devices.
        by: what makes a group; what has no meaning for a device is by op.
    """

    def __init__(self, counts: TraceCounts, work: DeviceWork, by: By = "op") -> None:
        trace = counts.trace
        self._by = by if by in ("op", "callsite", "layer", "step") else "op"
        extra = None
        if self._by == "layer":
            extra = layer_of(trace)
        elif self._by != "op":
            extra = trace.spans.step if self._by == "step" else trace.spans.callsite_id
        self.parts: LaunchedParts = launched_parts(counts, work, extra)
        parts = self.parts
        column = parts.name_id if self._by == "op" else parts.extra
        self._column = column
        self._ids, self._count = group_ids([parts.device, column])
        self._judged = nominal_times(parts).judged(self._ids, self._count)

    def rows(self, device: int, wall_ns: int, top: int) -> tuple[tuple[DeviceOpRow, ...], int]:
        """Return the groups with most time on a device, and how many there are.

        Args:
            device: index into ``DeviceWork.devices``.
            wall_ns: what percentages are of.
            top: how many at most.
        """
        parts = self.parts
        here = np.bincount(self._ids[parts.device == device], minlength=self._count) > 0
        device_ns = sums(self._ids, self._count, parts.device_ns)
        order = np.argsort(-np.where(here, device_ns, -1), kind="stable")
        n = int(here.sum())
        return tuple(self._row(i, wall_ns) for i in order[: min(top, n)].tolist()), n

    def _row(self, group: int, wall_ns: int) -> DeviceOpRow:
        parts, trace = self.parts, self.parts.trace
        mine = np.flatnonzero(self._ids == group)
        time_ns = parts.device_ns[mine]
        calls = np.isin(parts.call_part, mine)
        callsite, n_callsites = leading(
            trace.spans.callsite_id[parts.call_row[calls]].astype("i8"), parts.call_ns[calls]
        )
        op, _ = leading(parts.name_id[mine], time_ns)
        device_ns = int(time_ns.sum())
        flops, moved = parts.flops[mine], parts.bytes[mine]
        return DeviceOpRow(
            label=self._label(int(self._column[mine[0]])),
            op=trace.strings[op],
            device_ns=device_ns,
            percent=100 * device_ns / max(1, wall_ns),
            host_ns=int(parts.host_ns[mine].sum()),
            calls=int(parts.calls[mine].sum()),
            pieces=int(parts.pieces[mine].sum()),
            flops=_total(flops),
            bytes=_total(moved),
            tflops=_ratio(flops / 1000, time_ns),
            gbps=_ratio(moved, time_ns),
            flops_per_byte=_ratio(flops, moved),
            judgement=self._judged[group],
            callsite=site(trace, callsite),
            n_callsites=n_callsites,
        )

    def _label(self, value: int) -> str | None:
        trace = self.parts.trace
        if value < 0:
            return None
        if self._by == "callsite":
            return site(trace, value)
        return str(value) if self._by == "step" else trace.strings[value]


def _total(values: Any) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.sum()) if len(known) else None


def _ratio(above: Any, below: Any) -> float | None:
    """Sums over what both are known of, divided; None: of nothing, or by nothing."""
    known = ~(np.isnan(above) | np.isnan(below))
    whole = float(below[known].sum())
    value = float(above[known].sum()) / whole if whole > 0 else math.nan
    return None if math.isnan(value) else value
