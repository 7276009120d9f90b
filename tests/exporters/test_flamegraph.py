"""The flame graph: well-formed, true widths, and a page that works in a browser and talks to nobody."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import pytest
from hypothesis import given

from tests.browser import Page, chromium
from tests.builders import START_NS, TraceBuilder, traces
from tests.contract.test_exporters import HOSTILE_NAMES, hostile_names
from tests.exporters.written import MS, content, two_threads
from tinytrace.exporters.flamegraph import FlameHtmlExporter, FlameSvgExporter
from tinytrace.tracer.trace import Trace

SVG = "{http://www.w3.org/2000/svg}"
WRITERS: dict[str, Callable[[Trace], bytes]] = {
    ".svg": partial(content, FlameSvgExporter()),
    ".html": partial(content, FlameHtmlExporter()),
}


class Box(NamedTuple):
    """A box of the picture."""

    level: int
    x: float
    width: float
    label: str
    title: list[str]


def boxes(trace: Trace) -> list[Box]:
    """The boxes of the SVG, as an XML parser finds them."""
    root = ElementTree.fromstring(WRITERS[".svg"](trace))
    found = []
    for element in root.iter(f"{SVG}svg"):
        if "box" in element.get("class", "").split():
            label, title = (element.findtext(f"{SVG}{name}") or "" for name in ("text", "title"))
            x, width = (float(element.get(name, "").rstrip("%")) for name in ("x", "width"))
            found.append(
                Box(int(element.get("data-level", "")), x, width, label, title.split("\n"))
            )
    return found


def test_a_box_is_as_wide_as_its_wall_time_and_callers_are_above() -> None:
    # 5 ms of main, 4 ms of the worker, of which nothing is known but its time.
    shown = [(b.level, b.label, round(9 * b.x / 100, 3), round(9 * b.width / 100, 3))
             for b in boxes(two_threads())]  # fmt: skip
    assert shown == [
        (0, "all threads", 0, 9),
        (1, "main (tid 10)", 0, 5),
        (2, "<module> (train.py)", 0, 5),
        (3, "<script>alert(1)</script> (train.py)", 0, 2),
        (4, "train.py:43", 0, 2),
        (3, "forward (train.py)", 2, 1),
        (4, "train.py:42", 2, 1),
        (3, "train.py:90", 3, 2),
        (1, "worker (tid 11)", 5, 4),
        (2, "(no stack)", 5, 4),
    ]


def test_a_box_tells_its_file_time_and_lines() -> None:
    module = boxes(two_threads())[2]
    assert module.title == [
        "<module>", "/home/me/train.py",
        "5.00 ms of wall time (55.6 %), 2.00 ms in itself", "line 90 (100.0 %)",
    ]  # fmt: skip


def test_the_own_times_of_lines_lie_side_by_side_most_first() -> None:
    builder = TraceBuilder()
    thread = builder.thread(builder.process(10), 10)
    for number, (line, weight_ms) in enumerate(((7, 1), (8, 3))):
        frame = builder.frame("f", "a.py", line)
        builder.sample(thread, START_NS + number, weight_ms * MS, [frame])
    assert [(box.label, box.x, box.width) for box in boxes(builder.build())[3:]] == [
        ("a.py:8", 0, 75), ("a.py:7", 75, 25),
    ]  # fmt: skip


def test_boxes_too_narrow_to_be_drawn_are_told_by_their_thread() -> None:
    builder = TraceBuilder()
    thread = builder.thread(builder.process(10), 10)
    for number, weight_ns in enumerate((10_000 * MS, 1 * MS)):
        frame = builder.frame(f"f{number}", "a.py", 1)
        builder.sample(thread, START_NS + number, weight_ns, [frame])
    found = boxes(builder.build())
    assert [box.label for box in found] == [
        "all threads", "MainThread (tid 10)", "f0 (a.py)", "a.py:1",
    ]  # fmt: skip
    assert found[1].title[-1] == "1.00 ms of it in boxes too narrow to be drawn"


@given(traces())
def test_boxes_lie_within_their_callers_and_beside_one_another(trace: Trace) -> None:
    path: list[Box] = []
    for box in boxes(trace):
        if box.level:
            above = path[box.level - 1]
            assert box.x >= above.x - 1e-4
            assert box.x + box.width <= above.x + above.width + 1e-4
            for sibling in path[box.level : box.level + 1]:
                assert sibling.x + sibling.width <= box.x + 1e-4
        path[box.level :] = [box]


def test_hostile_names_are_text() -> None:
    labels = "\n".join(box.label for box in boxes(hostile_names()))
    assert "<script>alert(1)</script>" in labels
    assert "größe 層 🚀" in labels
    page = WRITERS[".html"](hostile_names()).decode()
    assert page.count("<script>") == page.count("</script>") == 1


def test_the_page_names_nothing_that_is_elsewhere() -> None:
    for write in WRITERS.values():
        text = write(two_threads()).decode().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?:|//\w|@import|url\(|src=", text.split("<script>")[0])


def test_an_empty_trace_says_so() -> None:
    for write in WRITERS.values():
        assert "No stack samples in this trace." in write(Trace()).decode()
    assert boxes(Trace()) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_can_be_read_on_every_box(theme: str) -> None:
    """WCAG 2.1: relative luminance, and a contrast of at least 4.5 : 1."""
    style = (files("tinytrace.exporters") / "assets" / "flamegraph.css").read_text()
    light, dark = style.split("@media", 1)
    colours = dict(re.findall(r"--([\w-]+): (#\w{6})", light if theme == "light" else dark))
    behind = [
        name for name in colours if name.startswith(("page", "thread", "mine", "lib", "match"))
    ]
    assert len(behind) == 11
    for name in behind:
        assert contrast(colours["ink"], colours[name]) >= 4.5, name
    assert contrast(colours["quiet"], colours["page"]) >= 4.5


def contrast(one: str, other: str) -> float:
    """The contrast of two colours."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    """The relative luminance of ``#rrggbb``."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


