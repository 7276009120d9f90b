"""Findings as cards: where, what shows it, the most that could be won, what to write instead."""

from __future__ import annotations

from tinytrace.analysis.findings import Finding
from tinytrace.analysis.report import Report
from tinytrace.exporters.html.markup import Markup, join, percent, tag, time

MOST = 20
OPEN = 5  # of them are read without a click


def cards(report: Report) -> Markup:
    """Return a card for each finding, those first by which most could be won."""
    found = report.findings
    if not report.ops and not report.audit.samples:
        return tag(
            "p", "Nothing to look at: the trace has neither ops nor samples.", class_="missing"
        )
    if not found:
        return tag("p", "Nothing is wrong that a rule knows.", class_="missing")
    notes = ["Ceilings are bounds, and do not add up: two findings may be about the same time."]
    if len(found) > MOST:
        notes.append(f"{len(found) - MOST:,} more are left out here: report --json has them all.")
    all_cards = [_card(number, finding) for number, finding in enumerate(found[:MOST], 1)]
    first, rest = all_cards[:OPEN], all_cards[OPEN:]
    more = tag("summary", f"{len(rest)} more, by which less could be won")
    return join(
        tag("div", *first, class_="cards"),
        tag("details", more, tag("div", *rest, class_="cards")) if rest else None,
        tag("p", " ".join(notes), class_="note"),
    )


def _card(number: int, finding: Finding) -> Markup:
    where = (
        " ".join(part for part in (finding.place, finding.function) if part) or "place not known"
    )
    share = 100 * finding.ceiling_share
    if finding.ceiling_ns is None:
        ceiling = join(tag("b", finding.won), tag("span", "no time to win"))
    else:
        ceiling = join(
            tag("b", f"≤ {percent(share, 0)}"),
            tag("span", f"at most {time(finding.ceiling_ns)}: a bound"),
        )
    return tag(
        "article",
        tag(
            "header",
            tag(
                "div",
                tag("h3", finding.title),
                tag("p", tag("code", where), title=finding.file, class_="place"),
            ),
            tag("div", ceiling, class_="ceiling"),
        ),
        tag(
            "dl",
            tag("dt", "Seen"),
            tag("dd", tag("ul", *(tag("li", fact) for fact in finding.evidence))),
            tag("dt", "Try"),
            tag("dd", finding.remedy, tag("pre", tag("code", finding.code), tabindex="0", aria_label="code to write")
                if finding.code else None),
            tag("dt", "How sure"),
            tag(
                "dd",
                tag("span", finding.confidence, class_=f"badge sure-{finding.confidence}"),
                f" {finding.why_confidence}",
            ),
        ),
        class_="card finding",
        id=f"finding-{number}",
    )  # fmt: skip
