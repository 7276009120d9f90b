"""The page in Chromium: silent, drawn, used by mouse and by keyboard, in both themes and three widths."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.axe import violations
from tests.browser import Page, chromium
from tests.exporters.html.pages import HOSTILE, whole_trace, without
from tinytrace.analysis.reader import load
from tinytrace.exporters.html import content_of, html_page
from tinytrace.tracer.trace import Trace

pytestmark = pytest.mark.browser

WIDTHS = (360, 800, 1400)
CASES = {
    "usual": whole_trace(),
    "hostile names": whole_trace(HOSTILE),
    "empty": Trace(),
    "no roofs": without(whole_trace(), "peaks"),
    "no spans": without(whole_trace(), "spans"),
    "no samples": without(whole_trace(), "samples"),
    "no counters": without(whole_trace(), "counters"),
    "another tool's": load(
        Path(__file__).parents[2] / "data" / "tracelens_h100_bert_small.json.gz"
    ),
}


@pytest.fixture(scope="module")
def tab() -> Iterator[Page]:
    """One browser for all tests."""
    with chromium() as page:
        yield page


@pytest.fixture
def opened(tab: Page, tmp_path: Path) -> Page:
    """The page of the usual trace."""
    show(tab, tmp_path, CASES["usual"])
    return tab


def show(tab: Page, folder: Path, trace: Trace) -> Path:
    """Write the page of a trace and open it."""
    path = folder / "report.html"
    path.write_bytes(html_page(content_of(trace, "trace.json")))
    tab.dark(False)
    tab.size(1400, 900)
    tab.open(path)
    return path


def press(tab: Page, *keys: str) -> None:
    """Press keys, wherever the focus is."""
    ActionChains(tab.driver).send_keys(*keys).perform()


def focused(tab: Page) -> str:
    """What a screen reader says of the element that has the focus."""
    return str(tab.js("return document.activeElement.getAttribute('aria-label')"))


@pytest.mark.parametrize("name", CASES)
def test_the_page_is_silent_and_asks_for_nothing(tab: Page, tmp_path: Path, name: str) -> None:
    messages, asked = len(tab.console()), len(tab.requests())
    path = show(tab, tmp_path, CASES[name])
    for width in WIDTHS:
        tab.size(width, 800)
        tab.js("window.dispatchEvent(new Event('resize'))")
        assert tab.js("return document.documentElement.scrollWidth") <= width
    assert tab.console()[messages:] == []
    assert tab.requests()[asked:] == [path.resolve().as_uri()]
    assert tab.js("return window.broken") is None


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [360, 1400])
@pytest.mark.parametrize("name", ["usual", "hostile names", "empty"])
def test_axe_finds_nothing(tab: Page, tmp_path: Path, name: str, width: int, dark: bool) -> None:
    show(tab, tmp_path, CASES[name])
    tab.dark(dark)
    tab.size(width, 800)
    tab.js("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    assert violations(tab) == []


def test_all_charts_are_drawn(opened: Page) -> None:
    for name in ("roofline", "steps", "memory"):
        assert (
            opened.js("return document.querySelectorAll(`#${arguments[0]}-chart svg`).length", name)
            == 1
        )
    assert opened.js("return document.querySelectorAll('#flame [role=treeitem]').length") > 3
    labels = opened.js(
        "return [...document.querySelectorAll('.chart svg')].map((s) => s.getAttribute('aria-label'))"
    )
    assert "Durations of 12 steps" in " ".join(labels)


def test_points_of_the_roofline_are_reached_by_keys_and_tell_what_they_are(opened: Page) -> None:
    opened.js("document.querySelector('#roofline-chart .point[tabindex=\"0\"]').focus()")
    first = focused(opened)
    assert "float64 64×64" in first
    press(opened, Keys.ARROW_RIGHT)
    second = focused(opened)
    assert second != first
    told = opened.js("return document.getElementById('roofline-details').textContent")
    assert second.partition(":")[0] in told
    press(opened, Keys.ARROW_LEFT)
    assert focused(opened) == first


def test_pointing_at_a_point_shows_its_figures(opened: Page) -> None:
    points = opened.driver.find_elements(By.CSS_SELECTOR, "#roofline-chart .point")
    ActionChains(opened.driver).move_to_element(points[-1]).perform()
    name = str(points[-1].get_attribute("aria-label")).partition(":")[0]
    assert opened.js("return document.querySelector('#roofline-details h3').textContent") == name


def rows(tab: Page) -> list[str]:
    """The ops of the table that are shown, in order."""
    return list(
        tab.js(
            "return [...document.querySelectorAll('#ops-table tbody tr:not([hidden]) th')]"
            ".map((cell) => cell.firstChild.textContent)"
        )
    )


def test_the_table_of_ops_sorts_by_every_column(opened: Page) -> None:
    before = sorted(rows(opened))
    heads = opened.driver.find_elements(By.CSS_SELECTOR, "#ops-table thead button")
    for column, head in enumerate(heads):
        head.send_keys(Keys.ENTER)
        state = opened.js(
            f"return document.querySelectorAll('#ops-table thead th')[{column}].ariaSort"
        )
        assert state == ("ascending" if column < 2 else "descending")
        values = opened.js(
            f"return [...document.querySelectorAll('#ops-table tbody tr')].map((r) => r.cells[{column}].dataset.value)"
        )
        known = [float(value) for value in values if value is not None]
        assert known == sorted(known, reverse=True)
        assert values[: len(known)] == [value for value in values if value is not None]
        assert sorted(rows(opened)) == before
    heads[0].click()
    assert rows(opened) == before
    heads[0].click()
    assert rows(opened) == before[::-1]


def test_the_table_of_ops_is_filtered_by_words(opened: Page) -> None:
    box = opened.driver.find_element(By.ID, "ops-filter")
    box.send_keys("train.py:11")
    assert rows(opened) == ["exp"]
    assert opened.js("return document.getElementById('ops-shown').value") == "1 of 3 rows"
    box.clear()
    box.send_keys("exp copy")  # each of the words is in a row, but in no row both
    assert rows(opened) == []


def test_the_flame_graph_zooms_and_searches(opened: Page) -> None:
    width = "return document.querySelector(`#flame [aria-label^='${arguments[0]}']`).offsetWidth"
    whole, before = opened.js(width, "copy"), opened.js(width, "exp")
    opened.js("document.querySelector(`#flame [aria-label^='exp']`).click()")
    assert opened.js(width, "exp") > before
    assert opened.js("return document.getElementById('flame-reset').disabled") is False
    press(opened, Keys.ARROW_DOWN)
    assert focused(opened).startswith(("copy", "exp"))
    press(opened, Keys.ESCAPE)
    assert opened.js(width, "copy") == whole
    opened.driver.find_element(By.ID, "flame-search").send_keys("EXP")
    assert opened.js("return document.querySelectorAll('#flame .hit').length") == 1
    share = opened.js("return document.querySelector(`#flame .hit`).getAttribute('aria-label')")
    found = opened.js("return document.getElementById('flame-found').value")
    assert found.removeprefix("found in ").partition(" of")[0] in share


def test_what_was_found_inside_of_what_was_found_counts_once(opened: Page) -> None:
    opened.driver.find_element(By.ID, "flame-search").send_keys("train.py")
    assert opened.js("return document.querySelectorAll('#flame .hit').length") == 3
    found = opened.js("return document.getElementById('flame-found').value")
    assert found == "found in 100.0\u202f% of the samples"


def test_the_theme_follows_the_system_until_it_is_chosen(opened: Page) -> None:
    colour = "return getComputedStyle(document.body).backgroundColor"
    light = opened.js(colour)
    opened.dark()
    dark = opened.js(colour)
    assert dark != light
    button = opened.driver.find_element(By.ID, "theme")
    for theme, expected in (("light", light), ("dark", dark), ("system", dark)):
        button.click()
        assert (button.text, opened.js(colour)) == (f"Theme: {theme}", expected)


def test_tab_goes_through_the_page_in_its_order(opened: Page) -> None:
    seen: list[float] = []
    opened.js("document.querySelector('#theme').focus()")  # the last one before the report
    while True:
        press(opened, Keys.TAB)
        place = opened.js(
            "const e = document.activeElement; return e === document.body || e.closest('.top, .skip') ? null"
            " : e.getBoundingClientRect().top + scrollY"
        )
        if place is None:
            break
        seen.append(place)
    assert len(seen) > 10
    rows_apart = 60  # things beside one another may be this far from being level
    assert all(later >= earlier - rows_apart for earlier, later in itertools.pairwise(seen))


def test_paper_is_light_and_without_controls(opened: Page) -> None:
    opened.dark()
    opened.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert (
            opened.js("return getComputedStyle(document.body).backgroundColor")
            == "rgb(255, 255, 255)"
        )
        assert (
            opened.js("return getComputedStyle(document.querySelector('.top')).display") == "none"
        )
    finally:
        opened.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
