"""The roofline: what the page's script draws, and the same as a table."""

from __future__ import annotations

from typing import Any

from tinytrace.analysis.device_words import PICTURE_MODEL, picture_roofs
from tinytrace.analysis.figures import clean, format_rate
from tinytrace.analysis.op_cells import figure_cell, gflops_cell
from tinytrace.analysis.roofline import Verdict
from tinytrace.analysis.roofline_points import Roofline, RooflinePoint
from tinytrace.exporters.html.markup import (
    NOT_KNOWN,
    Markup,
    join,
    percent,
    size,
    tag,
    time,
)
from tinytrace.exporters.html.ops import verdict_badge
from tinytrace.exporters.html.tables import table
from tinytrace.tracer.trace import Operand, Signature

LONGEST_NAME = 120
MOST_OPERANDS = 6
NO_ROOFS = (
    "No roofs: the trace does not have those of the machine that it was recorded on, and those of another "
    "machine would say nothing."
)


def roofline_data(roofline: Roofline) -> dict[str, Any]:
    """Return what is drawn: roofs as measured, and a point for each group of calls that has a place."""
    levels = () if roofline.peaks is None else roofline.peaks.levels
    return {
        "levels": [
            {"name": level.name, "gbps": level.gbps.value, "resolvable": level.resolvable}
            for level in levels
            if level.gbps is not None
        ],
        "ceilings": [
            {"sort": c.sort, "dtype": _name(c.dtype), "gflops": c.gflops.value}
            for c in roofline.ceilings
        ],
        "points": [_point(point) for point in roofline.points if point.place],
    }


def _point(point: RooflinePoint) -> dict[str, Any]:
    x, y = point.place or (0.0, 0.0)
    group, judged = point.group, point.judgement
    roof = percent(judged.roof_percent, 0)
    rows = [
        ("shapes", NOT_KNOWN if point.signature is None else signature_words(point.signature)),
        ("line", group.callsite or NOT_KNOWN),
        ("time", f"{time(group.self_ns)}, {percent(group.percent)} of the run"),
        ("calls", f"{group.calls:,}, half of them at most {time(group.p50_ns)}"),
        ("does", f"{gflops_cell(group)} GFLOP/s, {figure_cell(group, group.gbps)} GB/s"),
        ("intensity", f"{format_rate(x)} FLOP/B"),
        ("operands fit", f"{point.level or NOT_KNOWN} (footprint {size(group.footprint_bytes)}, modelled)"),
        ("of its roof", roof),
        ("verdict", judged.label),
    ]  # fmt: skip
    return {
        "x": x,
        "y": y,
        "ns": group.self_ns,
        "level": point.level,
        "square": point.matrix,
        "impossible": judged.verdict is Verdict.VIOLATION,
        "name": " ".join(filter(None, [_name(group.op), _name(point.dtype or "")])),
        "label": f"{time(group.self_ns)}, {roof} of roof" if judged.roof_percent is not None else time(group.self_ns),
        "rows": [[key, _name(value)] for key, value in rows],
    }  # fmt: skip


def _name(value: str) -> str:
    parts = [clean(part) for part in value.split("\u202f")]
    shown = "\u202f".join(parts)
    return shown if len(shown) <= LONGEST_NAME else f"{shown[: LONGEST_NAME - 1]}…"


def signature_words(signature: Signature) -> str:
    """Return dtypes and shapes, operands that are read first.

    >>> x = Operand("float32", (3, 4))
    >>> signature_words(Signature("add", (x, x, x), 2))
    'float32 3×4, float32 3×4 → float32 3×4'
    """
    return f"{_operands(signature.inputs)} → {_operands(signature.outputs)}"


def _operands(operands: tuple[Operand, ...]) -> str:
    shown = [
        f"{one.dtype} {'×'.join(map(str, one.shape)) if one.shape else 'scalar'}"
        for one in operands[:MOST_OPERANDS]
    ]
    if len(operands) > MOST_OPERANDS:
        shown.append(f"{len(operands) - MOST_OPERANDS:,} more")
    return ", ".join(shown) or "nothing"


def roofline_words(roofline: Roofline) -> Markup:
    """Return what the picture shows, what has no place in it, and its points as a table."""
    if not roofline.points:
        return tag("p", "No NumPy operation was recorded.", class_="missing")
    placed = 100 * roofline.placed_ns / roofline.op_ns if roofline.op_ns else 0.0
    notes = [] if roofline.peaks is not None else [NO_ROOFS]
    what, which = (
        "op time",
        "the calls of one op in one dtype whose operands fit one level of memory",
    )
    if roofline.device is not None:
        notes = [f"{roofline.device}. {picture_roofs(roofline)}"]
        what, which = "the device’s work", "what the calls of one op in one dtype launched"
    drawn = f"In the picture: {percent(placed)} of {what}."
    if roofline.placed_ns:
        drawn += f" A point: {which}; its area: their time; squares: matrix products."
    notes.append(drawn)
    if roofline.point_ns > roofline.placed_ns:
        rest = 100 * (roofline.point_ns - roofline.placed_ns) / roofline.op_ns
        notes.append(
            f"{percent(rest)} have no place in it: no FLOPs (copies, exp, sqrt), or not counted."
        )
    if roofline.peaks is not None and any(
        level.gbps and not level.resolvable for level in roofline.peaks.levels
    ):
        notes.append("Dashed: at least so much, no roof: the cost of calling NumPy hides the rest.")
    if any(
        point.place and point.judgement.verdict is Verdict.VIOLATION for point in roofline.points
    ):
        notes.append(
            "Hollow and red: faster than the roofs allow, so that roof or count is wrong: no result."
        )
    notes.append(
        "Times and roofs are measured; FLOPs and bytes are counted from shapes, levels are modelled."
        if roofline.device is None
        else PICTURE_MODEL
    )
    return join(tag("p", " ".join(notes), class_="note"), _table(roofline))


def _table(roofline: Roofline) -> Markup:
    heads = (
        "op",
        "dtype",
        "fits",
        "self",
        "FLOP/B",
        "GFLOP/s",
        "GB/s",
        "% roof",
        "verdict",
        "shapes",
    )
    rows = []
    for point in roofline.points:
        group = point.group
        figures = (
            time(group.self_ns),
            figure_cell(group, group.flops_per_byte),
            gflops_cell(group),
            figure_cell(group, group.gbps),
            percent(point.judgement.roof_percent, 0),
        )
        shapes = NOT_KNOWN if point.signature is None else signature_words(point.signature)
        rows.append(
            tag(
                "tr",
                tag("th", group.op, scope="row"),
                tag("td", point.dtype or NOT_KNOWN, class_="words"),
                tag("td", point.level or NOT_KNOWN, class_="words"),
                *(tag("td", figure) for figure in figures),
                tag("td", verdict_badge(point.judgement), class_="words"),
                tag("td", tag("code", shapes), class_="words"),
            )
        )
    count = f"{len(roofline.points):,}"
    if roofline.n_points > len(roofline.points):
        count += f" of {roofline.n_points:,}, those with most time"
    return tag(
        "details",
        tag("summary", f"All groups of calls as a table ({count})"),
        table(
            "Groups of calls", heads, rows, words=("dtype", "fits", "verdict", "shapes"), tall=True
        ),
        class_="bulky",
    )
