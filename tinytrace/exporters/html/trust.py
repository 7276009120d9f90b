"""How far to trust the page: coverage, self-audit, warnings; the machine and the conventions of counting."""

from __future__ import annotations

from typing import Any

from tinytrace.analysis.figures import format_rate
from tinytrace.analysis.peaks import Level, Peak, Peaks
from tinytrace.analysis.report import Report
from tinytrace.exporters.html.markup import NOT_KNOWN, Markup, join, percent, size, tag, time
from tinytrace.exporters.html.tables import pairs, table

MOST_NAMES = 12
MOST_FACTS = 40  # of what a trace tells of itself, which may be anything
CORES = {"c": "compiled", "python": "pure Python"}


def coverage(report: Report) -> Markup:
    """Return how much the page speaks of, and how well the run was seen."""
    cover, audit = report.coverage, report.audit
    shares = (
        ("of the main thread’s time explained", cover.explained),
        ("of the main thread’s time sampled", cover.sampled),
        ("of op time with FLOPs counted", cover.flops_counted),
        ("of op time with bytes counted", cover.bytes_counted),
        ("of op time judged by roofs", cover.judged),
    )
    meters = [
        tag(
            "li",
            tag("b", percent(share)),
            None if share is None else _meter(share),
            tag("span", name),
        )
        for name, share in shares
    ]
    skipped = NOT_KNOWN if audit.skipped_elements is None else f"{audit.skipped_elements:,}"
    rate = NOT_KNOWN if audit.achieved_hz is None else f"{audit.achieved_hz:,.0f} Hz"
    asked = "" if audit.asked_hz is None else f" of {audit.asked_hz:,.0f} asked"
    overhead = percent(audit.own_overhead_percent, 2)
    if audit.overhead_ns_per_op is not None:
        overhead += f", {audit.overhead_ns_per_op:,.0f} ns per op (estimates)"
    figures = [
        ("samples", f"{audit.samples:,}" if audit.samples else "none"),
        ("sampling rate", f"{rate}{asked}" if audit.samples or audit.asked_hz else "not sampled"),
        ("longest time without a sample", time(audit.largest_gap_ns)),
        ("spans recorded", f"{audit.spans:,}"),
        ("aggregated", f"{audit.spans - audit.kept_spans:,} spans, {audit.folded_samples:,} samples, "
            f"{audit.folded_counters:,} counter values"),
        ("dropped", NOT_KNOWN if audit.dropped is None else f"{audit.dropped:,} spans"),
        ("element accesses not recorded", skipped),
        ("ops without a formula", _names(audit.uncounted_ops)),
        ("cost of recording", overhead),
        ("recorder", CORES.get(audit.core or "", "not known")),
    ]  # fmt: skip
    return join(
        tag("ul", *meters, class_="meters"),
        tag("h3", "Self-audit"),
        pairs(figures),
        *(
            [
                tag("h3", "Warnings"),
                tag("ul", *(tag("li", w) for w in report.warnings), class_="warnings"),
            ]
            if report.warnings
            else []
        ),
    )


def _meter(share: float) -> Markup:
    filled = tag("i", style=f"width:{min(share, 100.0):.2f}%")
    return tag("i", filled, class_="meter", aria_hidden="true")


def _names(names: tuple[str, ...]) -> str:
    more = len(names) - MOST_NAMES
    return (", ".join(names[:MOST_NAMES]) or "none") + (f" and {more:,} more" if more > 0 else "")


def machine(report: Report, meta: dict[str, Any]) -> Markup:
    """Return the machine, its roofs as measured, and by which conventions work was counted."""
    told = _facts(meta.get("machine")) + _facts(meta.get("numerics")) + _facts(meta.get("options"))
    conventions = _facts(meta.get("conventions"))
    return join(
        pairs(told) if told else tag("p", "The trace does not say which machine it was.", class_="missing"),
        tag("h3", "Its roofs, as measured"),
        _roofs(report.peaks),
        tag("h3", "How work is counted"),
        tag("details", tag("summary", "The conventions, as the trace tells them"), pairs(conventions))
        if conventions
        else tag("p", "The trace names no conventions.", class_="missing"),
        tag(
            "p",
            "FLOPs and bytes are counted from shapes, not measured; footprints, levels and reuse are modelled. "
            "Nothing here is a hit rate: there were no hardware counters.",
            class_="note",
        ),
    )  # fmt: skip


def _facts(told: object) -> list[tuple[str, str]]:
    """What a trace tells, as far as it is a plain value."""
    if not isinstance(told, dict):
        return []
    return [
        (str(name).replace("_", " "), str(value))
        for name, value in list(told.items())[:MOST_FACTS]
        if isinstance(value, (str, int, float))
    ]


def _roofs(peaks: Peaks | None) -> Markup:
    if peaks is None:
        return tag(
            "p",
            "The trace has none: no verdicts. ", tag("code", "python -m tinytrace calibrate"),
            " measures them, on the machine and before recording.", class_="missing",
        )  # fmt: skip
    rows = [
        *(_roof("matrix products", d, peak, "GFLOP/s") for d, peak in peaks.gemm_gflops.items()),
        *(_roof("additions, element by element", d, peak, "GFLOP/s") for d, peak in peaks.vector_gflops.items()),
        *(_roof("exp", d, peak, "10⁹/s") for d, peak in peaks.transcendental_gops.items()),
        *(_level(level) for level in peaks.levels),
        *(_roof("a call on tiny operands", name, peak, "ns") for name, peak in peaks.floor_ns.items()),
    ]  # fmt: skip
    quick = ", in about a second: they may be a little low" if peaks.quick else ""
    heads = ("roof", "of", "best", "spread", "unit")
    roofs = table(
        "Roofs of the machine", heads, rows, words=("of", "unit"), class_="figures narrow"
    )
    measured = f"Measured {peaks.measured_at}, {peaks.threads:,} BLAS threads{quick}."
    return join(
        tag(
            "details",
            tag("summary", f"All {len(rows)} of them"),
            roofs,
        ),
        *(tag("p", note, class_="note") for note in (measured, *peaks.notes)),
    )


def _level(level: Level) -> Markup:
    room = "memory" if level.size_bytes is None else f"up to {size(level.size_bytes)}"
    name = f"{level.name}, {room}"
    if level.gbps is None:
        return tag("tr", tag("th", "bandwidth", scope="row"), tag("td", name, class_="words"),
                   tag("td", "not measured", colspan="3"))  # fmt: skip
    return _roof("bandwidth", name, level.gbps, "GB/s", least=not level.resolvable)


def _roof(what: str, of: str, peak: Peak, unit: str, *, least: bool = False) -> Markup:
    return tag(
        "tr",
        tag("th", what, scope="row"),
        tag("td", of, class_="words"),
        tag("td", f"{'at least ' if least else ''}{format_rate(peak.value)}"),
        tag("td", f"{format_rate(peak.low)}…{format_rate(peak.high)}"),
        tag("td", unit, class_="words"),
    )
