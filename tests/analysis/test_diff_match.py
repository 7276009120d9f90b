"""The same calls are found again after lines were shifted, folders moved, and code edited."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.builders import START_NS, TraceBuilder, signature_of
from tinytrace.analysis.diff import diff
from tinytrace.analysis.diff_calls import Key
from tinytrace.analysis.diff_match import Files, Lines, match, pair_lines
from tinytrace.analysis.foreign import load_foreign
from tinytrace.tracer.records import Kind
from tinytrace.tracer.trace import Trace

Site = tuple[str, str, int]  # op, function, line
F = ("t.py", "f")


def program(sites: list[Site], file: str = "t.py", command: list[str] | None = None) -> Trace:
    """One call of each op at its line; an op is a name, or name, space, shapes."""
    builder = TraceBuilder()
    builder.process(100)
    thread = builder.thread(0, 100)
    for number, (op, function, line) in enumerate(sites):
        name, _, shapes = op.partition(" ")
        signature = signature_of(name, shapes) if shapes else None
        site = builder.frame(function, file, line)
        builder.span(
            thread, START_NS + number * 1000, 1000, name, signature=signature, callsite=site
        )
    if command:
        builder.meta["command"] = command
    return builder.build()


def lines_of(before: Trace, after: Trace) -> dict[str, list[tuple[int | None, int | None]]]:
    """Per op: which line became which; None: there is none."""
    keys = []
    for trace in (before, after):
        spans, frames = trace.spans, trace.frames
        keys.append([
            Key(
                int(Kind.OP), trace.strings[name],
                trace.signatures[signature] if signature >= 0 else None,
                trace.strings[frames.file_id[site]], trace.strings[frames.name_id[site]],
                int(frames.line[site]),
            )
            for name, signature, site in zip(
                spans.name_id, spans.signature_id, spans.callsite_id, strict=True
            )
        ])  # fmt: skip
    pairs, _ = match(keys[0], keys[1], Files(before, after))
    found: dict[str, list[tuple[int | None, int | None]]] = {}
    for pair in pairs:
        left = [keys[0][i] for i in pair.before]
        right = [keys[1][i] for i in pair.after]
        name = (left or right)[0].name
        lines = (left[0].line if left else None, right[0].line if right else None)
        found.setdefault(name, []).append(lines)
    return found


def test_calls_whose_lines_were_all_shifted_are_paired_in_order() -> None:
    before = program([("add", "f", 3), ("add", "f", 5), ("exp", "f", 6)])
    after = program([("add", "f", 13), ("add", "f", 15), ("exp", "f", 16)])
    assert lines_of(before, after) == {"add": [(3, 13), (5, 15)], "exp": [(6, 16)]}


def test_a_call_that_was_deleted_is_told_by_the_lines_around_it() -> None:
    before = program(
        [("exp", "f", 3), ("add", "f", 4), ("log", "f", 5), ("add", "f", 6), ("sin", "f", 7)]
    )
    after = program([("exp", "f", 3), ("log", "f", 4), ("add", "f", 5), ("sin", "f", 6)])
    assert lines_of(before, after)["add"] == [(6, 5), (4, None)]


def test_without_lines_around_it_an_equal_number_is_the_same_line() -> None:
    before = program([("add", "f", 3), ("add", "f", 8)])
    assert lines_of(before, program([("add", "f", 8)]))["add"] == [(8, 8), (3, None)]


def test_the_same_op_in_another_function_is_not_the_same_call() -> None:
    found = lines_of(program([("add", "f", 3)]), program([("add", "g", 3)]))
    assert found["add"] == [(3, None), (None, 3)]


def test_a_call_on_other_operands_in_the_same_place_is_one_pair() -> None:
    before = program([("add 8,8->8", "f", 3), ("exp", "f", 4)])
    after = program([("add 9,9->9", "f", 5), ("exp", "f", 6)])
    assert lines_of(before, after)["add"] == [(3, 5)]


def test_all_operands_of_a_line_that_changed_are_one_row() -> None:
    before = program([("add 8,8->8", "f", 3), ("add 7,7->7", "f", 3)])
    after = program([("add 8:f4,8:f4->8:f4", "f", 3), ("add 7:f4,7:f4->7:f4", "f", 3)])
    [row] = diff(before, after).work
    assert row.operands_before == "float64[8] float64[8] -> float64[8] and 1 more"
    assert row.operands_after == "float32[8] float32[8] -> float32[8] and 1 more"
    assert row.before is not None
    assert row.before.calls == 2


def test_code_that_was_moved_does_not_mislead_the_lines_around_it() -> None:
    lines = Lines()
    for before, after in ((3, 13), (5, 15), (7, 1), (9, 19), (11, 21)):
        lines.add(F, before, after)
    assert lines.agree(F, 8, 18)
    assert not lines.agree(F, 8, 2)


def test_where_a_function_says_nothing_the_file_does() -> None:
    lines = Lines()
    lines.add(F, 10, 14)
    assert lines.agree(("t.py", "g"), 20, 24)
    assert lines.agree(("other.py", "g"), 20, 24) is None


@given(st.sets(st.integers(1, 30), max_size=6), st.sets(st.integers(1, 30), max_size=6),
       st.sets(st.tuples(st.integers(1, 30), st.integers(1, 30)), max_size=5))  # fmt: skip
def test_lines_are_paired_once_and_the_same_from_both_sides(
    before: set[int], after: set[int], known: set[tuple[int, int]]
) -> None:
    there, back = Lines(), Lines()
    for a, b in known:
        there.add(F, a, b)
        back.add(F, b, a)
    pairs = pair_lines(before, after, F, there)
    assert len({a for a, _ in pairs}) == len({b for _, b in pairs}) == len(pairs)
    assert len(pairs) == min(len(before), len(after))
    assert sorted((b, a) for a, b in pair_lines(after, before, F, back)) == pairs


# --- files ----------------------------------------------------------------------------------------


def names_after(before: list[str], after: list[str]) -> dict[str, str | None]:
    """What each file of the second trace is called in the first."""
    traces = []
    for paths in (before, after):
        builder = TraceBuilder()
        for path in paths:
            builder.frame("f", path, 1)
        traces.append(builder.build())
    files = Files(traces[0], traces[1])
    return {path: files.name(path, 1) for path in after}


def test_a_folder_that_moved_has_the_same_files() -> None:
    before = ["/a/run/train.py", "/a/run/net/__init__.py", "/a/run/opt/__init__.py"]
    after = ["/b/train.py", "/b/net/__init__.py", "/b/opt/__init__.py"]
    assert names_after(before, after) == dict(zip(after, before, strict=True))


def test_a_relative_path_is_the_file_that_it_is_the_end_of() -> None:
    assert names_after(["/a/run/train.py"], ["train.py"]) == {"train.py": "/a/run/train.py"}
    assert names_after(["C:\\run\\train.py"], ["run/train.py"]) == {
        "run/train.py": "C:\\run\\train.py"
    }


def test_files_that_could_each_be_meant_are_not_matched() -> None:
    after = ["/c/train.py", "/d/train.py"]
    assert names_after(["/a/train.py"], after) == {path: path for path in after}


def test_the_script_that_was_run_may_have_another_name() -> None:
    before = program([("add", "f", 3)], "/a/slow.py", ["python", "slow.py"])
    after = program([("add", "f", 4)], "/a/fast.py", ["python", "fast.py", "--n", "3"])
    assert lines_of(before, after) == {"add": [(3, 4)]}
    found = diff(before, after)
    assert found.same_work
    assert "the script slow.py is compared with fast.py" in found.notes


# --- other tools' names ---------------------------------------------------------------------------


def foreign(
    names: list[str], category: str, arguments: list[dict[str, Any]] | None = None
) -> Trace:
    events = [
        {"ph": "X", "name": name, "cat": category, "ts": 10 * n, "dur": 5, "pid": 1, "tid": 1}
        for n, name in enumerate(names)
    ]
    for event, args in zip(events, arguments or [], strict=False):
        event["args"] = args
    return load_foreign(events, "trace.json")


def test_places_in_the_names_of_viztracer_may_be_shifted_and_moved() -> None:
    before = foreign(["f (/a/t.py:3)", "g (/a/t.py:9)"], "FEE")
    after = foreign(["f (/b/t.py:5)", "g (/b/t.py:11)"], "FEE")
    found = diff(before, after)
    assert found.same_work
    assert found.ops == ()


def test_places_in_the_names_of_torch_may_be_shifted() -> None:
    before = foreign(["t.py(3): f", "<built-in method x of C object at 0x7f00>"], "python_function")
    after = foreign(["t.py(5): f", "<built-in method x of C object at 0x7e11>"], "python_function")
    assert diff(before, after).same_work


def test_steps_of_torch_are_the_same_whatever_their_number() -> None:
    before = foreign(["ProfilerStep#7", "ProfilerStep#8"], "user_annotation")
    after = foreign(["ProfilerStep#107", "ProfilerStep#108"], "user_annotation")
    found = diff(before, after)
    assert found.same_work
    assert found.steps is not None
    assert (found.steps.before, found.steps.after) == (2, 2)


def test_places_of_pyspy_are_in_its_arguments() -> None:
    args = [{"filename": "/a/t.py", "line": 3}, {"filename": "/a/u.py", "line": 3}]
    before = foreign(["f", "f"], "py-spy", args)
    after = foreign(["f", "f"], "py-spy", [{**a, "line": 4} for a in args])
    assert before.meta["foreign"]["producer"] == "py-spy"
    assert diff(before, after).same_work
    [row] = diff(before, foreign(["f"], "py-spy", args)).work
    assert row.callsite_before == "u.py:3 f"


def test_a_name_that_only_looks_like_a_place_is_a_name() -> None:
    odd = ["f (g)", "(:3)", "t.py(3): ", "x (a:1", "f", ""]
    assert diff(foreign(odd, "?"), foreign(odd, "?")).identical
    assert diff(foreign(odd, "py-spy", [{"filename": 3, "line": []}]), foreign(odd, "x")).ops == ()
