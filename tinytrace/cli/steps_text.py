"""Steps and memory in the text of the report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from tinytrace.analysis.figures import format_mb, format_ns
from tinytrace.analysis.memory_report import Growth, MemoryReport, OverTime, ProcessMemory
from tinytrace.analysis.op_results import ResultSource
from tinytrace.analysis.slowest_step import OpDifference, SlowestStep
from tinytrace.analysis.step_report import StepReport
from tinytrace.cli.sheet import LONGEST_TEXT, UNKNOWN, Sheet

HOW = {
    "marks": "marked by the program",
    "step numbers": "marked by the program (by the numbers of what ran in them)",
    "optimizer": "found: the loop in which an optimizer runs",
    "pattern": "found: the loop that the ops are made of",
}
BLOCKS, ASCII_BLOCKS = "▁▂▃▄▅▆▇█", "_.:-=+*#"
ROWS = 3  # of what was different in the slowest step, and of sources of memory: the rest is in the JSON


def say_steps(found: StepReport, sheet: Sheet) -> None:
    """Print how many steps there were, how long they took, and what was different in the slowest."""
    steps = found.steps
    if steps.how is None or found.p50_ns is None:
        sheet.say(f"No steps: {sheet.text(steps.reason, LONGEST_TEXT)}.")
        return
    perhaps = "perhaps " if steps.confidence == "low" else ""
    sheet.say(
        f"Steps: {perhaps}{len(steps):,}, {HOW[steps.how]} (confidence: {steps.confidence})",
        "title",
    )
    if steps.confidence != "certain":
        sheet.say(f"{sheet.text(steps.reason, LONGEST_TEXT)}.", "dim")
    if steps.missing:
        sheet.say(f"{steps.missing:,} further ones are known as sums only.", "dim")
    text = f"median {format_ns(found.p50_ns)}, p90 {format_ns(found.p90_ns or 0)}, p99 {format_ns(found.p99_ns or 0)}"
    if found.spread_ns is not None:
        text += f", spread {format_ns(found.spread_ns)} (as a standard deviation, without outliers)"
    if found.warmup is None:
        text += "; too few to tell a warm-up apart"
    elif found.warmup:
        text += f"; without {found.warmup:,} of warm-up, which took {format_ns(found.warmup_excess_ns or 0)} more"
    else:
        text += "; no warm-up"
    sheet.say(f"{text}.")
    if found.slowest is not None:
        _say_slowest(found.slowest, sheet)


def _say_slowest(slowest: SlowestStep, sheet: Sheet) -> None:
    text = f"Slowest: step {slowest.number:,} with {format_ns(slowest.dur_ns)}"
    text += f"; no op ran for {format_ns(slowest.gap_ns)} of it (usually {format_ns(slowest.usual_gap_ns)})"
    if slowest.gap_running_ns or slowest.gap_waiting_ns:
        text += f", running {format_ns(slowest.gap_running_ns)}, waiting {format_ns(slowest.gap_waiting_ns)} of that"
    longer = [d for d in slowest.differences[:ROWS] if d.excess_ns > 0]
    if longer:
        text += f". Longer than usual: {', '.join(_difference(d, sheet) for d in longer)}"
    sheet.say(f"{text}.")


def _difference(one: OpDifference, sheet: Sheet) -> str:
    text = f"{sheet.text(one.op)} {sheet.text(one.place)} {format_ns(one.self_ns)} (usually {format_ns(one.usual_ns)}"
    if one.calls != one.usual_calls:
        text += f"; {one.calls:,} calls for {one.usual_calls:,.10g}"
    return f"{text})"


def say_memory(found: MemoryReport, sheet: Sheet, *, of_host: bool = False) -> None:
    """Print peaks and growth of each process, and what may be behind them.

    Args:
        found: in a trace.
        sheet: where to.
        of_host: that of devices was said.
    """
    if not any(p.arrays or p.resident for p in found.processes):
        whose = "Memory of the host" if of_host else "Memory"
        sheet.say(f"{whose} is not known: the trace has no counters of it.")
        return
    for process in found.processes:
        _say_process(process, sheet, many=len(found.processes) > 1)


def _say_process(found: ProcessMemory, sheet: Sheet, *, many: bool) -> None:
    sheet.say(f"Memory{f' of process {found.pid}' if many else ''}", "title")
    peaks = []
    if found.arrays is not None:
        where = "" if found.arrays.step is None else f" in step {found.arrays.step:,}"
        peaks.append(f"NumPy arrays {format_mb(found.arrays.bytes / 1e6)}{where}")
    if found.resident is not None:
        peaks.append(f"resident {format_mb(found.resident.bytes / 1e6)}")
    text = f"peak: {', '.join(peaks) or UNKNOWN}"
    if found.allocations_per_step is not None:
        text += f"; {found.allocations_per_step:,.0f} allocations a step"
    sheet.say(f"{text}; from step to step {_growth(found.array_growth)}.")
    _say_course({"arrays": found.arrays_over_time, "resident": found.resident_over_time}, sheet)
    _say_sources("may have been alive at the peak, at most", found.modelled_holders, sheet)
    if found.modelled_bytes_per_step:
        temporaries = f"new arrays of {format_mb(found.modelled_bytes_per_step / 1e6)} a step"
        _say_sources(f"{temporaries}, most by", found.modelled_temporaries, sheet)


def _say_course(courses: Mapping[str, OverTime | None], sheet: Sheet) -> None:
    """Print a line of blocks for each, from 0 to the most of it."""
    known = {name: one for name, one in courses.items() if one and len(one.most_bytes) > 1}
    steps = BLOCKS if sheet.can_show(BLOCKS) else ASCII_BLOCKS
    for name, one in known.items():
        figures = [b for b in one.most_bytes if b is not None]
        least, most = (format_mb(edge(figures) / 1e6) for edge in (min, max))
        between = most if least == most else f"{least} to {most}"
        sheet.say(f"{name:8} |{sparkline(one.most_bytes, steps)}| {between}")
    if known:
        span_ns = max(one.end_ns - one.start_ns for one in known.values())
        text = f"a block: the most in its part of {format_ns(span_ns)}, drawn from 0 up"
        gaps = any(None in one.most_bytes for one in known.values())
        sheet.say(f"{text}{'; a space: no reading' if gaps else ''}.", "dim")


def sparkline(values: Sequence[float | None], blocks: str) -> str:
    """Return a character per value, the last block for the largest; a space where nothing is known.

    >>> sparkline([0, 1, None, 4], "_-^#")
    '__ #'
    """
    most = max((value for value in values if value is not None), default=0) or 1
    return "".join(
        " " if value is None else blocks[max(0, math.ceil(value / most * len(blocks)) - 1)]
        for value in values
    )


def _say_sources(what: str, sources: Sequence[ResultSource], sheet: Sheet) -> None:
    if sources:
        told = [
            f"{sheet.text(one.op)} {sheet.text(one.place)} {format_mb(one.bytes / 1e6)} ({one.calls:,} results"
            f" of ops that took {format_ns(one.dur_ns)})"
            for one in sources[:ROWS]
        ]
        sheet.say(f"{what}: {', '.join(told)} (modelled from shapes).", "dim")


def _growth(growth: Growth) -> str:
    """What arrays do from step to step, with the interval."""
    if growth.slope is None:
        return f"not known ({'too few readings' if growth.steps else 'no steps'})"
    low, high = (_bytes(edge) for edge in (growth.slope.low, growth.slope.high))
    return f"{growth.verdict} ({low} to {high} a step, 95 % interval)"


def _bytes(value: float) -> str:
    """An amount that may be less than a kB.

    >>> _bytes(-448.2), _bytes(1.2e6)
    ('-448 bytes', '1.20 MB')
    """
    return f"{value + 0:.0f} bytes" if abs(value) < 1000 else format_mb(value / 1e6)
