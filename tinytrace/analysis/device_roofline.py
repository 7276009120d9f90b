"""The roofline of a device: what ops launched there as points, under its nominal roofs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.counting import count_trace
from tinytrace.analysis.datasheets import DeviceRoofs
from tinytrace.analysis.device_account import DeviceAccounts, device_windows
from tinytrace.analysis.device_ops import (
    LaunchedParts,
    kernel_names,
    launched_parts,
    nominal_times,
    peak,
)
from tinytrace.analysis.device_tables import known_ratio, known_sum, leading
from tinytrace.analysis.device_words import device_name
from tinytrace.analysis.device_work import device_work
from tinytrace.analysis.op_groups import OpGroup
from tinytrace.analysis.peaks import Level, Peak, Peaks
from tinytrace.analysis.places import site
from tinytrace.analysis.roofline_points import Roofline, RooflinePoint, ceilings_of, command_of
from tinytrace.analysis.signature_roofs import uses_matrices
from tinytrace.tracer.groups import group_ids, sums
from tinytrace.tracer.trace import Signature, Trace

Ints = NDArray[np.int64]
NO_DTYPE = -1


def device_roofline(trace: Trace, top: int | None = None) -> Roofline:
    """Return the roofline of the device that worked longest.

    A point is all that calls of one op in one dtype launched there; its time is that of the device.

    Args:
        trace: in which a device did something.
        top: how many points at most, those with most time; None: all.

    Raises:
        ValueError: nothing ran on a device.
    """
    work = device_work(trace)
    if work is None:
        raise ValueError("nothing ran on a device")
    parts = launched_parts(count_trace(trace), work)
    spent_ns = sums(work.device, len(work.devices), work.dur_ns)
    device = int(np.argmax(spent_ns))
    account = DeviceAccounts(trace, work).of(device, device_windows(trace, work))
    nominal = parts.roofs[device]
    labels, numbers = _dtypes(parts, nominal)
    here = parts.device == device
    ids, count = group_ids([np.where(here, parts.name_id, -1), np.where(here, numbers, -2)])
    judged = nominal_times(parts).judged(ids, count)
    device_ns = sums(ids, count, np.where(here, parts.device_ns, 0))
    order = [i for i in np.argsort(-device_ns, kind="stable").tolist() if device_ns[i]]
    points = tuple(
        RooflinePoint(
            group=_group(parts, ids == i, account.wall_ns),
            judgement=judged[i],
            dtype=_label(labels, int(numbers[ids == i][0])),
            level=None if nominal is None else "DRAM",
            matrix=uses_matrices(trace.strings[parts.name_id[ids == i][0]]),
            signature=_longest_signature(parts, ids == i),
        )
        for i in order[:top]
    )
    peaks = None if nominal is None else _peaks(nominal)
    return Roofline(
        peaks=peaks,
        ceilings=ceilings_of(peaks, points),
        points=points,
        n_points=len(order),
        op_ns=int(spent_ns[device]),
        point_ns=sum(point.group.self_ns for point in points),
        placed_ns=sum(point.group.self_ns for point in points if point.place),
        wall_ns=account.wall_ns,
        command=command_of(trace),
        start_unix_ns=None,
        cpu=None,
        device=device_name(account),
        nominal=nominal,
    )


def _dtypes(parts: LaunchedParts, nominal: DeviceRoofs | None) -> tuple[list[str], Ints]:
    """Names of what the parts compute in, and per part which of them; −1: not known."""
    kernels = kernel_names(parts)
    roofs = nominal or DeviceRoofs("", "", 1.0)
    names = [peak(parts, i, roofs, kernels[i])[0] for i in range(len(parts))]
    known = list(dict.fromkeys(name for name in names if name is not None))
    number = {name: i for i, name in enumerate(known)}
    return known, np.array([NO_DTYPE if n is None else number[n] for n in names], "i8")


def _label(labels: list[str], number: int) -> str | None:
    return None if number == NO_DTYPE else labels[number]


def _peaks(nominal: DeviceRoofs) -> Peaks:
    """The roofs as those of a machine; their spread is nothing, since nobody measured them."""

    def one(value: float) -> Peak:
        return Peak(value, value, value, 1)

    vector = {} if nominal.vector_tflops is None else {"float32": one(1000 * nominal.vector_tflops)}
    matrix = {dtype: one(1000 * tflops) for dtype, tflops in nominal.matrix_tflops.items()}
    if "float32" not in matrix:
        matrix |= vector
    others = {dtype: vector["float32"] for dtype in ("float16", "bfloat16") if vector}
    return Peaks(
        fingerprint="",
        machine={"cpu": nominal.name},
        measured_at="nominal",
        quick=False,
        threads=1,
        gemm_gflops=matrix,
        vector_gflops={**vector, **others},
        levels=(Level("DRAM", None, one(nominal.gbps), True),),
    )


def _group(parts: LaunchedParts, mine: NDArray[np.bool_], wall_ns: int) -> OpGroup:
    trace, rows = parts.trace, np.flatnonzero(mine)
    calls = np.isin(parts.call_part, rows)
    callsite, n_callsites = leading(
        trace.spans.callsite_id[parts.call_row[calls]].astype("i8"), parts.call_ns[calls]
    )
    time_ns, flops, moved = parts.device_ns[rows], parts.flops[rows], parts.bytes[rows]
    device_ns = int(time_ns.sum())
    name = trace.strings[parts.name_id[rows[0]]]
    return OpGroup(
        label=name,
        op=name,
        n_ops=1,
        callsite=site(trace, callsite),
        n_callsites=n_callsites,
        self_ns=device_ns,
        total_ns=device_ns,
        percent=100 * device_ns / max(1, wall_ns),
        calls=int(parts.calls[rows].sum()),
        p50_ns=None,
        p99_ns=None,
        flops=known_sum(flops),
        bytes=known_sum(moved),
        transcendentals=known_sum(parts.evaluations[rows]),
        gflops=known_ratio(flops, time_ns),
        gbps=known_ratio(moved, time_ns),
        flops_per_byte=known_ratio(flops, moved),
        gtranscendentals=known_ratio(parts.evaluations[rows], time_ns),
        footprint_bytes=None,
        uncounted_calls=int(parts.calls[rows][np.isnan(flops)].sum()),
        only_outer=False,
    )


def _longest_signature(parts: LaunchedParts, mine: NDArray[np.bool_]) -> Signature | None:
    row, _ = leading(parts.signature_id[mine], parts.device_ns[mine])
    return None if row < 0 else parts.trace.signatures[row]
