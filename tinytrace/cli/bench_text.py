"""What `bench` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from tinytrace.analysis.figures import format_mb, format_ns
from tinytrace.cli.sheet import LONGEST_TEXT, UNKNOWN, Sheet
from tinytrace.toolkit.results import AGAIN, differences
from tinytrace.toolkit.saved import UNPAIRED

if TYPE_CHECKING:
    from tinytrace.toolkit.commands import Bench, Timed

NS_PER_MS = 1e6


def print_bench(found: Bench, saved: dict[str, Any] | None, file: TextIO) -> None:
    """Print the table, and beside it what was saved earlier.

    Args:
        found: what was measured.
        saved: earlier results; None: there are none.
        file: where to.
    """
    sheet = Sheet(file)
    rows = found.rows
    columns = {
        "command": [sheet.text(row.name) for row in rows],
        "time": [format_ns(row.time_ms * NS_PER_MS) for row in rows],
        "95 % interval": [_interval(row) for row in rows],
        "peak memory": [_peak(row) for row in rows],
        "speedup": [_speedup(row) for row in rows],
        "verdict": [
            "baseline" if row.speedup is None else row.speedup.verdict.value for row in rows
        ],
    }
    if saved is not None:
        columns["saved"] = [_saved(row, saved) for row in rows]
    sheet.table(f"{found.rounds} rounds in turns, each in a fresh process", columns)
    sheet.say(
        "time: median, with its interval; of a command all of its process, of a function one call.",
        "dim",
    )
    sheet.say("speedup: time of the first one divided by its own; above 1 is faster.", "dim")
    if any(row.peak_rss_mb is None for row in rows):
        sheet.say(
            f"peak memory {UNKNOWN}: no more than a bare Python takes, below which nothing can be told.",
            "dim",
        )
    for row in rows:
        if row.speedup is not None and row.speedup.reason:
            sheet.say(f"{sheet.text(row.name)}: {row.speedup.reason}.")
    if saved is not None:
        apart = differences(saved["machine"], found.machine)
        worth = f"not comparable: {'; '.join(apart)}" if apart else UNPAIRED
        sheet.say(f"saved: median of earlier results, {sheet.text(worth, LONGEST_TEXT)}.")
    if found.stopped is not None:
        sheet.say(
            f"Stopped ({sheet.text(found.stopped, LONGEST_TEXT)}): these are the rounds that were complete."
        )
    sheet.print()


def _interval(row: Timed) -> str:
    low, high = (format_ns(t * NS_PER_MS) for t in (row.interval.low, row.interval.high))
    return f"{low} to {high}"


def _peak(row: Timed) -> str:
    if row.peak_rss_mb is None:
        return UNKNOWN
    low, high = (format_mb(mb) for mb in row.peak_rss_mb)
    return low if low == high else f"{low} to {high}"


def _speedup(row: Timed) -> str:
    if row.speedup is None:
        return "1"
    ratio = row.speedup.ratio
    return f"{ratio.estimate:.3g} [{ratio.low:.3g}, {ratio.high:.3g}]"


def _saved(row: Timed, saved: dict[str, Any]) -> str:
    times = saved["times_ms"].get(row.name)
    if times is None and len(saved["times_ms"]) <= 2 and row.speedup is None:
        times = next((column for name, column in saved["times_ms"].items() if name != AGAIN), None)
    return UNKNOWN if not times else format_ns(float(np.median(times)) * NS_PER_MS)
