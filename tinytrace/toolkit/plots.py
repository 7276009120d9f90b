"""Pictures of suites: `plot_performance_comparison`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinytrace.analysis.figures import format_ns
from tinytrace.errors import OutputError, UsageError

if TYPE_CHECKING:
    from tinytrace.toolkit.performance import Performance
    from tinytrace.toolkit.suite import Suite, SuiteRow

SIZE_IN = (13.0, 4.4)
COLOURS = {"faster": "#1a7f37", "slower": "#cf222e", "equivalent": "#57606a"}
FAR_APART = 30  # ratio of values beyond which a linear axis would hide the small ones
LINE = 0.055  # height of a line of text, of the axes
PLAIN, BASE, RING = "#8c959f", "#0969da", "#24292f"
NS_PER_MS = 1e6


def plot_performance_comparison(results: Suite, path: str | Path | None = None) -> Any:
    """Draw a suite: times with intervals, time against memory with the Pareto front, times of all rounds.

    Args:
        results: what `benchmark_suite` returned.
        path: where to write it (``.png``, ``.svg``, ``.pdf``); None: it is only returned.

    Returns:
        The `matplotlib.figure.Figure`: a notebook shows it.

    Raises:
        UsageError: matplotlib is not installed, or nothing was measured.
        OutputError: it cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UsageError("pictures need matplotlib: pip install 'tinytrace[plot]'") from None
    rows = [row for row in results.rows if row.performance is not None]
    if not rows:
        raise UsageError("nothing was measured: there is nothing to draw")
    figure = Figure(figsize=SIZE_IN, layout="constrained")
    bars, scatter, spread = figure.subplots(1, 3)
    _bars(bars, rows)
    _scatter(scatter, rows)
    _spread(spread, rows)
    figure.suptitle(
        f"{results.rounds} rounds in turns, in {results.where}; speedup against {results.baseline}",
        fontsize="medium",
    )
    if path is not None:
        try:
            figure.savefig(path, dpi=150)
        except (OSError, ValueError) as problem:
            raise OutputError(f"{path}: cannot be written: {problem}") from None
    return figure


def _colour(row: SuiteRow) -> str:
    return BASE if row.speedup is None else COLOURS.get(row.speedup.verdict.value, PLAIN)


def _bars(axes: Any, rows: list[SuiteRow]) -> None:
    performances = [row.performance for row in rows if row.performance is not None]
    times = [p.time for p in performances]
    below = [max(0.0, p.time - p.time_interval.low) for p in performances]
    above = [max(0.0, p.time_interval.high - p.time) for p in performances]
    places = range(len(rows))
    axes.barh(
        places, times, xerr=[below, above], color=[_colour(row) for row in rows], capsize=3,
        error_kw={"ecolor": RING, "elinewidth": 1},
    )  # fmt: skip
    axes.set_yticks(places, [row.name for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("time of a call, ms (bars: 95 % interval)")
    for place, row in zip(places, rows, strict=True):
        shown = row.speedup
        text = f"{format_ns(times[place] * NS_PER_MS)}, " + (
            "baseline"
            if shown is None
            else f"{shown.verdict.value} (speedup {shown.ratio.estimate:.3g})"
        )
        axes.annotate(
            text, (times[place] + above[place], place), xytext=(4, 0), textcoords="offset points",
            va="center", fontsize="small",
        )  # fmt: skip
    axes.set_xlim(0, 2.6 * max(t + a for t, a in zip(times, above, strict=True)))
    axes.set_title("Time", fontsize="medium")


def _scatter(axes: Any, rows: list[SuiteRow]) -> None:
    performances = [row.performance for row in rows if row.performance is not None]
    for row, p in zip(rows, performances, strict=True):
        ring = RING if row.on_front else "none"
        axes.scatter(p.memory, p.time, color=_colour(row), edgecolors=ring, s=50, zorder=3)
    front = sorted(
        (p.memory, p.time) for row, p in zip(rows, performances, strict=True) if row.on_front
    )
    axes.plot(
        *zip(*front, strict=True),
        color=PLAIN,
        linestyle="--",
        linewidth=1,
        marker="o",
        markersize=7,
        markerfacecolor="none",
        markeredgecolor=RING,
        label="Pareto front",
    )
    axes.set_xlabel("memory, MB")
    axes.set_ylabel("time of a call, ms")
    _scale(axes.set_xscale, axes.set_xlim, [p.memory for p in performances])
    _scale(axes.set_yscale, axes.set_ylim, [p.time for p in performances])
    _labels(axes, rows, performances)
    axes.legend(fontsize="small")
    axes.set_title("Time and memory", fontsize="medium")


def _scale(set_scale: Any, set_limits: Any, values: list[float]) -> None:
    """Begin the axis at 0, or make it logarithmic where the values are far apart."""
    low, high = min(values), max(values)
    if low > 0 and high / low > FAR_APART:
        set_scale("log")
        set_limits(low / 3, high * 3)
    else:
        set_limits(0, 1.25 * high or 1.0)


def _labels(axes: Any, rows: list[SuiteRow], performances: list[Performance]) -> None:
    """Write the names beside the points: on the side where there is room, and none over another."""
    taken: list[tuple[bool, float]] = []
    to_axes = axes.transData + axes.transAxes.inverted()
    points = [
        (*to_axes.transform((p.memory, p.time)), row, p)
        for row, p in zip(rows, performances, strict=True)
    ]
    # From the bottom up to the middle, then from the top down to it: what gives way does so inwards.
    for x, y, row, p in sorted(points, key=lambda one: (one[1] >= 0.5, -abs(one[1] - 0.5))):
        left, away = x > 0.5, LINE if y < 0.5 else -LINE
        while any(side == left and abs(y - other) < LINE for side, other in taken):
            y += away  # noqa: PLW2901 - the place of the label, not of the point
        taken.append((left, y))
        text = row.name if math.isnan(p.accuracy) else f"{row.name} ({p.accuracy:.1%})"
        axes.annotate(
            text, (p.memory, p.time), xytext=(x + (-0.03 if left else 0.03), y),
            textcoords="axes fraction", ha="right" if left else "left", va="center", fontsize="small",
        )  # fmt: skip


def _spread(axes: Any, rows: list[SuiteRow]) -> None:
    columns = [row.performance.times_ms for row in rows if row.performance is not None]
    boxes = axes.boxplot(columns, orientation="horizontal", showfliers=True, patch_artist=True)
    for box, row in zip(boxes["boxes"], rows, strict=True):
        box.set_facecolor(_colour(row))
        box.set_alpha(0.5)
    axes.set_yticks(range(1, len(rows) + 1), [row.name for row in rows])
    axes.invert_yaxis()
    every = [time for column in columns for time in column]
    _scale(axes.set_xscale, axes.set_xlim, every)
    axes.set_xlabel("time of a call in each round, ms")
    axes.set_title("Rounds", fontsize="medium")
