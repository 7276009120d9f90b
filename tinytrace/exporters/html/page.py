"""One self-contained page: its sections, its styles and its scripts in one file that asks for nothing else."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files

from tinytrace.exporters.html.caches import caches_words
from tinytrace.exporters.html.content import PageContent
from tinytrace.exporters.html.devices import devices
from tinytrace.exporters.html.findings import cards
from tinytrace.exporters.html.lines import hot_source
from tinytrace.exporters.html.markup import Child, Markup, data_block, join, tag
from tinytrace.exporters.html.ops import ops_table
from tinytrace.exporters.html.overview import account, hero
from tinytrace.exporters.html.ranks import ranks
from tinytrace.exporters.html.roofline import roofline_data, roofline_words
from tinytrace.exporters.html.timelines import (
    flame_data,
    flame_words,
    memory_data,
    memory_words,
    steps_data,
    steps_words,
)
from tinytrace.exporters.html.trust import coverage, machine

# Libraries first: what is ours uses them.
SCRIPTS = ("d3.min.js", "plot.min.js", "page.js", "charts.js", "flame.js")
LICENSES = {"d3.min.js": "d3.LICENSE", "plot.min.js": "plot.LICENSE"}


def html_page(content: PageContent) -> bytes:
    """Return the page, UTF-8.

    Args:
        content: what is on it.

    Example:
        >>> from tinytrace.exporters.html.content import content_of
        >>> from tinytrace.tracer.trace import Trace
        >>> html_page(content_of(Trace(), "trace.json"))[:15]
        b'<!doctype html>'
    """
    scripts = [script_text(name) for name in SCRIPTS]
    data = {
        "roofline": roofline_data(content.roofline),
        "flame": flame_data(content.flame),
        "steps": steps_data(content.report.steps),
        "memory": memory_data(content.memory, content.report.memory),
    }
    sections = _sections(content)
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_policy(scripts)),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("link", rel="icon", href="data:,"),
        tag("title", f"{content.name} – tinytrace"),
        Markup(f"<style>{_asset('page.css')}</style>"),
    )
    body = tag(
        "body",
        tag("a", "Skip to the report", href="#main", class_="skip"),
        _bar(sections),
        tag(
            "main",
            hero(content),
            tag("noscript", tag("p", "Without scripts there are no charts: the tables have their figures.",
                class_="missing")),
            *(_section(name, heading, body) for name, _, heading, body in sections),
            id="main",
        ),
        tag("footer", "Made by tinytrace from one trace. Charts: Observable Plot and D3 (ISC licence)."),
        data_block(data, "data"),
        *(Markup(f"<script>{script}</script>") for script in scripts),
    )  # fmt: skip
    page = join(Markup("<!doctype html>\n"), tag("html", head, body, lang="en"), Markup("\n"))
    return page.encode()


def _sections(content: PageContent) -> list[tuple[str, str, str, Child]]:
    """Their names in the page and in its bar, their headings, and what is in them."""
    report = content.report
    drawn = tag("div", id="roofline-chart", class_="chart")
    search = tag("div", tag("label", "Search ", tag("input", type="search", id="flame-search",
        placeholder="function or file", autocomplete="off")), tag("button", "Whole picture", type="button",
        id="flame-reset", disabled=True), tag("output", id="flame-found", for_="flame-search",
        aria_live="polite"), class_="tools", id="flame-tools", hidden=True)  # fmt: skip
    gpus = devices(report)
    return [
        *([] if gpus is None else [("devices", "GPUs", "Where the time of the GPUs went", gpus)]),
        ("time", "Time", "Where the time went", account(report)),
        *([("ranks", "Ranks", "Ranks", ranks(report.ranks))] if report.ranks else []),
        ("findings", "Findings", "Findings", cards(report)),
        (
            "roofline",
            "Roofline",
            "Roofline",
            join(
                tag("div", drawn, tag("div", id="roofline-details", class_="details", aria_live="polite"),
                    class_="roofline"),
                roofline_words(content.roofline),
            ),
        ),
        ("ops", "Operations", "Operations", ops_table(report)),
        (
            "lines",
            "Hot lines",
            "Hot lines",
            hot_source(report.hot, content.sources, sampled=report.audit.samples > 0),
        ),
        (
            "stacks",
            "Call stacks",
            "Call stacks",
            join(
                search,
                tag("div", id="flame", class_="flame"),
                tag("p", id="flame-details", class_="flame-details", aria_live="polite"),
                flame_words(content.flame, report.hot),
            ),
        ),
        (
            "steps",
            "Steps",
            "Steps",
            join(tag("div", id="steps-chart", class_="chart"), steps_words(report.steps)),
        ),
        (
            "memory",
            "Memory",
            "Memory",
            join(tag("div", id="memory-chart", class_="chart"), memory_words(report.memory)),
        ),
        ("caches", "Caches", "Caches", caches_words(report.caches)),
        ("trust", "Trust", "How far to trust this", coverage(report)),
        ("machine", "Machine", "Machine and conventions", machine(report, content.meta)),
    ]  # fmt: skip


def _section(name: str, heading: str, body: Child) -> Markup:
    return tag(
        "section",
        tag("h2", heading, id=f"{name}-heading"),
        body,
        id=name,
        aria_labelledby=f"{name}-heading",
    )


def _bar(sections: list[tuple[str, str, str, Child]]) -> Markup:
    links = [tag("li", tag("a", short, href=f"#{name}")) for name, short, _, _ in sections]
    return tag(
        "header",
        tag("a", "tinytrace", href="#top", class_="brand"),
        tag("nav", tag("ul", *links), aria_label="Sections"),
        tag("button", "Theme: system", type="button", id="theme", hidden=True),
        class_="top",
    )


def _policy(scripts: list[str]) -> str:
    """Nothing is loaded from anywhere; only these very scripts run.

    Styles may stand anywhere: widths of bars are attributes, and charts bring their own.
    """
    sources = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        for script in scripts
    )
    return (
        f"default-src 'none'; script-src {sources}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )


def script_text(name: str) -> str:
    """Return a script as it stands in the page: a library with its licence, as that asks for."""
    script = _asset(name)
    license_name = LICENSES.get(name)
    if license_name is not None:
        script = f"/*\n{_asset(license_name)}*/\n{script}"
    return script


@cache
def _asset(name: str) -> str:
    return (files(__package__) / "assets" / name).read_text(encoding="utf-8")
