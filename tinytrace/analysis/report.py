"""The report: where the time went, what bounds it, and what could be won at most.

A section is a frozen dataclass, made by one function of a file of its own. To add one: a field in `Report` (its
docstring says what None means), a line in `report_of`, and a function in the list of sections of
`tinytrace.cli.report_text`, which prints it; ``--json`` has it then as well.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.account import (
    Account,
    Accounts,
    Where,
    main_thread,
    typical_steps,
)
from tinytrace.analysis.counting import OpTimes, count_trace
from tinytrace.analysis.device_report import DeviceReport, device_report
from tinytrace.analysis.findings import Finding, findings
from tinytrace.analysis.hot_lines import HotLines, hot_lines
from tinytrace.analysis.memory_report import MemoryReport, memory_report
from tinytrace.analysis.op_groups import By, Grouping, OpGroup, grouped
from tinytrace.analysis.peaks import Peaks
from tinytrace.analysis.reuse import Reuse, Reuses, pushed_out
from tinytrace.analysis.roofline import Judged, Judgement, PartRoofs, Verdict
from tinytrace.analysis.self_audit import Audit, audit_of
from tinytrace.analysis.slow_reasons import slow_reasons, uneven
from tinytrace.analysis.step_finding import find_steps
from tinytrace.analysis.step_report import StepReport, step_report
from tinytrace.analysis.trends import Slope
from tinytrace.analysis.what_if import WhatIf, what_if
from tinytrace.tracer.trace import Trace

Sort = Literal["self", "total", "calls", "flops", "bytes", "gain"]
SORTS: tuple[Sort, ...] = get_args(Sort)
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ReportOp:
    """A group of ops with what bounds it.

    Attributes:
        group: its figures.
        judgement: what bounds it.
        reasons: what may make it slow, where its verdict is latency; of the calls with most time.
        reuse: modelled, of the calls with most time.
        gain_ns: what it would take less at its roof, at most; None: not judged.
    """

    group: OpGroup
    judgement: Judgement
    reasons: tuple[str, ...]
    reuse: Reuse
    gain_ns: int | None


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much the report speaks of, %; None: there is nothing of which it could be a share.

    Attributes:
        explained: of the wall time of the main thread, all but "cannot be attributed".
        sampled: of the wall time of the main thread, that for which samples stand.
        flops_counted, bytes_counted: of op time, the time of ops with that figure.
        judged: of op time, the time of ops with a verdict by their roofs.
    """

    explained: float | None
    sampled: float | None
    flops_counted: float | None
    bytes_counted: float | None
    judged: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """All that the report says.

    Attributes:
        wall_ns: from the first to the last that was recorded.
        processes, threads: how many.
        peaks: the roofs by which it was judged; None: the trace has none.
        account: of the run, its main thread; None: there is no thread, or no time.
        step_account: of the median step; None: there are no steps to go by.
        n_steps: how many steps of middling length are in it.
        by, sort: what the table of ops is made by.
        ops: the top ops.
        n_ops: how many groups there are.
        hot: hot lines and functions.
        devices: what ran on devices (GPUs); None: nothing did.
        findings: what is slow, why, and what to try; (): nothing that a rule knows.
        steps: marked or found; their spread, and what was different in the slowest.
        memory: peaks and growth as measured; what may be behind them, as modelled.
        what_if, step_what_if: bounds; None: no op was judged, or no steps.
        coverage: how much all this speaks of.
        audit: how well the run was seen.
        warnings: of the trace, each once.
    """

    wall_ns: int
    processes: int
    threads: int
    peaks: Peaks | None
    account: Account | None
    step_account: Account | None
    n_steps: int
    by: By
    sort: Sort
    ops: tuple[ReportOp, ...]
    n_ops: int
    hot: HotLines
    devices: DeviceReport | None
    findings: tuple[Finding, ...]
    steps: StepReport
    memory: MemoryReport
    what_if: WhatIf | None
    step_what_if: WhatIf | None
    coverage: Coverage
    audit: Audit
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values: the fields by their names, as docs/report.md explains them."""
        plain: dict[str, Any] = _plain(self)
        return plain


def report_of(trace: Trace, *, by: By = "op", sort: Sort = "self", top: int = 10) -> Report:
    """Return the report of a trace.

    Args:
        trace: any trace; what cannot be known of it is None.
        by: what makes a group in the table of ops.
        sort: which groups come first: those with most self time, total time, calls, FLOPs, bytes, or the most
            that could be gained at the roof.
        top: how many groups, lines and functions at most.

    Example:
        >>> report_of(Trace()).ops
        ()
    """
    counts = count_trace(trace)
    all_steps, peaks = find_steps(trace), Peaks.of(trace)
    is_found = by == "step" and all_steps.are_sure and all_steps.confidence != "certain"
    grouping = grouped(counts, by, all_steps.number_of(trace) if is_found else None)
    parts = grouping.parts
    roofs = PartRoofs(parts, peaks)
    each = roofs.judged(np.arange(len(parts)), len(parts))
    groups = roofs.judged(grouping.ids, grouping.count)
    chosen = grouping.largest(_sorted_by(grouping, groups, sort), top)
    accounts = Accounts(parts, each)
    steps = typical_steps(trace, all_steps)
    account = accounts.of(None, top)
    step_account = None if steps is None else accounts.of(steps, top)
    in_table = np.isin(grouping.ids, chosen)
    times, memory = OpTimes(counts, "flops"), memory_report(trace, all_steps, top, counts)
    return Report(
        wall_ns=max(0, trace.end_ns - trace.start_ns),
        processes=len(trace.processes),
        threads=len(trace.threads),
        peaks=peaks,
        account=account,
        step_account=step_account,
        n_steps=0 if step_account is None else step_account.n_windows,
        by=by,
        sort=sort,
        ops=_ops(grouping, groups, chosen, peaks),
        n_ops=grouping.count,
        hot=hot_lines(parts, top),
        devices=device_report(counts, all_steps, by=by, top=top),
        findings=findings(trace, parts=parts, roofs=roofs.roofs, memory=memory),
        steps=step_report(trace, all_steps, top),
        memory=memory,
        what_if=what_if(accounts, each, in_table, account),
        step_what_if=what_if(accounts, each, in_table, step_account, steps),
        coverage=Coverage(
            explained=None if account is None else 100 - account.percent(Where.UNATTRIBUTED),
            sampled=_sampled(trace, account),
            flops_counted=_hundred(times.coverage()),
            bytes_counted=_hundred(OpTimes(counts, "bytes").coverage()),
            judged=_judged(each, parts.self_ns),
        ),
        audit=audit_of(trace, times),
        warnings=tuple(dict.fromkeys(trace.warnings)),
    )


def _sorted_by(grouping: Grouping, judged: Judged, sort: Sort) -> NDArray[Any]:
    """Per group what it is sorted by."""
    parts = grouping.parts
    if sort == "gain":
        return np.nan_to_num(judged.judged_ns - judged.roof_ns, nan=-1.0)
    column = {
        "self": parts.self_ns, "total": parts.total_ns, "calls": parts.calls, "flops": parts.flops,
        "bytes": parts.bytes,
    }[sort]  # fmt: skip
    return np.bincount(grouping.ids, np.nan_to_num(column), grouping.count)


def _ops(
    grouping: Grouping, judged: Judged, chosen: Ints, peaks: Peaks | None
) -> tuple[ReportOp, ...]:
    parts = grouping.parts
    reuses = Reuses(parts, peaks)
    found = []
    for i, group in zip(chosen.tolist(), grouping.rows(chosen), strict=True):
        mine, judgement = grouping.parts_of(i), judged[i]
        longest = int(mine[np.argmax(parts.self_ns[mine])])
        signature = int(parts.signature_id[longest])
        reuse = reuses.of(longest)
        reasons: tuple[str, ...] = ()
        if judgement.verdict is Verdict.LATENCY and signature >= 0:
            sig = parts.trace.signatures[signature]
            reasons = slow_reasons(sig, peaks, judgement.overhead_percent)
            reasons += uneven(parts.durations_ns(np.array([longest]))) + pushed_out(reuse)
        gain = None
        if judgement.roof_ns is not None:
            gain = max(0, int(judgement.judged_ns - judgement.roof_ns))
        found.append(ReportOp(group, judgement, reasons, reuse, gain))
    return tuple(found)


def _sampled(trace: Trace, account: Account | None) -> float | None:
    thread = main_thread(trace)
    if account is None or thread is None:
        return None
    weight_ns = int(trace.samples.weight_ns[trace.samples.thread == thread].sum())
    return min(100.0, 100 * weight_ns / account.wall_ns)


def _judged(each: Judged, self_ns: Ints) -> float | None:
    whole_ns = int(self_ns.sum())
    return 100 * int(each.judged_ns.sum()) / whole_ns if whole_ns else None


def _hundred(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _plain(value: Any) -> Any:
    if isinstance(value, Peaks):
        return value.to_json()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, np.ndarray):
        return value.tolist()
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Slope):
        return value._asdict()
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value
