"""speedscope's format: the real app shows what was recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from tests.browser import chromium
from tests.builders import big_trace, trace_of, traces
from tests.exporters.written import MS, content, pieces, two_threads
from tests.speedscope_app import functions, open_in_speedscope, profiles
from tinytrace.exporters.speedscope import SpeedscopeExporter
from tinytrace.exporters.stacks import samples_by_thread
from tinytrace.tracer.trace import Trace


def written(trace: Trace) -> Any:
    """The file as JSON. Integers that a double cannot hold would be lost in the app."""
    return json.loads(content(SpeedscopeExporter(), trace))


def test_samples_have_their_stacks_weights_and_gaps() -> None:
    file = written(two_threads())
    frames = [frame["name"] for frame in file["shared"]["frames"]]
    main = file["profiles"][0]
    assert main["name"] == "main (tid 10)"
    assert (main["type"], main["unit"]) == ("sampled", "nanoseconds")
    assert (main["startValue"], main["endValue"]) == (0, 7 * MS)
    assert [[frames[i] for i in stack] for stack in main["samples"]] == [
        ["<module> (train.py:90)", "forward (train.py:42)"],
        ["<module> (train.py:90)", "<script>alert(1)</script> (train.py:43)"],
        [],
        ["<module> (train.py:90)"],
    ]
    assert main["weights"] == [MS, 2 * MS, 2 * MS, 2 * MS]
    assert file["shared"]["frames"][1] == {
        "name": "forward (train.py:42)", "file": "/home/me/train.py", "line": 42,
    }  # fmt: skip


def test_a_sample_without_a_stack_is_not_lost() -> None:
    file = written(two_threads())
    worker = file["profiles"][1]
    assert [file["shared"]["frames"][i]["name"] for i in worker["samples"][0]] == ["(no stack)"]
    assert worker["weights"] == [4 * MS]


def test_spans_open_and_close_as_they_nest_and_what_is_left_out_is_counted() -> None:
    file = written(two_threads())
    spans = file["profiles"][2]
    assert spans["name"] == "main (tid 10): spans, 1 not shown"
    names = [frame["name"] for frame in file["shared"]["frames"]]
    events = [(e["type"], names[e["frame"]], e["at"]) for e in spans["events"]]
    matmul = "matmul (train.py:42)"
    assert events == [("O", "step", 0), ("O", matmul, MS), ("C", matmul, 2 * MS),
                      ("C", "step", 9 * MS)]  # fmt: skip


@given(traces())
def test_sample_weights_add_up_and_events_are_balanced(trace: Trace) -> None:
    file = written(trace)
    sampled = [p for p in file["profiles"] if p["type"] == "sampled"]
    expected = [int(samples.weight_ns.sum()) for _, samples in samples_by_thread(trace)]
    assert [
        sum(w for stack, w in zip(p["samples"], p["weights"], strict=True) if stack)
        for p in sampled
    ] == expected or not expected
    for profile in file["profiles"]:
        if profile["type"] == "evented":
            assert_balanced(profile)


def assert_balanced(profile: Any) -> None:
    """Each closing is that of the frame opened last, and times never go back: else the app refuses the file."""
    open_frames, before = [], profile["startValue"]
    for event in profile["events"]:
        assert event["at"] >= before
        before = event["at"]
        if event["type"] == "O":
            open_frames.append(event["frame"])
        else:
            assert open_frames.pop() == event["frame"]
    assert open_frames == []
    assert before == profile["endValue"]


def test_every_span_that_nests_is_there() -> None:
    trace = trace_of("a:0 b:0(c:0 d:0) e:3(f:0)", worker="g:9(h:2 i:3) j~:4")
    sequences = [
        "".join(e["type"] for e in profile["events"]) for profile in written(trace)["profiles"]
    ]
    # What lies in a span without extent is drawn after it.
    assert sequences == ["OCOCOCOCOOCC", "OOCOCC"]


def test_a_long_trace_is_written_in_pieces() -> None:
    assert max(map(len, pieces(SpeedscopeExporter(), big_trace(100_000)))) < 1_000_000


@pytest.mark.browser
def test_the_app_shows_the_samples_and_the_spans(tmp_path: Path) -> None:
    target = tmp_path / "trace.speedscope.json"
    target.write_bytes(content(SpeedscopeExporter(), two_threads()))
    with chromium() as page:
        open_in_speedscope(page, target)
        assert functions(page) == {
            "<module> (train.py:90)": ("5.00ms (100%)", "2.00ms (40%)"),
            "forward (train.py:42)": ("1.00ms (20%)", "1.00ms (20%)"),
            "<script>alert(1)</script> (train.py:43)": ("2.00ms (40%)", "2.00ms (40%)"),
        }
        assert profiles(page) == {
            "main (tid 10)": "5.00ms",
            "worker (tid 11)": "4.00ms",
            "main (tid 10): spans, 1 not shown": "9.00ms",
        }
        assert all(url.startswith("file:") for url in page.requests())


@pytest.mark.browser
def test_the_app_opens_an_empty_trace(tmp_path: Path) -> None:
    target = tmp_path / "trace.speedscope.json"
    target.write_bytes(content(SpeedscopeExporter(), Trace()))
    with chromium() as page:
        open_in_speedscope(page, target)
        assert page.js("return document.title") == "tinytrace - speedscope"
        assert functions(page) == {}
