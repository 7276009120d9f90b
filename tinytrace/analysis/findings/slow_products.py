"""Products of matrices and convolutions that do not use the matrix units, or use them badly."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.device_ops import FLOAT32_KERNELS, is_matrix_op, kernel_names
from tinytrace.analysis.findings.case import Case
from tinytrace.analysis.findings.device_case import DeviceCase
from tinytrace.analysis.findings.finding import Finding
from tinytrace.analysis.findings.wording import array, listed, time
from tinytrace.analysis.kernel_names import short_name
from tinytrace.analysis.roofline import VERDICTS, Verdict
from tinytrace.tracer.trace import Signature

ORDINARY_UNITS = "float32 products on ordinary units"
ODD_SIZES = "products of odd sizes"
SHARE = 2.0  # % of the time of the device
# Rows of matrices should be multiples of 16 bytes for the matrix units (NVIDIA, "Matrix Multiplication Background
# User's Guide", 2023): of 8 numbers of 2 bytes, of 4 of float32. CUTLASS says in the names of its kernels how many
# numbers they read at once (``align8``); fewer than that are those for rows which are not.
ALIGNMENT_BYTES = 16
ALIGNED = re.compile(r"_align(\d+)")
Ints = NDArray[np.int64]


def find_ordinary(case: Case) -> Iterator[Finding]:
    """Products whose kernels are those of float32 on ordinary units, on a device that has faster ones.

    By the names of kernels (``sgemm``, ``simt``, ``scudnn``). Ceiling: all but the time at the nominal roof of the
    fastest units that take float32 or float16; all of it where shapes were not recorded.
    """
    devices = case.devices
    if devices is None:
        return
    parts = devices.parts
    names = kernel_names(parts)
    product = np.array([is_matrix_op(devices.trace.strings[n]) for n in parts.name_id], "?")
    ordinary = product & np.array(
        [any(word in name.lower() for word in FLOAT32_KERNELS) for name in names], "?"
    )
    for i, account in enumerate(devices.accounts):
        roofs = parts.roofs[i]
        if roofs is None or roofs.vector_tflops is None:
            continue
        faster = "tf32" if "tf32" in roofs.matrix_tflops else "float16"
        tflops = roofs.matrix_tflops.get(faster, 0.0)
        mine = np.flatnonzero(ordinary & (parts.device == i))
        spent_ns = int(parts.device_ns[mine].sum())
        if tflops <= roofs.vector_tflops or 100 * spent_ns < SHARE * account.wall_ns:
            continue
        least_ns = float(np.nansum(parts.flops[mine] / tflops / 1000))
        remedy, code = _REMEDIES[faster]
        yield case.finding(
            ORDINARY_UNITS,
            _frame(devices, mine),
            f"float32 products run on ordinary units, though {roofs.name} has matrix units for {faster}",
            evidence=(
                f"{time(spent_ns)} in {listed(short_name(names[p]) for p in _longest(devices, mine))}",
                f"called by {listed(devices.trace.strings[n] for n in parts.name_id[mine])}",
                f"nominal: {tflops:g} TFLOP/s of {faster}, {roofs.vector_tflops:g} of float32 ({roofs.source})",
            ),
            ceiling_ns=spent_ns - least_ns,
            confidence="medium",
            why="the kernels' names tell; whether the program may compute with fewer digits is not known",
            remedy=remedy,
            code=code,
        )


_REMEDIES = {
    "tf32": (
        "Let products of float32 be rounded to TF32 (10 bits of mantissa), or use autocast with bfloat16.",
        'torch.set_float32_matmul_precision("high")\ntorch.backends.cudnn.allow_tf32 = True',
    ),
    "float16": (
        "Use autocast with float16, with a GradScaler where gradients may be too small for it.",
        'with torch.autocast("cuda", dtype=torch.float16):\n    loss = model(batch)',
    ),
}


def find_odd(case: Case) -> Iterator[Finding]:
    """Products below 60 % of every roof, by kernels for rows that are no multiple of 16 bytes (by their names).

    Ceiling: all but the time at the nearer roof.
    """
    devices = case.devices
    if devices is None:
        return
    parts, judged = devices.parts, devices.judged
    names = kernel_names(parts)
    slow = judged.code == VERDICTS.index(Verdict.LATENCY)
    odd = np.array([_reads_less(devices, i, name) for i, name in enumerate(names)], "?")
    for i, account in enumerate(devices.accounts):
        mine = np.flatnonzero(slow & odd & (parts.device == i))
        spent_ns = int(parts.device_ns[mine].sum())
        if 100 * spent_ns < SHARE * account.wall_ns:
            continue
        longest = _longest(devices, mine)
        signatures = [devices.trace.signatures[int(parts.signature_id[p])] for p in longest[:3]]
        sides = sorted({side for s in signatures for side in odd_sides(s)})
        yield case.finding(
            ODD_SIZES,
            _frame(devices, mine),
            "products of matrices whose rows are no multiples of 16 bytes, far below the roofs",
            evidence=(
                f"{time(spent_ns)} in {int(parts.calls[mine].sum()):,} calls of "
                f"{listed(devices.trace.strings[n] for n in parts.name_id[mine])}",
                "; ".join(_matrices(s) for s in signatures),
                f"sides of {listed(str(side) for side in sides)}",
                f"kernels: {listed(short_name(names[p]) for p in longest)}",
            ),
            ceiling_ns=spent_ns - float(np.nansum(judged.roof_ns[mine])),
            confidence="medium",
            why="the kernels' names tell; what else keeps these products from the roof is not known",
            remedy="Round sizes that you choose (features, vocabulary, hidden size) up to multiples of 8, or of 64.",
            code="features = (features + 63) // 64 * 64  # the columns that were added are zero",
        )


def _reads_less(devices: DeviceCase, part: int, kernel: str) -> bool:
    """Whether a part's kernel reads fewer than 16 bytes at once."""
    match, row = ALIGNED.search(kernel), int(devices.parts.signature_id[part])
    if match is None or row < 0:
        return False
    sizes = [o.itemsize for o in devices.trace.signatures[row].inputs if o.is_array]
    return bool(sizes) and int(match[1]) * min(sizes) < ALIGNMENT_BYTES


def odd_sides(signature: Signature) -> tuple[int, ...]:
    """Return the sides of matrices that are no multiple of 16 bytes; those of 1 are no matrices'.

    Example:
        >>> from tinytrace.tracer.trace import Operand
        >>> left, right = (Operand("bfloat16", shape, itemsize=2) for shape in ((64, 31), (31, 128)))
        >>> odd_sides(Signature("aten::mm", (left, right), 2))
        (31,)
    """
    found = {
        side
        for operand in signature.inputs
        if operand.is_array and len(operand.shape) >= 2 and operand.itemsize < 8
        for side in operand.shape[-2:]
        if side > 1 and side * operand.itemsize % ALIGNMENT_BYTES
    }
    return tuple(sorted(found))


def _matrices(signature: Signature) -> str:
    return " x ".join(array(o) for o in signature.inputs if o.is_array and len(o.shape) >= 2)


def _longest(devices: DeviceCase, mine: Ints) -> list[int]:
    order = np.argsort(-devices.parts.device_ns[mine], kind="stable")
    return [int(part) for part in mine[order]]


def _frame(devices: DeviceCase, mine: Ints) -> int:
    parts = devices.parts
    calls = np.isin(parts.call_part, mine)
    return devices.frame_of(parts.call_row[calls], parts.call_ns[calls])
