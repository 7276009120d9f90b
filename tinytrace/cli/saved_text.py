"""Two saved files of results beside each other: for people, as Markdown, as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TextIO

from tinytrace.analysis.figures import format_ns
from tinytrace.analysis.gate import FIGURES_OF_MODELS, ExactRow, Result
from tinytrace.cli.check_text import MARKS, as_code, change_text
from tinytrace.cli.sheet import LONGEST_TEXT, UNKNOWN, Sheet

if TYPE_CHECKING:
    from tinytrace.analysis.paired import Interval
    from tinytrace.toolkit.saved import SavedComparison, SavedRow

NS_PER_MS = 1e6
WORK = ("what one call does", "baseline", "later", "change", "result")
TIMES = ("baseline [95 %]", "later [95 %]", "baseline / later")


def print_saved(found: SavedComparison, file: TextIO) -> None:
    """Print the tables and the outcome.

    Args:
        found: any.
        file: where to.

    Raises:
        OSError: it cannot be written.
    """
    sheet = Sheet(file)
    work = [(f"{sheet.text(name)}: {what}", *cells) for name, (what, *cells) in _work(found)]
    if work:
        sheet.table("Work, exact", _columns(WORK[1:], work))
    times = [(sheet.text(row.name), *_times(row)) for row in found.rows]
    if times:
        sheet.table("Time", _columns(TIMES, times))
        sheet.say(f"Times are {sheet.text(found.about_times, LONGEST_TEXT)}.")
    if found.new:
        sheet.say(f"Only in the later results: {', '.join(map(sheet.text, found.new))}.")
    for reason in found.reasons:
        sheet.say(sheet.text(reason, LONGEST_TEXT))
    sheet.say(f"Outcome: {found.outcome}", "title")
    sheet.print()


def saved_markdown(found: SavedComparison, baseline: str, later: str) -> str:
    """Return it as Markdown.

    Args:
        found: any.
        baseline: name of the file.
        later: likewise.
    """
    lines = [f"### tinytrace: {found.outcome}", "", f"{as_code(baseline)} → {as_code(later)}", ""]
    lines += [f"| | {' | '.join(WORK)} |", "|---|---|---:|---:|---:|---|"]
    lines += [
        f"| {as_code(name)} | {' | '.join(cells[:-1])} | {_mark(cells[-1])} {cells[-1]} |"
        for name, cells in _work(found)
    ]
    lines += ["", f"| time | {' | '.join(TIMES)} |", "|---|---:|---:|---:|"]
    lines += [f"| {as_code(row.name)} | {' | '.join(_times(row))} |" for row in found.rows]
    lines += ["", f"Times are {as_code(found.about_times)}.", ""]
    lines += [f"- {as_code(reason)}" for reason in found.reasons]
    return "\n".join(lines) + "\n"


def saved_as_json(found: SavedComparison) -> dict[str, Any]:
    """Return everything, JSON-ready.

    Args:
        found: any.
    """
    rows = []
    for row in found.rows:
        exact = [asdict(figure) | {"result": figure.result.value} for figure in row.exact]
        rows.append(asdict(row) | {"exact": exact, "ratio": row.ratio})
    return asdict(found) | {"rows": rows, "about_times": found.about_times}


def _columns(names: Sequence[str], rows: Sequence[tuple[str, ...]]) -> dict[str, list[str]]:
    return {name: [row[i] for row in rows] for i, name in enumerate(("", *names))}


def _mark(result: str) -> str:
    return MARKS.get(Result(result), "❔")


def _work(found: SavedComparison) -> list[tuple[str, tuple[str, ...]]]:
    """Per model one line where all is the same, else one per figure that is not."""
    lines: list[tuple[str, tuple[str, ...]]] = []
    for row in found.rows:
        known = [figure for figure in row.exact if figure.result is not Result.NOT_KNOWN]
        if not known:
            lines.append((row.name, ("nothing is known", "", "", "", Result.NOT_KNOWN.value)))
            continue
        other = [figure for figure in known if figure.result is not Result.SAME]
        lines += [(row.name, _figure(figure)) for figure in other]
        if not other:
            what = f"{len(known)} figures, from operations to parameters"
            lines.append((row.name, (what, "", "", "0", Result.SAME.value)))
    return lines


def _figure(row: ExactRow) -> tuple[str, ...]:
    return (
        FIGURES_OF_MODELS[row.figure], f"{row.before:,}", f"{row.after:,}", change_text(row),
        row.result.value,
    )  # fmt: skip


def _times(row: SavedRow) -> tuple[str, str, str]:
    ratio = UNKNOWN if row.ratio is None else f"{row.ratio:.3g}"
    return _time(row.before), _time(row.after), ratio


def _time(time: Interval | None) -> str:
    if time is None:
        return UNKNOWN
    centre, low, high = (format_ns(ms * NS_PER_MS) for ms in (time.estimate, time.low, time.high))
    return f"{centre} [{low}, {high}]"
