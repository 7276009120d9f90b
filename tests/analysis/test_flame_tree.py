"""Samples merged by path of functions."""

from __future__ import annotations

from hypothesis import given

from tests.builders import START_NS, TraceBuilder, traces
from tinytrace.analysis.flame_tree import FlameTree, flame_trees
from tinytrace.tracer.trace import Trace


def boxes(trace: Trace, tree: FlameTree) -> list[tuple[str, int, int, int]]:
    """Name, parent, total and own time of each box."""
    names = [trace.strings[trace.frames.name_id[i]] for i in tree.frame_id]
    columns = (tree.parent, tree.total_ns_of, tree.self_ns_of)
    return list(zip(names, *(column.tolist() for column in columns), strict=True))


def a_trace() -> Trace:
    """`main` calls `f` from two of its lines; `f` works on two lines, and calls itself."""
    builder = TraceBuilder()
    process = builder.process(10)
    thread, other = builder.thread(process, 10), builder.thread(process, 11)
    main = [builder.frame("main", "a.py", line) for line in (1, 2)]
    f = [builder.frame("f", "a.py", line) for line in (7, 8)]
    for number, (weight_ns, stack) in enumerate([
        (100, [main[0], f[0]]), (20, [main[1], f[0]]), (3, [main[1], f[1]]),
        (4000, [main[0], f[1], f[0]]), (50000, []),
    ]):  # fmt: skip
        builder.sample(thread, START_NS + number, weight_ns, stack)
    builder.sample(other, START_NS, 7, [f[0]])
    return builder.build()


def test_paths_of_the_same_functions_are_one_box_whatever_their_lines() -> None:
    trace = a_trace()
    first, second = flame_trees(trace)
    assert boxes(trace, first) == [("main", -1, 4123, 0), ("f", 0, 4123, 123), ("f", 1, 4000, 4000)]
    assert boxes(trace, second) == [("f", -1, 7, 7)]
    assert first.depth.tolist() == [0, 1, 2]


def test_a_box_knows_the_times_of_its_lines() -> None:
    first, _ = flame_trees(a_trace())
    assert first.lines == (((1, 4100), (2, 23)), ((8, 4003), (7, 120)), ((7, 4000),))
    assert first.own_lines == ((), ((7, 120), (8, 3)), ((7, 4000),))


def test_samples_without_a_stack_are_told_apart() -> None:
    first, second = flame_trees(a_trace())
    assert (first.samples, first.total_ns, first.no_stack_ns) == (5, 54123, 50000)
    assert (second.samples, second.total_ns, second.no_stack_ns) == (1, 7, 0)


def test_boxes_that_are_too_narrow_are_left_out_with_all_that_is_in_them() -> None:
    trace = a_trace()
    first, second = flame_trees(trace, min_share=0.07)  # of 54130 ns
    assert boxes(trace, first)[-1] == ("f", 1, 4000, 4000)
    assert len(second) == 0
    assert [len(tree) for tree in flame_trees(trace, min_share=0.075)] == [2, 0]
    assert [len(tree) for tree in flame_trees(trace, min_share=0.08)] == [0, 0]


@given(traces())
def test_own_times_add_up_to_the_weights_and_totals_to_those_of_the_boxes_inside(
    trace: Trace,
) -> None:
    total_ns = 0
    for tree in flame_trees(trace):
        total_ns += tree.total_ns
        assert tree.self_ns_of.sum() + tree.no_stack_ns == tree.total_ns
        for box in range(len(tree)):
            inside = tree.total_ns_of[tree.parent == box].sum()
            assert tree.total_ns_of[box] == tree.self_ns_of[box] + inside
            assert sum(ns for _, ns in tree.lines[box]) == tree.total_ns_of[box]
            assert sum(ns for _, ns in tree.own_lines[box]) == tree.self_ns_of[box]
            assert tree.parent[box] < box
    assert total_ns == trace.samples.weight_ns.sum()
