"""Where an address tells the Perfetto UI to look, held against what its importer reads from the file."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from tests.builders import START_NS, TraceBuilder, trace_of
from tests.perfetto_engine import TraceProcessor, check_trace_file
from tinytrace.analysis.reader import load
from tinytrace.exporters import export
from tinytrace.exporters.perfetto_link import Opening, opening_of
from tinytrace.tracer.trace import Trace

DATA = Path(__file__).parents[1] / "data"
STEPS = "exp:3 step(add:7) step(matmul:20) step(add:5 add:4) exp:4"


def parameters(opening: Opening) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """The parameters of an address, and the commands among them."""
    found = {name: values[0] for name, values in parse_qs(opening.parameters()[1:]).items()}
    return found, json.loads(found.pop("startupCommands"))


def matching(engine: TraceProcessor, pattern: str) -> list[str]:
    """The threads, as their tracks are called, that an expression is for."""
    rows = engine.query("select name || ' ' || tid as name from thread where name is not null")
    return [row["name"] for row in rows if re.search(pattern, row["name"])]


def test_the_median_step_is_shown_with_a_tenth_of_it_on_both_sides(tmp_path: Path) -> None:
    export(trace_of(STEPS), tmp_path / "trace.json")
    opening = opening_of(load(tmp_path / "trace.json"))
    engine = check_trace_file(tmp_path / "trace.json")
    steps = engine.query("select ts, dur from slice where category = 'step' order by ts")
    assert [step["dur"] for step in steps] == [7_000, 20_000, 9_000]
    assert (opening.step_start_ns, opening.step_dur_ns) == (steps[2]["ts"], 9_000)
    assert (opening.start_ns, opening.end_ns) == (steps[2]["ts"] - 900, steps[2]["ts"] + 9_900)


def test_nothing_beyond_the_events_of_the_file_is_shown(tmp_path: Path) -> None:
    # The UI ignores a window that reaches beyond them.
    export(trace_of("step(add:100)"), tmp_path / "trace.json")
    opening = opening_of(load(tmp_path / "trace.json"))
    [bounds] = check_trace_file(tmp_path / "trace.json").query("select * from trace_bounds")
    assert (opening.start_ns, opening.end_ns) == (bounds["start_ts"], bounds["end_ts"])


@pytest.mark.parametrize("name", ["hta_cpu_only_rank-34", "hta_simple_add"])
def test_in_traces_of_other_tools_the_step_begins_where_one_of_their_spans_does(name: str) -> None:
    path = DATA / f"{name}.json.gz"
    opening = opening_of(load(path))
    engine = TraceProcessor(path.read_bytes())
    at = f"where ts = {opening.step_start_ns} and dur <= {opening.step_dur_ns}"
    assert engine.query(f"select count(*) as n from slice {at}")[0]["n"] > 0
    [bounds] = engine.query("select * from trace_bounds")
    assert bounds["start_ts"] <= opening.start_ns < opening.end_ns <= bounds["end_ts"]
    assert len(matching(engine, opening.pinned[0])) == 1


def test_the_address_has_the_window_and_asks_for_promised_commands_only() -> None:
    found, commands = parameters(opening_of(trace_of(STEPS)))
    assert {name: int(value) for name, value in found.items()} == {
        "visStart": 29_100,
        "visEnd": 39_900,
    }
    assert [command["id"] for command in commands] == [
        "dev.perfetto.AddDebugSliceTrack",
        "dev.perfetto.PinTracksByRegex",
        "dev.perfetto.PinTracksByRegex",
        "dev.perfetto.ExpandTracksByRegex",
    ]
    assert commands[0]["args"] == [
        "select 30000 as ts, 9000 as dur, 'step 2' as name",
        "Median step",
    ]


def test_a_trace_without_steps_is_shown_whole() -> None:
    for trace in (Trace(), trace_of("add:3 exp:4")):
        opening = opening_of(trace)
        found, commands = parameters(opening)
        assert (opening.step, found) == (None, {})
        assert [c["id"] for c in commands if "Debug" in c["id"]] == []


def test_names_are_text_and_no_expressions(tmp_path: Path) -> None:
    builder = TraceBuilder()
    for pid, name in enumerate((r"a.b(c)[d]{e}|f^$*+?\g/", "aXb(c)[d]{e}|f^$*+?\\g/", ".*"), 10):
        thread = builder.thread(builder.process(pid, name), pid, name)
        builder.span(thread, START_NS + 1_000 * pid, 100, "add")
    export(builder.build(), tmp_path / "trace.json")
    trace = load(tmp_path / "trace.json")
    engine = check_trace_file(tmp_path / "trace.json")
    assert matching(engine, opening_of(trace).pinned[0]) == [r"a.b(c)[d]{e}|f^$*+?\\g/ 10"]


def test_counters_of_several_processes_stay_where_they_are() -> None:
    assert len(opening_of(trace_of("add:3")).pinned) == 2
    builder = TraceBuilder()
    for pid in (10, 11):
        builder.thread(builder.process(pid), pid)
    assert len(opening_of(builder.build()).pinned) == 1
