"""The Firefox Profiler's format: well-formed by its own rules, and read by Perfetto's importer."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from tests.builders import START_NS, TraceBuilder, random_trace, traces
from tests.exporters.written import MS, content, two_threads
from tests.perfetto_engine import check_trace_file
from tinytrace.exporters import export
from tinytrace.exporters.gecko import GeckoExporter
from tinytrace.exporters.stacks import samples_by_thread
from tinytrace.tracer.trace import Trace


def written(trace: Trace) -> Any:
    """The file as JSON."""
    return json.loads(content(GeckoExporter(), trace))


def stack_of(thread: Any, row: int | None) -> list[tuple[str, str | None, int | None]]:
    """Function, file and line of each frame, outermost first."""
    frames = []
    while row is not None:
        frame = thread["stackTable"]["frame"][row]
        function = thread["frameTable"]["func"][frame]
        name, file = (thread["funcTable"][key][function] for key in ("name", "fileName"))
        strings, line = thread["stringArray"], thread["frameTable"]["line"][frame]
        frames.append((strings[name], None if file is None else strings[file], line))
        row = thread["stackTable"]["prefix"][row]
    return frames[::-1]


def test_samples_have_their_stacks_times_and_weights() -> None:
    main, worker = written(two_threads())["threads"]
    samples = main["samples"]
    file = "/home/me/train.py"
    assert [stack_of(main, row) for row in samples["stack"]] == [
        [("<module>", file, 90), ("forward", file, 42)],
        [("<module>", file, 90), ("<script>alert(1)</script>", file, 43)],
        [("<module>", file, 90)],
    ]
    assert samples["time"] == [0, 1, 5]
    assert samples["weight"] == [1, 2, 2]
    assert samples["weightType"] == "tracing-ms"
    assert [stack_of(worker, row) for row in worker["samples"]["stack"]] == [
        [("(no stack)", None, None)]
    ]


def test_threads_say_whose_they_are() -> None:
    threads = written(two_threads())["threads"]
    keys = ("name", "processName", "pid", "tid", "isMainThread")
    assert [tuple(thread[key] for key in keys) for thread in threads] == [
        ("main", "python", 10, 10, True), ("worker", "python", 10, 11, False),
    ]  # fmt: skip


def test_the_program_and_libraries_have_colours_of_their_own() -> None:
    builder = TraceBuilder()
    thread = builder.thread(builder.process(10), 10)
    paths = ("train.py", "/v/lib/python3.12/site-packages/numpy/x.py")
    builder.sample(thread, START_NS, MS, [builder.frame("f", path, 1) for path in paths])
    file = written(builder.build())
    names = [category["name"] for category in file["meta"]["categories"]]
    (thread_table,) = file["threads"]
    for table in ("stackTable", "frameTable"):
        found = [names[i] for i in thread_table[table]["category"]]
        assert found == ["Other", "Program", "Libraries"]


def test_times_never_go_back_where_a_weight_reaches_over_the_sample_before() -> None:
    builder = TraceBuilder()
    thread = builder.thread(builder.process(10), 10)
    frame = builder.frame("f", "f.py", 1)
    for t_ms, weight_ms in ((3, 1), (4, 4)):
        builder.sample(thread, START_NS + t_ms * MS, weight_ms * MS, [frame])
    samples = written(builder.build())["threads"][0]["samples"]
    assert samples["time"] == [2, 2]
    assert samples["weight"] == [1, 4]


def test_the_file_says_when_it_was_recorded() -> None:
    trace = replace(two_threads(), meta={"start_unix_ns": 1_700_000_000_123_000_000})
    assert written(trace)["meta"]["startTime"] == 1_700_000_000_123


def test_cpu_time_is_there_where_it_is_known() -> None:
    builder = TraceBuilder()
    thread = builder.thread(builder.process(10), 10)
    for number, cpu_ns in enumerate((-1, 250_000)):
        builder.sample(thread, START_NS + number * MS, MS, [builder.frame("f", "f.py", 1)], cpu_ns)
    file = written(builder.build())
    assert file["threads"][0]["samples"]["threadCPUDelta"] == [None, 250]
    assert file["meta"]["sampleUnits"]["threadCPUDelta"] == "µs"


@given(traces())
def test_the_tables_are_well_formed_and_weights_add_up(trace: Trace) -> None:
    threads = written(trace)["threads"]
    weights_ns = [int(samples.weight_ns.sum()) for _, samples in samples_by_thread(trace)]
    assert [round(sum(t["samples"]["weight"]) * MS) for t in threads] == weights_ns
    for thread in threads:
        assert_well_formed(thread)


def assert_well_formed(thread: Any) -> None:
    """Columns are equally long; what refers to a table refers to a row of it; callers come first."""
    length = {}
    for table, columns in thread.items():
        if table.endswith("Table") and isinstance(columns, dict):
            length[table] = columns["length"]
            values = (v for k, v in columns.items() if k not in ("length", "schema"))
            assert {len(v) for v in values} == {length[table]}, table
    length["stringArray"] = len(thread["stringArray"])
    for table, column, target in (
        ("stackTable", "frame", "frameTable"), ("frameTable", "func", "funcTable"),
        ("funcTable", "name", "stringArray"), ("funcTable", "fileName", "stringArray"),
        ("samples", "stack", "stackTable"),
    ):  # fmt: skip
        assert all(v is None or 0 <= v < length[target] for v in thread[table][column]), column
    prefixes = thread["stackTable"]["prefix"]
    assert all(prefix is None or prefix < row for row, prefix in enumerate(prefixes))
    assert thread["samples"]["time"] == sorted(thread["samples"]["time"])


def test_perfetto_reads_the_samples_and_their_stacks(tmp_path: Path) -> None:
    target = tmp_path / "trace.gecko.json"
    export(two_threads(), target)
    engine = check_trace_file(target)
    rows = engine.query(
        "select s.ts, t.tid, t.name, f.name as leaf, g.name as caller"
        " from cpu_profile_stack_sample s join thread t using (utid)"
        " join stack_profile_callsite c on c.id = s.callsite_id"
        " join stack_profile_frame f on f.id = c.frame_id"
        " left join stack_profile_callsite d on d.id = c.parent_id"
        " left join stack_profile_frame g on g.id = d.frame_id order by tid, ts"
    )
    assert [tuple(row.values()) for row in rows] == [
        (0, 10, "main", "forward (train.py:42)", "<module> (train.py:90)"),
        (MS, 10, "main", "<script>alert(1)</script> (train.py:43)", "<module> (train.py:90)"),
        (5 * MS, 10, "main", "<module> (train.py:90)", None),
        (0, 11, "worker", "(no stack)", None),
    ]


@pytest.mark.parametrize("seed", range(5))
def test_perfetto_reads_every_sample_of_any_trace(seed: int, tmp_path: Path) -> None:
    trace = random_trace(seed, 30)
    export(trace, tmp_path / "trace.gecko.json")
    engine = check_trace_file(tmp_path / "trace.gecko.json")
    assert engine.query("select count() as n from cpu_profile_stack_sample") == [
        {"n": len(trace.samples)}
    ]
