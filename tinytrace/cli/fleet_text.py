"""Many traces together, as text. `docs/fleet.md` explains every word of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TextIO

from tinytrace.analysis.account import Where
from tinytrace.analysis.figures import format_ns, format_rate
from tinytrace.analysis.fleet import Calls, Fleet, OpKey, Runs
from tinytrace.cli.sheet import LONGEST_TEXT, UNKNOWN, Sheet

LEAST_SHARE = 0.0005  # of the wall time; lines below it are 0.0 %


def print_fleet(fleet: Fleet, file: TextIO, top: int = 20) -> None:
    """Print the summary of many traces.

    Args:
        fleet: the summary.
        file: where to.
        top: rows of each table at most.

    Raises:
        OSError: it cannot be written there.
    """
    sheet = Sheet(file)
    _extent(fleet, sheet)
    if fleet.traces:
        _account(fleet, sheet)
        _groups(fleet, sheet, top)
        _ops(fleet, sheet, top)
    for name, reason in fleet.skipped.items[:top]:
        text = f"Skipped: {sheet.text(name, LONGEST_TEXT)}: {sheet.text(reason, LONGEST_TEXT)}"
        sheet.say(text, "warning")
    more = fleet.skipped.count - len(fleet.skipped.items[:top])
    if more > 0:
        sheet.say(f"Skipped: {more:,} more", "warning")
    sheet.print()


def _extent(fleet: Fleet, sheet: Sheet) -> None:
    sheet.say(
        f"{_many(fleet.traces, 'trace')}, {_ns(fleet.runs.wall_ns)} of main threads together",
        "title",
    )
    if not fleet.traces:
        return
    parts = [f"{word} {_ns(fleet.walls.quantile(q))}" for word, q in _QUANTILES.items()]
    wall, name = fleet.slowest.items[0]
    sheet.say(
        f"One run: {', '.join(parts)}; the longest {_ns(-wall)}, {sheet.text(name, LONGEST_TEXT)}"
    )
    if fleet.unaccounted:
        sheet.say(
            f"{_many(fleet.unaccounted, 'trace')} without a main thread: in no account.", "dim"
        )
    if fleet.warned:
        sheet.say(
            f"{_many(fleet.warned, 'trace')} did not see everything (its warnings say what).", "dim"
        )


_QUANTILES = {"median": 0.5, "90 %": 0.9, "99 %": 0.99}


def _account(fleet: Fleet, sheet: Sheet) -> None:
    runs = fleet.runs
    lines = {
        w: ns for w in Where if (ns := runs.spent_ns.get(w, 0)) >= LEAST_SHARE * runs.wall_ns > 0
    }
    if lines:
        columns = {
            "where": [w.value for w in lines],
            "% wall": [f"{100 * ns / runs.wall_ns:.1f}" for ns in lines.values()],
            "time": [_ns(ns) for ns in lines.values()],
            "": [""] * len(lines),
        }
        sheet.say()
        sheet.table("Where the time of the main threads went", columns)


def _groups(fleet: Fleet, sheet: Sheet, top: int) -> None:
    groups = dict(list(fleet.groups.rows.items())[:top])
    left = sum(list(fleet.groups.rows.values())[top:], fleet.groups.others)
    if len(groups) < 2 and not left.traces:
        return
    rows = [("" if k.rank is None else f"{k.rank}", r, k.machine) for k, r in groups.items()]
    if left.traces:
        rows.append(("", left, "(others)"))
    columns = {
        "rank": [rank for rank, _, _ in rows],
        "traces": [f"{runs.traces:,}" for _, runs, _ in rows],
        "wall": [_ns(runs.wall_ns) for _, runs, _ in rows],
        "% ops": [_share(runs, _OPS) for _, runs, _ in rows],
        "% Python": [_share(runs, (Where.PYTHON,)) for _, runs, _ in rows],
        "% waiting": [_share(runs, (Where.DATA_WAIT, Where.BLOCKED)) for _, runs, _ in rows],
        "machine": [sheet.text(machine) for _, _, machine in rows],
    }
    sheet.say()
    sheet.table("By machine and rank", columns)


_OPS = (
    Where.COMPUTE, Where.MEMORY, Where.OVERHEAD, Where.BALANCED, Where.LATENCY, Where.UNCOUNTED, Where.NOT_JUDGED,
)  # fmt: skip


def _share(runs: Runs, lines: tuple[Where, ...]) -> str:
    spent: Mapping[Where, int] = runs.spent_ns
    return (
        f"{100 * sum(spent.get(w, 0) for w in lines) / runs.wall_ns:.1f}"
        if runs.wall_ns
        else UNKNOWN
    )


def _ops(fleet: Fleet, sheet: Sheet, top: int) -> None:
    kept = fleet.ops
    shown = dict(list(kept.rows.items())[:top])
    left = sum(list(kept.rows.values())[top:], kept.others)
    whole = fleet.calls.self_ns
    sheet.say()
    if not whole:
        sheet.say("No op was recorded.")
        return
    rows = list(shown.items())
    if left.calls:
        rows.append((OpKey("(others)", "", ""), left))
    columns = {
        "op": [sheet.text(key.op) for key, _ in rows],
        "% ops": [f"{100 * row.self_ns / whole:.1f}" for _, row in rows],
        "self": [_ns(row.self_ns) for _, row in rows],
        "calls": [f"{row.calls:,}" for _, row in rows],
        "median": [_ns(row.durations.quantile(0.5)) for _, row in rows],
        "99 %": [_ns(row.durations.quantile(0.99)) for _, row in rows],
        "GFLOP/s": [_rate(row.gflops) for _, row in rows],
        "GB/s": [_rate(row.gbps) for _, row in rows],
        "traces": [_in_traces(key, row) for key, row in rows],
        "call site, operands": [_what(key, sheet) for key, _ in rows],
    }
    n = f"{len(kept.rows):,}" + ("+" if kept.dropped else "")
    sheet.table(f"Ops by self time ({len(shown)} of {n})", columns)
    if kept.missing:
        sheet.say(
            f"There were more rows than are kept: a row may lack up to {_ns(kept.missing)}, which is in (others).",
            "dim",
        )


def _in_traces(key: OpKey, row: Calls) -> str:
    return UNKNOWN if key.op == "(others)" and not key.site else f"{row.traces:,}"


def _what(key: OpKey, sheet: Sheet) -> str:
    known = [sheet.text(part, LONGEST_TEXT) for part in (key.site, key.operands) if part]
    return ", ".join(known)


def _rate(value: float | None) -> str:
    return UNKNOWN if value is None else format_rate(value)


def _ns(value: float | None) -> str:
    return UNKNOWN if value is None else format_ns(value)


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}" + ("" if count == 1 else "s")
