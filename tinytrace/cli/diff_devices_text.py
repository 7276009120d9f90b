"""What differs on devices, as text."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tinytrace.analysis.device_work import Sort
from tinytrace.analysis.diff_devices import DeviceChange, DeviceDiff
from tinytrace.analysis.figures import format_ns

Say = Callable[[str, str], None]
Tabulate = Callable[[str, Sequence[str], Sequence[Sequence[str]]], None]
SORTS = {
    Sort.COMPUTE: "kernels that compute", Sort.COMMUNICATION: "kernels that communicate",
    Sort.COPY: "copies", Sort.FILL: "fills",
}  # fmt: skip


def say_device_diff(
    diff: DeviceDiff, say: Say, tabulate: Tabulate, clean: Callable[[str], str]
) -> None:
    """Print what differs on devices.

    Args:
        diff: of two traces.
        say: prints a line in a style.
        tabulate: prints a table: its title, heads, rows; the first and the last column are text.
        clean: makes a name of the trace fit to be shown.
    """
    unit = "a step" if diff.per_step else "the run"
    names = f"{clean(diff.name_before)} -> {clean(diff.name_after)}"
    wall = f"{format_ns(diff.wall_before_ns)} -> {format_ns(diff.wall_after_ns)}"
    say(f"Device: {names}, {unit} {wall}", "title")
    if diff.name_before.partition(" (")[2] != diff.name_after.partition(" (")[2]:
        say("The devices are different ones: times differ for that alone.", "warning")
    shown = [line for line in diff.lines if line.before_ns or line.after_ns]
    rows = [
        [
            line.spent.value, format_ns(line.before_ns), format_ns(line.after_ns),
            _signed(line.after_ns - line.before_ns), "",
        ]
        for line in shown
    ]  # fmt: skip
    tabulate(f"Where its time went, {unit}", ["where", "before", "after", "change", ""], rows)
    say("", "")
    rows = [
        [SORTS[sort], _count(before), _count(after), "" if before == after else "changed"]
        for sort, before, after in zip(Sort, diff.pieces_before, diff.pieces_after, strict=True)
    ]
    tabulate(f"Work of the device, exact, {unit}", ["", "before", "after", ""], rows)
    title = f"that moved the time of the device, {unit}"
    say("", "")
    heads = ["op", "change", "before", "after", "calls", "kernels", ""]
    rows = [_row(change, clean, calls=True) for change in diff.ops]
    tabulate(f"Ops {title} ({len(rows)} of {diff.n_ops})", heads, rows)
    say("", "")
    heads = ["kernel", "change", "before", "after", "calls", ""]
    rows = [_row(change, clean, calls=False) for change in diff.kernels]
    tabulate(f"Kernels {title} ({len(rows)} of {diff.n_kernels})", heads, rows)
    say("kernels: with copies and fills. Counts are exact, times are those of one run each.", "dim")  # fmt: skip


def _row(change: DeviceChange, clean: Callable[[str], str], *, calls: bool) -> list[str]:
    word = ""
    if not change.pieces_before or not change.pieces_after:
        word = "gone" if change.pieces_before else "new"
    elif not change.same_counts:
        word = "other work"
    return [
        clean(change.name),
        _signed(change.delta_ns),
        format_ns(change.before_ns) if change.pieces_before else "-",
        format_ns(change.after_ns) if change.pieces_after else "-",
        *([_both(change.calls_before, change.calls_after)] if calls else []),
        _both(change.pieces_before, change.pieces_after),
        word,
    ]


def _both(before: float, after: float) -> str:
    return _count(before) if before == after else f"{_count(before)} -> {_count(after)}"


def _count(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,.2f}"


def _signed(ns: float) -> str:
    return f"{'-' if ns < 0 else '+'}{format_ns(abs(ns))}"
