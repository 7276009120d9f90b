"""The report as text. `docs/report.md` explains every word of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TextIO

from tinytrace.analysis.account import Account, Entry, Where
from tinytrace.analysis.figures import format_count, format_mb, format_ns
from tinytrace.analysis.findings.wording import listed
from tinytrace.analysis.hot_lines import HotLine
from tinytrace.analysis.op_cells import figure_cell, gflops_cell, site_cell
from tinytrace.analysis.report import Report, ReportOp
from tinytrace.analysis.roofline import Verdict
from tinytrace.analysis.roofline_points import Roofline
from tinytrace.analysis.what_if import WhatIf
from tinytrace.cli.audit_text import audit_text
from tinytrace.cli.device_text import say_device_headlines, say_devices
from tinytrace.cli.findings_text import say_findings
from tinytrace.cli.roofline_chart import FEW_ROWS, chart, letters
from tinytrace.cli.sheet import LONGEST_TEXT, UNKNOWN, Sheet
from tinytrace.cli.steps_text import say_memory, say_steps

NO_PEAKS = (
    "No verdicts: the trace has no roofs of the machine that it was recorded on (python -m tinytrace calibrate, "
    "there, before recording)."
)


def print_report(
    report: Report, file: TextIO, path: str = "trace.json", roofline: Roofline | None = None
) -> None:
    """Print a report.

    In colour on a terminal, unless ``NO_COLOR`` is set or it is a dumb one; otherwise plain text.

    Args:
        report: of any trace; what is not known is said.
        file: where to.
        path: of the trace, for the commands that are shown.
        roofline: of the same; drawn after the tables of ops.

    Raises:
        OSError: it cannot be written there.
    """
    sheet = Sheet(file)
    for section in sections(path):
        if section is _devices and report.devices is None:
            continue
        section(report, sheet)
        sheet.say()
        if section is _ops and roofline is not None:
            _picture(roofline, sheet)
    _audit(report, sheet)
    sheet.print()


def _head(report: Report, sheet: Sheet) -> None:
    text = f"tinytrace: {format_ns(report.wall_ns)} recorded"
    text += f", {report.processes} processes" if report.processes > 1 else ""
    text += f", {report.threads} threads" if report.threads > 1 else ""
    sheet.say(text, "title")
    say_device_headlines(report.devices, sheet)
    for warning in report.warnings:
        sheet.say(f"Warning: {sheet.text(warning, LONGEST_TEXT)}", "warning")
    peaks = report.peaks
    if peaks is None:
        if report.devices is None:
            sheet.say(NO_PEAKS)
        return
    quick = ", quickly: they may be a little low" if peaks.quick else ""
    threads = f"{peaks.threads} BLAS thread{'s' if peaks.threads > 1 else ''}"
    cpu = sheet.text(str(peaks.machine.get("cpu", "this machine")))
    sheet.say(f"Roofs: {cpu}, {threads}, measured {sheet.text(peaks.measured_at)}{quick}.", "dim")


def _account(report: Report, sheet: Sheet) -> None:
    account, step = report.account, report.step_account
    if account is None:
        sheet.say("No account: the trace has no thread, or no time.")
        return
    shown = [entry for entry in account.entries if entry.spent_ns or _of(step, entry)]
    columns = {
        "where": [entry.where.value for entry in shown],
        "% wall": [f"{entry.percent:.1f}" for entry in shown],
        "time": [format_ns(entry.spent_ns) for entry in shown],
    }
    if step is not None:
        columns["% step"] = [f"{step.percent(entry.where):.1f}" for entry in shown]
        columns["a step"] = [format_ns(step.spent_ns(entry.where)) for entry in shown]
    columns["most of it"] = [_most(report, account, entry.where, sheet) for entry in shown]
    thread = sheet.text(account.thread)
    sheet.table(f"Where the time of {thread} went ({format_ns(account.wall_ns)})", columns)
    if step is not None:
        which = f"the mean of the {step.n_windows:,} steps whose duration is in the middle half"
        which = which if step.n_windows > 1 else "the median one"
        sheet.say(f"a step: {format_ns(step.wall_ns)}, {which}.", "dim")
    if account.scaled:
        sheet.say(
            "Some spans are folded or overlap, so that their times add up to more than there was: Python "
            "between ops is scaled to what is left.",
            "dim",
        )
    if not report.audit.samples and account.spent_ns(Where.UNATTRIBUTED):
        without = (
            "samples"
            if report.devices is None or account.python
            else "samples or stacks (with_stack=True)"
        )
        sheet.say(f"Without {without}, what ran between ops cannot be told.", "dim")
    if not account.profiler_known:
        sheet.say("What recording cost is not known: it is in the other lines.", "dim")


def _of(account: Account | None, entry: Entry) -> int:
    return 0 if account is None else account.spent_ns(entry.where)


def _most(report: Report, account: Account, where: Where, sheet: Sheet) -> str:
    """What took most of the time of a line of the account, as far as it is known."""
    if where is Where.PYTHON and account.python:
        line = account.python[0]
        place = sheet.text(" ".join(part for part in (line.place, line.function) if part))
        return f"{place} {format_ns(line.spent_ns)}"
    return ""


def _ops(report: Report, sheet: Sheet) -> None:
    rows = report.ops
    if not rows:
        sheet.say("No NumPy operation was recorded.")
        return
    first = report.by if report.by != "callsite" else "call site"
    columns = {
        first: [_label(report, row, sheet) for row in rows],
        "% wall": [f"{row.group.percent:.1f}" for row in rows],
        "self": [format_ns(row.group.self_ns) for row in rows],
        **_sorted_by(report),
        "calls": [f"{row.group.calls:,}" for row in rows],
        "p50": [_time(row.group.p50_ns) for row in rows],
        "p99": [_time(row.group.p99_ns) for row in rows],
        "% roof": [_percent(row.judgement.roof_percent) for row in rows],
        "gain <": [_time(row.gain_ns) for row in rows],
        "verdict": [_verdict(report, row, sheet) for row in rows],
    }
    sheet.table(f"Top {_groups(report)} by {report.sort} ({len(rows)} of {report.n_ops})", columns)
    for note in _op_notes(report, sheet):
        sheet.say(note, "dim")
    sheet.say()
    columns = {
        first: columns[first],
        "GFLOP/s": [gflops_cell(row.group) for row in rows],
        "GB/s": [figure_cell(row.group, row.group.gbps) for row in rows],
        "FLOP/B": [figure_cell(row.group, row.group.flops_per_byte) for row in rows],
        "footprint": [_size(row.group.footprint_bytes) for row in rows],
        "fits": [row.reuse.fits or UNKNOWN for row in rows],
        "reuse": [_size(row.reuse.distance_bytes) for row in rows],
        "held in": [row.reuse.level or UNKNOWN for row in rows],
        "call site": [site_cell(row.group, sheet.text) for row in rows],
    }
    sheet.table("Their work, and their memory as modelled", columns)
    sheet.say(
        "footprint: bytes of the distinct operands of a call; reuse: bytes that other ops touch until the next "
        "call; held in: the level that has room for both. Modelled from shapes, not measured.",
        "dim",
    )


def _sorted_by(report: Report) -> dict[str, list[str]]:
    """The column that the rows are sorted by, where the table would not have it."""
    groups = [row.group for row in report.ops]
    if report.sort == "total":
        return {"total": [format_ns(group.total_ns) for group in groups]}
    if report.sort == "flops":
        return {
            "FLOPs": [UNKNOWN if g.flops is None else format_count(round(g.flops)) for g in groups]
        }
    if report.sort == "bytes":
        return {"bytes": [_size(group.bytes) for group in groups]}
    return {}


def _picture(roofline: Roofline, sheet: Sheet) -> None:
    """The ops under the roofs; nothing where no op has a place or the terminal is too narrow."""
    lines = chart(roofline, sheet.width, FEW_ROWS)
    if not lines:
        return
    sheet.say("Roofline", "title")
    for line in lines:
        sheet.say(line)
    names = [
        f"{letter} {sheet.text(point.group.op)} {sheet.text(point.dtype)} {point.level or ''}".rstrip()
        for letter, point in zip(letters(roofline), roofline.points, strict=True)
        if letter
    ]
    sheet.say(f"{', '.join(names)}. - roofs of computing, / of moving bytes.", "dim")
    sheet.say()


def _label(report: Report, row: ReportOp, sheet: Sheet) -> str:
    if row.group.label is None:
        return {"layer": "(in none)", "step": "(in none)"}.get(report.by, UNKNOWN)
    return sheet.text(row.group.label)


def _groups(report: Report) -> str:
    return {"op": "ops", "callsite": "call sites", "layer": "layers", "step": "steps", "thread": "threads"}[
        report.by
    ]  # fmt: skip


def _verdict(report: Report, row: ReportOp, sheet: Sheet) -> str:
    text = row.judgement.label
    return text if report.by == "op" else f"{text}, mostly {sheet.text(row.group.op)}"


def _op_notes(report: Report, sheet: Sheet) -> list[str]:
    """What the table's words mean, as far as they occur; what may make a row slow."""
    rows, verdicts = report.ops, {row.judgement.verdict for row in report.ops}
    notes = []
    if report.by == "step" and not report.steps.steps.are_sure:
        notes.append("(in none): no steps are known, or with low confidence only: see below.")
    if any(row.gain_ns is not None for row in rows):
        notes.append(
            "gain <: what the calls would take less at their roofs: a bound, not a promise."
        )
    if any(row.group.p50_ns is None for row in rows):
        notes.append("p50, p99 are not known where calls were aggregated to save space.")
    if Verdict.LATENCY in verdicts:
        notes.append(
            "latency: below 60 % of every roof, and not the cost of calls. What shows of the reason:"
        )
        notes += _slow(report, sheet)
    if Verdict.VIOLATION in verdicts:
        notes.append(
            "model violation: faster than the roofs allow, so that roof or count is wrong here: no result."
        )
    partly = [row for row in rows if row.judgement.violation_ns and row.judgement.roof_percent]
    if partly:
        names = ", ".join(
            f"{_label(report, row, sheet)} {format_ns(row.judgement.violation_ns)}"
            for row in partly
        )
        notes.append(f"Left out, since faster than the roofs allow (model violation): {names}.")
    return notes


