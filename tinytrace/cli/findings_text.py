"""Findings in the text of the report."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from tinytrace.analysis.figures import format_ns
from tinytrace.analysis.findings import Finding
from tinytrace.cli.sheet import LONGEST_TEXT, Sheet

MOST = 5  # in the text; the JSON has them all


def headline(finding: Finding, sheet: Sheet) -> str:
    """Return which finding it is: its id, where it is, what is slow, and the rule."""
    where = " ".join(part for part in (finding.place, finding.function) if part)
    title = sheet.text(finding.title, LONGEST_TEXT)
    place = f"{sheet.text(where)}: " if where else ""
    return f"{finding.id}. {place}{title} [{finding.rule}]"


def verify_command(finding: Finding, path: str) -> str:
    """Return the command that times the rewrites of a finding."""
    return f"python -m tinytrace verify {shlex.quote(path)} {finding.id}"


def say_findings(found: Sequence[Finding], sheet: Sheet, path: str = "trace.json") -> None:
    """Print what is slow, what shows it, what could be won at most, and what to write instead.

    Args:
        found: of a trace.
        sheet: where to.
        path: of the trace, for the commands that verify it.
    """
    if not found:
        sheet.say("Findings: nothing is wrong that a rule knows.")
        return
    shown = found[:MOST]
    sheet.say(f"Findings ({len(shown)} of {len(found)}, by the most that could be won)", "title")
    for finding in shown:
        sheet.say(headline(finding, sheet), "title")
        ceiling = f"{finding.won}, no time" if finding.ceiling_ns is None else _ceiling(finding)
        sheet.say(
            f"   to win: {ceiling}; confidence {finding.confidence}: "
            f"{sheet.text(finding.why_confidence, LONGEST_TEXT)}"
        )
        sheet.say(
            f"   seen: {'; '.join(sheet.text(fact, LONGEST_TEXT) for fact in finding.evidence)}"
        )
        sheet.say(f"   try: {sheet.text(finding.remedy, LONGEST_TEXT)}")
        for line in finding.code.splitlines():
            sheet.say(f"       {sheet.text(line, LONGEST_TEXT)}" if line else "", "dim")
        if finding.rewrites:
            command = sheet.text(verify_command(finding, path), LONGEST_TEXT)
            sheet.say(f"   measure it: {command} ({', '.join(finding.rewrites)})")
    sheet.say(
        "Ceilings are bounds, and do not add up: two findings may be about the same time.", "dim"
    )


def _ceiling(finding: Finding) -> str:
    share = 100 * finding.ceiling_share
    return f"at most {format_ns(finding.ceiling_ns or 0)}, {share:.0f} % of the run without imports"
