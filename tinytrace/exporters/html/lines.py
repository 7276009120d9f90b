"""Lines of source with heat: time in ops, exact, beside time in Python and waiting, sampled."""

from __future__ import annotations

from tinytrace.analysis.hot_lines import HotLine, HotLines
from tinytrace.analysis.places import file_and_line
from tinytrace.analysis.source_text import Source
from tinytrace.exporters.html.content import CONTEXT
from tinytrace.exporters.html.markup import (
    NOT_KNOWN,
    Markup,
    join,
    percent,
    tag,
    time,
)
from tinytrace.exporters.html.tables import table

MOST = 40  # lines
LEAST_PERCENT = 0.1  # of the run: what is shorter is not hot
LEAST = 5  # lines that are shown however short they are
HEAT_PERCENT = 26  # of colour behind the hottest line: its text must still be read
KINDS = (("ops", "op_ns"), ("python", "python_ns"), ("waiting", "waiting_ns"))
NAMES = {"ops": "ops", "python": "Python", "waiting": "waiting"}


def hot_source(hot: HotLines, sources: dict[str, Source], *, sampled: bool) -> Markup:
    """Return the hot lines by file, with the lines around them where the files are still what ran."""
    hottest = [row for row in hot.lines if row.percent >= LEAST_PERCENT]
    lines = hot.lines[: min(MOST, max(LEAST, len(hottest)))]
    if not lines:
        return tag(
            "p", "No line of the program is known: no samples, and no call sites.", class_="missing"
        )
    by_file: dict[str | None, list[HotLine]] = {}
    for line in lines:
        by_file.setdefault(line.file, []).append(line)
    most_ns = max(line.spent_ns for line in lines)
    legend = [tag("span", tag("i", class_=f"swatch h-{kind}"), NAMES[kind]) for kind, _ in KINDS]
    note = "Ops: exact. Python and waiting: between ops, from samples"
    note += "." if sampled else ", of which there are none."
    if hot.n_lines > len(lines):
        note += f" {hot.n_lines - len(lines):,} lines with less time are left out."
    return join(
        tag("p", *legend, class_="legend"),
        *(_file(file, rows, sources.get(file or ""), most_ns) for file, rows in by_file.items()),
        tag("p", note, class_="note"),
    )


def _file(file: str | None, rows: list[HotLine], source: Source | None, most_ns: int) -> Markup:
    hot = {row.line: row for row in rows if row.line is not None}
    text = {} if source is None else dict(source.lines)
    shown = _shown(hot, text)
    body, before = [], None
    for number in shown:
        if before is not None and number > before + 1:
            body.append(tag("tr", tag("td", "⋯", colspan="4"), class_="gap", aria_hidden="true"))
        body.append(_line(number, hot.get(number), text.get(number), most_ns))
        before = number
    body += [_line(None, row, None, most_ns) for row in rows if row.line is None]
    name = file_and_line(file, 0) or "file not known"
    why_not = (
        None if source is None or source.reason is None else f"Source not shown: {source.reason}."
    )
    share = sum(row.percent for row in rows)
    return tag(
        "div",
        tag("h3", tag("code", name, title=file), tag("span", f"{percent(share)} of the run")),
        None if why_not is None else tag("p", why_not, class_="note"),
        table(f"Hot lines of {name}", ("line", "time", "% of the run", "source"), body, class_="source"),
        class_="file",
    )  # fmt: skip


def _shown(hot: dict[int, HotLine], text: dict[int, str]) -> list[int]:
    """The hot lines and those around them, but for empty ones at the edges."""
    around = {n for n in text if any(abs(n - line) <= CONTEXT for line in hot)} - set(hot)
    shown = {*hot, *around}
    for _ in range(CONTEXT):
        shown -= {n for n in shown & around if not text[n].strip() and not {n - 1, n + 1} <= shown}
    return sorted(shown)


def _line(number: int | None, row: HotLine | None, text: str | None, most_ns: int) -> Markup:
    shown = str(number) if number is not None else NOT_KNOWN
    if row is None:
        return tag("tr", tag("td", shown, class_="number"), tag("td"), tag("td"),
                   tag("td", tag("code", text or "")))  # fmt: skip
    told = " · ".join(
        f"{NAMES[kind]} {time(getattr(row, column))}"
        for kind, column in KINDS
        if getattr(row, column)
    )
    bar = tag(
        "span",
        *(
            tag("i", class_=f"h-{kind}", style=f"width:{100 * getattr(row, column) / most_ns:.2f}%")
            for kind, column in KINDS
            if getattr(row, column)
        ),
        class_="heatbar", role="img", aria_label=told, title=told,
    )  # fmt: skip
    what = row.function or ""
    if row.top_op is not None:
        what += f": {row.top_op}" if what else row.top_op
    code = tag("code", text) if text is not None else tag("code", what)
    return tag(
        "tr",
        tag("td", shown, class_="number"),
        tag("td", bar, tag("small", told), class_="heat"),
        tag("td", percent(row.percent), class_="number"),
        tag("td", code, tag("small", what) if text is not None else None),
        class_="hot",
        style=f"--heat:{HEAT_PERCENT * row.spent_ns / most_ns:.1f}%",
    )