def _slow(report: Report, sheet: Sheet) -> list[str]:
    """A line for each op that is slow for a reason that shows, and for each reason that several have."""
    ops: dict[str, list[str]] = {}
    for row in report.ops:
        for reason in row.reasons:
            ops.setdefault(reason, []).append(_label(report, row, sheet))
    alone: dict[str, list[str]] = {}
    for reason, labels in ops.items():
        if len(labels) == 1:
            alone.setdefault(labels[0], []).append(sheet.text(reason, LONGEST_TEXT))
    told = [f"  {label}: {'; '.join(reasons)}" for label, reasons in alone.items()]
    told += [
        f"  {listed(labels)}: {sheet.text(reason, LONGEST_TEXT)}"
        for reason, labels in ops.items()
        if len(labels) > 1
    ]
    return told or ["  nothing."]


def _what_if(report: Report, sheet: Sheet) -> None:
    for what, bound in (("the run", report.what_if), ("a step", report.step_what_if)):
        if bound is not None:
            sheet.say(_bound(what, bound))
    if report.what_if is None:
        sheet.say("What could be won is not known: no op was judged.")
    else:
        sheet.say(
            "These are bounds: Python between ops and all else would stay as they are.", "dim"
        )


def _bound(what: str, bound: WhatIf) -> str:
    return (
        f"If the ops of the table ran at their roofs, {what} would take at least {format_ns(bound.top_at_roof_ns)} "
        f"instead of {format_ns(bound.wall_ns)}; if all judged ops did, {format_ns(bound.at_roof_ns)}."
    )


