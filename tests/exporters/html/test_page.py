"""The page: one file that asks for nothing, says what is missing, and shows names as text."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import Any

import pytest
from hypothesis import given, settings

from tests.builders import big_trace, traces
from tests.exporters.html.pages import HOSTILE, page_of, whole_trace, without
from tests.exporters.html.parsed import Parsed
from tinytrace.exporters.html.page import SCRIPTS, script_text
from tinytrace.tracer.trace import Trace

MOST_BYTES_OF_DATA = 1_500_000


def data_of(page: Parsed) -> Any:
    """What the scripts of the page draw."""
    return json.loads(page.one("script", id="data").text)


def section(page: str, name: str) -> str:
    """The HTML of one section."""
    return page.partition(f'<section id="{name}"')[2].partition("</section>")[0]


def test_every_section_has_a_heading_and_a_link() -> None:
    page = Parsed(page_of(whole_trace()))
    sections = [one for one in page.all("section") if one.attributes["id"] != "top"]
    links = [
        a.attributes["href"][1:] for a in page.all("a") if a.attributes["href"].startswith("#")
    ]
    assert len(sections) == 11
    for one in sections:
        page.one("h2", id=one.attributes["aria-labelledby"])
        assert one.attributes["id"] in links


@pytest.mark.parametrize(
    "trace", [whole_trace(), whole_trace(HOSTILE), Trace()], ids=["usual", "hostile", "empty"]
)
def test_nothing_is_loaded_from_anywhere(trace: Trace) -> None:
    page = Parsed(page_of(trace))
    for element in page.elements:
        assert "src" not in element.attributes
        assert not any(name.startswith("on") for name in element.attributes)
        assert element.attributes.get("href", "#").startswith(("#", "data:,"))
    assert [
        one.name
        for one in page.elements
        if one.name in {"iframe", "object", "embed", "base", "form", "img"}
    ] == []
    (style,) = page.all("style")
    assert "url(" not in style.text
    assert "@import" not in style.text


def test_the_policy_forbids_all_but_the_scripts_of_the_page() -> None:
    page = Parsed(page_of(whole_trace(HOSTILE)))
    (policy,) = (m for m in page.all("meta") if "http-equiv" in m.attributes)
    told = policy.attributes["content"]
    assert "default-src 'none'" in told
    assert "connect-src" not in told
    scripts = [one.text for one in page.all("script") if "type" not in one.attributes]
    assert scripts == [script_text(name) for name in SCRIPTS]
    for script in scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in told
    script_sources = re.search(r"script-src ([^;]*);", told)
    assert script_sources is not None
    assert "unsafe" not in script_sources[1]


def test_libraries_keep_their_licences() -> None:
    page = page_of(Trace())
    assert "Copyright 2010-2023 Mike Bostock" in page or "Mike Bostock\n\nPermission to use" in page
    assert "Observable, Inc.\n\nPermission to use" in page


def test_names_of_the_trace_are_text() -> None:
    usual, hostile = Parsed(page_of(whole_trace())), Parsed(page_of(whole_trace(HOSTILE)))
    kinds = {(one.name, frozenset(one.attributes)) for one in usual.elements}
    assert {(one.name, frozenset(one.attributes)) for one in hostile.elements} <= kinds
    shown = hostile.one("main").text
    for name in HOSTILE[:4]:
        assert name in shown
    flame = data_of(hostile)["flame"]
    assert HOSTILE[0] in flame["names"]


@given(traces())
@settings(deadline=None)
def test_any_trace_makes_a_page_that_is_sound(trace: Trace) -> None:
    page = Parsed(page_of(trace))
    ids = [one.attributes["id"] for one in page.elements if "id" in one.attributes]
    assert len(ids) == len(set(ids))
    for one in page.elements:
        for reference in ("aria-labelledby", "aria-controls", "for"):
            if reference in one.attributes:
                assert one.attributes[reference] in ids
    data = data_of(page)
    if data["flame"]:
        assert len(data["flame"]["function"]) == len(data["flame"]["totalNs"])


def test_the_same_trace_makes_the_same_page() -> None:
    assert page_of(whole_trace()) == page_of(whole_trace())


def test_shares_of_the_bars_add_up_to_all_of_the_time() -> None:
    page = page_of(whole_trace())
    bars = re.findall(r'<div class="bar".*?</div>', page)
    assert len(bars) == 2
    for bar in bars:
        shares = [float(width) for width in re.findall(r"width:([\d.]+)%", bar)]
        assert sum(shares) == pytest.approx(100, abs=0.01)


@pytest.mark.parametrize(
    ("left_out", "where", "said"),
    [
        ("spans", "ops", "No NumPy operation was recorded."),
        ("spans", "roofline", "No NumPy operation was recorded."),
        ("samples", "stacks", "No call stacks: the trace has no samples."),
        ("samples", "lines", "from samples, of which there are none."),
        ("counters", "memory", "Memory is not known: the trace has no counters of it."),
        (
            "hardware_counters",
            "caches",
            "Nothing was measured by hardware counters: the trace has none.",
        ),
        ("peaks", "machine", "The trace has none: no verdicts."),
        ("peaks", "roofline", "No roofs: the trace does not have those"),
        ("machine", "machine", "The trace does not say which machine it was."),
        ("conventions", "machine", "The trace names no conventions."),
    ],
)
def test_what_is_missing_is_said(left_out: str, where: str, said: str) -> None:
    assert said not in section(page_of(whole_trace()), where)
    assert said in section(page_of(without(whole_trace(), left_out)), where)


def test_an_empty_trace_says_so_everywhere() -> None:
    page = page_of(Trace())
    for name in (
        "time",
        "findings",
        "roofline",
        "ops",
        "lines",
        "stacks",
        "steps",
        "memory",
        "caches",
        "machine",
    ):
        assert 'class="missing"' in section(page, name)
    assert data_of(Parsed(page)) == {
        "roofline": {"levels": [], "ceilings": [], "points": []}, "flame": None, "steps": None, "memory": [],
    }  # fmt: skip


def test_only_roofs_that_were_measured_are_drawn() -> None:
    roofline = data_of(Parsed(page_of(whole_trace())))["roofline"]
    assert [(level["name"], level["gbps"], level["resolvable"]) for level in roofline["levels"]] == [
        ("L1", 200.0, False), ("L2", 100.0, True), ("L3", 50.0, True), ("DRAM", 10.0, True),
    ]  # fmt: skip
    assert [(c["sort"], c["dtype"], c["gflops"]) for c in roofline["ceilings"]] == [
        ("matrix", "float64", 50.0), ("arithmetic", "float64", 5.0),
    ]  # fmt: skip


def test_a_point_tells_shapes_line_and_verdict() -> None:
    points = data_of(Parsed(page_of(whole_trace())))["roofline"]["points"]
    (product,) = (point for point in points if point["square"])
    told = dict(product["rows"])
    assert product["name"] == "matmul float64"
    assert told["shapes"] == "float64 64×64, float64 64×64 → float64 64×64"
    assert told["line"] == "train.py:10 matmul"
    assert told["verdict"] == "latency"


def test_many_steps_are_drawn_as_stretches_of_them() -> None:
    steps = data_of(Parsed(page_of(big_trace(20_000))))["steps"]
    assert steps is None or len(steps["low"]) <= 600
    few = data_of(Parsed(page_of(whole_trace())))["steps"]
    assert (few["n"], few["perBar"], len(few["middle"])) == (12, 1, 12)
    assert few["low"] == few["middle"] == few["high"]


def test_rows_of_the_table_can_be_of_something_else() -> None:
    assert ">steps<" not in section(page_of(whole_trace()), "ops")
    assert "Top call sites by gain" in section(
        page_of(whole_trace(), by="callsite", sort="gain"), "ops"
    )


def test_a_large_trace_makes_a_small_page() -> None:
    scripts = sum(len(script_text(name).encode()) for name in SCRIPTS)
    page = page_of(big_trace(100_000)).encode()
    assert scripts < 1_000_000
    assert len(page) - scripts < MOST_BYTES_OF_DATA
