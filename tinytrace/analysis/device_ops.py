"""Ops of torch by the time of the kernels that they launched, and what bounds these by nominal roofs.

The work of an op (FLOPs, bytes) is counted from its recorded shapes (`counting`); its time is the sum of the times of
all kernels, copies and fills that were launched for it (`DeviceWork.op`). Each is in one op only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.counting import TraceCounts
from tinytrace.analysis.datasheets import DeviceRoofs, nominal_roofs
from tinytrace.analysis.device_work import Device, DeviceWork, Sort
from tinytrace.analysis.peaks import LEVEL_NAMES, Peaks
from tinytrace.analysis.roofline import Judged, LeastTimes
from tinytrace.analysis.signature_roofs import uses_matrices
from tinytrace.tracer.groups import first_rows, group_ids, sums
from tinytrace.tracer.trace import Signature, Trace

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
# What the shortest kernels take, whatever they do: the 1st percentile of all durations was 1.5 us (A100), 1.6 us
# (H100), 2.0 us (MI300X), 2.6 us (B200) in the traces that this is tested with.
KERNEL_FLOOR_NS = 2_000
CROSSING = re.compile(r"^Memcpy (HtoD|DtoH|PtoP)")
# Products of float32 on ordinary units: by the names of kernels, as cuBLAS, cuDNN and CUTLASS give them.
FLOAT32_KERNELS = ("sgemm", "simt", "scudnn", "winograd", "fft")


@dataclass(frozen=True, eq=False)
class LaunchedParts:
    """Calls of ops that launched work, in parts: those of one op with one signature on one device.

    Attributes:
        trace: of them.
        work: of its devices.
        call_row: per call its row in ``Trace.spans``.
        call_part: per call its part.
        call_ns: per call the time of what it launched.
        part_of: per piece of work the part of the call that launched it; −1: no op did.
        device: per part, index into ``DeviceWork.devices``.
        extra: per part the further number that was asked for.
        crosses: per part whether its calls moved data to or from another device or the host.
        name_id, signature_id: per part, as in `Spans`.
        calls, pieces: per part how many calls, and pieces of work.
        device_ns: per part the time of these pieces.
        host_ns: per part the durations of the calls, on the host.
        flops, bytes, evaluations: per part the work of all calls; NaN: not known.
    """

    trace: Trace
    work: DeviceWork
    call_row: Ints
    call_part: Ints
    call_ns: Ints
    part_of: Ints
    device: Ints
    extra: Ints
    crosses: NDArray[np.bool_]
    name_id: Ints
    signature_id: Ints
    calls: Ints
    pieces: Ints
    device_ns: Ints
    host_ns: Ints
    flops: Floats
    bytes: Floats
    evaluations: Floats

    def __len__(self) -> int:
        return len(self.name_id)

    @cached_property
    def roofs(self) -> tuple[DeviceRoofs | None, ...]:
        """Roofs of each device; None: not known."""
        return tuple(device_roofs(self.trace, device) for device in self.work.devices)


def device_roofs(trace: Trace, device: Device) -> DeviceRoofs | None:
    """Return the roofs of a device: those that were measured there, where the trace has them, else nominal ones.

    Example:
        >>> device_roofs(Trace(), Device(0, "GPU 0", 0, "NVIDIA B200")).measured
        False
    """
    peaks = Peaks.of(trace)
    own = None if peaks is None else peaks.torch.get(f"cuda:{device.number}")
    gbps = (
        [level.gbps.value for level in own.levels if level.gbps and level.name == "DRAM"]
        if own
        else []
    )
    if own is None or not gbps:
        return nominal_roofs(device.model)
    vector = own.vector_gflops.get("float32")
    return DeviceRoofs(
        name=device.model or device.label,
        source=f"measured {own.measured_at}",
        gbps=gbps[0],
        vector_tflops=None if vector is None else vector.value / 1000,
        matrix_tflops={dtype: peak.value / 1000 for dtype, peak in own.gemm_gflops.items()},
        measured=True,
    )


def launched_parts(
    counts: TraceCounts, work: DeviceWork, extra: Ints | None = None
) -> LaunchedParts:
    """Add up the calls of ops that launched work.

    Args:
        counts: of the trace.
        work: of its devices.
        extra: per span a further number that tells calls apart: the step, the layer.
    """
    trace = counts.trace
    spans = trace.spans
    known = np.flatnonzero(work.op >= 0)
    call, n_calls = group_ids([work.op[known], work.device[known]])
    first = first_rows(call, n_calls)
    call_row = work.op[known[first]]
    call_ns = sums(call, n_calls, work.dur_ns[known])
    device = work.device[known[first]]
    apart = np.full(n_calls, -1) if extra is None else extra[call_row].astype("i8")
    counted = counts.leaf[call_row]
    crosses = np.zeros(n_calls, "?")
    crosses[call[over_link(work, trace)[known]]] = True
    columns = [
        spans.name_id[call_row],
        spans.signature_id[call_row],
        device,
        apart,
        counted,
        crosses,
    ]
    call_part, count = group_ids(columns)
    part_first = first_rows(call_part, count)
    signature = spans.signature_id[call_row[part_first]].astype("i8")
    calls = np.bincount(call_part, minlength=count)
    part_of = np.full(len(work), -1, "i8")
    part_of[known] = call_part[call]

    def work_of(each: Ints) -> Floats:
        figure = np.append(each, -1)[signature].astype("f8")
        figure[(figure < 0) | ~counted[part_first]] = np.nan
        return np.asarray(figure * calls, "f8")

    return LaunchedParts(
        trace=trace,
        work=work,
        call_row=call_row,
        call_part=call_part,
        call_ns=call_ns,
        part_of=part_of,
        device=device[part_first],
        extra=apart[part_first],
        crosses=crosses[part_first],
        name_id=spans.name_id[call_row[part_first]].astype("i8"),
        signature_id=signature,
        calls=calls,
        pieces=np.bincount(part_of[known], minlength=count),
        device_ns=sums(call_part, count, call_ns),
        host_ns=sums(call_part, count, spans.dur_ns[call_row]),
        flops=work_of(counts.flops),
        bytes=work_of(counts.bytes),
        evaluations=work_of(counts.transcendentals),
    )


def nominal_times(parts: LaunchedParts) -> LeastTimes:
    """Return what the parts would take at the nominal roofs of their devices.

    What moves data between devices, or from and to the host, is not judged by them: its roof is the link.
    Evaluations of exp, log… have no roof in a datasheet: they count as if they took no time.
    """
    compute_ns = np.full(len(parts), np.nan)
    memory_ns = np.full(len(parts), np.nan)
    kernels = kernel_names(parts)
    for i in range(len(parts)):
        roofs = parts.roofs[parts.device[i]]
        if roofs is None:
            continue
        memory_ns[i] = parts.bytes[i] / roofs.gbps
        tflops = peak(parts, i, roofs, kernels[i])[1]
        if tflops is not None:
            compute_ns[i] = parts.flops[i] / tflops / 1000
        elif parts.flops[i] == 0:
            compute_ns[i] = 0.0
    compute_ns[parts.crosses], memory_ns[parts.crosses] = np.nan, np.nan
    return LeastTimes(
        time_ns=parts.device_ns,
        compute_ns=compute_ns,
        evaluate_ns=np.zeros(len(parts)),
        memory_ns=memory_ns,
        memory_most_ns=np.where(np.isnan(memory_ns), np.inf, memory_ns),
        floor_ns=np.asarray(parts.pieces * KERNEL_FLOOR_NS, "f8"),
        counted=~np.isnan(parts.flops),
        outer=np.zeros(len(parts), "?"),
        level=np.full(len(parts), LEVEL_NAMES.index("DRAM")),
        has_roofs=any(roofs is not None for roofs in parts.roofs),
    )


def over_link(work: DeviceWork, trace: Trace) -> NDArray[np.bool_]:
    """Return per piece of work whether it moves data to or from another device or the host."""
    crossing = np.array([CROSSING.search(text) is not None for text in trace.strings], "?")
    copies = (work.sort == Sort.COPY) & crossing[trace.spans.name_id[work.row]]
    return np.asarray((work.sort == Sort.COMMUNICATION) | copies, "?")


def judged_parts(parts: LaunchedParts) -> Judged:
    """Return the verdict of each part."""
    return nominal_times(parts).judged(np.arange(len(parts)), len(parts))


def kernel_names(parts: LaunchedParts) -> list[str]:
    """Return per part the name of the kernel that took most of its time."""
    work, trace = parts.work, parts.trace
    mine = np.flatnonzero(parts.part_of >= 0)
    order = mine[np.lexsort((work.dur_ns[mine], parts.part_of[mine]))]
    last = np.append(np.flatnonzero(np.diff(parts.part_of[order])), len(order) - 1)
    names = [""] * len(parts)
    for i in order[last].tolist() if len(order) else []:
        names[int(parts.part_of[i])] = trace.strings[trace.spans.name_id[work.row[i]]]
    return names


def peak(
    parts: LaunchedParts, part: int, roofs: DeviceRoofs, kernel: str
) -> tuple[str | None, float | None]:
    """Return the roof of a part's arithmetic: the dtype (or ``tf32``), and 10¹² FLOPs per second.

    Args:
        parts: of a trace.
        part: which.
        roofs: of its device.
        kernel: the name of its longest kernel.

    Returns:
        None, None: the dtype is not known; None for the rate: there is no figure for it.
    """
    row = int(parts.signature_id[part])
    dtype = computing_dtype(parts.trace.signatures[row]) if row >= 0 else None
    if dtype is None:
        return None, None
    if not uses_matrices(parts.trace.strings[parts.name_id[part]]):
        return dtype, roofs.vector_tflops if dtype.startswith(("float", "bfloat")) else None
    matrix = roofs.matrix_tflops
    if dtype == "float32":
        plain = dtype, matrix.get(dtype, roofs.vector_tflops)
        lower = kernel.lower()
        if "tf32" not in matrix or any(word in lower for word in FLOAT32_KERNELS):
            return plain
        return "tf32", matrix[
            "tf32"
        ]  # by its kernel, or not known: the higher roof is one in any case
    return dtype, matrix.get("float8" if dtype.startswith("float8") else dtype)


def computing_dtype(signature: Signature) -> str | None:
    """Return the dtype of the first operand that holds numbers to compute with; None: there is none."""
    for operand in signature.inputs:
        if operand.is_array and operand.dtype.startswith(("float", "bfloat", "complex")):
            return operand.dtype
    return None
