"""The flame graph: calls merged by function, times that add up."""

from __future__ import annotations

import numpy as np
from hypothesis import given

from tests.builders import START_NS, TraceBuilder, traces
from tinytrace.analysis.flame import FlameGraph, flame_graph
from tinytrace.tracer.trace import Trace


def told(flame: FlameGraph) -> list[tuple[str, str | None, int, int]]:
    """Each call: its function, that of its caller, total and self time."""
    names = [flame.functions[number].name for number in flame.function.tolist()]
    return [
        (name, names[parent] if parent >= 0 else None, total_ns, self_ns)
        for name, parent, total_ns, self_ns in zip(
            names,
            flame.parent.tolist(),
            flame.total_ns.tolist(),
            flame.self_ns.tolist(),
            strict=True,
        )
    ]


def builder_with_thread() -> TraceBuilder:
    builder = TraceBuilder()
    builder.process(7, end_ns=START_NS + 1000)
    builder.thread(0, 7)
    return builder


def sampled(*stacks: tuple[int, list[tuple[str, int]]]) -> Trace:
    """One sample for each: its weight, and the functions of its stack with their lines."""
    builder = builder_with_thread()
    t_ns = START_NS
    for weight_ns, stack in stacks:
        t_ns += weight_ns
        frames = [builder.frame(name, "/home/me/train.py", line) for name, line in stack]
        builder.sample(0, t_ns, weight_ns, frames)
    return builder.build()


def test_lines_of_one_function_are_one_call() -> None:
    flame = flame_graph(
        sampled(
            (10, [("main", 1), ("forward", 5)]),
            (20, [("main", 2), ("forward", 6)]),
            (5, [("main", 2)]),
        )
    )
    assert told(flame) == [
        ("MainThread", None, 35, 0),
        ("main", "MainThread", 35, 5),
        ("forward", "main", 30, 30),
    ]
    assert flame.whole_ns == 35


def test_a_function_that_calls_itself_is_one_call_in_another() -> None:
    flame = flame_graph(sampled((10, [("walk", 1), ("walk", 1), ("walk", 1)])))
    assert told(flame)[1:] == [
        ("walk", "MainThread", 10, 0),
        ("walk", "walk", 10, 0),
        ("walk", "walk", 10, 10),
    ]


def test_functions_of_one_name_in_two_files_are_two() -> None:
    builder = builder_with_thread()
    for n, file in enumerate(("/a/one.py", "/a/two.py")):
        builder.sample(0, START_NS + 10 * (n + 1), 10, [builder.frame("run", file, 1)])
    flame = flame_graph(builder.build())
    assert {flame.functions[n].file for n in flame.function[1:].tolist()} == {
        "/a/one.py",
        "/a/two.py",
    }


def test_each_thread_has_calls_of_its_own() -> None:
    builder = builder_with_thread()
    builder.thread(0, 8, "worker")
    frame = builder.frame("run", "/a/b.py", 1)
    builder.sample(0, START_NS + 10, 10, [frame])
    builder.sample(1, START_NS + 30, 30, [frame])
    assert told(flame_graph(builder.build())) == [
        ("worker", None, 30, 0),
        ("run", "worker", 30, 30),
        ("MainThread", None, 10, 0),
        ("run", "MainThread", 10, 10),
    ]


def test_of_several_processes_a_thread_tells_which() -> None:
    builder = builder_with_thread()
    builder.process(8)
    builder.thread(1, 8)
    frame = builder.frame("run", "/a/b.py", 1)
    builder.sample(0, START_NS + 10, 10, [frame])
    builder.sample(1, START_NS + 5, 5, [frame])
    outer = [name for name, caller, _, _ in told(flame_graph(builder.build())) if caller is None]
    assert outer == ["MainThread (process 7)", "MainThread (process 8)"]


def test_the_shortest_calls_are_left_out_and_counted_but_stay_in_the_times() -> None:
    trace = sampled((90, [("main", 1), ("long", 1)]), (10, [("main", 1), ("short", 1)]))
    flame = flame_graph(trace, most=3)
    assert [(name, total_ns) for name, _, total_ns, _ in told(flame)] == [
        ("MainThread", 100),
        ("main", 100),
        ("long", 90),
    ]
    assert flame.left_out == 1


def test_samples_without_a_stack_are_in_no_call() -> None:
    builder = builder_with_thread()
    builder.sample(0, START_NS + 10, 10, [])
    builder.sample(0, START_NS + 15, 5, [builder.frame("main", "/a/b.py", 1)])
    flame = flame_graph(builder.build())
    assert (flame.whole_ns, flame.unknown_ns) == (5, 10)


def test_libraries_are_told_from_the_program() -> None:
    builder = builder_with_thread()
    files = ("/home/me/train.py", "/v/lib/site-packages/x.py", "<frozen importlib._bootstrap>")
    builder.sample(0, START_NS + 1, 1, [builder.frame("f", file, 1) for file in files])
    flame = flame_graph(builder.build())
    kinds = {one.file: one.is_library for one in flame.functions}
    assert [kinds[file] for file in files] == [False, True, True]


@given(traces())
def test_times_add_up_in_any_trace(trace: Trace) -> None:
    flame = flame_graph(trace)
    outer = flame.parent < 0
    assert int(flame.total_ns[outer].sum()) == flame.whole_ns == int(flame.self_ns.sum())
    inside = np.zeros(len(flame), "i8")
    np.add.at(inside, flame.parent[~outer], flame.total_ns[~outer])
    assert np.array_equal(inside + flame.self_ns, flame.total_ns)
    assert (flame.parent[~outer] < np.flatnonzero(~outer)).all()


@given(traces())
def test_whoever_is_drawn_is_drawn_in_its_caller(trace: Trace) -> None:
    whole = flame_graph(trace)
    for most in range(1, len(whole) + 1):
        some = flame_graph(trace, most)
        assert told(some) == told(whole)[:most]
