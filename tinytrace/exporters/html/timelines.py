"""Steps, memory and call stacks: what the page's script draws, and what is said beside it."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinytrace.analysis.counter_lines import CounterLine
from tinytrace.analysis.figures import clean
from tinytrace.analysis.flame import FlameGraph
from tinytrace.analysis.hot_lines import HotLines
from tinytrace.analysis.memory_report import Growth, MemoryReport, ProcessMemory
from tinytrace.analysis.op_results import ResultSource
from tinytrace.analysis.step_report import StepReport
from tinytrace.exporters.html.markup import (
    NOT_KNOWN,
    Markup,
    counted,
    join,
    percent,
    size,
    tag,
    time,
)
from tinytrace.exporters.html.tables import pairs, table

MOST_BARS = 600  # steps that are drawn one by one; a picture is about 1,000 pixels wide
MOST_PROCESSES = 4
MOST_SOURCES = 5
LONGEST_NAME = 120
HOW = {
    "marks": "marked by the program",
    "step numbers": "marked by the program (by the numbers of what ran in them)",
    "optimizer": "found: the loop in which an optimizer runs",
    "pattern": "found: the loop that the ops are made of",
}
LINES = {
    "rss_mb": "resident",
    "array_mb": "NumPy arrays",
    "array_peak_mb": "arrays since the reading before",
}


def steps_data(found: StepReport) -> dict[str, Any] | None:
    """Return durations in ms; of many steps, median and extremes of stretches of equally many; None: no steps."""
    steps = found.steps
    n = len(steps)
    if not n or found.p50_ns is None:
        return None
    ms = steps.dur_ns / 1e6
    per_bar = -(-n // MOST_BARS)
    stretches = np.split(ms, range(per_bar, n, per_bar))
    slowest = found.slowest
    return {
        "perBar": per_bar,
        "n": n,
        "first": [number * per_bar for number in range(len(stretches))],
        "low": [round(float(part.min()), 6) for part in stretches],
        "middle": [round(float(np.median(part)), 6) for part in stretches],
        "high": [round(float(part.max()), 6) for part in stretches],
        "median": found.p50_ns / 1e6,
        "warmup": found.warmup or 0,
        "slowest": None if slowest is None else [slowest.index, slowest.dur_ns / 1e6],
    }


def steps_words(found: StepReport) -> Markup:
    """Return how many steps there are, how that is known, how long they took, and the slowest one."""
    steps = found.steps
    if steps.how is None or found.p50_ns is None:
        return tag("p", f"No steps: {steps.reason}.", class_="missing")
    if found.warmup is None:
        warmup = "too few steps to tell"
    elif found.warmup:
        warmup = f"{counted(found.warmup, 'step')}, which took {time(found.warmup_excess_ns)} more"
    else:
        warmup = "none"
    figures = [
        ("steps", f"{len(steps):,}, {HOW[steps.how]}; confidence: {steps.confidence}"),
        ("median", time(found.p50_ns)),
        ("90 % take at most", time(found.p90_ns)),
        ("99 % take at most", time(found.p99_ns)),
        ("spread", f"{time(found.spread_ns)} (as a standard deviation, without outliers)"),
        ("warm-up", warmup),
    ]
    if steps.missing:
        figures.append(("not drawn", f"{steps.missing:,} further steps, known as sums only"))
    slowest = found.slowest
    told = None
    if slowest is not None:
        longer = [d for d in slowest.differences[:MOST_SOURCES] if d.excess_ns > 0]
        told = join(
            tag("h3", f"Slowest: step {slowest.number:,}, {time(slowest.dur_ns)}"),
            tag("p", f"No op ran for {time(slowest.gap_ns)} of it (usually {time(slowest.usual_gap_ns)}); running "
                f"{time(slowest.gap_running_ns)}, waiting {time(slowest.gap_waiting_ns)} of that."),
            tag("ul", *(
                tag("li", tag("b", d.op), f" {d.place or NOT_KNOWN}: {time(d.self_ns)}, usually {time(d.usual_ns)}")
                for d in longer
            )) if longer else None,
        )  # fmt: skip
    return join(pairs(figures), told)


def memory_data(lines: tuple[CounterLine, ...], found: MemoryReport) -> list[dict[str, Any]]:
    """Return readings (s, MB) by process, of the first few processes, in the order of the report."""
    known = {line.process for line in lines}
    processes = [one.process for one in found.processes if one.process in known][:MOST_PROCESSES]
    return [
        {
            "pid": next(line.pid for line in lines if line.process == process),
            "lines": [
                {
                    "name": LINES[line.name],
                    "s": np.round(line.t_ns / 1e9, 6).tolist(),
                    "mb": np.round(line.mb, 6).tolist(),
                }
                for line in lines
                if line.process == process
            ],
        }
        for process in processes
    ]


def memory_words(found: MemoryReport) -> Markup:
    """Return peaks and growth of each process, and what may be behind them."""
    known = [one for one in found.processes if one.arrays or one.resident]
    if not known:
        return tag("p", "Memory is not known: the trace has no counters of it.", class_="missing")
    shown = [_process(one, many=len(known) > 1) for one in known[:MOST_PROCESSES]]
    if len(known) > MOST_PROCESSES:
        left = len(known) - MOST_PROCESSES
        shown.append(tag("p", f"{left:,} further processes are left out here.", class_="note"))
    return join(*shown)


def _process(found: ProcessMemory, *, many: bool) -> Markup:
    per_step = found.allocations_per_step
    figures = [
        ("resident, peak", size(found.resident.bytes if found.resident else None)),
        ("NumPy arrays, peak", size(found.arrays.bytes if found.arrays else None)),
        ("allocations a step", NOT_KNOWN if per_step is None else f"{per_step:,.0f}"),
        ("arrays from step to step", _growth(found.array_growth)),
        ("resident from step to step", _growth(found.resident_growth)),
    ]
    return join(
        tag("h3", f"Process {found.pid}") if many else None,
        pairs(figures),
        _sources("May have been alive at the peak, at most", found.modelled_holders),
        _sources("New arrays in the steps, most by", found.modelled_temporaries),
    )


def _growth(growth: Growth) -> str:
    if growth.slope is None:
        return "not known (too few readings)"
    low, high = (size(edge) for edge in (growth.slope.low, growth.slope.high))
    return f"{growth.verdict} ({low} to {high} a step, 95 % interval)"


def _sources(what: str, sources: tuple[ResultSource, ...]) -> Markup | None:
    if not sources:
        return None
    return join(
        tag("h3", f"{what} (modelled from shapes)"),
        tag(
            "ul",
            *(
                tag("li", tag("b", one.op), f" {one.place or NOT_KNOWN}: {size(one.bytes)}, {one.calls:,} results "
                    f"of ops that took {time(one.dur_ns)}")
                for one in sources[:MOST_SOURCES]
            ),
        ),
    )  # fmt: skip


def flame_data(flame: FlameGraph) -> dict[str, Any] | None:
    """Return calls as columns, and the functions that they name; None: no samples."""
    if not len(flame):
        return None
    used, function = np.unique(flame.function, return_inverse=True)
    functions = [flame.functions[number] for number in used.tolist()]
    return {
        "names": [clean(one.name)[:LONGEST_NAME] for one in functions],
        "files": [None if one.file is None else clean(_short(one.file)) for one in functions],
        "library": [int(one.is_library) for one in functions],
        "function": function.tolist(),
        "parent": flame.parent.tolist(),
        "selfNs": flame.self_ns.tolist(),
        "totalNs": flame.total_ns.tolist(),
        "wholeNs": flame.whole_ns,
    }


def _short(file: str) -> str:
    return "/".join(file.replace("\\", "/").split("/")[-2:])[:LONGEST_NAME]


def flame_words(flame: FlameGraph, hot: HotLines) -> Markup:
    """Return what is left out of the picture, and the functions with most time as a table."""
    if not len(flame):
        return tag("p", "No call stacks: the trace has no samples.", class_="missing")
    notes = [f"By {time(flame.whole_ns)} of samples; threads add up."]
    if flame.left_out:
        notes.append(f"{flame.left_out:,} calls are too short to be drawn.")
    if flame.unknown_ns:
        notes.append(f"{time(flame.unknown_ns)} of samples have no stack.")
    heads = ("function", "file", "% run", "in ops", "in Python", "waiting", "samples")
    rows = [
        tag(
            "tr",
            tag("th", row.function or NOT_KNOWN, scope="row"),
            tag("td", tag("code", row.place or NOT_KNOWN), class_="words"),
            *(
                tag("td", shown)
                for shown in (
                    percent(row.percent), time(row.op_ns), time(row.python_ns), time(row.waiting_ns),
                    f"{row.samples:,}",
                )
            ),
        )
        for row in hot.functions[:30]
    ]  # fmt: skip
    return join(
        tag("p", " ".join(notes), class_="note"),
        tag(
            "details",
            tag("summary", f"Hot functions as a table ({len(rows):,} of {hot.n_functions:,})"),
            table("Hot functions: time in themselves and in ops that they call", heads, rows, words=("file",)),
        ) if rows else None,
    )  # fmt: skip
