"""The table of ops: every row sortable by every column, and filtered by words."""

from __future__ import annotations

from tinytrace.analysis.op_cells import figure_cell, gflops_cell
from tinytrace.analysis.op_groups import OpGroup
from tinytrace.analysis.report import Report, ReportOp
from tinytrace.analysis.roofline import Judgement, Verdict
from tinytrace.exporters.html.markup import (
    NOT_KNOWN,
    Markup,
    join,
    percent,
    size,
    tag,
    time,
)
from tinytrace.exporters.html.tables import table

GROUPS = {
    "op": "ops", "callsite": "call sites", "layer": "layers", "step": "steps", "thread": "threads",
}  # fmt: skip
FIRST = {**dict.fromkeys(GROUPS, ""), "callsite": "call site"}
IN_NONE = {"layer": "(in none)", "step": "(in none)"}
HEADS = (
    ("% wall", "Self time, of the wall time of the run; threads add up"),
    ("self", "Time in these calls and not in others inside them"),
    ("calls", "How often"),
    ("p50", "Half of the calls took at most this long"),
    ("p99", "99 of 100 calls took at most this long"),
    ("% roof", "Of the nearest roof of the machine"),
    ("gain <", "What the calls would take less at their roofs: a bound, not a promise"),
    ("GFLOP/s", "10⁹ FLOPs per second; T: evaluations of exp, log…, which are no FLOPs"),
    ("GB/s", "10⁹ bytes per second that the ops must move, counted from shapes"),
    ("footprint", "Bytes of the distinct operands of a call; modelled from shapes"),
)


def ops_table(report: Report) -> Markup:
    """Return the table, what its words mean, and what may make its rows slow."""
    if not report.ops:
        return tag("p", "No NumPy operation was recorded.", class_="missing")
    first = FIRST[report.by] or report.by
    heads = [_head(first, None, numeric=False)]
    heads += [_head("verdict", "What bounds it", numeric=False)]
    heads += [_head(name, meaning, numeric=True) for name, meaning in HEADS]
    groups = GROUPS[report.by]
    caption = f"Top {groups} by {report.sort}: {len(report.ops):,} of {report.n_ops:,}"
    return join(
        tag(
            "div",
            tag("label", "Filter ", tag("input", type="search", id="ops-filter",
                placeholder="op, verdict, file…", aria_controls="ops-table", autocomplete="off")),
            tag("output", caption, id="ops-shown", for_="ops-filter", aria_live="polite"),
            class_="tools",
        ),
        table(
            caption, heads, [_row(report, row) for row in report.ops], class_="figures sortable",
            tall=True, id_="ops-table",
        ),
        *_notes(report),
    )  # fmt: skip


def _head(name: str, meaning: str | None, *, numeric: bool) -> Markup:
    return tag(
        "th",
        tag("button", name, type="button", title=meaning),
        scope="col",
        class_="number" if numeric else "words",
        aria_sort="none",
    )


def _row(report: Report, row: ReportOp) -> Markup:
    group, judged = row.group, row.judgement
    label = group.label if group.label is not None else IN_NONE.get(report.by, NOT_KNOWN)
    figures = (
        (group.percent, percent(group.percent)),
        (group.self_ns, time(group.self_ns)),
        (group.calls, f"{group.calls:,}"),
        (group.p50_ns, time(group.p50_ns)),
        (group.p99_ns, time(group.p99_ns)),
        (judged.roof_percent, percent(judged.roof_percent, 0)),
        (row.gain_ns, time(row.gain_ns)),
        (group.gflops or group.gtranscendentals or group.gflops, gflops_cell(group)),
        (group.gbps, figure_cell(group, group.gbps)),
        (group.footprint_bytes, size(group.footprint_bytes)),
    )
    return tag(
        "tr",
        tag("th", label, tag("small", _detail(report, group)), scope="row"),
        tag("td", verdict_badge(judged), class_="words"),
        *(tag("td", shown, data_value=value) for value, shown in figures),
    )


def _detail(report: Report, group: OpGroup) -> str:
    """What a row is mostly made of, and where."""
    site = group.callsite or "call site not known"
    more = f" +{group.n_callsites - 1:,}" if group.n_callsites > 1 else ""
    if report.by == "callsite":
        return f"mostly {group.op}"
    return f"{site}{more}" if report.by == "op" else f"mostly {group.op}, {site}{more}"


def verdict_badge(judged: Judgement) -> Markup:
    """Return what bounds calls, in the colour of this verdict."""
    return tag("span", judged.label, class_=f"badge v-{judged.verdict.name.lower()}")


def _notes(report: Report) -> list[Markup]:
    verdicts = {row.judgement.verdict for row in report.ops}
    notes = (
        []
        if report.by == "callsite"
        else ["+N: called from N more places; the one shown took most time."]
    )
    if any(row.gain_ns is not None for row in report.ops):
        notes.append(
            "gain <: what the calls would take less at their roofs: a bound, not a promise."
        )
    if any(row.group.only_outer for row in report.ops):
        notes.append("inside: the figure is that of the ops that ran inside it.")
    if any(row.group.p50_ns is None for row in report.ops):
        notes.append("p50 and p99 are not known where calls were aggregated to save space.")
    if Verdict.VIOLATION in verdicts:
        notes.append(
            "model violation: faster than the roofs allow, so that roof or count is wrong here: no result."
        )
    notes += _bounds(report)
    found = [tag("p", " ".join(notes), class_="note")]
    slow = [row for row in report.ops if row.reasons]
    if slow:
        found.append(
            tag(
                "details",
                tag(
                    "summary",
                    f"Why {len(slow):,} of them are far from their roofs, as far as it shows",
                ),
                tag(
                    "ul",
                    *(
                        tag(
                            "li",
                            tag("b", row.group.label or row.group.op),
                            f": {'; '.join(row.reasons)}",
                        )
                        for row in slow
                    ),
                ),
            )
        )
    return found


def _bounds(report: Report) -> list[str]:
    """What a step, and the run, would take at least."""
    told = [
        f"{what} would take at least {time(bound.at_roof_ns)} instead of {time(bound.wall_ns)}"
        for what, bound in (("a step", report.step_what_if), ("the run", report.what_if))
        if bound is not None
    ]
    if not told:
        return ["What could be won is not known: no op was judged."]
    return [
        f"If every op that was judged ran at its roof, and all else stayed, {', '.join(told)}: bounds."
    ]
