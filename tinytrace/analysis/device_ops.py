"""Ops of torch by the time of the kernels that they launched, and what bounds these by nominal roofs.

The work of an op (FLOPs, bytes) is counted from its recorded shapes (`counting`); its time is the sum of the times of
all kernels, copies and fills that were launched for it (`DeviceWork.op`). Each is in one op only.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.counting import TraceCounts
from tinytrace.analysis.datasheets import NominalRoofs, nominal_roofs
from tinytrace.analysis.device_work import DeviceWork, Sort
from tinytrace.analysis.peaks import LEVEL_NAMES
from tinytrace.analysis.roofline import Judged, LeastTimes
from tinytrace.tracer.groups import first_rows, group_ids, sums
from tinytrace.tracer.trace import Signature, Trace

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
# What the shortest kernels take, whatever they do: the 1st percentile of all durations was 1.5 us (A100), 1.6 us
# (H100), 2.0 us (MI300X), 2.6 us (B200) in the traces that this is tested with.
KERNEL_FLOOR_NS = 2_000
# Ops whose work is done by matrix units, by what their names hold.
MATRIX_OPS = (
    "mm", "bmm", "addmm", "baddbmm", "addbmm", "matmul", "linear", "conv", "attention", "_grouped_mm", "einsum",
)  # fmt: skip
# float32 products: by the names of kernels, as cuBLAS, cuDNN and CUTLASS give them. S1688 is the instruction
# for TF32; sgemm and simt use ordinary units.
TF32_KERNELS = ("tf32", "s1688")
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
    def roofs(self) -> tuple[NominalRoofs | None, ...]:
        """Nominal roofs of each device; None: not known."""
        return tuple(nominal_roofs(device.model) for device in self.work.devices)


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
    columns = [spans.name_id[call_row], spans.signature_id[call_row], device, apart, counted]
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

    Communication is not judged by them: its roof is the link. Evaluations of exp, log… have no roof in a datasheet;
    where there are any, memory alone is known.
    """
    compute_ns = np.full(len(parts), np.nan)
    memory_ns = np.full(len(parts), np.nan)
    kernels = kernel_names(parts)
    for i in range(len(parts)):
        roofs = parts.roofs[parts.device[i]]
        if roofs is None:
            continue
        memory_ns[i] = parts.bytes[i] / roofs.gbps
        tflops = _peak(parts, i, roofs, kernels[i])
        if tflops is not None:
            compute_ns[i] = parts.flops[i] / tflops / 1000
        elif parts.flops[i] == 0:
            compute_ns[i] = 0.0
    talks = np.zeros(len(parts), "?")
    mine = parts.part_of >= 0
    talks[parts.part_of[mine & (parts.work.sort == Sort.COMMUNICATION)]] = True
    counted = ~np.isnan(parts.flops) & ~talks
    compute_ns[talks], memory_ns[talks] = np.nan, np.nan
    return LeastTimes(
        time_ns=parts.device_ns,
        compute_ns=compute_ns,
        evaluate_ns=np.zeros(len(parts)),
        memory_ns=memory_ns,
        memory_most_ns=np.where(np.isnan(memory_ns), np.inf, memory_ns),
        floor_ns=np.asarray(parts.pieces * KERNEL_FLOOR_NS, "f8"),
        counted=counted,
        outer=np.zeros(len(parts), "?"),
        level=np.full(len(parts), LEVEL_NAMES.index("DRAM")),
        has_roofs=any(roofs is not None for roofs in parts.roofs),
    )


def judged_parts(parts: LaunchedParts) -> Judged:
    """Return the verdict of each part."""
    return nominal_times(parts).judged(np.arange(len(parts)), len(parts))


def is_matrix_op(name: str) -> bool:
    """Whether matrix units do the work of an op, by its name.

    Example:
        >>> is_matrix_op("aten::addmm"), is_matrix_op("aten::_flash_attention_forward"), is_matrix_op("aten::add")
        (True, True, False)
    """
    bare = name.rpartition("::")[2]
    return bare in MATRIX_OPS or "conv" in bare or "attention" in bare or bare.endswith("mm")


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


def _peak(parts: LaunchedParts, i: int, roofs: NominalRoofs, kernel: str) -> float | None:
    """10¹² FLOPs per second that a part's arithmetic could reach; None: no figure for its dtype."""
    row = int(parts.signature_id[i])
    if row < 0:
        return None
    dtype = arithmetic_dtype(parts.trace.signatures[row])
    if dtype is None:
        return None
    if not is_matrix_op(parts.trace.strings[parts.name_id[i]]):
        return roofs.vector_tflops if dtype.startswith(("float", "bfloat")) else None
    matrix = roofs.matrix_tflops
    if dtype.startswith("float8"):
        return matrix.get("float8")
    if dtype == "float32":
        plain = matrix.get("float32", roofs.vector_tflops)
        lower = kernel.lower()
        if any(word in lower for word in TF32_KERNELS):
            return matrix.get("tf32")
        if any(word in lower for word in FLOAT32_KERNELS):
            return plain
        return matrix.get("tf32", plain)  # not known which: the higher roof is one in any case
    return matrix.get(dtype)


def arithmetic_dtype(signature: Signature) -> str | None:
    """Return the dtype of the first operand that holds numbers to compute with; None: there is none."""
    for operand in signature.inputs:
        if operand.is_array and operand.dtype.startswith(("float", "bfloat", "complex")):
            return operand.dtype
    return None
