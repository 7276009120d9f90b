"""Findings in the text of the report."""

from __future__ import annotations

from collections.abc import Sequence

from tinytrace.analysis.figures import format_ns
from tinytrace.analysis.findings import Finding
from tinytrace.cli.sheet import LONGEST_TEXT, Sheet

MOST = 5  # in the text; the JSON has them all


def say_findings(found: Sequence[Finding], sheet: Sheet) -> None:
    """Print what is slow, what shows it, what could be won at most, and what to write instead."""
    if not found:
        sheet.say("Findings: nothing is wrong that a rule knows.")
        return
    shown = found[:MOST]
    sheet.say(f"Findings ({len(shown)} of {len(found)}, by the most that could be won)", "title")
    for number, finding in enumerate(shown, 1):
        where = " ".join(part for part in (finding.place, finding.function) if part)
        sheet.say(
            f"{number}. {sheet.text(where)}: {sheet.text(finding.title, LONGEST_TEXT)}", "title"
        )
        ceiling = "memory, no time" if finding.ceiling_ns is None else _ceiling(finding)
        sheet.say(
            f"   to win: {ceiling}; confidence {finding.confidence}: "
            f"{sheet.text(finding.why_confidence, LONGEST_TEXT)}"
        )
        sheet.say(
            f"   seen: {'; '.join(sheet.text(fact, LONGEST_TEXT) for fact in finding.evidence)}"
        )
        sheet.say(f"   try: {sheet.text(finding.remedy, LONGEST_TEXT)}")
        for line in finding.code.splitlines():
            sheet.say(f"       {sheet.text(line, LONGEST_TEXT)}", "dim")
    sheet.say(
        "Ceilings are bounds, and do not add up: two findings may be about the same time.", "dim"
    )


def _ceiling(finding: Finding) -> str:
    share = 100 * finding.ceiling_share
    return f"at most {format_ns(finding.ceiling_ns or 0)}, {share:.0f} % of the run without imports"
