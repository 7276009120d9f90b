"""The summary as text: for a terminal of any width, plain text everywhere else.

`docs/summary.md` explains every word of it. Everything that comes from a trace (names of functions, files,
ops, warnings) is data: it is escaped, and never read as a terminal's control sequences.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TextIO

from tinytrace.analysis.figures import format_mb, format_ns
from tinytrace.analysis.op_cells import figure_cell, gflops_cell, site_cell
from tinytrace.analysis.summary import LineRow, MemoryPeak, Summary, summarise
from tinytrace.cli.audit_text import audit_text
from tinytrace.cli.sheet import LONGEST_TEXT, UNKNOWN, Sheet
from tinytrace.exporters.registry import BUILT_IN_SUFFIXES
from tinytrace.tracer.trace import Trace

TOP = 10
VIEWER = "https://ui.perfetto.dev"
VIEWERS = {  # of files that end so; the longest ending counts
    ".json": VIEWER, ".json.gz": VIEWER, ".pftrace": VIEWER, ".perfetto-trace": VIEWER,
    ".speedscope.json": "https://www.speedscope.app", ".gecko.json": "https://profiler.firefox.com",
}  # fmt: skip
LOSSLESS = (".json", ".json.gz")  # which the report reads


def print_summary(trace: Trace, output_path: Path | str | None, file: TextIO) -> None:
    """Print the summary of a trace.

    In colour on a terminal, unless ``NO_COLOR`` is set or it is a dumb one; otherwise plain text.
    Where the encoding of the file has no such characters, they are escaped.

    Args:
        trace: any trace; what is not in it is said to be missing.
        output_path: where it was saved; None: nowhere.
        file: where to print.

    Raises:
        OSError: it cannot be written there.
    """
    _Summary(file).print(summarise(trace, TOP), output_path)


class _Summary:
    """Prints a summary to one file."""

    def __init__(self, file: TextIO) -> None:
        self._sheet = Sheet(file)
        self._say, self._table, self._text = self._sheet.say, self._sheet.table, self._sheet.text

    def print(self, summary: Summary, output_path: Path | str | None) -> None:
        """Print everything."""
        self._say("")
        self._say(f"tinytrace: {_extent(summary)}", "title")
        self._say("")
        self._ops(summary)
        self._say("")
        self._top_lines(summary)
        self._say("")
        self._say(self._memory(summary.memory))
        self._say(audit_text(summary.audit, self._text))
        for warning in summary.warnings:
            self._say(f"Warning: {self._text(warning, LONGEST_TEXT)}", "warning")
        if output_path is not None:
            self._say(self._opening(Path(output_path)))
            if _ending(Path(output_path)) in LOSSLESS:
                command = f"python -m tinytrace report {shlex.quote(str(output_path))}"
                self._say(f"Why it is slow: {self._text(command, LONGEST_TEXT)}")
        self._sheet.print()

    def _ops(self, summary: Summary) -> None:
        if not summary.ops:
            self._say("No NumPy operation was recorded.")
            return
        rows = summary.ops
        columns = {
            "op": [self._text(row.op) for row in rows],
            "% wall": [f"{row.percent:.1f}" for row in rows],
            "self": [format_ns(row.self_ns) for row in rows],
            "calls": [f"{row.calls:,}" for row in rows],
            "GFLOP/s": [gflops_cell(row) for row in rows],
            "GB/s": [figure_cell(row, row.gbps) for row in rows],
            "FLOP/B": [figure_cell(row, row.flops_per_byte) for row in rows],
            "call site": [site_cell(row, self._text) for row in rows],
        }
        self._table(f"Top ops by self time ({len(rows)} of {summary.n_ops})", columns)
        for note in _notes(summary):
            self._say(note, "dim")

    def _top_lines(self, summary: Summary) -> None:
        rows = summary.lines
        if rows:
            columns = {
                "line": [self._text(row.place or UNKNOWN) for row in rows],
                "% wall": [f"{row.percent:.1f}" for row in rows],
                "self": [format_ns(row.self_ns) for row in rows],
                "% on CPU": [_share(row.on_cpu_percent) for row in rows],
                "% function": [f"{row.function_percent:.1f}" for row in rows],
                "function": [self._function(row) for row in rows],
            }
            self._table(f"Top lines by samples ({len(rows)} of {summary.n_lines})", columns)
            self._say("% function: in the whole function and all that it called.", "dim")
        else:
            self._say("No line of the program was sampled.")
        if elsewhere := _elsewhere(summary):
            self._say(elsewhere, "dim")

    def _memory(self, peaks: tuple[MemoryPeak, ...]) -> str:
        if not peaks:
            return "Memory peak: not known"
        largest = peaks[0]
        rss = "not known" if largest.rss_mb is None else format_mb(largest.rss_mb)
        arrays = "not known" if largest.array_mb is None else format_mb(largest.array_mb)
        text = f"Memory peak: {rss} resident, NumPy arrays {arrays}"
        if len(peaks) > 1:
            which = f"{self._text(largest.process)}, {largest.pid}"
            text += f" (the largest of {len(peaks)} processes: {which})"
        return text

    def _opening(self, path: Path) -> str:
        text = f"Trace: {self._text(str(path), LONGEST_TEXT)}"
        ending = _ending(path)
        if viewer := VIEWERS.get(ending):
            text += f" - open {viewer} and drop {self._text(path.name, LONGEST_TEXT)} on it."
        if ending and ending not in LOSSLESS:
            text += " It does" if viewer else " - it does"
            text += " not hold everything that was recorded: trace.json would."
        return text

    def _function(self, row: LineRow) -> str:
        return UNKNOWN if row.function is None else self._text(row.function)


def _ending(path: Path) -> str:
    """The ending of a file that means a format; "": none that is known."""
    endings = {*BUILT_IN_SUFFIXES, *VIEWERS}
    return max((e for e in endings if path.name.lower().endswith(e)), key=len, default="")


def _extent(summary: Summary) -> str:
    text = f"{format_ns(summary.wall_ns)} recorded"
    if summary.processes > 1:
        text += f", {summary.processes} processes"
    if summary.threads > 1:
        text += (
            f", {summary.threads} threads: shares of the wall time add up over them, beyond 100 %"
        )
    return text


def _elsewhere(summary: Summary) -> str:
    """Where samples were that are in no line of the table."""
    parts = [
        f"{what} {format_ns(spent_ns)} ({100 * spent_ns / max(1, summary.wall_ns):.1f} %)"
        for what, spent_ns in (
            ("importing modules", summary.import_ns),
            ("in tinytrace itself", summary.tinytrace_ns),
        )
        if spent_ns
    ]
    return f"Not in these lines: {', '.join(parts)}." if parts else ""


def _share(percent: float | None) -> str:
    return UNKNOWN if percent is None else f"{percent:.0f}"


def _notes(summary: Summary) -> list[str]:
    """What the table's words mean, as far as they occur."""
    notes = []
    if any(row.n_callsites > 1 for row in summary.ops):
        notes.append("(+N): called from N more places; the one shown took most time.")
    if any(gflops_cell(row).endswith(" T") for row in summary.ops):
        notes.append("T: 10^9 evaluations of exp, log, sqrt... per second; they are not FLOPs.")
    if any(row.only_outer for row in summary.ops):
        notes.append("inside: the figure is that of the ops that ran inside it.")
    partly = [row for row in summary.ops if row.gflops is not None and row.uncounted_calls]
    if partly:
        notes.append("GFLOP/s are those of counted calls; some calls in the table are uncounted.")
    return notes
