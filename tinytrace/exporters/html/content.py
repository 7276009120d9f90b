"""What the page is made of: the report, and what only a picture can show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tinytrace.analysis.counter_lines import CounterLine, memory_lines
from tinytrace.analysis.flame import FlameGraph, flame_graph
from tinytrace.analysis.headline import headline
from tinytrace.analysis.op_groups import By
from tinytrace.analysis.report import Report, Sort, report_of
from tinytrace.analysis.roofline_points import Roofline, roofline_of
from tinytrace.analysis.source_text import Source, source_of
from tinytrace.tracer.trace import Trace

MOST_POINTS = 300  # of the roofline: more cannot be told apart
CONTEXT = 2  # lines of source above and below a hot one


@dataclass(frozen=True, eq=False)
class PageContent:
    """All that is on the page.

    Attributes:
        name: what was recorded, in a few words.
        headline: the verdict in one sentence.
        report: with as many rows as the page is to have.
        roofline: of the same trace.
        flame: likewise.
        memory: likewise.
        sources: of the files of the hot lines.
        meta: of the trace, as it tells it: nothing in it can be relied on.
    """

    name: str
    headline: str
    report: Report
    roofline: Roofline
    flame: FlameGraph
    memory: tuple[CounterLine, ...]
    sources: dict[str, Source]
    meta: dict[str, Any]


def content_of(
    trace: Trace, name: str, *, by: By = "op", sort: Sort = "self", top: int = 100
) -> PageContent:
    """Return what the page shows of a trace; reads the files of its hot lines.

    Args:
        trace: any trace.
        name: of its file, for a trace that does not tell what was run.
        by: what makes a row of the table of ops, see `report_of`.
        sort: which of its rows come first.
        top: rows of each table at most.

    Example:
        >>> content_of(Trace(), "trace.json").memory
        ()
    """
    report = report_of(trace, by=by, sort=sort, top=top)
    roofline = roofline_of(trace, MOST_POINTS)
    return PageContent(
        name=roofline.command or name,
        headline=headline(report),
        report=report,
        roofline=roofline,
        flame=flame_graph(trace),
        memory=memory_lines(trace),
        sources=_sources(report, roofline.start_unix_ns),
        meta=trace.meta,
    )


def _sources(report: Report, recorded_unix_ns: int | None) -> dict[str, Source]:
    wanted: dict[str, set[int]] = {}
    functions: dict[str, dict[int, str]] = {}
    for row in report.hot.lines:
        if row.file is not None and row.line is not None:
            around = range(row.line - CONTEXT, row.line + CONTEXT + 1)
            wanted.setdefault(row.file, set()).update(around)
            functions.setdefault(row.file, {})[row.line] = row.function or "<not known>"
    return {
        file: source_of(file, frozenset(lines), recorded_unix_ns, functions[file])
        for file, lines in wanted.items()
    }
