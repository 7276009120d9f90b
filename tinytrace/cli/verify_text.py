"""What rewrites gain, as text."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TextIO

from tinytrace.analysis.comparison import Verdict
from tinytrace.analysis.figures import format_ns
from tinytrace.analysis.op_cells import site_cell
from tinytrace.cli.findings_text import headline, verify_command
from tinytrace.cli.sheet import LONGEST_TEXT, Sheet

if TYPE_CHECKING:
    from tinytrace.analysis.findings import Finding
    from tinytrace.analysis.in_turns import Outcome
    from tinytrace.analysis.verifiable import Asked
    from tinytrace.analysis.verify import Verification, Verified

FAR = 2.0  # times as long: more than caches and noise explain among calls that are alike
STYLES = {Verdict.FASTER: "title", Verdict.SLOWER: "title"}


def print_asked(asked: Asked, path: str, file: TextIO) -> None:
    """Print which findings are meant, what of them can be timed, and why the others cannot.

    Args:
        asked: for what.
        path: of the trace.
        file: where to.

    Raises:
        OSError: it cannot be written.
    """
    sheet = Sheet(file)
    if asked.name is None:
        _list(asked, path, sheet)
    elif asked.of_findings and not asked.findings:
        sheet.say(f"No finding of this trace is by the rule {sheet.text(asked.name)}.")
    else:
        for finding in asked.findings:
            _finding(finding, sheet)
        if asked.findings and asked.rewrites:
            sheet.say()
    sheet.print()


def _list(asked: Asked, path: str, sheet: Sheet) -> None:
    if not asked.findings:
        sheet.say("Findings: nothing is wrong that a rule knows.")
    else:
        able = [finding for finding in asked.findings if finding.rewrites]
        sheet.say(
            f"Findings with rewrites that can be timed: {len(able)} of {len(asked.findings)}",
            "title",
        )
        for finding in asked.findings:
            _finding(finding, sheet)
        if able:
            sheet.say(
                f"One of them alone: {sheet.text(verify_command(able[0], path), LONGEST_TEXT)}"
            )
    sheet.say()


def _finding(finding: Finding, sheet: Sheet) -> None:
    sheet.say(headline(finding, sheet), "title")
    if finding.rewrites:
        sheet.say(f"   rewrites that can be timed: {', '.join(finding.rewrites)}")
    else:
        sheet.say(f"   not timed: {sheet.text(finding.no_rewrite, LONGEST_TEXT)}")


def print_verification(verification: Verification, file: TextIO) -> None:
    """Print what was measured.

    Args:
        verification: of a trace.
        file: where to.

    Raises:
        OSError: it cannot be written.
    """
    sheet = Sheet(file)
    if not verification.rows:
        sheet.say("No op with a mechanical rewrite takes 0.1 % of the time of all ops.")
        sheet.print()
        return
    sheet.say(
        f"Rewrites, those of the ops with most time first ({_how_many(verification)})", "title"
    )
    for number, row in enumerate(verification.rows, 1):
        sheet.say()
        _row(number, row, sheet)
    sheet.say()
    for text in _closing(verification):
        sheet.say(text, "dim")
    if verification.same_machine is False:
        sheet.say(
            "Warning: the trace was recorded on another machine, or with another NumPy or BLAS: what is gained "
            "there may differ.",
            "warning",
        )
    sheet.print()


def _how_many(verification: Verification) -> str:
    return f"{len(verification.rows)} of {verification.n_candidates}"


def _row(number: int, row: Verified, sheet: Sheet) -> None:
    group = row.group
    sheet.say(f"{number}. {row.rewrite}: {row.what}", "title")
    sheet.say(
        f"   {sheet.text(row.before, LONGEST_TEXT)}  ->  {sheet.text(row.after, LONGEST_TEXT)}"
    )
    sheet.say(f"   operands: {sheet.text(row.operands, LONGEST_TEXT)}")
    calls = "1 call" if group.calls == 1 else f"{group.calls:,} calls"
    sheet.say(
        f"   in the trace: {calls}, {format_ns(group.self_ns)} ({group.percent:.1f} % of wall), "
        f"{format_ns(row.traced_ns)} each{_as_long(row)}, {site_cell(group, sheet.text)}"
    )
    if row.outcome is None:
        sheet.say(f"   not measured: {sheet.text(row.reason, LONGEST_TEXT)}")
        return
    sheet.say(f"   {_verdict(row.outcome)}", STYLES.get(row.outcome.speedup.verdict, ""))
    sheet.say(f"   {_results(row.outcome)}", "" if row.outcome.agrees else "warning")
    saved = row.saved_ns
    if saved is not None:
        sheet.say(
            f"   over all these calls about {format_ns(saved.estimate)} less ({format_ns(saved.low)} to "
            f"{format_ns(saved.high)}), if each gains as much; condition: {row.condition}"
        )


def _as_long(row: Verified) -> str:
    """How much longer a call took in the trace, where that is more than calls differ that are alike."""
    times = row.traced_ns / row.outcome.before_ns if row.outcome else 0.0
    return f", {times:,.1f} times as long as here" if times > FAR else ""


def _verdict(outcome: Outcome) -> str:
    found = outcome.speedup
    ratio = found.ratio
    times = f"{format_ns(outcome.before_ns)} -> {format_ns(outcome.after_ns)} per call"
    text = (
        f"{found.verdict.value}: {_ratio(ratio.estimate)} times as fast ({_ratio(ratio.low)} to "
        f"{_ratio(ratio.high)}), {times}, {found.rounds} rounds"
    )
    return f"{text}; {found.reason}" if found.reason else text


def _ratio(value: float) -> str:
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}"


def _results(outcome: Outcome) -> str:
    if outcome.difference is None:
        return "RESULTS DIFFER: another shape"
    if outcome.identical:
        return "results: the same"
    if not outcome.difference:
        return "results: the same numbers, in another type"
    if math.isinf(outcome.difference):
        return "RESULTS DIFFER: in a nan, or beyond any bound"
    size = f"{outcome.difference:.1e} of the largest"
    if outcome.agrees:
        return f"results: alike, apart by at most {size}"
    return f"RESULTS DIFFER: apart by up to {size}"


def _closing(verification: Verification) -> list[str]:
    notes = [
        f"Measured here, in this process: {verification.cpu}, BLAS threads: {verification.threads}. "
        "Both forms were timed in turns, the present one twice; intervals hold "
        f"with {100 * verification.confidence:.0f} % for all rewrites above together.",
        "Operands: random, of the same types, shapes and layout, in the caches as far as they fit; in the program "
        "they may come from memory, and gain less or more.",
    ]
    if any(map(_as_long, verification.rows)):
        notes.append(
            "Times as long as here: what made the calls slow there (other values, memory not in the caches, fresh "
            "pages, other programs) is in neither form, and in no gain above."
        )
    return notes
