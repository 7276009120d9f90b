"""What is said about a roofline, under its picture and in its text alike."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

from tinytrace.analysis.device_words import PICTURE_MODEL, picture_roofs
from tinytrace.analysis.figures import clean
from tinytrace.analysis.roofline import Verdict

if TYPE_CHECKING:
    from tinytrace.analysis.roofline import Judgement
    from tinytrace.analysis.roofline_points import Roofline

LONGEST_COMMAND = 80
LAST_YEAR_S = 253_402_300_799  # of what a date can tell: the end of the year 9999


def program_words(roofline: Roofline) -> str:
    """Return what ran, when, and where."""
    command = clean(roofline.command or "a program that is not known")
    if len(command) > LONGEST_COMMAND:
        command = f"{command[: LONGEST_COMMAND - 3]}..."
    text = f"Roofline of {command}"
    if roofline.device is not None:
        text = f"Roofline of {clean(roofline.device)}"
        text += "" if roofline.command is None else f", {command}"
    seconds = (roofline.start_unix_ns or 0) // 10**9
    if 0 < seconds <= LAST_YEAR_S:
        text += f", {datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%d %H:%M} UTC"
    return text


def machine_words(roofline: Roofline) -> str:
    """Return which machine, and when its roofs were measured; without roofs that there are none."""
    peaks = roofline.peaks
    if roofline.device is not None:
        return clean(picture_roofs(roofline))
    if peaks is None:
        cpu = "" if roofline.cpu is None else f" ({clean(roofline.cpu)})"
        return (
            f"No roofs: the trace does not have those of the machine that it was recorded on{cpu}, and those of "
            "another machine would say nothing. python -m tinytrace calibrate measures them; runs after that "
            "have them."
        )
    told = peaks.machine
    how = "in about a second: may be a little low" if peaks.quick else "in full"
    return clean(
        f"Machine: {told.get('cpu', 'unknown CPU')}, {told.get('cpus', '?')} CPUs; "
        f"NumPy {told.get('numpy', '?')}, {told.get('blas', '?')}, BLAS threads: {peaks.threads}; "
        f"roofs measured {peaks.measured_at[:10]}, {how}."
    )


def modelled_words(roofline: Roofline) -> str:
    """Return what is measured, and what is a model."""
    if roofline.device is not None:
        return PICTURE_MODEL
    has_roofs = roofline.peaks is not None and any(level.gbps for level in roofline.peaks.levels)
    text = (
        f"Measured: times{', roofs' if has_roofs else ''}. Modelled: FLOPs and bytes (counted from shapes), the "
        "level (the fastest one that the operands of a call fit). No hardware counters."
    )
    if roofline.peaks is None or not has_roofs:
        return text
    text += (
        " Rings, ridges: from these FLOPs per byte on, computing, and not moving, is the lower roof. Of operands "
        "larger than a cache a part may still lie in it: their roof is between the lines of two levels."
    )
    if any(level.gbps and not level.resolvable for level in roofline.peaks.levels):
        text += " Dashed or *: at least so much, no roof: the cost of calling NumPy hides the rest."
    return text


def drawn_words(roofline: Roofline) -> str:
    """Return what a point is, and which ops are none."""
    if not roofline.op_ns:
        return "No NumPy operation was recorded."
    placed = 100 * roofline.placed_ns / roofline.op_ns
    what, which = (
        "op time",
        "the calls of one op in one dtype whose operands fit one level; its area: self time",
    )
    if roofline.device is not None:
        what, which = (
            "the device's work",
            "what the calls of one op in one dtype launched; its area: time of the device",
        )
    text = f"In the picture: {placed:.1f} % of {what}."
    if roofline.placed_ns:
        text = f"A point: {which}; squares: matrix products. {text}"
    if roofline.point_ns > roofline.placed_ns:
        share = 100 * (roofline.point_ns - roofline.placed_ns) / roofline.op_ns
        text += f" {share:.1f} %: no FLOPs (copies, exp, sqrt), or not counted; such ops have no place in it."
    return text


def share_words(judgement: Judgement) -> str:
    """Return the share of the roof, else why there is none."""
    if judgement.roof_percent is None:
        if judgement.verdict in (Verdict.VIOLATION, Verdict.UNCOUNTED, Verdict.OVERHEAD):
            return str(judgement.verdict.value)
        return "no roof"
    share = judgement.roof_percent
    return f"{share:.0f} % of roof" if share >= 0.5 else "less than 1 % of roof"
