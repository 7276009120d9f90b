"""The summary as text: for a terminal of any width, plain text everywhere else.

`docs/summary.md` explains every word of it. Everything that comes from a trace (names of functions, files,
ops, warnings) is data: it is escaped, and never read as a terminal's control sequences.
"""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

from tinytrace.analysis.op_groups import OpGroup
from tinytrace.analysis.summary import Audit, LineRow, MemoryPeak, Summary, summarise
from tinytrace.cli.figures import clean, format_mb, format_ns, format_rate
from tinytrace.cli.layout import Page, paragraph, table
from tinytrace.tracer.trace import Trace

TOP = 10
UNKNOWN = "?"
LONGEST_NAME = 60
LONGEST_TEXT = 1000  # of a warning, a path
MOST_NAMES = 5
VIEWER = "https://ui.perfetto.dev"
VIEWABLE = (".json", ".json.gz", ".pftrace")  # suffixes of what the viewer opens


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
        self._encoding = _encoding(file)
        self._page = Page(file)
        self._lines: list[tuple[str, str]] = []

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
        self._say(self._audit(summary.audit))
        for warning in summary.warnings:
            self._say(f"Warning: {self._text(warning, LONGEST_TEXT)}", "warning")
        if output_path is not None:
            self._say(self._opening(Path(output_path)))
        self._page.lines(self._lines)

    def _say(self, text: str, style: str = "") -> None:
        self._lines += [(line, style) for line in paragraph(text, self._page.width)]

    def _table(self, title: str, columns: dict[str, list[str]]) -> None:
        self._say(title, "title")
        rows = list(zip(*columns.values(), strict=True))
        self._lines += table(list(columns), rows, self._page.width)

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
            "GFLOP/s": [_gflops(row) for row in rows],
            "GB/s": [_figure(row, row.gbps) for row in rows],
            "FLOP/B": [_figure(row, row.flops_per_byte) for row in rows],
            "call site": [self._site(row) for row in rows],
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

    def _audit(self, audit: Audit) -> str:
        core = {"c": "compiled core", "python": "pure-Python core"}.get(
            audit.core or "", "core not known"
        )
        parts = [
            _sampling(audit),
            f"{_spans(audit)} ({core})",
            self._uncounted(audit),
            _dropped(audit),
            _overhead(audit),
        ]
        return f"Self-audit: {'; '.join(parts)}."

    def _uncounted(self, audit: Audit) -> str:
        if audit.coverage_percent is None:
            return "no ops to count"
        if not audit.uncounted_ops:
            return "no uncounted ops"
        names = ", ".join(self._text(name) for name in audit.uncounted_ops[:MOST_NAMES])
        more = len(audit.uncounted_ops) - MOST_NAMES
        names += f" and {more} more" if more > 0 else ""
        return (
            f"FLOPs counted for {audit.coverage_percent:.1f} % of op time, uncounted ops: {names}"
        )

    def _opening(self, path: Path) -> str:
        name = self._text(str(path), LONGEST_TEXT)
        if str(path).endswith(VIEWABLE):
            return f"Trace: {name} - open {VIEWER} and drop {self._text(path.name, LONGEST_TEXT)} on it."
        return f"Trace: {name}"

    def _site(self, row: OpGroup) -> str:
        site = UNKNOWN if row.callsite is None else self._text(row.callsite)
        return site if row.n_callsites < 2 else f"{site} (+{row.n_callsites - 1})"

    def _function(self, row: LineRow) -> str:
        return UNKNOWN if row.function is None else self._text(row.function)

    def _text(self, text: str, longest: int = LONGEST_NAME) -> str:
        shown = clean(text, self._encoding) or '""'
        return shown if len(shown) <= longest else f"{shown[: longest - 3]}..."


def _encoding(file: TextIO) -> str:
    """The encoding of a file, ASCII where it is not one that Python knows."""
    encoding = getattr(file, "encoding", None) or "utf-8"
    try:
        "".encode(encoding)
    except LookupError:
        return "ascii"
    return encoding


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


def _gflops(row: OpGroup) -> str:
    if row.gflops == 0 and row.gtranscendentals:
        return f"{format_rate(row.gtranscendentals)} T"
    if row.gflops is None and row.uncounted_calls:
        return "uncounted"
    return _figure(row, row.gflops)


def _figure(row: OpGroup, value: float | None) -> str:
    if value is not None:
        return format_rate(value)
    return "inside" if row.only_outer else UNKNOWN


def _share(percent: float | None) -> str:
    return UNKNOWN if percent is None else f"{percent:.0f}"


def _notes(summary: Summary) -> list[str]:
    """What the table's words mean, as far as they occur."""
    notes = []
    if any(row.n_callsites > 1 for row in summary.ops):
        notes.append("(+N): called from N more places; the one shown took most time.")
    if any(_gflops(row).endswith(" T") for row in summary.ops):
        notes.append("T: 10^9 evaluations of exp, log, sqrt... per second; they are not FLOPs.")
    if any(row.only_outer for row in summary.ops):
        notes.append("inside: the figure is that of the ops that ran inside it.")
    partly = [row for row in summary.ops if row.gflops is not None and row.uncounted_calls]
    if partly:
        notes.append("GFLOP/s are those of counted calls; some calls in the table are uncounted.")
    return notes


def _sampling(audit: Audit) -> str:
    if not audit.samples and audit.asked_hz is None:
        return "not sampled"
    achieved = (
        "at a rate not known" if audit.achieved_hz is None else f"at {audit.achieved_hz:,.0f} Hz"
    )
    asked = "" if audit.asked_hz is None else f" of {audit.asked_hz:,.0f} asked"
    gap = "not known" if audit.largest_gap_ns is None else format_ns(audit.largest_gap_ns)
    return f"sampled {achieved}{asked}, largest gap {gap}"


def _spans(audit: Audit) -> str:
    return f"{audit.spans:,} spans recorded"


def _dropped(audit: Audit) -> str:
    parts = []
    if aggregated := audit.spans - audit.kept_spans:
        parts.append(f"{aggregated:,} aggregated")
    if audit.folded_samples:
        parts.append(f"{audit.folded_samples:,} samples aggregated")
    if audit.folded_counters:
        parts.append(f"{audit.folded_counters:,} counter values aggregated")
    if audit.dropped:
        parts.append(f"{audit.dropped:,} dropped")
    if audit.skipped_elements:
        parts.append(f"{audit.skipped_elements:,} element accesses not recorded")
    if audit.dropped is None:
        parts.append("dropped: not known")
    return ", ".join(parts) or "nothing dropped or aggregated"


def _overhead(audit: Audit) -> str:
    if audit.own_overhead_percent is None:
        return "own overhead not known"
    text = f"own overhead about {format_rate(audit.own_overhead_percent)} % (estimate"
    if audit.overhead_ns_per_op is not None:
        text += f", {audit.overhead_ns_per_op:,.0f} ns per op"
    return f"{text})"