def _hot(report: Report, sheet: Sheet) -> None:
    hot = report.hot
    if not hot.lines:
        sheet.say("No line of the program is known: no samples, and no call sites.")
        return
    _hot_table(f"Hot lines ({len(hot.lines)} of {hot.n_lines})", "line", hot.lines, sheet)
    sheet.say()
    title = f"Hot functions ({len(hot.functions)} of {hot.n_functions})"
    _hot_table(title, "file", hot.functions, sheet)
    note = "ops: exact; Python, waiting: between ops, from samples"
    sheet.say(f"{note}." if report.audit.samples else f"{note}, of which there are none.", "dim")


def _hot_table(title: str, first: str, rows: tuple[HotLine, ...], sheet: Sheet) -> None:
    columns = {
        first: [sheet.text(row.place) for row in rows],
        "% wall": [f"{row.percent:.1f}" for row in rows],
        "ops": [format_ns(row.op_ns) for row in rows],
        "Python": [format_ns(row.python_ns) for row in rows],
        "waiting": [format_ns(row.waiting_ns) for row in rows],
        "samples": [f"{row.samples:,}" for row in rows],
        "function": [_function(row, sheet) for row in rows],
    }
    sheet.table(title, columns)


def _function(row: HotLine, sheet: Sheet) -> str:
    name = sheet.text(row.function)
    return name if row.top_op is None else f"{name}: {sheet.text(row.top_op)}"


def _findings(report: Report, sheet: Sheet, path: str) -> None:
    say_findings(report.findings, sheet, path)


def _devices(report: Report, sheet: Sheet) -> None:
    say_devices(report.devices, report.by, sheet)


def _steps(report: Report, sheet: Sheet) -> None:
    say_steps(report.steps, sheet)


def _memory(report: Report, sheet: Sheet) -> None:
    say_memory(report.memory, sheet)


def _audit(report: Report, sheet: Sheet) -> None:
    cover = report.coverage
    time, ops = "there is no time to explain", "there are no ops to count"
    if cover.explained is not None:
        time = f"of the main thread's time {_share(cover.explained)} explained, {_share(cover.sampled)} sampled"
    if cover.judged is not None:
        ops = (
            f"of the ops' time FLOPs counted for {_share(cover.flops_counted)}, bytes for "
            f"{_share(cover.bytes_counted)}, judged by roofs {_share(cover.judged)}"
        )
    sheet.say(f"Coverage: {time}; {ops}.")
    sheet.say(audit_text(report.audit, sheet.text))


def _time(t_ns: float | None) -> str:
    return UNKNOWN if t_ns is None else format_ns(t_ns)


def _percent(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.0f}"


def _share(value: float | None) -> str:
    return "(not known)" if value is None else f"{value:.1f} %"


def _size(size_bytes: float | None) -> str:
    if size_bytes is None:
        return UNKNOWN
    return f"{size_bytes:,.0f} B" if size_bytes < 1000 else format_mb(size_bytes / 1e6)


def sections(path: str) -> tuple[Callable[[Report, Sheet], None], ...]:
    """Return what prints each section, in the order in which they are printed."""
    findings = partial(_findings, path=path)
    return (_head, _devices, _account, findings, _ops, _hot, _steps, _memory, _what_if)
