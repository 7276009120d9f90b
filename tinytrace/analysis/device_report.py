"""What the report says of devices: where their time went, which kernels and ops took it, and what is not known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.account import typical_steps
from tinytrace.analysis.counting import TraceCounts
from tinytrace.analysis.datasheets import NominalRoofs
from tinytrace.analysis.device_account import (
    SPENT,
    DeviceAccount,
    DeviceAccounts,
    Spent,
    device_windows,
)
from tinytrace.analysis.device_ops import LaunchedParts, judged_parts
from tinytrace.analysis.device_tables import DeviceOpRow, DeviceOps, KernelRow, kernel_rows
from tinytrace.analysis.device_work import DeviceWork, Sort, device_work, foreign_header
from tinytrace.analysis.op_groups import By
from tinytrace.analysis.roofline import BOUND, VERDICTS, Judged, Verdict
from tinytrace.analysis.step_finding import Steps
from tinytrace.tracer.trace import Trace

Ints = NDArray[np.int64]
_OF_VERDICT = {
    Verdict.BALANCED: Spent.BALANCED,
    Verdict.OVERHEAD: Spent.SMALL,
    Verdict.LATENCY: Spent.SLOW,
}


@dataclass(frozen=True, slots=True)
class DeviceSection:
    """One device.

    Attributes:
        account: of its time in the steps; without steps, from its first to its last piece of work.
        step_account: of a step of middling length; None: no steps are marked.
        roofs: nominal ones, by which its kernels are judged; None: not known.
        kernels: those with most time.
        n_kernels: how many names there are.
        ops: those that launched most of it.
        n_ops: how many there are.
        pieces: of work.
        work_ns: the sum of their durations, on all streams.
        unlaunched, unlaunched_ns: pieces whose launch is not in the trace, and their time.
        counted_percent: of the time of kernels that compute, that of ops whose FLOPs are counted; None: no kernels.
        judged_percent: likewise, that of ops with a verdict.
    """

    account: DeviceAccount
    step_account: DeviceAccount | None
    roofs: NominalRoofs | None
    kernels: tuple[KernelRow, ...]
    n_kernels: int
    ops: tuple[DeviceOpRow, ...]
    n_ops: int
    pieces: int
    work_ns: int
    unlaunched: int
    unlaunched_ns: int
    counted_percent: float | None
    judged_percent: float | None


@dataclass(frozen=True, slots=True)
class DeviceReport:
    """All devices of a trace.

    Attributes:
        sections: one per device.
        rank, world_size, backend: of the job that the trace is a part of; None: not told.
    """

    sections: tuple[DeviceSection, ...]
    rank: int | None
    world_size: int | None
    backend: str | None


def device_report(
    counts: TraceCounts, steps: Steps, *, by: By = "op", top: int = 10
) -> DeviceReport | None:
    """Return what is known of the devices of a trace; None: nothing ran on any.

    Args:
        counts: of the trace.
        steps: of the trace; only marked ones are used.
        by: what the table of ops has a row for.
        top: rows of each table at most.

    Example:
        >>> from tinytrace.analysis.counting import count_trace
        >>> from tinytrace.analysis.step_finding import find_steps
        >>> device_report(count_trace(Trace()), find_steps(Trace())) is None
        True
    """
    trace = counts.trace
    work = device_work(trace)
    if work is None:
        return None
    ops = DeviceOps(counts, work, by)
    judged = judged_parts(ops.parts)
    accounts = DeviceAccounts(trace, work, lines_of(ops.parts, judged))
    windows = device_windows(trace, work)
    usual = typical_steps(trace, steps) if steps.confidence == "certain" else None
    sections = []
    for i in range(len(work.devices)):
        account = accounts.of(i, windows)
        kernels, n_kernels = kernel_rows(trace, work, i, account.wall_ns, top)
        rows, n_ops = ops.rows(i, account.wall_ns, top)
        mine = work.device == i
        lost = mine & (work.launch < 0)
        sections.append(
            DeviceSection(
                account=account,
                step_account=None if usual is None else accounts.of(i, usual, mean=True),
                roofs=ops.parts.roofs[i],
                kernels=kernels,
                n_kernels=n_kernels,
                ops=rows,
                n_ops=n_ops,
                pieces=int(mine.sum()),
                work_ns=int(work.dur_ns[mine].sum()),
                unlaunched=int(lost.sum()),
                unlaunched_ns=int(work.dur_ns[lost].sum()),
                counted_percent=_share(
                    work, mine, _of_piece(ops.parts, ~np.isnan(ops.parts.flops))
                ),
                judged_percent=_share(work, mine, _of_piece(ops.parts, judged.judged_ns > 0)),
            )
        )
    told = distributed(trace)
    return DeviceReport(
        tuple(sections),
        rank=_number(told.get("rank")),
        world_size=_number(told.get("world_size")),
        backend=told["backend"] if isinstance(told.get("backend"), str) else None,
    )


def lines_of(parts: LaunchedParts, judged: Judged) -> Ints:
    """Return per piece of work the line of the account that it belongs to if it computes: index into `SPENT`."""
    lines = np.array([SPENT.index(_OF_VERDICT.get(v, Spent.NOT_JUDGED)) for v in VERDICTS])
    bound = np.isin(judged.code, [VERDICTS.index(verdict) for verdict in BOUND])
    of_part = np.where(
        bound,
        np.where(judged.by_memory, SPENT.index(Spent.MEMORY), SPENT.index(Spent.COMPUTE)),
        lines[judged.code],
    )
    return np.append(of_part, SPENT.index(Spent.NOT_JUDGED))[parts.part_of]


def distributed(trace: Trace) -> dict[str, Any]:
    """Return what torch.profiler wrote about the job that a trace is a part of; {}: nothing.

    Example:
        >>> distributed(Trace())
        {}
    """
    told = foreign_header(trace).get("distributedInfo")
    return told if isinstance(told, dict) else {}


def _of_piece(parts: LaunchedParts, of_part: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.asarray(np.append(of_part, False)[parts.part_of], "?")


def _share(work: DeviceWork, mine: NDArray[np.bool_], known: NDArray[np.bool_]) -> float | None:
    computing = mine & (work.sort == Sort.COMPUTE)
    whole_ns = int(work.dur_ns[computing].sum())
    return 100 * int(work.dur_ns[computing & known].sum()) / whole_ns if whole_ns else None


def _number(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None
