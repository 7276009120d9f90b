"""Caches in the text of the report: measured and modelled, each called so."""

from __future__ import annotations

from tinytrace.analysis.caches import Agreement, Counted, ProcessCaches
from tinytrace.analysis.figures import format_count, format_mb, format_ns, format_rate
from tinytrace.analysis.findings.fresh_memory import NAME as FRESH_MEMORY
from tinytrace.analysis.hardware_words import NAMES, OUTER, VERDICTS, Form, figure_rows
from tinytrace.analysis.report import Report
from tinytrace.cli.sheet import LONGEST_TEXT, UNKNOWN, Sheet
from tinytrace.cli.steps_text import ASCII_BLOCKS, BLOCKS, sparkline


def say_caches(report: Report, sheet: Sheet) -> None:
    """Print what was measured, or why nothing was; what is modelled; and whether they agree."""
    found = report.caches
    sheet.say("Caches", "title")
    for one in found.processes:
        if one.run is not None:
            _say_measured(one, one.run, sheet, many=len(found.processes) > 1)
    if found.why_none is not None:
        sheet.say(f"measured: nothing by hardware counters: {found.why_none}.")
    for text in found.missing:
        sheet.say(f"{sheet.text(text, LONGEST_TEXT)}.", "dim")
    for one in found.processes:
        process = f" of process {one.pid}" if len(found.processes) > 1 else ""
        _say_modelled(one, process, sheet)
        _say_faults(one, process, report, sheet)


def _say_measured(found: ProcessCaches, run: Counted, sheet: Sheet, *, many: bool) -> None:
    process = f" of process {found.pid}" if many else ""
    columns: dict[str, list[str]] = {"what": []}
    times = {"run": run} | ({} if found.step is None else {"a step": found.step})
    for words, field, form in figure_rows(found.outer):
        cells = [_cell(getattr(one, field), form) for one in times.values()]
        if set(cells) != {UNKNOWN}:
            columns["what"].append(words)
            for head, text in zip(times, cells, strict=True):
                columns.setdefault(head, []).append(text)
    if len(columns) > 1:
        sheet.table(f"measured by hardware counters{process} ({format_ns(run.wall_ns)})", columns)
    _say_course(found, sheet)
    every = format_ns(found.reading_ns or 0)
    text = f"in user mode, all threads; read every {every}: what an op has of it is not known"
    if found.step is not None:
        text += f"; a step: the mean of {found.n_steps:,}, evenly between readings"
    sheet.say(f"{text}.", "dim")
    if found.scaled:
        told = ", ".join(f"{NAMES[name]} {percent:.0f} %" for name, percent in found.scaled)
        sheet.say(
            f"Estimated from a part of the time, since counters took turns: {told}.", "warning"
        )


def _say_course(found: ProcessCaches, sheet: Sheet) -> None:
    """A line of blocks for what changed over time."""
    steps = BLOCKS if sheet.can_show(BLOCKS) else ASCII_BLOCKS
    lines = {
        "instructions per cycle": [one.instructions_per_cycle for one in found.over_time],
        f"{OUTER[found.outer or 'llc'][0]} miss %": [one.miss_percent for one in found.over_time],
    }
    for name, values in lines.items():
        known = [value for value in values if value is not None]
        if len(values) > 1 and known:
            between = f"{format_rate(min(known))} to {format_rate(max(known))}"
            sheet.say(f"{name:22} |{sparkline(values, steps)}| {between}")


def _say_modelled(found: ProcessCaches, process: str, sheet: Sheet) -> None:
    modelled = found.modelled
    total, unknown = modelled.total_bytes, ("not known", modelled.unknown_bytes)
    if not total:
        sheet.say(f"modelled{process}: no bytes of ops are known.")
        return
    bounds = {
        "at best (touched just before)": modelled.at_best or (unknown,),
        "at worst (not touched since the same call before)": (*modelled.at_worst, unknown),
    }
    told = [
        f"{bound} from {', '.join(f'{level} {100 * n / total:.0f} %' for level, n in parts if n)}"
        for bound, parts in bounds.items()
    ]
    sheet.say(f"modelled{process}: ops move {format_mb(total / 1e6)}; {'; '.join(told)}.")
    if found.agreement is not None:
        sheet.say(_agreement(found.agreement, OUTER[found.outer or "llc"][1]))


def _agreement(found: Agreement, beyond: str) -> str:
    low, high = (format_mb(n / 1e6) for n in (found.modelled_low_bytes, found.modelled_high_bytes))
    modelled = low if low == high else f"{low} to {high}"
    measured = format_mb(found.measured_bytes / 1e6)
    return f"from {beyond}: by measured misses {measured}, modelled {modelled}: {VERDICTS[found.verdict]}."


def _say_faults(found: ProcessCaches, process: str, report: Report, sheet: Sheet) -> None:
    if found.page_faults is None:
        return
    text = f"page faults{process} (measured): {found.page_faults:,}"
    if found.page_faults_per_step is not None:
        text += f", {found.page_faults_per_step:,.0f} a step"
    if found.major_faults:
        text += f"; {found.major_faults:,} of them waited for a disk"
    fresh = [one.id for one in report.findings if one.rule == FRESH_MEMORY]
    if fresh:
        text += f"; new memory for results: {', '.join(fresh)}"
    sheet.say(f"{text}.")


def _cell(value: float | None, form: Form) -> str:
    if value is None:
        return UNKNOWN
    if form == "bytes":
        return format_mb(value / 1e6)
    return format_count(round(value)) if form == "count" else format_rate(value)
