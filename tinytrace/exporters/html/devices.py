"""Devices (GPUs) on the page: where the time of each went, the ops that gave it work, and its kernels."""

from __future__ import annotations

from tinytrace.analysis.device_account import DeviceAccount, Spent
from tinytrace.analysis.device_report import DeviceSection
from tinytrace.analysis.device_tables import DeviceOpRow, KernelRow
from tinytrace.analysis.device_words import (
    account_notes,
    device_name,
    job_words,
    memory_words,
    op_notes,
    step_notes,
)
from tinytrace.analysis.figures import format_rate
from tinytrace.analysis.report import Report
from tinytrace.exporters.html.bars import time_bar
from tinytrace.exporters.html.markup import NOT_KNOWN, Markup, join, percent, tag, time
from tinytrace.exporters.html.ops import verdict_badge
from tinytrace.exporters.html.tables import table

# A part of a bar that is narrower has no room for its own figure; and this wide, for its name as well.
LONGEST_NAME = 60  # of an op or a kernel; the whole one is its title
COLOURS = {  # those of lines of the host's account that are like them
    Spent.COMPUTE: "compute", Spent.MEMORY: "memory", Spent.BALANCED: "balanced", Spent.SMALL: "overhead",
    Spent.SLOW: "latency", Spent.NOT_JUDGED: "not_judged", Spent.COMMUNICATION: "uncounted",
    Spent.COPIES: "imports", Spent.DATA: "data_wait", Spent.DISPATCH: "dispatch", Spent.HOST: "python",
    Spent.KERNEL_WAIT: "not_known_running", Spent.OTHER_WAIT: "blocked", Spent.NOT_KNOWN: "unattributed",
}  # fmt: skip
EXPLAINED = {
    Spent.COMPUTE: "of ops at 60 % or more of the nominal roof of arithmetic",
    Spent.MEMORY: "of ops at 60 % or more of the nominal bandwidth of the device's memory",
    Spent.BALANCED: "of ops as near to the roof of arithmetic as to that of memory",
    Spent.SMALL: "of ops whose kernels take hardly longer than the shortest there are",
    Spent.SLOW: "of ops below 60 % of both nominal roofs",
    Spent.NOT_JUDGED: "their op is not counted, or no roof is known",
    Spent.COMMUNICATION: "between devices, while nothing is computed; waiting for other ranks is in it",
    Spent.COPIES: "nothing else runs",
    Spent.DATA: "nothing is queued, and the launching thread is in a data loader",
    Spent.DISPATCH: "nothing is queued, and the launching thread is in an op of torch, or launches",
    Spent.HOST: "nothing is queued, and the launching thread is in neither",
    Spent.KERNEL_WAIT: "what it takes to begin what is queued",
    Spent.OTHER_WAIT: "what is queued waits for something that the trace does not show",
    Spent.NOT_KNOWN: "the launch of what comes next is not in the trace",
}


def devices(report: Report) -> Markup | None:
    """Return the section; None: nothing ran on a device."""
    if report.devices is None:
        return None
    job = job_words(report.devices)
    return join(
        None if job is None else tag("p", job, class_="note"),
        *(_device(report, section) for section in report.devices.sections),
        *(tag("p", memory_words(memory), class_="note") for memory in report.devices.memory),
    )


def _device(report: Report, section: DeviceSection) -> Markup:
    run, step = section.account, section.step_account
    bars = [] if step is None else [("A step", step)]
    bars.append(("The run", run))
    return join(
        tag("h3", device_name(run)),
        *(_bar(name, one) for name, one in bars),
        _account_table(run, step),
        *(tag("p", note, class_="note") for note in account_notes(section)),
        _ops(report, section),
        *(tag("p", note, class_="note") for note in op_notes(section)),
        _kernels(section),
        *(tag("p", note, class_="note") for note in step_notes(section)),
    )


def _bar(name: str, one: DeviceAccount) -> Markup:
    return time_bar(
        name, one.wall_ns, [(e.spent.value, COLOURS[e.spent], e.spent_ns) for e in one.entries]
    )


def _account_table(run: DeviceAccount, step: DeviceAccount | None) -> Markup:
    heads = ["where", *([] if step is None else ["% step", "a step"]), "% run", "the run"]
    accounts = [one for one in (step, run) if one is not None]
    rows = []
    for entry in run.entries:
        spent = entry.spent
        if not any(one.spent_ns(spent) for one in accounts):
            continue
        cells = [
            tag(
                "th",
                tag("i", class_=f"swatch w-{COLOURS[spent]}"),
                tag("span", spent.value, tag("small", EXPLAINED[spent])),
                scope="row",
            )
        ]
        for one in accounts:
            cells += [tag("td", percent(one.percent(spent))), tag("td", time(one.spent_ns(spent)))]
        rows.append(tag("tr", *cells))
    return table(f"Where the time of {device_name(run)} went", heads, rows)


def _ops(report: Report, section: DeviceSection) -> Markup:
    if not section.ops:
        return tag("p", "No kernel is known to have been launched by an op.", class_="missing")
    first = {"callsite": "call site", "layer": "layer", "step": "step"}.get(report.by, "op")
    heads = [
        first, "verdict", "% time", "on device", "on host", "calls", "kernels", "TFLOP/s", "GB/s",
        "% roof",
    ]  # fmt: skip
    caption = (
        f"Top {first}s by the time of their kernels: {len(section.ops):,} of {section.n_ops:,}"
    )
    rows = [_op_row(row, first) for row in section.ops]
    return join(
        tag("p", caption, class_="note"),
        table(caption, heads, rows, words=(first, "verdict"), tall=True),
    )


def _op_row(row: DeviceOpRow, first: str) -> Markup:
    site = row.callsite or "call site not known"
    site += f" +{row.n_callsites - 1:,}" if row.n_callsites > 1 else ""
    detail = site if first == "op" else f"mostly {row.op}"
    figures = (
        percent(row.percent), time(row.device_ns), time(row.host_ns), f"{row.calls:,}", f"{row.pieces:,}",
        _rate(row.tflops), _rate(row.gbps), percent(row.judgement.roof_percent, 0),
    )  # fmt: skip
    label = row.label or "(in none)"
    return tag(
        "tr",
        tag("th", _short(label), tag("small", _short(detail)), scope="row", title=label),
        tag("td", verdict_badge(row.judgement), class_="words"),
        *(tag("td", figure) for figure in figures),
    )


def _kernels(section: DeviceSection) -> Markup:
    caption = f"Top kernels: {len(section.kernels):,} of {section.n_kernels:,}"
    heads = ["kernel", "% time", "time", "calls", "p50"]
    return join(
        tag("p", caption, class_="note"),
        table(
            caption,
            heads,
            [_kernel_row(row) for row in section.kernels],
            words=("kernel",),
            tall=True,
        ),
    )


def _kernel_row(row: KernelRow) -> Markup:
    more = f" +{row.n_ops - 1:,}" if row.n_ops > 1 else ""
    place = row.callsite or "call site not known"
    place += f" +{row.n_callsites - 1:,}" if row.n_callsites > 1 else ""
    by = NOT_KNOWN if row.op is None else f"{row.op}{more}"
    figures = (percent(row.percent), time(row.device_ns), f"{row.calls:,}", time(row.p50_ns))
    return tag(
        "tr",
        tag(
            "th",
            _short(row.short_name),
            tag("small", f"{row.sort}, launched by {by}, {place}"),
            scope="row",
            title=row.name,
        ),
        *(tag("td", figure) for figure in figures),
    )


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def _rate(value: float | None) -> str:
    return NOT_KNOWN if value is None else format_rate(value)
