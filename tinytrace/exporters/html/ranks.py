"""The ranks of a job: a bar each on one scale, and the same as a table; whom the others waited for."""

from __future__ import annotations

from tinytrace.analysis.rank_report import CollectiveTime, RankReport
from tinytrace.analysis.rank_times import RankTime
from tinytrace.analysis.stragglers import Excess, Straggler
from tinytrace.exporters.html.bars import time_bar
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
from tinytrace.exporters.html.tables import table
from tinytrace.tracer.communication_names import ranks_text

MOST_BARS = 16  # more than fit on a screen are no picture; the table has all
MOST_STRAGGLERS = 8
# Field of a `RankTime`, what it is called, and the colour of the account that is like it.
PARTS = (
    ("ops_ns", "ops", "compute"),
    ("python_ns", "Python", "python"),
    ("data_ns", "waiting for data", "data_wait"),
    ("waiting_ns", "waiting for ranks", "latency"),
    ("transfer_ns", "transfer", "memory"),
    ("unsplit_ns", "not split", "uncounted"),
    ("imports_ns", "importing", "imports"),
    ("blocked_ns", "blocked", "blocked"),
    ("other_ns", "not seen", "unattributed"),
)


def ranks(report: RankReport) -> Markup:
    """Return the section."""
    widest_ns = max((t.wall_ns for t in report.ranks), default=0) or 1
    whole = len(report.ranks) if report.world_size is None else report.world_size
    notes = [f"{len(report.ranks):,} of {counted(whole, 'rank')}; the main thread of each."]
    if report.missing:
        notes.append(f"Not in this trace: rank {ranks_text(report.missing)}.")
    errors = [t.error_ns for t in report.ranks if t.error_ns]
    if errors:
        notes.append(f"Clocks: at most {time(max(errors))} apart, beyond what was corrected.")
    if report.undecided:
        notes.append(
            f"In {report.undecided:,} of {counted(report.n_sets, 'collective')} who came last is within the error of "
            "the clocks."
        )
    if report.unmatched:
        notes.append(
            f"Of {counted(report.unmatched, 'call')} it is not known when all had come: ranks are missing, calls were "
            "not seen, or clocks cannot be compared."
        )
    notes += report.warnings
    bars = report.most_awaited(MOST_BARS)
    if len(bars) < len(report.ranks):
        notes[0] += f" The {len(bars)} that others waited for longest are drawn; the table has all."
    return join(
        *(_straggler(one, report) for one in report.worth_naming[:MOST_STRAGGLERS]),
        *(_bar(one, widest_ns) for one in bars),
        _table(report.ranks),
        *(tag("p", note, class_="note") for note in notes),
        _collectives(report.collectives) if report.collectives else None,
    )


def _bar(one: RankTime, widest_ns: int) -> Markup:
    parts = [(name, colour, getattr(one, field)) for field, name, colour in PARTS]
    return time_bar(f"Rank {one.rank}", one.wall_ns, parts, widest_ns=widest_ns, named=False)


def _table(times: tuple[RankTime, ...]) -> Markup:
    shown = [part for part in PARTS if any(getattr(t, part[0]) for t in times)]
    has_steps = any(t.step_ns is not None for t in times)
    heads = [
        "rank",
        *(
            tag("th", tag("i", class_=f"swatch w-{colour}"), name, scope="col")
            for _, name, colour in shown
        ),
        "communicating",
        "hidden",
        "last",
        "others waited",
        *(["step p50"] if has_steps else []),
        "where",
    ]
    rows = [
        tag(
            "tr",
            tag("th", str(one.rank), scope="row"),
            *(tag("td", percent(100 * getattr(one, f) / (one.wall_ns or 1))) for f, _, _ in shown),
            tag("td", time(one.in_flight_ns)),
            tag("td", _hidden(one)),
            tag("td", f"{one.last:,}"),
            tag("td", time(one.awaited_ns)),
            *([tag("td", "–" if one.step_ns is None else time(one.step_ns))] if has_steps else []),
            tag("td", one.host or one.name, class_="words"),
        )
        for one in times
    ]
    return table("Where the time of each rank went", heads, rows, words=("where",), tall=True)


def _hidden(one: RankTime) -> str:
    if not one.in_flight_ns:
        return "–"
    if one.hidden_ns is None:
        return NOT_KNOWN
    return percent(100 * one.hidden_ns / one.in_flight_ns, 0)


def _straggler(one: Straggler, report: RankReport) -> Markup:
    more = "; ".join(_excess(excess) for excess in one.more)
    return tag(
        "p",
        tag("b", f"Rank {one.rank}"),
        f" came last in {one.last:,} of {report.n_sets:,}; the others waited {time(one.awaited_ns)} for it, all "
        f"together; had it come with the one before it, the job would take at most {time(one.cost_ns)} less.",
        f" Before, it did more than the median of the others: {more}." if more else None,
    )


def _excess(one: Excess) -> str:
    where = f" at {one.place}" if one.place else ""
    return f"{one.name}{where} {time(one.spent_ns)} (others {time(one.others_ns)})"


def _collectives(tables: tuple[CollectiveTime, ...]) -> Markup:
    heads = ["operation", "times", "bytes", "skew p50", "waiting", "transfer", "GB/s", "group"]
    rows = [
        tag(
            "tr",
            tag("th", one.op, scope="row"),
            tag("td", f"{one.n_sets:,}"),
            tag("td", size(one.bytes)),
            tag("td", time(one.skew_ns)),
            tag("td", time(one.waiting_ns)),
            tag("td", time(one.transfer_ns)),
            tag("td", NOT_KNOWN if one.bytes_per_s is None else f"{one.bytes_per_s / 1e9:.3g}"),
            tag("td", one.group, class_="words"),
        )
        for one in tables
    ]
    return join(
        tag("h3", "Communication"),
        table("Communication of all ranks", heads, rows, words=("group",)),
    )
