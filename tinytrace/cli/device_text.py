"""The section of the report about devices, as text."""

from __future__ import annotations

from tinytrace.analysis.device_account import Spent
from tinytrace.analysis.device_report import DeviceReport, DeviceSection
from tinytrace.analysis.device_tables import DeviceOpRow, KernelRow
from tinytrace.analysis.device_words import (
    account_notes,
    device_headline,
    device_name,
    job_words,
    memory_words,
    op_notes,
    step_notes,
)
from tinytrace.analysis.figures import format_ns, format_rate
from tinytrace.cli.sheet import LONGEST_TEXT, UNKNOWN, Sheet
from tinytrace.cli.steps_text import ASCII_BLOCKS, BLOCKS, sparkline


def say_device_headlines(devices: DeviceReport | None, sheet: Sheet) -> None:
    """Say what took the time of each device, in a sentence each."""
    if devices is None:
        return
    job = job_words(devices)
    if job is not None:
        sheet.say(sheet.text(job))
    for section in devices.sections:
        sheet.say(sheet.text(device_headline(section), LONGEST_TEXT), "title")


def say_devices(devices: DeviceReport | None, by: str, sheet: Sheet) -> None:
    """Say where the time of each device went, and what ran there."""
    if devices is None:
        return
    for number, section in enumerate(devices.sections):
        if number:
            sheet.say()
        _account(section, sheet)
        sheet.say()
        _ops(section, by, sheet)
        sheet.say()
        _kernels(section, sheet)
        for note in step_notes(section):
            sheet.say(sheet.text(note, LONGEST_TEXT), "dim")
    blocks = BLOCKS if sheet.can_show(BLOCKS) else ASCII_BLOCKS
    for memory in devices.memory:
        sheet.say()
        sheet.say(sheet.text(memory_words(memory), LONGEST_TEXT))
        sheet.say(f"|{sparkline(memory.course.most_bytes, blocks)}| from 0 up", "dim")


def _account(section: DeviceSection, sheet: Sheet) -> None:
    account, step = section.account, section.step_account
    shown = [
        entry
        for entry in account.entries
        if entry.spent_ns or (step is not None and step.spent_ns(entry.spent))
    ]
    columns = {
        "where": [entry.spent.value for entry in shown],
        "% time": [f"{entry.percent:.1f}" for entry in shown],
        "time": [format_ns(entry.spent_ns) for entry in shown],
    }
    if step is not None:
        columns["% step"] = [f"{step.percent(entry.spent):.1f}" for entry in shown]
        columns["a step"] = [format_ns(step.spent_ns(entry.spent)) for entry in shown]
    more = [_of_it(section, entry.spent) for entry in shown]
    columns["of it" if any(more) else ""] = more
    name = sheet.text(device_name(account))
    sheet.table(f"Where the time of {name} went ({format_ns(account.wall_ns)})", columns)
    for note in account_notes(section):
        sheet.say(note, "dim")


def _of_it(section: DeviceSection, spent: Spent) -> str:
    """What is beside a line of the account."""
    account = section.account
    if spent is Spent.COMMUNICATION:
        hidden_ns = account.communication_ns - account.spent_ns(spent)
        return f"{format_ns(hidden_ns)} more ran beside kernels that compute"
    if spent is Spent.COPIES and account.copies_ns > account.spent_ns(spent):
        hidden_ns = account.copies_ns - account.spent_ns(spent)
        return f"{format_ns(hidden_ns)} more ran beside other work"
    return ""


def _ops(section: DeviceSection, by: str, sheet: Sheet) -> None:
    rows = section.ops
    if not rows:
        sheet.say("No kernel is known to have been launched by an op.")
        return
    first = "call site" if by == "callsite" else by if by in ("layer", "step") else "op"
    columns = {
        first: [_label(row, sheet) for row in rows],
        "% time": [f"{row.percent:.1f}" for row in rows],
        "on device": [format_ns(row.device_ns) for row in rows],
        "on host": [format_ns(row.host_ns) for row in rows],
        "calls": [f"{row.calls:,}" for row in rows],
        "kernels": [f"{row.pieces:,}" for row in rows],
        "TFLOP/s": [_rate(row.tflops) for row in rows],
        "GB/s": [_rate(row.gbps) for row in rows],
        "% roof": [_percent(row.judgement.roof_percent) for row in rows],
        "verdict": [_verdict(row, first, sheet) for row in rows],
    }
    if any(row.callsite for row in rows) and first == "op":
        columns["call site"] = [_site(row, sheet) for row in rows]
    title = f"Top {first}s by the time of their kernels ({len(rows)} of {section.n_ops})"
    sheet.table(title, columns)
    for note in op_notes(section):
        sheet.say(note, "dim")


def _label(row: DeviceOpRow, sheet: Sheet) -> str:
    return "(in none)" if row.label is None else sheet.text(row.label)


def _verdict(row: DeviceOpRow, first: str, sheet: Sheet) -> str:
    text = row.judgement.label
    return text if first == "op" else f"{text}, mostly {sheet.text(row.op)}"


def _site(row: DeviceOpRow | KernelRow, sheet: Sheet) -> str:
    if row.callsite is None:
        return UNKNOWN
    text = sheet.text(row.callsite)
    return text if row.n_callsites < 2 else f"{text} (+{row.n_callsites - 1})"


def _kernels(section: DeviceSection, sheet: Sheet) -> None:
    rows = section.kernels
    columns = {
        "kernel": [sheet.text(row.short_name) for row in rows],
        "% time": [f"{row.percent:.1f}" for row in rows],
        "time": [format_ns(row.device_ns) for row in rows],
        "calls": [f"{row.calls:,}" for row in rows],
        "p50": [format_ns(row.p50_ns) for row in rows],
        "launched by": [_launcher(row, sheet) for row in rows],
    }
    sheet.table(f"Top kernels ({len(rows)} of {section.n_kernels})", columns)


def _launcher(row: KernelRow, sheet: Sheet) -> str:
    op = UNKNOWN if row.op is None else sheet.text(row.op)
    op = op if row.n_ops < 2 else f"{op} (+{row.n_ops - 1})"
    return op if row.callsite is None else f"{op} {_site(row, sheet)}"


def _rate(value: float | None) -> str:
    return UNKNOWN if value is None else format_rate(value)


def _percent(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.0f}"
