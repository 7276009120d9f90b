"""The summary as text: tables for a terminal of any width, plain text everywhere else.

Everything that comes from a trace (names of functions, files, ops, warnings) is data: it is
escaped, and never read as markup or as a terminal's control sequences.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from tinytrace.analysis.summary import Audit, LineRow, MemoryPeak, OpRow, Summary, summarise
from tinytrace.tracer.trace import Trace

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

TOP = 10
UNKNOWN = "?"
LONGEST_NAME = 60
MOST_NAMES = 5
TEXT_COLUMNS = ("op", "call site", "line", "function")  # the others are numbers
LEAST_TEXT = 9  # cells of a column of names
GAP = 2  # cells between columns
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
    _Page(file).print(summarise(trace, TOP), output_path)


# ---- numbers -------------------------------------------------------------------------------------


def format_ns(t_ns: float) -> str:
    """Return a duration with three significant digits.

    >>> format_ns(950), format_ns(1_234_567), format_ns(90_000_000_000)
    ('950 ns', '1.23 ms', '90.0 s')
    """
    for unit, ns in (("s", 1e9), ("ms", 1e6), ("us", 1e3)):
        if abs(t_ns) >= 0.9995 * ns:
            return f"{_digits(t_ns / ns)} {unit}"
    return f"{t_ns:.0f} ns"


def format_mb(mb: float) -> str:
    """Return megabytes (10⁶ bytes) with a unit that fits.

    >>> format_mb(0.5), format_mb(312.4), format_mb(20_480)
    ('500 kB', '312 MB', '20.5 GB')
    """
    for unit, size_mb in (("TB", 1e6), ("GB", 1e3), ("MB", 1.0)):
        if abs(mb) >= 0.9995 * size_mb:
            return f"{_digits(mb / size_mb)} {unit}"
    return f"{_digits(mb * 1e3)} kB"


def format_rate(value: float) -> str:
    """Return a figure for a column of a table: three significant digits, short at any size.

    >>> format_rate(0), format_rate(0.00123), format_rate(12.34), format_rate(123456)
    ('0', '0.00123', '12.3', '123,456')
    """
    if value == 0:
        return "0"
    if abs(value) < 0.001:
        return f"{value:.1e}"
    return f"{value:.3g}" if abs(value) < 1 else _digits(value)


def _digits(value: float) -> str:
    """Three significant digits, but no fewer than the integer part has."""
    magnitude = abs(value)
    if magnitude >= 99.95:
        return f"{value:,.0f}"
    return f"{value:.1f}" if magnitude >= 9.995 else f"{value:.2f}"


def clean(text: str, encoding: str = "utf-8") -> str:
    r"""Return text as it can be shown: what does not print, or is not in the encoding, is escaped.

    >>> clean("a\x1b[31mb"), clean("größe", "ascii")
    ('a\\x1b[31mb', 'gr\\xf6\\xdfe')
    """
    escaped = "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )
    return escaped.encode(encoding, "backslashreplace").decode(encoding)


# ---- the page ------------------------------------------------------------------------------------


class _Page:
    """Prints a summary to one file."""

    def __init__(self, file: TextIO) -> None:
        self._encoding = _encoding(file)
        self._console = _console(file)

    def print(self, summary: Summary, output_path: Path | str | None) -> None:
        """Print everything."""
        self._line("")
        self._line(f"tinytrace: {_extent(summary)}", style="bold")
        self._ops(summary)
        self._lines(summary)
        self._line(self._memory(summary.memory))
        self._line(self._audit(summary.audit))
        for warning in summary.warnings:
            self._line(f"warning: {self._text(warning, 1000)}", style="yellow")
        if output_path is not None:
            self._line(self._opening(Path(output_path)))

    def _ops(self, summary: Summary) -> None:
        if not summary.ops:
            self._line("No NumPy operation was recorded.")
            return
        rows = summary.ops
        columns = {
            "op": [self._text(row.name) for row in rows],
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
            self._line(note, style="dim")

    def _lines(self, summary: Summary) -> None:
        if not summary.lines:
            self._line("No stack was sampled: there are no lines to show.")
            return
        rows = summary.lines
        columns = {
            "line": [self._text(row.place or UNKNOWN) for row in rows],
            "% wall": [f"{row.percent:.1f}" for row in rows],
            "self": [format_ns(row.self_ns) for row in rows],
            "% on CPU": [_share(row.on_cpu_percent) for row in rows],
            "% function": [f"{row.function_percent:.1f}" for row in rows],
            "function": [self._function(row) for row in rows],
        }
        self._table(f"Top lines by samples ({len(rows)} of {summary.n_lines})", columns)

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
        name = self._text(str(path), 1000)
        if str(path).endswith(VIEWABLE):
            return f"Trace: {name} - open {VIEWER} and drop {self._text(path.name, 1000)} on it."
        return f"Trace: {name}"

    def _site(self, row: OpRow) -> str:
        site = UNKNOWN if row.callsite is None else self._text(row.callsite)
        return site if row.n_callsites < 2 else f"{site} (+{row.n_callsites - 1})"

    def _function(self, row: LineRow) -> str:
        return UNKNOWN if row.function is None else self._text(row.function)

    def _text(self, text: str, longest: int = LONGEST_NAME) -> str:
        shown = clean(text, self._encoding) or '""'
        return shown if len(shown) <= longest else f"{shown[: longest - 3]}..."

    def _line(self, text: str, style: str = "") -> None:
        # A file gets one line, whatever its length: it is searched, not looked at.
        self._console.print(text, style=style, soft_wrap=not self._console.is_terminal)

    def _table(self, title: str, columns: dict[str, list[str]]) -> None:
        """Print a table; names are folded; it is wider than a terminal too narrow for numbers."""
        table = _table(title, columns)
        width = self._console.width
        self._line("")
        self._console.width = max(width, _least_width(columns))
        self._console.print(table, crop=False)
        self._console.width = width


def _encoding(file: TextIO) -> str:
    """The encoding of a file, ASCII where it is not one that Python knows."""
    encoding = getattr(file, "encoding", None) or "utf-8"
    try:
        "".encode(encoding)
    except LookupError:
        return "ascii"
    return encoding


def _console(file: TextIO) -> Console:
    from rich.console import Console

    plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") in ("dumb", "unknown")
    return Console(
        file=file,
        color_system=None if plain or not file.isatty() else "auto",
        force_terminal=file.isatty(),
        force_jupyter=False,
        markup=False,
        highlight=False,
        emoji=False,
    )


def _table(title: str, columns: dict[str, list[str]]) -> Table:
    """A table of columns by their heads: text on the left, numbers on the right and never cut."""
    from rich.table import Table

    table = Table(
        title=title, title_justify="left", title_style="bold", box=None, padding=(0, GAP, 0, 0),
        header_style="underline", pad_edge=False,
    )  # fmt: skip
    for head, cells in columns.items():
        if head in TEXT_COLUMNS:
            table.add_column(head, overflow="fold", min_width=LEAST_TEXT)
        else:
            least = max(map(len, [head, *cells]))
            table.add_column(head, justify="right", no_wrap=True, overflow="fold", min_width=least)
    for row in zip(*columns.values(), strict=True):
        table.add_row(*row)
    return table


def _least_width(columns: dict[str, list[str]]) -> int:
    """Cells that a table needs, its names folded as far as is still readable."""
    return sum(
        GAP + (LEAST_TEXT if head in TEXT_COLUMNS else max(map(len, [head, *cells])))
        for head, cells in columns.items()
    )


def _extent(summary: Summary) -> str:
    text = f"{format_ns(summary.wall_ns)} recorded"
    if summary.processes > 1:
        text += f", {summary.processes} processes"
    if summary.threads > 1:
        text += (
            f", {summary.threads} threads: shares of the wall time add up over them, beyond 100 %"
        )
    return text


def _gflops(row: OpRow) -> str:
    if row.gflops == 0 and row.gtranscendentals:
        return f"{format_rate(row.gtranscendentals)} T"
    if row.gflops is None and row.uncounted_calls:
        return "uncounted"
    return _figure(row, row.gflops)


def _figure(row: OpRow, value: float | None) -> str:
    if value is not None:
        return format_rate(value)
    return "inside" if row.only_outer else UNKNOWN


def _share(percent: float | None) -> str:
    return UNKNOWN if percent is None else f"{percent:.0f}"


def _notes(summary: Summary) -> list[str]:
    """What the table's words mean, as far as they occur."""
    notes = []
    if any(_gflops(row).endswith(" T") for row in summary.ops):
        notes.append("T: 10^9 evaluations of exp, log, sqrt... per second; they are not FLOPs.")
    if any(row.only_outer for row in summary.ops):
        notes.append("inside: counted with the ops that ran inside it.")
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
