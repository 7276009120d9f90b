"""pprof's profile, parsed by the protobuf library."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from hypothesis import given

from tests.builders import START_NS, TraceBuilder, big_trace, signature_of, trace_of, traces
from tests.contract.test_exporters import hostile_names
from tests.exporters.written import MS, content, two_threads
from tests.profile_proto import parse_profile
from tinytrace.analysis.counting import count_trace
from tinytrace.analysis.spans import self_ns
from tinytrace.exporters.pprof import LARGEST, PprofExporter
from tinytrace.tracer.records import Kind
from tinytrace.tracer.trace import Trace


def written(trace: Trace) -> Any:
    """The profile."""
    return parse_profile(content(PprofExporter(), trace))


def types(profile: Any) -> list[str]:
    """Names and units of the values."""
    strings = profile.string_table
    return [f"{strings[t.type]}/{strings[t.unit]}" for t in profile.sample_type]


def entries(profile: Any) -> list[tuple[list[str], list[int], dict[str, str]]]:
    """Per sample its stack (innermost first, ``function file:line``), values and labels."""
    strings = profile.string_table
    functions = {f.id: f for f in profile.function}
    places = {}
    for location in profile.location:
        (line,) = location.line
        function = functions[line.function_id]
        name, file = strings[function.name], strings[function.filename]
        places[location.id] = f"{name} {file}:{line.line}" if file else name
    return [
        (
            [places[i] for i in sample.location_id],
            list(sample.value),
            {strings[label.key]: strings[label.str] for label in sample.label},
        )
        for sample in profile.sample
    ]


def test_samples_are_added_up_by_thread_and_stack() -> None:
    profile = written(two_threads())
    assert types(profile) == [
        "samples/count", "time/nanoseconds", "op_calls/count", "op_time/nanoseconds", "flops/count",
        "bytes/bytes",
    ]  # fmt: skip
    file = "/home/me/train.py"
    main = {"thread": "main (tid 10)", "process": "python (pid 10)"}
    worker = {"thread": "worker (tid 11)", "process": "python (pid 10)"}
    rows = [row for row in entries(profile) if row[1][0]]
    assert rows == [
        ([f"<module> {file}:90"], [1, 2 * MS, 0, 0, 0, 0], main),
        ([f"forward {file}:42", f"<module> {file}:90"], [1, MS, 0, 0, 0, 0], main),
        ([f"<script>alert(1)</script> {file}:43", f"<module> {file}:90"],
         [1, 2 * MS, 0, 0, 0, 0], main),
        (["(no stack)"], [1, 4 * MS, 0, 0, 0, 0], worker),
    ]  # fmt: skip


def test_ops_have_calls_self_time_flops_and_bytes_under_their_call_site() -> None:
    trace = trace_of(
        "step:10(matmul[2x3,3x4->2x4]:5@train.py:42:forward matmul[2x3,3x4->2x4]:3@train.py:42:forward)"
    )
    # 2·2·3·4 FLOPs, (6 + 12 + 8)·8 bytes, twice
    assert entries(written(trace)) == [
        (
            ["matmul", "forward train.py:42"],
            [0, 0, 2, 8000, 96, 416],
            {"thread": "MainThread (tid 100)", "process": "python (pid 100)", "op": "matmul",
             "signature": "float64(2,3) float64(3,4) -> float64(2,4)"},
        )
    ]  # fmt: skip


def test_what_is_not_counted_says_so_and_what_is_told_by_ops_inside_does_not() -> None:
    trace = trace_of("mean:5(add[4,4->4]:2) frobnicate:1 add![4,4->4]:1")
    found = {stack[0]: labels.get("uncounted") for stack, _, labels in entries(written(trace))}
    flops = [values[4] for _, values, _ in entries(written(trace))]
    assert found["mean"] is None
    assert found["frobnicate"] == "flops, bytes"
    assert sorted(flops) == [0, 0, 0, 4]
    raised = [labels for stack, values, labels in entries(written(trace))
              if stack == ["add"] and not values[4]]  # fmt: skip
    assert [labels["uncounted"] for labels in raised] == ["flops, bytes"]


def test_spans_that_were_added_up_are_in_the_sums() -> None:
    builder = TraceBuilder()
    thread = builder.thread(builder.process(10), 10)
    add = builder.signature(signature_of("add", "4,4->4"))
    builder.aggregates.append((
        builder.string("add"), Kind.OP, thread, add, -1, 1000, 1000, 5000, 4000, 1, 9, START_NS,
        START_NS + 10**6,
    ))  # fmt: skip
    assert [values for _, values, _ in entries(written(builder.build()))] == [
        [0, 0, 1000, 4000, 4000, 96_000]
    ]


@given(traces())
def test_sums_are_those_of_the_trace(trace: Trace) -> None:
    rows = [values for _, values, _ in entries(written(trace))]
    samples, time_ns, calls, op_ns, flops, moved = (
        (sum(column) for column in zip(*rows, strict=True)) if rows else (0,) * 6
    )
    folded, is_op = trace.aggregates, trace.spans.kind == Kind.OP
    assert samples == len(trace.samples)
    assert time_ns == trace.samples.weight_ns.sum()
    assert calls == is_op.sum() + folded.count.sum()
    assert op_ns == self_ns(trace.spans)[is_op].sum() + folded.self_ns.sum()
    counts = count_trace(trace)
    for figure, total in (("flops", flops), ("bytes", moved)):
        expected = counts.total(figure)  # type: ignore[arg-type]
        assert total == expected or abs(total / expected - 1) < 1e-9 or expected > LARGEST


def test_the_parts_of_the_profile_refer_to_one_another() -> None:
    profile = written(big_trace(1000))
    assert profile.string_table[0] == ""
    assert len(set(profile.string_table)) == len(profile.string_table)
    assert {s for sample in profile.sample for s in sample.location_id} <= {
        location.id for location in profile.location
    }
    assert profile.string_table[profile.default_sample_type] == "time"
    assert profile.duration_nanos > 0
    mapping = profile.mapping[0]
    assert mapping.has_functions
    assert mapping.has_filenames
    assert mapping.has_line_numbers


def test_no_name_is_an_order_to_a_terminal() -> None:
    profile = written(hostile_names())
    assert not [text for text in profile.string_table if re.search("[\x00-\x1f\x7f-\x9f]", text)]
    assert any("[31m" in text for text in profile.string_table)


def test_the_profile_says_when_it_was_recorded() -> None:
    trace = replace(two_threads(), meta={"start_unix_ns": 1_700_000_000_123_456_789})
    assert written(trace).time_nanos == 1_700_000_000_123_456_789
    assert written(replace(trace, meta={"start_unix_ns": "yesterday"})).time_nanos == 0


def test_an_empty_trace_is_a_profile_without_samples() -> None:
    profile = written(Trace())
    assert list(profile.sample) == []
    assert len(types(profile)) == 6
