"""A roofline as text: a picture in characters, tables of roofs and of ops, and what is modelled."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from tinytrace.analysis.figures import format_binary, format_ns, format_rate
from tinytrace.analysis.op_cells import figure_cell, gflops_cell, site_cell
from tinytrace.analysis.roofline import Verdict
from tinytrace.cli.layout import Page
from tinytrace.cli.roofline_chart import chart, letters
from tinytrace.cli.roofline_words import (
    drawn_words,
    machine_words,
    modelled_words,
    program_words,
)
from tinytrace.cli.sheet import UNKNOWN, Sheet

if TYPE_CHECKING:
    from tinytrace.analysis.peaks import Level, Peak, Peaks
    from tinytrace.analysis.roofline_points import Roofline, RooflinePoint


def print_roofline(roofline: Roofline, file: TextIO) -> None:
    """Print a roofline.

    Args:
        roofline: of a trace.
        file: where to.

    Raises:
        OSError: it cannot be written.
    """
    sheet = Sheet(file)
    sheet.say(program_words(roofline), "title")
    sheet.say(machine_words(roofline), "warning" if roofline.peaks is None else "")
    sheet.say()
    if not roofline.points:
        sheet.say("No NumPy operation was recorded.")
    lines = chart(roofline, Page(file).width)
    for line in lines:
        sheet.say(line)
    if lines:
        sheet.say()
    if roofline.peaks is not None and (roofline.ceilings or roofline.peaks.levels):
        _levels(roofline, roofline.peaks, sheet)
    if roofline.points:
        _points(roofline, sheet)
        sheet.say()
        sheet.say(drawn_words(roofline), "dim")
    sheet.say(modelled_words(roofline), "dim")
    sheet.print()


def _levels(roofline: Roofline, peaks: Peaks, sheet: Sheet) -> None:
    if roofline.ceilings:
        columns = {
            "roof of computing": [f"{_sort(c.sort)} {c.dtype}" for c in roofline.ceilings],
            "GFLOP/s": [format_rate(c.gflops.value) for c in roofline.ceilings],
            "rounds": [_rounds(roofline, c.gflops) for c in roofline.ceilings],
        }
        sheet.table("Roofs", columns)
    levels = [level for level in peaks.levels if level.gbps is not None]
    if levels:
        columns = {
            "roof of moving": [f"{lv.name}{'' if lv.resolvable else '*'}" for lv in levels],
            "holds": [_size(level) for level in levels],
            "GB/s": [_rate(level.gbps) for level in levels],
        }
        for ceiling in roofline.ceilings:
            columns[f"ridge {_sort(ceiling.sort)} {ceiling.dtype}"] = [
                figure(ceiling.ridge(level)) if level.resolvable else UNKNOWN for level in levels
            ]
        columns["rounds"] = [_rounds(roofline, level.gbps) for level in levels]
        sheet.table("" if roofline.ceilings else "Roofs", columns)
    if roofline.nominal is None:
        sheet.say("rounds: the least and the greatest of those that a roof was measured in.", "dim")
    sheet.say()


def _rounds(roofline: Roofline, peak: Peak | None) -> str:
    return _spread(peak) if roofline.nominal is None else "nominal"


def _points(roofline: Roofline, sheet: Sheet) -> None:
    rows = roofline.points
    columns = {
        "  op": [
            f"{letter:1} {sheet.text(row.group.op)}"
            for letter, row in zip(letters(roofline), rows, strict=True)
        ],
        "dtype": [sheet.text(row.dtype) for row in rows],
        "level": [UNKNOWN if row.level is None else row.level for row in rows],
        "% wall": [f"{row.group.percent:.1f}" for row in rows],
        "self": [format_ns(row.group.self_ns) for row in rows],
        "calls": [f"{row.group.calls:,}" for row in rows],
        "FLOP/B": [figure_cell(row.group, row.group.flops_per_byte) for row in rows],
        "GFLOP/s": [gflops_cell(row.group) for row in rows],
        "GB/s": [figure_cell(row.group, row.group.gbps) for row in rows],
        "% roof": [_percent(row.judgement.roof_percent) for row in rows],
        "verdict": [row.judgement.label for row in rows],
        "call site": [site_cell(row.group, sheet.text) for row in rows],
    }
    sheet.table(f"Ops by self time ({len(rows)} of {roofline.n_points})", columns)
    for note in _notes(rows):
        sheet.say(note, "dim")


def _notes(rows: tuple[RooflinePoint, ...]) -> list[str]:
    """What the table's words mean, as far as they occur."""
    notes = []
    if any(row.group.n_callsites > 1 for row in rows):
        notes.append("(+N): called from N more places; the one shown took most time.")
    if any(gflops_cell(row.group).endswith(" T") for row in rows):
        notes.append("T: 10^9 evaluations of exp, log, sqrt... per second; they are not FLOPs.")
    if any(row.group.only_outer for row in rows):
        notes.append("inside: the figure is that of the ops that ran inside it.")
    verdicts = {row.judgement.verdict for row in rows}
    if Verdict.LATENCY in verdicts:
        notes.append("latency: far from every roof; something else takes the time.")
    if Verdict.VIOLATION in verdicts:
        notes.append(
            "model violation: faster than a roof allows, so the model or the roof is wrong there; no result."
        )
    return notes


def _sort(sort: str) -> str:
    return "matrix product" if sort == "matrix" else sort


def _spread(peak: Peak | None) -> str:
    if peak is None:
        return UNKNOWN
    return f"{format_rate(peak.low)} to {format_rate(peak.high)}"


def _size(level: Level) -> str:
    return "" if level.size_bytes is None else format_binary(level.size_bytes)


def _rate(peak: Peak | None) -> str:
    return UNKNOWN if peak is None else format_rate(peak.value)


def figure(value: float | None) -> str:
    """Return a figure, ``?`` for one that is not known."""
    return UNKNOWN if value is None else format_rate(value)


def _percent(share: float | None) -> str:
    return UNKNOWN if share is None else f"{share:.1f}"
