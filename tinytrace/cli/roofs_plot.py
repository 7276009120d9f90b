"""The picture of the roofs: arithmetic intensity against rate (Williams, Waterman, Patterson, "Roofline", 2009)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tinytrace.cli.pictures import new_figure, write_figure

if TYPE_CHECKING:
    from tinytrace.analysis.peaks import Peaks

INTENSITY = (
    2.0**-6,
    2.0**10,
)  # FLOPs per byte: from copies with a little arithmetic to large products
COLOURS = {"L1": "#0072b2", "L2": "#009e73", "L3": "#e69f00", "DRAM": "#d55e00"}  # Okabe & Ito
LINE_RATIO = 1.3  # of two rates whose texts just do not touch


def draw(peaks: Peaks, target: Path) -> None:
    """Write the picture, whole or not at all.

    Args:
        peaks: the roofs.
        target: ``.png`` or ``.svg``.

    Raises:
        OutputError: it cannot be written.
    """
    figure = new_figure((9, 5.5))
    _draw_roofs(figure.add_subplot(), peaks)
    write_figure(figure, target)


def _draw_roofs(axes: Any, peaks: Peaks) -> None:
    left, right = INTENSITY
    ceilings = {f"matrix product {d}": p.value for d, p in peaks.gemm_gflops.items()}
    vector = {
        f"arithmetic {d}": p.value
        for d, p in peaks.vector_gflops.items()
        if d in ("float32", "float64")
    }
    highest = max([*ceilings.values(), *vector.values()], default=1.0)
    axes.set(xscale="log", yscale="log", xlim=INTENSITY)
    axes.set(xlabel="arithmetic intensity (FLOPs per byte)", ylabel="GFLOP/s")
    for level in peaks.levels:
        if level.gbps is None or not level.resolvable:
            continue
        x = np.array([left, max(left, highest / level.gbps.value)])
        label = f"{level.name}: {level.gbps.value:.3g} GB/s"
        axes.plot(x, x * level.gbps.value, color=COLOURS[level.name], label=label)
        axes.fill_between(
            x,
            x * level.gbps.low,
            x * level.gbps.high,
            color=COLOURS[level.name],
            alpha=0.12,
            linewidth=0,
        )
    labels: list[tuple[float, str]] = []
    for style, group in (("-", ceilings), ("--", vector)):
        for name, value in group.items():
            axes.axhline(value, color="0.35", linestyle=style, linewidth=0.9)
            labels.append((value, f"{name}: {value:.3g}"))
    for place, text in apart(labels):
        axes.text(right * 1.1, place, text, va="center", fontsize=8)
    machine = peaks.machine
    how = "quick" if peaks.quick else "full"
    axes.set_title(
        f"{machine.get('cpu', 'unknown CPU')}, NumPy {machine.get('numpy', '?')}, "
        f"BLAS threads: {peaks.threads} ({how}, {peaks.measured_at[:10]})",
        fontsize=10,
    )
    axes.grid(True, which="major", color="0.9")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(title="bandwidth, one thread", loc="lower right", fontsize=9)


def apart(labels: list[tuple[float, str]]) -> list[tuple[float, str]]:
    """Join texts that would lie on each other into one of several lines, at their middle.

    Args:
        labels: places on a logarithmic axis, and texts.
    """
    groups: list[list[tuple[float, str]]] = []
    for value, text in sorted(labels, reverse=True):
        room = math.log(LINE_RATIO) * len(groups[-1]) if groups else 0.0
        if groups and math.log(groups[-1][0][0] / value) < room:
            groups[-1].append((value, text))
        else:
            groups.append([(value, text)])
    return [(math.sqrt(g[0][0] * g[-1][0]), "\n".join(text for _, text in g)) for g in groups]
