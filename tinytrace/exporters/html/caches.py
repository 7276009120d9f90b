"""Caches: what the CPU counted, and what is modelled, side by side and each called so."""

from __future__ import annotations

from tinytrace.analysis.caches import CacheReport, Counted, ProcessCaches
from tinytrace.analysis.figures import format_count, format_rate
from tinytrace.analysis.hardware_words import NAMES, OUTER, VERDICTS, Form, figure_rows
from tinytrace.exporters.html.markup import NOT_KNOWN, Markup, join, percent, size, tag, time
from tinytrace.exporters.html.tables import pairs, table

MOST_PROCESSES = 8  # as of memory


def caches_words(found: CacheReport) -> Markup:
    """Return the figures of each process, and why there are no others."""
    shown = found.processes[:MOST_PROCESSES]
    left = len(found.processes) - len(shown)
    why = found.why_none
    return join(
        None if why is None else tag("p", f"Nothing was measured by hardware counters: {why}.", class_="missing"),
        *(_process(one, many=len(found.processes) > 1) for one in shown),
        *(tag("p", f"{text}.", class_="note") for text in found.missing),
        tag("p", f"{left:,} further processes are left out here.", class_="note") if left else None,
    )  # fmt: skip


def _process(found: ProcessCaches, *, many: bool) -> Markup:
    return join(
        tag("h3", f"Process {found.pid}") if many else None,
        None if found.run is None else _measured(found, found.run),
        pairs(_modelled(found)),
    )


def _measured(found: ProcessCaches, run: Counted) -> Markup:
    """A table of what was counted, and how far it can be trusted."""
    times = [("run", run)] + ([] if found.step is None else [("a step", found.step)])
    rows = [
        tag("tr", tag("th", words, scope="row"), *(tag("td", _cell(getattr(one, field), form)) for _, one in times))
        for words, field, form in figure_rows(found.outer)
    ]  # fmt: skip
    notes = [
        f"In user mode, all threads; read every {time(found.reading_ns)}: what an op has of it is not known."
    ]
    if found.step is not None:
        notes.append(f"A step: the mean of {found.n_steps:,}, evenly between readings.")
    if found.scaled:
        told = ", ".join(f"{NAMES[name]} {share:.0f} %" for name, share in found.scaled)
        notes.append(f"Estimated from a part of the time, since counters took turns: {told}.")
    return join(
        table("Measured by hardware counters", ["measured", *(head for head, _ in times)], rows, words=("measured",)),
        tag("p", " ".join(notes), class_="note"),
    )  # fmt: skip


def _modelled(found: ProcessCaches) -> list[tuple[str, str]]:
    """What the ops move, by level; page faults, which are measured."""
    modelled = found.modelled
    total, unknown = modelled.total_bytes, ("not known", modelled.unknown_bytes)
    told = [("modelled: moved by ops", size(total) if total else NOT_KNOWN)]
    for bound, parts in {"best": modelled.at_best, "worst": (*modelled.at_worst, unknown)}.items():
        shares = [f"{level} {percent(100 * n / total)}" for level, n in parts if n]
        if shares:
            told.append((f"modelled: from, at {bound}", ", ".join(shares)))
    if found.agreement is not None:
        low, high = (
            size(found.agreement.modelled_low_bytes),
            size(found.agreement.modelled_high_bytes),
        )
        told += [
            (
                f"from {OUTER[found.outer or 'llc'][1]}, by measured misses",
                size(found.agreement.measured_bytes),
            ),
            ("likewise, modelled", low if low == high else f"{low} to {high}"),
            ("measured and modelled", VERDICTS[found.agreement.verdict]),
        ]
    if found.page_faults is not None:
        each = found.page_faults_per_step
        per_step = "" if each is None else f", {each:,.0f} a step"
        told.append(("measured: page faults", f"{found.page_faults:,}{per_step}"))
    return told  # fmt: skip


def _cell(value: float | None, form: Form) -> str:
    if value is None:
        return NOT_KNOWN
    if form == "bytes":
        return size(value)
    return format_count(round(value)) if form == "count" else format_rate(value)
