"""What `check` says: for people, as Markdown, as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, TextIO

from tinytrace.analysis.figures import clean
from tinytrace.analysis.gate import FIGURES, ExactRow, Gate, Result, TimedRow
from tinytrace.cli.sheet import LONGEST_TEXT, UNKNOWN, Sheet

MARKS = {
    Result.MORE: "❌",
    Result.SLOWER: "❌",
    Result.LESS: "✅",
    Result.SAME: "✅",
    Result.FASTER: "✅",
}


def print_gate(found: Gate, file: TextIO) -> None:
    """Print the tables and the outcome.

    Args:
        found: any.
        file: where to.
    """
    sheet = Sheet(file)
    sheet.table("Work, exact", _exact_columns(found))
    if found.timed:
        columns = {
            "time of": [sheet.text(row.what, LONGEST_TEXT) for row in found.timed],
            "after / before": [_ratio(row) for row in found.timed],
            "result": [row.result.value for row in found.timed],
        }
        sheet.table("Time: two runs that were not made in turns", columns)
    for note in found.compared.notes:
        sheet.say(f"Note: {sheet.text(note, LONGEST_TEXT)}", "dim")
    for reason in found.reasons:
        sheet.say(sheet.text(reason, LONGEST_TEXT))
    sheet.say(f"Outcome: {found.outcome}", "title")
    sheet.print()


def markdown(found: Gate, baseline: str, run: str) -> str:
    """Return it as Markdown.

    Args:
        found: any.
        baseline: name of the file.
        run: likewise.
    """
    lines = [f"### tinytrace: {found.outcome}", "", f"{as_code(baseline)} → {as_code(run)}", ""]
    lines += ["| work, exact | baseline | run | change | |", "|---|---:|---:|---:|---|"]
    for row, cells in zip(found.exact, _exact_rows(found), strict=True):
        lines.append(
            "| " + " | ".join([*cells[:4], f"{MARKS.get(row.result, '❔')} {cells[4]}"]) + " |"
        )
    if found.timed:
        lines += ["", "| time (unpaired) | run ÷ baseline | |", "|---|---:|---|"]
        lines += [
            f"| {as_code(row.what)} | {_ratio(row)} | {MARKS.get(row.result, '❔')} {row.result.value} |"
            for row in found.timed
        ]
    lines += ["", *(f"- {as_code(reason)}" for reason in found.reasons)]
    return "\n".join(lines) + "\n"


def as_json(found: Gate) -> dict[str, Any]:
    """Return the outcome, the rows and the reasons, JSON-ready.

    Args:
        found: any.
    """
    rows = {
        part: [asdict(row) | {"result": row.result.value} for row in getattr(found, part)]
        for part in ("exact", "timed")
    }
    return {
        "outcome": found.outcome, **rows, "timed_counts": found.timed_counts, "reasons": found.reasons,
        "notes": found.compared.notes,
    }  # fmt: skip


def as_code(text: str) -> str:
    """Return text as code, in which Markdown and HTML mean nothing.

    Args:
        text: any.

    Example:
        >>> as_code("a|b")
        '`a\\\\|b`'
    """
    shown = clean(text).replace("`", "'").replace("|", "\\|")
    return f"`{shown}`"


def _exact_columns(found: Gate) -> dict[str, list[str]]:
    columns = zip(*_exact_rows(found), strict=True)
    names = ("", "baseline", "run", "change", "result")
    return {name: list(column) for name, column in zip(names, columns, strict=True)}


def _exact_rows(found: Gate) -> list[tuple[str, str, str, str, str]]:
    units = (found.compared.units_before, found.compared.units_after)
    return [
        (
            FIGURES[row.figure], _figure(row.before, units[0]), _figure(row.after, units[1]), change_text(row),
            row.result.value,
        )
        for row in found.exact
    ]  # fmt: skip


def _figure(value: int | None, units: int) -> str:
    if value is None:
        return UNKNOWN
    return f"{value:,}" if units == 1 else f"{value / units:,.6g} per step"


def change_text(row: ExactRow) -> str:
    """Return by how much a figure has changed.

    Args:
        row: any.
    """
    if row.change is None:
        return UNKNOWN if row.result is Result.NOT_KNOWN else "-"
    return "0" if row.result is Result.SAME and not row.change else f"{row.change:+.2%}"


def _ratio(row: TimedRow) -> str:
    return (
        f"x{row.ratio:.3g}"
        if row.low is None
        else f"x{row.ratio:.3g} [{row.low:.3g}, {row.high:.3g}]"
    )
