"""A comparison of two traces as text, like the summary. `docs/diff.md` explains every word of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from tinytrace.analysis.diff_values import (
    Account,
    Diff,
    Drift,
    LineChange,
    OpChange,
    Ratio,
    Steps,
    Verdict,
    Work,
)
from tinytrace.analysis.figures import clean, format_count, format_mb, format_ns, format_rate
from tinytrace.cli.diff_devices_text import say_device_diff
from tinytrace.cli.layout import Page, paragraph, table
from tinytrace.cli.sheet import LONGEST_NAME, LONGEST_TEXT, UNKNOWN, encoding_of
from tinytrace.cli.steps_text import HOW

NONE = "-"
HARDLY_TELLS = 2.0  # a margin beyond which no usual improvement can be seen


def print_diff(diff: Diff, before: Path, after: Path, file: TextIO) -> None:
    """Print a comparison: in colour on a terminal, plain text everywhere else.

    Args:
        diff: what was found.
        before: name of the first trace.
        after: of the second.
        file: where to print.

    Raises:
        OSError: it cannot be written there.
    """
    _Text(file).print(diff, before, after)


class _Text:
    """Prints a comparison to one file."""

    def __init__(self, file: TextIO) -> None:
        self._encoding = encoding_of(file)
        self._page = Page(file)
        self._lines: list[tuple[str, str]] = []

    def print(self, diff: Diff, before: Path, after: Path) -> None:
        """Print everything."""
        names = [self._text(str(path), LONGEST_TEXT) for path in (before, after)]
        self._say("")
        self._say(f"tinytrace: {names[0]} -> {names[1]}", "title")
        if diff.identical:
            ns, calls = format_ns(diff.account.before_ns), diff.work_before.op_calls
            self._say(f"The two traces are identical: {ns}, {calls:,} ops.")
        else:
            self._whole(diff)
            self._say("")
            if diff.devices is not None:
                say_device_diff(diff.devices, self._say, self._table, self._text)
                self._say("")
            self._work(diff)
            self._say("")
            self._ops(diff)
            self._say("")
            self._sampled(diff)
        self._page.lines(self._lines)

    def _whole(self, diff: Diff) -> None:
        account = diff.account
        what = "Step, mean" if diff.basis == "step" else "End to end"
        text = f"{what}: {_change(account.before_ns, account.after_ns)}"
        if diff.thread_after is not None:
            text += f", accounted on thread {self._text(diff.thread_after.removeprefix('thread '))}"
        per_run = diff.basis == "run"
        self._say(f"{text}; one run each, so there is no interval." if per_run else f"{text}.")
        if diff.steps is not None:
            self._say(_steps(diff.steps))
        if diff.basis == "step":
            self._say(
                "The numbers of steps differ: everything below is what ran in steps, per step."
            )
        self._say(
            "Unpaired: two runs that were not made in turns. What the machine did meanwhile is in the "
            "difference; 95 % intervals cover what varied within each run."
        )
        self._say(_drift(diff.drift, diff.margin))
        for note in diff.notes:
            self._say(f"Note: {self._text(note, LONGEST_TEXT)}.", "warning")

    def _work(self, diff: Diff) -> None:
        """The exact part."""
        totals = _totals(diff.work_before), _totals(diff.work_after)
        lines = [
            [name, totals[0][name], totals[1][name], "" if same else "changed"]
            for name in totals[0]
            for same in [_is_same(diff, name)]
        ]
        title = (
            "the same in every kind of call"
            if diff.same_work
            else f"{diff.n_work:,} kinds of call differ"
        )
        self._table(f"Work, exact: {title}", ["", "before", "after", ""], lines)
        if diff.basis == "step":
            steps = f"{diff.units_before:,} and {diff.units_after:,}"
            self._say(f"Of all {steps} steps; what follows is per step.", "dim")
        if diff.work:
            rows = [
                [
                    self._text(row.name),
                    *(
                        _both(row, name, diff)
                        for name in ("calls", "flops", "transcendentals", "bytes")
                    ),
                    self._where(row),
                ]
                for row in diff.work
            ]
            self._say("")
            heads = ["op", "calls", "FLOPs", "T", "bytes", "call site and operands"]
            self._table(f"Work that changed ({len(rows)} of {diff.n_work})", heads, rows)
            self._say("T: evaluations of exp, log, sqrt...; they are not FLOPs.", "dim")

    def _ops(self, diff: Diff) -> None:
        account = diff.account
        if not diff.ops:
            self._say("No op or span took another time.")
            return
        rows = [
            [
                self._text(row.name if row.kind == "op" else f"{row.kind} {row.name}"),
                _signed(row.delta_ns) if _is_accounted(row) else "beside",
                _share(row.delta_ns, account.delta_ns) if _is_accounted(row) else "",
                *(_spent(row, side, diff) for side in (0, 1)),
                _both(row, "calls", diff),
                _ratio(row.per_call),
                _words(row),
                self._where(row),
            ]
            for row in diff.ops
        ]
        heads = [
            "op", "change", "% change", "before", "after", "calls", "per call", "verdict",
            "call site and operands",
        ]  # fmt: skip
        total = len(rows) + account.unlisted
        self._table(f"Ops and spans that moved the time ({len(rows)} of {total})", heads, rows)
        self._say(_sum(account, "outside of these"))
        if not all(map(_is_accounted, diff.ops)):
            self._say(
                "beside: in other threads; their time is not part of the end-to-end time.", "dim"
            )

    def _sampled(self, diff: Diff) -> None:
        account = diff.lines_account
        if account is None:
            self._say("Lines are not compared: there are no samples on both sides.")
            return
        if not diff.lines:
            self._say("No sampled line took another time.")
            return
        rows = [
            [
                self._line(row),
                _signed(row.delta_ns),
                _share(row.delta_ns, account.delta_ns),
                *(
                    format_ns(ns / units) if n else NONE
                    for ns, n, units in (
                        (row.before_ns, row.before_samples, diff.units_before),
                        (row.after_ns, row.after_samples, diff.units_after),
                    )
                ),
                f"{row.before_samples:,} -> {row.after_samples:,}",
                _ratio(row.time),
                row.verdict.value,
                UNKNOWN if row.function is None else self._text(row.function),
            ]
            for row in diff.lines
        ]
        heads = [
            "line", "change", "% change", "before", "after", "samples", "ratio", "verdict",
            "function",
        ]  # fmt: skip
        total = len(rows) + account.unlisted
        self._table(f"Sampled lines that moved the time ({len(rows)} of {total})", heads, rows)
        parts = [
            f"{what} {_signed(ns)}"
            for what, ns in (
                ("importing modules", diff.import_delta_ns),
                ("in tinytrace itself", diff.tinytrace_delta_ns),
            )
            if ns
        ]
        inside = f" (of which {', '.join(parts)})" if parts else ""
        self._say(_sum(account, f"in no line{inside}"))

    def _where(self, row: OpChange) -> str:
        sites = self._changed(row.callsite_before, row.callsite_after)
        operands = self._changed(row.operands_before, row.operands_after)
        return "  ".join(part for part in (sites, operands) if part) or UNKNOWN

    def _changed(self, before: str | None, after: str | None) -> str:
        """The text of the second side, and what it was on the first where that is different."""
        left, right = (None if t is None else self._text(t) for t in (before, after))
        if left is None or right is None or left == right:
            return left or right or ""
        return f"{right} (was {left})"

    def _line(self, row: LineChange) -> str:
        return self._changed(row.place_before, row.place_after) or UNKNOWN

    def _table(self, title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        self._say(title, "title")
        self._lines += table(heads, rows, self._page.width)

    def _say(self, text: str, style: str = "") -> None:
        self._lines += [(line, style) for line in paragraph(text, self._page.width)]

    def _text(self, text: str, longest: int = LONGEST_NAME) -> str:
        shown = clean(text, self._encoding) or '""'
        return shown if len(shown) <= longest else f"{shown[: longest - 3]}..."


def _change(before_ns: float, after_ns: float) -> str:
    delta_ns = after_ns - before_ns
    percent = f" ({100 * delta_ns / before_ns:+.1f} %)" if before_ns else ""
    return f"{format_ns(before_ns)} -> {format_ns(after_ns)}, {_signed(delta_ns)}{percent}"


def _signed(t_ns: float) -> str:
    return f"{'+' if t_ns >= 0 else ''}{format_ns(t_ns)}"


def _share(part_ns: float, whole_ns: float) -> str:
    return f"{100 * part_ns / whole_ns:.1f}" if whole_ns else NONE


def _ratio(ratio: Ratio | None) -> str:
    if ratio is None:
        return NONE
    return f"x{format_rate(ratio.value)} ({format_rate(ratio.low)}-{format_rate(ratio.high)})"


def _steps(steps: Steps) -> str:
    how = [HOW[one] for one in (steps.how_before, steps.how_after)]
    known = how[0] if how[0] == how[1] else " -> ".join(how)
    text = f"Steps: {steps.before:,} -> {steps.after:,} ({known}), median "
    text += f"{format_ns(steps.median_before_ns)} -> {format_ns(steps.median_after_ns)}"
    warmup = (steps.warmup_before, steps.warmup_after)
    if any(warmup):
        text += f" without {warmup[0] or 0:,} and {warmup[1] or 0:,} of warm-up"
    if steps.ratio is None:
        return f"{text}; too few for an interval."
    return f"{text}, {_ratio(steps.ratio)}: {steps.verdict.value}."


def _drift(drift: Drift | None, margin: float) -> str:
    rule = f"only what differs by more than a factor of {margin:.2f} is called faster or slower."
    if drift is None:
        return f"Too few ops do the same in both to tell the machine's drift: {rule}"
    if margin > HARDLY_TELLS:
        rule += " That is too much to compare times by: record both again on a machine that does nothing else."
    return (
        f"{drift.rows:,} ops that do the same took x{format_rate(drift.ratio)} per call (median; two thirds "
        f"within a factor of {drift.spread:.2f} of it): {rule}"
    )


def _totals(work: Work) -> dict[str, str]:
    texts = {
        "ops": f"{work.op_calls:,}",
        "FLOPs": _whole_number(work.flops),
        "exp, log, sqrt...": _whole_number(work.transcendentals),
        "bytes": _whole_number(work.bytes),
        "uncounted ops": f"{work.uncounted_calls:,}",
        "allocations": _whole_number(work.allocations),
    }
    peak = work.array_peak_mb
    return texts | {"peak of arrays": "not known" if peak is None else format_mb(peak)}


def _is_same(diff: Diff, name: str) -> bool:
    """Whether a figure of the totals is exactly the same on both sides, per step or run."""
    field = {
        "ops": "op_calls", "FLOPs": "flops", "exp, log, sqrt...": "transcendentals", "bytes": "bytes",
        "uncounted ops": "uncounted_calls", "allocations": "allocations",
    }.get(name, "array_peak_mb")  # fmt: skip
    a, b = getattr(diff.work_before, field), getattr(diff.work_after, field)
    if a is None or b is None or field == "array_peak_mb":
        return bool(a == b)
    return bool(a * diff.units_after == b * diff.units_before)


def _whole_number(value: int | None) -> str:
    return "not known" if value is None else f"{value:,}"


def _both(row: OpChange, name: str, diff: Diff) -> str:
    """A figure of both sides, per step when the comparison is; once where it is the same."""
    units = (diff.units_before, diff.units_after)
    values = [None if side is None else getattr(side, name) for side in (row.before, row.after)]
    texts = [
        NONE if value is None else _per_unit(value, n)
        for value, n in zip(values, units, strict=True)
    ]
    left, right = values
    if left is not None and right is not None and left * units[1] == right * units[0]:
        return texts[0]
    if texts[0] == texts[1] and values[0] != values[1]:
        texts = [
            NONE if value is None else f"{value / n:,.10g}" if value % n else f"{value // n:,}"
            for value, n in zip(values, units, strict=True)
        ]
    return texts[0] if texts[0] == texts[1] else f"{texts[0]} -> {texts[1]}"


def _per_unit(value: int, n: int) -> str:
    """A part of a whole number: short, and whole where it is."""
    return format_rate(value / n) if value % n and value < 100 * n else format_count(value // n)


def _is_accounted(row: OpChange) -> bool:
    """Whether any of its time is in the thread whose time is accounted (or it has none at all)."""
    sides = [side for side in (row.before, row.after) if side is not None]
    return any(side.account_ns for side in sides) or not any(side.self_ns for side in sides)


def _spent(row: OpChange, number: int, diff: Diff) -> str:
    side = (row.before, row.after)[number]
    if side is None:
        return NONE
    spent_ns = side.account_ns if _is_accounted(row) else side.self_ns
    return format_ns(spent_ns / (diff.units_before, diff.units_after)[number])


def _words(row: OpChange) -> str:
    """The verdict, and what exact differences explain."""
    if row.verdict in (Verdict.NEW, Verdict.GONE) or row.same_work:
        return row.verdict.value
    return f"{row.verdict.value}, other work"


def _sum(account: Account, rest: str) -> str:
    """How the parts add up."""
    text = f"Together: these rows {_signed(account.listed_delta_ns)}"
    if account.explained_percent is not None:
        text += f" ({account.explained_percent:.1f} % of the change)"
    if account.unlisted:
        text += f", {account.unlisted:,} others {_signed(account.unlisted_delta_ns)}"
    text += f", {rest} {_signed(account.rest_delta_ns)}"
    return f"{text} = {_signed(account.delta_ns)}."