# ---- in a browser -------------------------------------------------------------------------------

VISIBLE = "[...document.querySelectorAll('.box')].filter(b => b.style.display !== 'none')"
TEXTS = f"return {VISIBLE}.map(b => b.querySelector('text').textContent)"
CLICK = "document.querySelectorAll('.box')[arguments[0]].dispatchEvent(new MouseEvent('click'))"
KEY = (
    "document.activeElement.dispatchEvent("
    "new KeyboardEvent('keydown', {key: arguments[0], bubbles: true, cancelable: true}))"
)


def opened(page: Page, folder: Path, ending: str, trace: Trace) -> Path:
    """Write a trace and open it."""
    target = folder / f"flame{ending}"
    target.write_bytes(WRITERS[ending](trace))
    page.open(target)
    return target


@pytest.mark.browser
@pytest.mark.parametrize("ending", WRITERS)
def test_a_click_zooms_in_and_out_and_nothing_is_asked_of_the_network(
    ending: str, tmp_path: Path
) -> None:
    with chromium() as page:
        target = opened(page, tmp_path, ending, two_threads())
        assert len(page.js(TEXTS)) == 10
        page.js(CLICK, 5)  # forward
        assert page.js(TEXTS) == [
            "all threads", "main (tid 10)", "<module> (train.py)", "forward (train.py)",
            "train.py:42",
        ]  # fmt: skip
        page.js("document.getElementById('reset').dispatchEvent(new MouseEvent('click'))")
        assert len(page.js(TEXTS)) == 10
        assert page.console() == []
        assert set(page.requests()) == {target.as_uri()}


@pytest.mark.browser
def test_search_marks_and_adds_up_what_matches(tmp_path: Path) -> None:
    search = (
        "const s = document.getElementById('search'); s.value = arguments[0];"
        "s.dispatchEvent(new Event('input'));"
        "return [document.getElementById('matches').textContent,"
        " document.querySelectorAll('.match').length]"
    )
    with chromium() as page:
        opened(page, tmp_path, ".html", two_threads())
        assert page.js(search, "FORWARD") == ["2 matching: 11.1 % of the time shown", 2]
        assert page.js(search, "train.py") == ["6 matching: 55.6 % of the time shown", 6]
        page.js(CLICK, 5)
        assert page.js(search, "train.py") == ["6 matching: 100.0 % of the time shown", 6]
        assert page.js(search, "") == ["", 0]


@pytest.mark.browser
def test_the_keyboard_goes_from_box_to_box(tmp_path: Path) -> None:
    with chromium() as page:
        opened(page, tmp_path, ".html", two_threads())
        page.js("document.querySelector('.box[tabindex=\"0\"]').focus()")
        for key in ("ArrowDown", "ArrowRight", "ArrowLeft", "ArrowDown", "ArrowDown"):
            page.js(KEY, key)
        assert page.js("return document.getElementById('told').textContent").startswith(
            "<script>alert(1)</script> · /home/me/train.py · 2.00 ms of wall time (22.2 %)"
        )
        page.js(KEY, "Enter")
        assert len(page.js(TEXTS)) == 5
        page.js(KEY, "Escape")
        assert len(page.js(TEXTS)) == 10


@pytest.mark.browser
@pytest.mark.parametrize("ending", WRITERS)
def test_the_browser_shows_hostile_names_as_text(ending: str, tmp_path: Path) -> None:
    with chromium() as page:
        opened(page, tmp_path, ending, hostile_names())
        titles = page.js(
            "return [...document.querySelectorAll('.box title')].map(t => t.textContent)"
        )
        assert any(title.startswith(HOSTILE_NAMES[0]) for title in titles)
        assert page.js("return document.querySelectorAll('script').length") == 1
        assert page.console() == []


@pytest.mark.browser
def test_it_fits_a_phone_and_follows_the_theme(tmp_path: Path) -> None:
    background = "return getComputedStyle(document.body).backgroundColor"
    with chromium() as page:
        page.size(375, 700)
        opened(page, tmp_path, ".html", two_threads())
        assert page.js("return document.documentElement.scrollWidth") == 375
        page.dark(False)
        assert page.js(background) == "rgb(255, 255, 255)"
        page.dark()
        assert page.js(background) == "rgb(23, 23, 27)"
