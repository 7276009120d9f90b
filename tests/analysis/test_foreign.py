"""Traces of other tools: real files, real tools run here, and nonsense."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kineto_files import SMALL, document
from tests.perfetto_engine import check_trace_file
from tinytrace.analysis.foreign import load_foreign
from tinytrace.analysis.reader import load
from tinytrace.errors import TraceFormatError
from tinytrace.exporters import export
from tinytrace.tracer.records import Flag, Kind, Layout
from tinytrace.tracer.trace import Operand, Trace

SMALL_FILES = sorted(path.name for path in SMALL.glob("*.json.gz"))
LARGE_FILES = [
    "hta_diff_test.json.gz",
    "hta_nccl.json.gz",
    "hta_sampled_rank-0.json.gz",
    "tracelens_b200_eager.json.gz",
    "tracelens_h100_qwen.json.gz",
    "tracelens_mi300_bert_small.json.gz",
]


def check(trace: Trace) -> None:
    """Everything that `Spans` and the other tables promise."""
    spans = trace.spans
    end = spans.start_ns + spans.dur_ns
    assert (spans.dur_ns >= 0).all()
    order = np.lexsort((np.arange(len(spans)), spans.start_ns, spans.thread))
    assert (order == np.arange(len(spans))).all()
    child = np.flatnonzero(spans.parent >= 0)
    parent = spans.parent[child]
    assert (parent < child).all()
    assert (spans.thread[parent] == spans.thread[child]).all()
    assert (spans.start_ns[parent] <= spans.start_ns[child]).all()
    assert (end[child] <= end[parent]).all()
    detached = (spans.flags & Flag.DETACHED) != 0
    assert (spans.parent[detached] == -1).all()
    assert not detached[parent].any()
    tables: list[tuple[Any, Any]] = [
        (spans.name_id, trace.strings),
        (spans.thread, trace.threads),
        (trace.threads.process, trace.processes),
        (trace.threads.name_id, trace.strings),
        (trace.series.process, trace.processes),
        (trace.counters.series_id, trace.series),
        (trace.flows.from_span, spans),
        (trace.flows.to_span, spans),
    ]
    for ids, table in tables:
        assert ((ids >= 0) & (ids < len(table))).all()
    assert (spans.signature_id < len(trace.signatures)).all()
    assert len(set(trace.processes.pid.tolist())) == len(trace.processes)
    assert np.isfinite(trace.counters.value).all()
    for args_id in set(spans.args_id.tolist()) - {-1}:
        assert isinstance(json.loads(trace.strings[args_id]), dict)


def names(trace: Trace) -> list[str]:
    return [trace.strings[i] for i in trace.spans.name_id]


def arguments(trace: Trace, row: Any) -> dict[str, Any]:
    args_id = trace.spans.args_id[row]
    args: dict[str, Any] = json.loads(trace.strings[args_id]) if args_id >= 0 else {}
    return args


def x(name: str, ts: Any, dur: Any, **more: Any) -> dict[str, Any]:
    """A complete event."""
    return {"ph": "X", "name": name, "ts": ts, "dur": dur, "pid": 1, "tid": 1, **more}


def relations(trace: Trace) -> dict[str, str | None]:
    """Name of each span → name of its parent."""
    known = names(trace)
    return {
        name: known[parent] if parent >= 0 else None
        for name, parent in zip(known, trace.spans.parent.tolist(), strict=True)
    }


def skipped(trace: Trace) -> str:
    return next((w for w in trace.warnings if "skipped" in w), "")


@pytest.mark.parametrize("name", SMALL_FILES + LARGE_FILES)
def test_real_kineto_traces_keep_every_span_at_its_time(name: str) -> None:
    raw = document(name)
    trace = load_foreign(raw, name)
    check(trace)
    assert trace.meta["foreign"]["producer"] == "torch.profiler"
    assert trace.meta["foreign"]["header"]["schemaVersion"] == 1
    complete = [e for e in raw["traceEvents"] if e["ph"] == "X"]
    instants = [e for e in raw["traceEvents"] if e["ph"] == "i"]
    assert len(trace.spans) == len(complete) + len(instants)
    assert sorted(names(trace)) == sorted(e["name"] for e in complete + instants)
    starts_us = np.sort([e["ts"] for e in complete + instants])
    assert np.abs(np.sort(trace.spans.start_ns) - starts_us * 1000).max() <= 0.5 + np.spacing(
        starts_us.max() * 1000
    )
    assert skipped(trace) == ""


@pytest.mark.parametrize("name", SMALL_FILES)
def test_a_foreign_trace_written_in_our_format_comes_back_equal(name: str, tmp_path: Path) -> None:
    trace = load_foreign(document(name), name)
    export(trace, tmp_path / "ours.json")
    assert load(tmp_path / "ours.json").differences(trace) == []


def test_perfetto_reads_a_foreign_trace_in_our_format_without_errors(tmp_path: Path) -> None:
    trace = load_foreign(document("hta_simple_add.json.gz"), "")
    export(trace, tmp_path / "ours.json")
    check_trace_file(tmp_path / "ours.json")


@pytest.mark.parametrize("name", ["tracelens_h100_bert_small.json.gz", *LARGE_FILES[3:]])
def test_parents_by_time_are_those_that_the_profiler_recorded(name: str) -> None:
    """Kineto numbers its Python calls and names the caller: a truth of its own for the nesting."""
    trace = load_foreign(document(name), name)
    args = [arguments(trace, row) for row in range(len(trace.spans))]
    parent = trace.spans.parent.tolist()
    right = wrong = 0
    for row, own in enumerate(args):
        if own.get("Python parent id") is None or trace.spans.flags[row] & Flag.DETACHED:
            continue
        above = parent[row]
        while above >= 0 and "Python id" not in args[above]:
            above = parent[above]
        if above >= 0 and args[above]["Python id"] == own["Python parent id"]:
            right += 1
        else:
            wrong += 1
    assert right > 1000
    assert wrong <= 0.01 * right


@pytest.mark.parametrize(
    "name", ["hta_simple_add.json.gz", "tracelens_h100_bert_small.json.gz", "hta_nccl.json.gz"]
)
def test_arrows_lead_from_the_launch_to_the_kernel_that_it_started(name: str) -> None:
    trace = load_foreign(document(name), name)
    checked = 0
    for start, to, kind in zip(
        trace.flows.from_span, trace.flows.to_span, trace.flows.kind_id, strict=True
    ):
        a, b = arguments(trace, start), arguments(trace, to)
        if trace.strings[kind] == "ac2g":
            assert a["correlation"] == b["correlation"]
            assert a["cat"] in ("cuda_runtime", "cuda_driver")
            assert (
                trace.threads.process[trace.spans.thread[to]]
                != (trace.threads.process[trace.spans.thread[start]])
            )
        else:
            assert trace.strings[kind] == "fwdbwd"
            assert a["Sequence number"] == b["Sequence number"]
        checked += 1
    assert checked > 50


def test_work_of_a_gpu_is_a_process_with_a_thread_per_stream() -> None:
    trace = load_foreign(document("tracelens_h100_bert_small.json.gz"), "")
    process_of = {
        trace.strings[n]: int(p)
        for n, p in zip(trace.processes.name_id, trace.processes.pid, strict=True)
    }
    assert process_of["GPU 0"] == 0
    gpu = [trace.strings[i] for i in trace.processes.name_id].index("GPU 0")
    streams = np.flatnonzero(trace.threads.process == gpu)
    assert [trace.strings[i] for i in trace.threads.name_id[streams]] == ["stream 7"]
    on_gpu = trace.spans.thread == streams[0]
    categories = {arguments(trace, row)["cat"] for row in np.flatnonzero(on_gpu)}
    assert categories == {"kernel", "gpu_memcpy", "gpu_user_annotation"}


def test_profiler_steps_number_the_spans_that_begin_in_them() -> None:
    trace = load_foreign(document("tracelens_h100_bert_small.json.gz"), "")
    [step] = np.flatnonzero(trace.spans.kind == Kind.STEP)
    assert trace.spans.step[step] == 6
    inside = (trace.spans.start_ns >= trace.spans.start_ns[step]) & (
        trace.spans.start_ns < trace.spans.start_ns[step] + trace.spans.dur_ns[step]
    )
    assert (trace.spans.step[inside] == 6).all()
    assert (trace.spans.step[~inside] == -1).all()


def test_shapes_types_and_strides_become_signatures_of_inputs() -> None:
    trace = load_foreign(document("tracelens_h100_bert_small.json.gz"), "")
    row = names(trace).index("aten::addmm")
    signature = trace.signatures[trace.spans.signature_id[row]]
    args = arguments(trace, row)
    arrays = [o for o in signature.inputs if o.is_array]
    assert [list(o.shape) for o in arrays] == args["Input Dims"][:3]
    assert {o.dtype for o in arrays} == {"bfloat16"}
    assert {o.itemsize for o in arrays} == {2}
    assert args["Input Strides"][2] == [1, args["Input Dims"][2][0]]
    assert arrays[2].layout is Layout.F
    assert signature.outputs == ()
    assert signature.attributes == "+"
    assert any("records no outputs" in w for w in trace.warnings)


def test_an_operand_with_gaps_keeps_its_strides_in_bytes() -> None:
    args = {"Input Dims": [[3, 2]], "Input type": ["double"], "Input Strides": [[8, 2]]}
    trace = load_foreign([x("aten::neg", 0, 1, cat="cpu_op", args=args)], "")
    [operand] = trace.signatures[0].operands
    assert operand == Operand("float64", (3, 2), Layout.STRIDED, (64, 16), itemsize=8)


@pytest.mark.parametrize(
    "args",
    [
        {"Input Dims": [[2]], "Input type": ["NewType"]},
        {"Input Dims": [[-2]], "Input type": ["float"]},
        {"Input Dims": [[2]], "Input type": []},
        {"Input Dims": "2x3", "Input type": ["float"]},
        {"Input Dims": [[1 << 80]], "Input type": ["float"]},
        {},
    ],
)
def test_an_op_whose_operands_are_not_understood_has_no_signature(args: dict[str, Any]) -> None:
    trace = load_foreign([x("op", 0, 1, cat="cpu_op", args=args)], "")
    assert trace.spans.signature_id.tolist() == [-1]
    assert trace.spans.kind.tolist() == [Kind.OP]


def test_times_lose_no_digit_that_the_file_has() -> None:
    trace = load_foreign([x("a", 1212075548353.304, 173209.713), x("b", 4503599627370497, 3)], "")
    assert trace.spans.start_ns.tolist() == [1212075548353304, 4503599627370497000]
    assert trace.spans.dur_ns.tolist() == [173209713, 3000]


def test_nesting_by_time_with_equal_starts_and_ends() -> None:
    trace = load_foreign(
        [x("child", 0, 5), x("outer", 0, 10), x("next", 5, 5), x("leaf", 5, 0), x("after", 10, 1)],
        "",
    )
    assert relations(trace) == {
        "outer": None, "child": "outer", "next": "outer", "leaf": "next", "after": None,
    }  # fmt: skip


def test_an_overlap_below_the_resolution_of_the_file_is_cut_and_said() -> None:
    trace = load_foreign([x("outer", 0, 10), x("child", 5, 6), x("next", 10, 4)], "")
    assert relations(trace) == {"outer": None, "child": "outer", "next": None}
    assert trace.spans.dur_ns.tolist() == [10000, 5000, 4000]
    assert any("overlap" in w and w.startswith("1 spans") for w in trace.warnings)


def test_of_spans_that_overlap_the_shorter_is_detached_and_has_no_children() -> None:
    trace = load_foreign([x("short", 0, 10), x("in short", 1, 2), x("long", 5, 100)], "")
    flags = dict(zip(names(trace), trace.spans.flags.tolist(), strict=True))
    assert flags == {"short": Flag.DETACHED, "in short": 0, "long": 0}
    assert relations(trace) == {"short": None, "in short": None, "long": None}
    assert any("1 spans overlap" in w for w in trace.warnings)


def test_begin_and_end_events_pair_per_thread_and_the_unfinished_is_open() -> None:
    def be(ph: str, ts: int, name: str = "", tid: int = 1) -> dict[str, Any]:
        return {"ph": ph, "ts": ts, "name": name, "pid": 1, "tid": tid}

    trace = load_foreign(
        [be("B", 0, "a"), be("B", 1, "b"), be("B", 1, "other", 2), be("E", 4), be("E", 9, "", 3)],
        "",
    )
    found = {
        name: (int(s), int(d), int(f))
        for name, s, d, f in zip(
            names(trace), trace.spans.start_ns, trace.spans.dur_ns, trace.spans.flags, strict=True
        )
    }
    assert found == {
        "a": (0, 9000, Flag.OPEN), "b": (1000, 3000, 0), "other": (1000, 8000, Flag.OPEN),
    }  # fmt: skip
    assert "1 ends without a beginning" in skipped(trace)


def test_asynchronous_spans_are_detached() -> None:
    events = [
        {"ph": "b", "cat": "io", "id": 7, "name": "read", "ts": 1, "pid": 1, "tid": 1},
        {"ph": "e", "cat": "io", "id": 7, "name": "read", "ts": 5, "pid": 1, "tid": 2},
    ]
    trace = load_foreign(events, "")
    assert trace.spans.dur_ns.tolist() == [4000]
    assert trace.spans.flags.tolist() == [Flag.DETACHED]


def test_counters_have_a_series_per_value_and_only_finite_ones() -> None:
    events = [
        {"ph": "C", "name": "memory", "ts": 2, "pid": 1, "args": {"used": 3, "free": 4.5}},
        {"ph": "C", "name": "rss", "ts": 1, "pid": 1, "args": {"value": 7}},
        {"ph": "C", "name": "rss", "ts": 3, "pid": 1, "args": {"value": float("nan")}},
        {"ph": "C", "name": "rss", "ts": 3, "pid": 1, "args": {"value": "7"}},
    ]
    trace = load_foreign(events, "")
    values = {
        trace.strings[trace.series.name_id[s]]: (int(t), float(v))
        for t, s, v in zip(
            trace.counters.t_ns, trace.counters.series_id, trace.counters.value, strict=True
        )
    }
    assert values == {"memory.used": (2000, 3), "memory.free": (2000, 4.5), "rss": (1000, 7)}
    assert "2 counters without a value" in skipped(trace)


def test_flows_on_the_spans_themselves_are_arrows() -> None:
    events = [
        x("from", 0, 1, bind_id="0x9", flow_out=True),
        x("to", 5, 1, bind_id="0x9", flow_in=True),
    ]
    trace = load_foreign(events, "")
    assert (trace.flows.from_span.tolist(), trace.flows.to_span.tolist()) == ([0], [1])


def test_processes_and_threads_may_be_text_or_have_no_number() -> None:
    events = [
        x("a", 0, 1, pid="Spans", tid="PyTorch Profiler"),
        x("b", 0, 1, pid="12", tid=12),
        {"ph": "M", "name": "process_name", "pid": 12, "args": {"name": "trainer"}},
        {"ph": "X", "name": "c", "ts": 0, "dur": 1},
    ]
    trace = load_foreign(events, "")
    assert [trace.strings[i] for i in trace.processes.name_id] == ["Spans", "trainer", "process 0"]
    assert trace.processes.pid.tolist() == [13, 12, 0]
    assert trace.strings[trace.threads.name_id[0]] == "PyTorch Profiler"


def test_malformed_events_are_skipped_and_counted() -> None:
    events: list[Any] = [
        x("good", 0, 1), x("no time", None, 1), x("late", 1e300, 1), x("nan", float("nan"), 1),
        x("text", "1", 1), x("no duration", 1, None), x("backwards", 1, -1), 17, {"ph": "?"}, {},
    ]  # fmt: skip
    trace = load_foreign(events, "")
    assert names(trace) == ["good"]
    text = skipped(trace)
    for part in ["4 without a time", "2 without a duration", "1 not objects", "2 of a type"]:
        assert part in text


@pytest.mark.parametrize("events", [{"traceEvents": 3}, {"traceEvents": None}, [{"ph": "X"}], [1]])
def test_what_holds_no_events_is_an_error_that_names_the_file(events: Any) -> None:
    with pytest.raises(TraceFormatError, match=r"some/file\.json: no"):
        load_foreign(events, "some/file.json")


SCRIPT = """
def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)

