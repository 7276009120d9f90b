"""A suite as text: for people, as Markdown, as CSV, as HTML."""

from __future__ import annotations

import csv
import html
import io
import math
from typing import TYPE_CHECKING

from tinytrace.analysis.figures import clean, format_mb, format_ns
from tinytrace.toolkit.accuracy import NOT_MEASURED

if TYPE_CHECKING:
    from tinytrace.toolkit.suite import Suite, SuiteRow

NS_PER_MS = 1e6
HEAD = ("Model", "Time", "Memory", "Accuracy", "Rank", "Speedup [95 %]", "Verdict", "Pareto")
NONE = "-"


def suite_table(suite: Suite) -> str:
    """Return the table in columns, and what is to be known about it.

    Args:
        suite: any.
    """
    rows = [HEAD, *(_cells(row) for row in suite.rows)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEAD))]
    lines = [
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([*lines, *_notes(suite)])


def suite_markdown(suite: Suite) -> str:
    """Return it as Markdown.

    Args:
        suite: any.
    """
    cells = [HEAD, ("---",) * len(HEAD), *(_cells(row) for row in suite.rows)]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells]
    return "\n".join([*lines, "", *_notes(suite)]) + "\n"


def suite_html(suite: Suite) -> str:
    """Return it as an HTML table.

    Args:
        suite: any.
    """
    head = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in HEAD)
    body = "\n".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in _cells(row)) + "</tr>"
        for row in suite.rows
    )
    notes = html.escape(" ".join(_notes(suite)))
    return f"<table>\n<caption>{notes}</caption>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n"


def suite_csv(suite: Suite) -> str:
    """Return its figures as CSV; what was not measured is empty.

    Args:
        suite: any.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ["model", "time_ms", "time_low_ms", "time_high_ms", "memory_mb", "accuracy", "rank", "speedup",
         "speedup_low", "speedup_high", "verdict", "p_adjusted", "pareto", "error"]
    )  # fmt: skip
    for row in suite.rows:
        p, s = row.performance, row.speedup
        figures: list[object] = [""] * 5 if p is None else [
            p.time, p.time_interval.low, p.time_interval.high, p.memory,
            "" if math.isnan(p.accuracy) else p.accuracy,
        ]  # fmt: skip
        shown: list[object] = [""] * 5 if s is None else [
            s.ratio.estimate, s.ratio.low, s.ratio.high, s.verdict.value, row.p_adjusted,
        ]  # fmt: skip
        rank = "" if row.rank is None else row.rank
        writer.writerow([row.name, *figures, rank, *shown, int(row.on_front), row.error or ""])
    return out.getvalue()


def _cells(row: SuiteRow) -> tuple[str, ...]:
    p = row.performance
    if p is None:
        return (clean(row.name), *(NONE,) * 5, clean(row.error or "not measured"), "")
    accuracy = NONE if p.judged.note == NOT_MEASURED.note else str(p.judged)
    speed, verdict = "1 (baseline)", ""
    if row.speedup is not None:
        ratio = row.speedup.ratio
        speed = f"{ratio.estimate:.3g} [{ratio.low:.3g}, {ratio.high:.3g}]"
        verdict = row.speedup.verdict.value
    elif row.error is not None:
        speed, verdict = NONE, clean(row.error)
    rank = NONE if row.rank is None else str(row.rank)
    return (
        clean(row.name), format_ns(p.time * NS_PER_MS), format_mb(p.memory), accuracy, rank,
        speed, verdict, "yes" if row.on_front else "",
    )  # fmt: skip


def _notes(suite: Suite) -> list[str]:
    notes = [
        f"{suite.rounds} rounds, all models in each, in random order, in {suite.where}.",
        "Time: median of a call. Memory: parameters, and the highest rise of array memory in a call.",
        f"Speedup: time of {clean(suite.baseline)} divided by time of the model; above 1 is faster.",
    ]
    if suite.why_here is not None:
        notes.append(f"Not in fresh processes: {clean(suite.why_here)}.")
    reasons = [
        f"{clean(row.name)}: {row.speedup.reason}."
        for row in suite.rows
        if row.speedup and row.speedup.reason
    ]
    reasons += [
        f"{clean(row.name)} {row.difference}." for row in suite.rows if row.difference is not None
    ]
    if not suite.finished:
        notes.append("It was interrupted: these are the rounds that were complete.")
    return notes + reasons
