"""The verdict on a run in one sentence, made of the figures of its report."""

from __future__ import annotations

from tinytrace.analysis.account import Account, Where
from tinytrace.analysis.device_words import device_headline
from tinytrace.analysis.findings import Finding
from tinytrace.analysis.report import Report

SPENT = {
    Where.COMPUTE: "in ops at the limit of arithmetic",
    Where.MEMORY: "in ops at the limit of memory bandwidth",
    Where.OVERHEAD: "in ops so small that calling them takes longer than their work",
    Where.BALANCED: "in ops that arithmetic and memory limit alike",
    Where.LATENCY: "in ops far below every roof of the machine",
    Where.UNCOUNTED: "in ops whose work is not counted",
    Where.NOT_JUDGED: "in ops that cannot be judged",
    Where.DISPATCH: "dispatching work to devices",
    Where.PYTHON: "in Python between ops",
    Where.TORCH_UNSEEN: "where operations of torch were not recorded",
    Where.IMPORTS: "importing modules",
    Where.DATA_WAIT: "waiting for data",
    Where.COMMUNICATION: "communication with other ranks",
    Where.DEVICE_WAIT: "waiting for a device",
    Where.BLOCKED: "blocked or idle",
    Where.NOT_KNOWN_RUNNING: "between ops, running or waiting",
    Where.PROFILER: "being recorded",
    Where.UNATTRIBUTED: "where neither ops nor samples tell",
}
OF_OPS = (
    Where.COMPUTE, Where.MEMORY, Where.OVERHEAD, Where.BALANCED, Where.LATENCY, Where.UNCOUNTED,
    Where.NOT_JUDGED,
)  # fmt: skip


def headline(report: Report) -> str:
    """Return where most of the time goes and what could be won at most, in one sentence.

    Of the median step where there are steps to go by, else of the run. Where devices (GPUs) worked, it is about them.

    Args:
        report: of any trace.

    Example:
        >>> from tinytrace.analysis.report import report_of
        >>> from tinytrace.tracer.trace import Trace
        >>> headline(report_of(Trace()))
        'Where the time went is not known: the trace has no thread, or no time.'
    """
    if report.devices is not None:
        return " ".join(device_headline(section) for section in report.devices.sections)
    account = report.step_account or report.account
    if account is None:
        return "Where the time went is not known: the trace has no thread, or no time."
    most = max(account.entries, key=lambda entry: entry.spent_ns)
    what = "a step" if report.step_account is not None else "the run"
    parts = [_most_of_it(report, account, most.where), _to_win(report.findings)]
    rest = ", and ".join(part for part in parts if part is not None)
    return f"{most.percent:.0f} % of {what} is spent {SPENT[most.where]}; {rest}."


def _most_of_it(report: Report, account: Account, where: Where) -> str | None:
    """Where to look first; None: not known."""
    if where is Where.PYTHON and account.python:
        return (
            f"the line with most of it is {account.python[0].place}"
            if account.python[0].place
            else None
        )
    if where in OF_OPS and report.ops and (report.by, report.sort) == ("op", "self"):
        longest = report.ops[0].group
        site = "" if longest.callsite is None else f" ({longest.callsite})"
        return f"the op with most time is {longest.op}{site}"
    return None


def _to_win(findings: tuple[Finding, ...]) -> str:
    timed = [finding for finding in findings if finding.ceiling_ns]
    if not timed:
        return "no rule knows how to make it faster"
    best = max(timed, key=lambda finding: finding.ceiling_ns or 0)
    where = "" if best.place is None else f" ({best.place})"
    share = 100 * best.ceiling_share
    few = "less than 1" if share < 0.5 else f"at most {share:.0f}"
    return f"the largest finding{where} could save {few} % of the run"