def main():
    return fib({depth})

print(main())
"""


BUSY = """
import time

def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)

def main():
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        fib(15)

main()
"""


def test_a_trace_of_the_real_viztracer_has_every_call_in_its_caller(tmp_path: Path) -> None:
    script, out = tmp_path / "fib.py", tmp_path / "out.json"
    script.write_text(SCRIPT.format(depth=12), encoding="utf-8")
    command = [sys.executable, "-m", "viztracer", "--quiet", "-o", str(out), str(script)]
    subprocess.run(command, check=True, capture_output=True)
    trace = load_foreign(orjson.loads(out.read_bytes()), out)
    check(trace)
    assert trace.meta["foreign"]["producer"] == "viztracer"
    known = names(trace)
    calls = [row for row, name in enumerate(known) if name.startswith("fib (")]
    assert len(calls) == 465  # calls of fib(12): 2 F(13) − 1
    depth = np.zeros(len(known), int)
    for row, parent in enumerate(trace.spans.parent.tolist()):
        depth[row] = depth[parent] + 1 if parent >= 0 else 0
    assert np.ptp(depth[calls]) == 11
    parents = {known[trace.spans.parent[row]].split(" (")[0] for row in calls}
    assert parents == {"fib", "main"}


def test_a_trace_of_the_real_py_spy_says_that_its_spans_are_runs_of_samples(tmp_path: Path) -> None:
    script, out = tmp_path / "fib.py", tmp_path / "out.json"
    script.write_text(BUSY, encoding="utf-8")
    tool = Path(sysconfig.get_path("scripts")) / "py-spy"
    command = [tool, "record", "-f", "chrometrace", "-r", "200", "-o", out, "--"]
    done = subprocess.run(
        [*map(str, command), sys.executable, str(script)], check=False, capture_output=True
    )
    assert out.exists(), done.stderr.decode()
    trace = load(out)
    check(trace)
    assert trace.meta["foreign"]["producer"] == "py-spy"
    assert {"main", "fib"} <= set(names(trace))
    assert any("runs of equal samples" in w for w in trace.warnings)


NONSENSE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
SMALL_TIME = st.integers(0, 20) | st.floats(0, 20)
IDS = st.integers(0, 3) | st.sampled_from(["a", "7", None])
PLAUSIBLE = st.fixed_dictionaries(
    {"ph": st.sampled_from("XXXBEiCbensftM"), "ts": SMALL_TIME, "dur": SMALL_TIME},
    optional={
        "pid": IDS,
        "tid": IDS,
        "id": IDS,
        "name": st.sampled_from(["a", "b", "ProfilerStep#3", "process_name", "thread_name"]),
        "cat": st.sampled_from(["cpu_op", "kernel", "user_annotation", "ac2g", ""]),
        "args": st.dictionaries(
            st.sampled_from(["name", "Input Dims", "Input type", "value"]), NONSENSE
        ),
        "bind_id": IDS,
        "flow_in": st.booleans(),
        "flow_out": st.booleans(),
    },
)
HOSTILE = st.dictionaries(
    st.sampled_from(["ph", "ts", "dur", "pid", "tid", "name", "cat", "id", "args", "bind_id"]),
    NONSENSE | st.sampled_from(["X", "B", "E", "C", "M", "s", "f", "b", "e"]),
)


@given(st.lists(PLAUSIBLE | HOSTILE | NONSENSE, max_size=25))
@settings(max_examples=300, deadline=None)
def test_any_list_is_a_valid_trace_or_a_format_error(events: list[Any]) -> None:
    try:
        trace = load_foreign(events, "fuzz.json")
    except TraceFormatError:
        return
    check(trace)


@given(st.lists(PLAUSIBLE, min_size=1, max_size=40))
@settings(max_examples=200, deadline=None)
def test_every_plausible_span_is_kept(events: list[dict[str, Any]]) -> None:
    expected = sum(e["ph"] in "XBibn" for e in events)
    try:
        trace = load_foreign({"traceEvents": events, "schemaVersion": 1}, "fuzz.json")
    except TraceFormatError:
        assert expected == 0
        return
    check(trace)
    assert len(trace.spans) == expected
