"""The picture of a roofline: roofs per level and dtype, ops as points whose area is their time."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tinytrace.analysis.figures import clean, digits, format_ns
from tinytrace.analysis.roofline import Verdict
from tinytrace.cli.pictures import new_figure, write_figure
from tinytrace.cli.roofline_words import (
    drawn_words,
    machine_words,
    modelled_words,
    program_words,
    share_words,
)
from tinytrace.cli.roofs_plot import COLOURS, apart

if TYPE_CHECKING:
    from tinytrace.analysis.roofline_points import Roofline, RooflinePoint

INCHES = (11.0, 7.5)
CAPTION_COLUMNS = 175  # of text of 8 points on a page of 11 inches
NO_LEVEL_COLOUR = "0.55"
# Areas in square points: the smallest can still be seen, the largest has a radius of 0.3 inches.
LEAST_AREA, MOST_AREA = 18.0, 1500.0
# Around a point, for its label: directions, nearest the horizontal first, and distances from its edge in points.
DIRECTIONS = (0, 180, 25, -25, 155, -155, 50, -50, 130, -130, 75, -75, 105, -105)
DISTANCES = (4.0, 14.0, 28.0, 46.0)
LONGEST_LABEL = 40
CLEARANCE = 1.5  # of a label, in points: other sizes of the picture set text a little wider
MARGIN = 1.7  # between the outermost things and the frame: a factor on logarithmic axes
LEFT, RIGHT = 2.0**-5, 2.0**6  # FLOPs per byte that are in the picture in any case


def draw(roofline: Roofline, target: Path) -> int:
    """Write the picture, whole or not at all.

    Args:
        roofline: of a trace.
        target: ``.png`` or ``.svg``.

    Returns:
        how many points there was no room to label.

    Raises:
        OutputError: it cannot be written.
    """
    figure = new_figure(INCHES)
    axes = figure.add_subplot()
    placed = [point for point in roofline.points if point.place]
    x, y = _ranges(roofline, placed)
    axes.set(xscale="log", yscale="log", xlim=x, ylim=y)
    axes.set(xlabel="arithmetic intensity (FLOPs per byte)", ylabel="GFLOP/s")
    axes.grid(visible=True, which="major", color="0.92")
    axes.set_axisbelow(True)
    _draw_roofs(axes, roofline, x)
    areas = _areas(placed)
    _draw_points(axes, placed, areas)
    if not placed:
        note = "no op whose FLOPs and bytes are both known"
        axes.text(0.5, 0.5, note, transform=axes.transAxes, ha="center", color="0.4")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower right", fontsize=8, title="memory level", title_fontsize=8)
    axes.set_title(program_words(roofline), fontsize=11, loc="left")
    figure.supxlabel(_caption(roofline), fontsize=8, color="0.25", x=0.01, ha="left")
    figure.draw_without_rendering()  # places everything, so that the labels find what is free
    figure.set_layout_engine("none")
    left_out = _label(axes, placed, areas)
    write_figure(figure, target)
    return left_out


def _ranges(
    roofline: Roofline, placed: Sequence[RooflinePoint]
) -> tuple[tuple[float, float], tuple[float, float]]:
    """What the axes show: all points, all ridges, all ceilings."""
    places = [point.place for point in placed if point.place]
    levels = roofline.peaks.levels if roofline.peaks else ()
    ridges = [ridge for c in roofline.ceilings for level in levels if (ridge := c.ridge(level))]
    xs = [LEFT, RIGHT, *(x for x, _ in places), *ridges]
    ys = [*(y for _, y in places), *(ceiling.gflops.value for ceiling in roofline.ceilings)] or [
        1.0
    ]
    return (min(xs) / MARGIN, max(xs) * MARGIN), (min(ys) / MARGIN, max(ys) * MARGIN)


def _draw_roofs(axes: Any, roofline: Roofline, x: tuple[float, float]) -> None:
    if roofline.peaks is None:
        return
    highest = max((c.gflops.value for c in roofline.ceilings), default=None)
    for level in roofline.peaks.levels:
        if level.gbps is None:
            continue
        gbps, colour = level.gbps.value, COLOURS[level.name]
        end = x[1] if highest is None else min(x[1], highest / gbps)
        line = np.array([x[0], max(x[0], end)])
        least = "" if level.resolvable else "at least "
        style = "-" if level.resolvable else (0, (5, 3))
        label = f"{level.name}: {least}{digits(gbps)} GB/s"
        axes.plot(line, line * gbps, color=colour, linestyle=style, linewidth=1.5, label=label)
        if level.resolvable:
            ridges = [(c.gflops.value / gbps, c.gflops.value) for c in roofline.ceilings]
            axes.plot(
                *np.array(ridges).reshape(-1, 2).T, linestyle="", marker="o", markersize=4.5,
                markerfacecolor="white", markeredgecolor=colour, zorder=2.5,
            )  # fmt: skip
    fastest = max((level.gbps.value for level in roofline.peaks.levels if level.gbps), default=0.0)
    labels = []
    for ceiling in roofline.ceilings:
        gflops = ceiling.gflops.value
        begin = gflops / fastest if fastest else x[0]
        style = "-" if ceiling.sort == "matrix" else "-."
        axes.plot([begin, x[1]], [gflops, gflops], color="0.35", linestyle=style, linewidth=1.2)
        name = "matrix product" if ceiling.sort == "matrix" else "arithmetic"
        labels.append((gflops, f"{name}\n{ceiling.dtype}: {digits(gflops)}"))
    for place, text in apart(labels):
        axes.text(x[1] * 1.06, place, text, va="center", fontsize=8, color="0.25")


def _areas(placed: Sequence[RooflinePoint]) -> list[float]:
    """Areas as times, down to where a point could not be seen any more."""
    longest_ns = max((point.group.self_ns for point in placed), default=1) or 1
    return [max(LEAST_AREA, MOST_AREA * point.group.self_ns / longest_ns) for point in placed]


def _draw_points(axes: Any, placed: Sequence[RooflinePoint], areas: Sequence[float]) -> None:
    for point, area in zip(placed, areas, strict=True):
        colour = NO_LEVEL_COLOUR if point.level is None else COLOURS[point.level]
        impossible = point.judgement.verdict is Verdict.VIOLATION
        axes.scatter(
            *point.place or (),
            s=area,
            marker="s" if point.matrix else "o",
            facecolor="none" if impossible else colour,
            edgecolor=colour if impossible else "white",
            linestyle="--" if impossible else "-",
            alpha=0.8,
            zorder=3,
        )


def _label(axes: Any, placed: Sequence[RooflinePoint], areas: Sequence[float]) -> int:
    """Write the label of each point, those with most time first, where nothing is yet.

    Returns:
        how many found no room.
    """
    per_point = axes.figure.dpi / 72
    frame = axes.get_window_extent()
    boxes = [
        _around(axes, point, area, per_point) for point, area in zip(placed, areas, strict=True)
    ]
    legend = axes.get_legend()
    if legend is not None:
        extent = legend.get_window_extent()
        boxes.append((extent.x0, extent.y0, extent.x1, extent.y1))
    left_out = 0
    for point, area in zip(placed, areas, strict=True):
        radius = math.sqrt(area / math.pi)
        text = axes.annotate(
            _label_text(point), point.place, xytext=(0, 0), textcoords="offset points", fontsize=7.5,
            ha="center", va="center", linespacing=0.95, zorder=2.8, annotation_clip=False,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.4},
            arrowprops={
                "arrowstyle": "-", "color": "0.5", "linewidth": 0.6, "shrinkA": 0, "shrinkB": radius,
            },
        )  # fmt: skip
        size = text.get_window_extent().padded(CLEARANCE * per_point)
        width, height = size.width / per_point, size.height / per_point
        middle = axes.transData.transform(point.place)
        for distance, dx, dy in _offsets(radius, width, height):
            x, y = middle[0] + dx * per_point, middle[1] + dy * per_point
            box = (x - size.width / 2, y - size.height / 2, x + size.width / 2, y + size.height / 2)
            inside = (
                frame.x0 <= box[0] and box[2] <= frame.x1
                and frame.y0 <= box[1] and box[3] <= frame.y1
            )  # fmt: skip
            if inside and not any(_overlap(box, other) for other in boxes):
                text.set_position((dx, dy))
                text.set_multialignment(
                    "left" if dx > width / 2 else "right" if -dx > width / 2 else "center"
                )
                text.arrow_patch.set_visible(distance > DISTANCES[0])
                boxes.append(box)
                break
        else:
            text.remove()
            left_out += 1
    return left_out


Box = tuple[float, float, float, float]


def _around(axes: Any, point: RooflinePoint, area: float, per_point: float) -> Box:
    x, y = axes.transData.transform(point.place)
    radius = math.sqrt(area / math.pi) * per_point
    return x - radius, y - radius, x + radius, y + radius


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _offsets(radius: float, width: float, height: float) -> Iterator[tuple[float, float, float]]:
    """Places of a label, the best one first: its distance from the edge of its point, and its middle seen from there.

    All in points, as matplotlib measures text.
    """
    for distance in DISTANCES:
        for degrees in DIRECTIONS:
            c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
            reach = radius + distance
            yield distance, (reach + width / 2) * c, (reach + height / 2) * s


def _label_text(point: RooflinePoint) -> str:
    name = clean(" ".join(filter(None, [point.group.op, point.dtype])))[:LONGEST_LABEL]
    return f"{name}\n{format_ns(point.group.self_ns)}, {share_words(point.judgement)}"


def _caption(roofline: Roofline) -> str:
    texts = [machine_words(roofline), drawn_words(roofline), modelled_words(roofline)]
    return "\n".join(
        line for text in texts if text for line in textwrap.wrap(text, CAPTION_COLUMNS)
    )
