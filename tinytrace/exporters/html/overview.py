"""The top of the page: the verdict, the figures that matter most, and where the time went."""

from __future__ import annotations

from datetime import datetime, timezone

from tinytrace.analysis.account import Account, Where
from tinytrace.analysis.report import Report
from tinytrace.exporters.html.bars import time_bar
from tinytrace.exporters.html.content import PageContent
from tinytrace.exporters.html.markup import (
    NARROW_SPACE,
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

LAST_YEAR_S = 253_402_300_799  # of what a date can tell: the end of the year 9999
# A part of a bar that is narrower has no room for its own figure.
EXPLAINED = {
    Where.COMPUTE: "at 60 % or more of a roof of arithmetic",
    Where.MEMORY: "at 60 % or more of the bandwidth of a level of memory",
    Where.OVERHEAD: "the same call on tiny operands takes more than half of the time",
    Where.BALANCED: "as near to the roof of arithmetic as to that of memory",
    Where.LATENCY: "below 60 % of every roof, and not by the cost of calls",
    Where.UNCOUNTED: "no formula for their work",
    Where.NOT_JUDGED: "no roof was measured, or the model does not fit",
    Where.DISPATCH: "ops of torch that launch work, and the launches",
    Where.PYTHON: "no op ran, and the thread was on the CPU (samples, or torch.profiler’s stacks)",
    Where.TORCH_UNSEEN: "likewise, while torch’s profiler was not on (samples)",
    Where.IMPORTS: "likewise, while a library was imported",
    Where.DATA_WAIT: "in a data loader, with all that runs inside",
    Where.COMMUNICATION: "in calls that communicate with other ranks, waiting for them included",
    Where.DEVICE_WAIT: "in a call that returns when a device has ended its work",
    Where.BLOCKED: "no op ran, and the thread was not on the CPU (samples)",
    Where.NOT_KNOWN_RUNNING: "no op ran; whether the thread did is not known",
    Where.PROFILER: "what recording took (estimate)",
    Where.UNATTRIBUTED: "no span and no sample tells",
}


def recorded_at(content: PageContent) -> str | None:
    """Return when recording began; None: not known."""
    seconds = (content.roofline.start_unix_ns or 0) // 10**9
    if not 0 < seconds <= LAST_YEAR_S:
        return None
    return f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%d %H:%M} UTC"


def hero(content: PageContent) -> Markup:
    """Return the verdict, and the figures beneath it."""
    report = content.report
    facts = [recorded_at(content), content.roofline.cpu]
    if report.processes > 1:
        facts.append(f"{report.processes:,} processes")
    if report.threads > 1:
        facts.append(f"{report.threads:,} threads")
    return tag(
        "section",
        tag("p", "Performance report", class_="kicker"),
        tag("h1", content.name),
        tag("p", " · ".join(fact for fact in facts if fact), class_="facts"),
        tag("p", content.headline.replace(" %", f"{NARROW_SPACE}%"), class_="verdict"),
        tag("dl", *_tiles(report), class_="tiles"),
        class_="hero",
        id="top",
    )


def _tiles(report: Report) -> list[Markup]:
    steps, bound = report.steps, report.step_what_if or report.what_if
    what = "a step" if report.step_what_if else "the run"
    peaks = report.memory.processes[:1]
    resident = next((one.resident for one in peaks), None)
    arrays = next((one.arrays for one in peaks), None)
    p99 = "no steps" if steps.p99_ns is None else f"99 % take at most {time(steps.p99_ns)}"
    at_roofs = (NOT_KNOWN, "no op was judged")
    if bound is not None:
        at_roofs = (time(bound.at_roof_ns), f"instead of {time(bound.wall_ns)}: a bound")
    tiles = [
        ("recorded", time(report.wall_ns or None), _of_steps(report)),
        ("median step", time(steps.p50_ns), p99),
        (f"{what} at the roofs", *at_roofs),
        (
            "resident memory, peak",
            size(resident.bytes if resident else None),
            f"NumPy arrays {size(arrays.bytes)}" if arrays else "arrays: not recorded",
        ),
        ("explained", percent(report.coverage.explained), "of the main thread’s time"),
    ]
    overhead = report.audit.own_overhead_percent
    tiles.append(("recording cost", percent(overhead, 2), "of the time, as estimated"))
    return [
        tag("div", tag("dt", name), tag("dd", tag("b", value), tag("span", note)))
        for name, value, note in tiles
    ]


def _of_steps(report: Report) -> str:
    steps = report.steps
    if not len(steps.steps):
        return "no steps"
    how = "found" if steps.steps.how in ("optimizer", "pattern") else "marked"
    return f"{counted(len(steps.steps), 'step')}, {how}"


def account(report: Report) -> Markup:
    """Return where the time went: bars that add up to 100 %, and the same as a table."""
    run, step = report.account, report.step_account
    if run is None:
        return tag("p", "No account: the trace has no thread, or no time.", class_="missing")
    shown = [
        entry.where
        for entry in run.entries
        if entry.spent_ns or (step is not None and step.spent_ns(entry.where))
    ]
    bars = [] if step is None else [("A step", step)]
    bars.append(("The run", run))
    notes = []
    if step is not None:
        notes.append(
            f"A step: the mean of the {counted(step.n_windows, 'step')} whose duration is in the middle half."
        )
    if run.scaled:
        notes.append(
            "Some spans are folded or overlap, so that their times add up to more than there was: Python between "
            "ops is scaled to what is left."
        )
    if not run.profiler_known:
        notes.append("What recording cost is not known: it is in the other lines.")
    return join(
        *(
            time_bar(
                name,
                one.wall_ns,
                [(e.where.value, e.where.name.lower(), e.spent_ns) for e in one.entries],
            )
            for name, one in bars
        ),
        _account_table(run, step, shown),
        *(tag("p", note, class_="note") for note in notes),
    )


def _account_table(run: Account, step: Account | None, shown: list[Where]) -> Markup:
    heads = ["where", *([] if step is None else ["% step", "a step"]), "% run", "the run"]
    rows = []
    for where in shown:
        cells = [
            tag(
                "th",
                tag("i", class_=f"swatch w-{where.name.lower()}"),
                tag("span", where.value, tag("small", EXPLAINED[where])),
                scope="row",
            )
        ]
        for one in (step, run):
            if one is not None:
                cells += [
                    tag("td", percent(one.percent(where))),
                    tag("td", time(one.spent_ns(where))),
                ]
        rows.append(tag("tr", *cells))
    return table(f"Where the time of {run.thread} went", heads, rows)
