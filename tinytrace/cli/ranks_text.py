"""The ranks of a job, as text."""

from __future__ import annotations

from tinytrace.analysis.figures import format_mb, format_ns
from tinytrace.analysis.rank_report import CollectiveTime, RankReport
from tinytrace.analysis.rank_times import RankTime
from tinytrace.analysis.report import Report
from tinytrace.analysis.stragglers import Excess, Straggler
from tinytrace.cli.sheet import LONGEST_TEXT, UNKNOWN, Sheet
from tinytrace.tracer.communication_names import ranks_text

MANY = 16  # ranks that have a line each
FEW_STRAGGLERS = 3


def say_ranks(report: Report, sheet: Sheet) -> None:
    """Say where the time of each rank went, whom the others waited for, and what each collective took."""
    ranks = report.ranks
    if ranks is None:
        return
    _table(ranks, sheet)
    _notes(ranks, sheet)
    for straggler in ranks.worth_naming[:FEW_STRAGGLERS]:
        _straggler(straggler, ranks, sheet)
    if ranks.collectives:
        _collectives(ranks.collectives, sheet)
    for warning in ranks.warnings:
        sheet.say(f"Warning: {sheet.text(warning, LONGEST_TEXT)}", "warning")


def _table(ranks: RankReport, sheet: Sheet) -> None:
    shown = ranks.most_awaited(MANY)
    columns = {
        "rank": [str(t.rank) for t in shown],
        "wall": [format_ns(t.wall_ns) for t in shown],
        "% ops": _shares(shown, "ops_ns"),
        "% Python": _shares(shown, "python_ns"),
        "% imports": _shares(shown, "imports_ns"),
        "% data": _shares(shown, "data_ns"),
        "% waiting": _shares(shown, "waiting_ns"),
        "% transfer": _shares(shown, "transfer_ns"),
        "% unsplit": _shares(shown, "unsplit_ns"),
        "% blocked": _shares(shown, "blocked_ns"),
        "% other": _shares(shown, "other_ns"),
        "communicating": [format_ns(t.in_flight_ns) for t in shown],
        "hidden": [_hidden(t) for t in shown],
        "last": [f"{t.last:,}" for t in shown],
        "step": ["-" if t.step_ns is None else format_ns(t.step_ns) for t in shown],
        "where": [sheet.text(t.host or t.name) for t in shown],
    }
    empty = [name for name, cells in columns.items() if name[0] == "%" and set(cells) == {"0.0"}]
    for name in empty:
        del columns[name]
    if set(columns["step"]) == {"-"}:
        del columns["step"]
    whole = len(ranks.ranks) if ranks.world_size is None else ranks.world_size
    title = f"Ranks: {len(ranks.ranks)} of {whole}, the main thread of each"
    if len(shown) < len(ranks.ranks):
        title += f"; the {MANY} that others waited for longest"
    sheet.table(title, columns)


def _shares(times: tuple[RankTime, ...], field: str) -> list[str]:
    return [f"{100 * getattr(t, field) / max(1, t.wall_ns):.1f}" for t in times]


def _hidden(time: RankTime) -> str:
    if time.hidden_ns is None or not time.in_flight_ns:
        return UNKNOWN if time.in_flight_ns else "-"
    return f"{100 * time.hidden_ns / time.in_flight_ns:.0f} %"


def _notes(ranks: RankReport, sheet: Sheet) -> None:
    if ranks.missing:
        listed = sheet.text(ranks_text(ranks.missing), LONGEST_TEXT)
        sheet.say(f"Warning: not in this trace: rank {listed}", "warning")
    text = (
        "waiting: in communication before the last one came that it waits for; transfer: thereafter; communicating: "
        "in whatever thread, or on its devices; hidden: the share of that during which it computed; last: collectives "
        "in which it came last"
    )
    if any(t.step_ns is not None for t in ranks.ranks):
        text += "; step: the median of marked ones"
    sheet.say(text, "dim")
    errors = [t.error_ns for t in ranks.ranks if t.error_ns]
    if errors:
        sheet.say(
            f"Clocks: at most {format_ns(max(errors))} apart, beyond what was corrected.", "dim"
        )
    if ranks.undecided:
        text = f"{ranks.undecided:,} of {ranks.n_sets:,} collectives: who came last is within the error of the clocks."
        sheet.say(text, "dim")
    if ranks.unmatched:
        text = (
            f"Of {ranks.unmatched:,} calls it is not known when all had come: ranks are missing, calls were not seen, "
            "or clocks cannot be compared."
        )
        sheet.say(text, "dim")


def _straggler(straggler: Straggler, ranks: RankReport, sheet: Sheet) -> None:
    text = (
        f"Rank {straggler.rank} came last in {straggler.last:,} of {ranks.n_sets:,}; the others waited "
        f"{format_ns(straggler.awaited_ns)} for it, all together; had it come with the one before it, the job would "
        f"take at most {format_ns(straggler.cost_ns)} less."
    )
    if straggler.more:
        more = "; ".join(_excess(e, sheet) for e in straggler.more)
        text += f" Before, it did more than the median of the others: {more}."
    sheet.say(text)


def _excess(excess: Excess, sheet: Sheet) -> str:
    where = f" at {sheet.text(excess.place)}" if excess.place else ""
    return f"{sheet.text(excess.name)}{where} {format_ns(excess.spent_ns)} (others {format_ns(excess.others_ns)})"


def _collectives(tables: tuple[CollectiveTime, ...], sheet: Sheet) -> None:
    columns = {
        "operation": [sheet.text(t.op) for t in tables],
        "times": [f"{t.n_sets:,}" for t in tables],
        "bytes": [_size(t.bytes) for t in tables],
        "skew p50": [format_ns(t.skew_ns) for t in tables],
        "waiting": [format_ns(t.waiting_ns) for t in tables],
        "transfer": [format_ns(t.transfer_ns) for t in tables],
        "GB/s": [
            UNKNOWN if t.bytes_per_s is None else f"{t.bytes_per_s / 1e9:.3g}" for t in tables
        ],
        "group": [sheet.text(t.group) for t in tables],
    }
    sheet.table("Communication, of all ranks", columns)


def _size(n_bytes: int | None) -> str:
    if n_bytes is None:
        return UNKNOWN
    return f"{n_bytes} B" if n_bytes < 1000 else format_mb(n_bytes / 1e6)
