"""Which ops returned how many bytes in memory of their own."""

from __future__ import annotations

from tests.builders import START_NS, TraceBuilder, signature_of, trace_of
from tinytrace.analysis import op_results
from tinytrace.analysis.counting import count
from tinytrace.analysis.op_results import Results
from tinytrace.tracer.records import Layout
from tinytrace.tracer.trace import Operand, Signature, Trace

X = Operand("float32", (8, 4), itemsize=4)
ADD = "add[8x4:f4,8x4:f4->8x4:f4]"  # 128 bytes


def rows(trace: Trace, process: int = 0) -> list[int]:
    return [int(row) for row in Results(trace).between(process, None, 1 << 62)]


def new_bytes(signature: Signature) -> int:
    return op_results.new_bytes(signature, count(signature))


def test_a_result_has_its_elements_times_their_size() -> None:
    assert new_bytes(signature_of("matmul", "2x3,3x4->2x4")) == 64
    assert new_bytes(Signature("divmod", (X, X, X, X), 2)) == 256


def test_what_is_written_in_place_is_not_new() -> None:
    in_place = Operand("float32", (8, 4), alias=0, itemsize=4)
    assert new_bytes(Signature("add", (X, X, in_place), 2)) == 0
    assert new_bytes(Signature("setitem", (X, X), 1)) == 0


def test_one_array_that_is_returned_twice_is_one() -> None:
    again = Operand("float32", (8, 4), alias=1, itemsize=4)
    assert new_bytes(Signature("divmod", (X, X, again), 1)) == 128


def test_views_and_scalars_are_not_new() -> None:
    scalar = Operand("float64", (), Layout.NUMPY_SCALAR)
    assert new_bytes(Signature("sum", (X, scalar), 1)) == 0
    assert new_bytes(Signature("c_einsum", (X, X), 1, "ij->ji")) == 0


def test_an_unknown_op_with_an_output_made_it() -> None:
    assert new_bytes(Signature("mystery", (X, X), 1)) == 128


def test_an_op_inside_another_returns_nothing_to_the_program() -> None:
    trace = trace_of(f"outer[8->8](span({ADD})) {ADD}")
    assert rows(trace) == [0, 3]


def test_an_op_that_the_program_named_and_that_has_no_operands_hides_nothing() -> None:
    assert rows(trace_of(f"mine({ADD})")) == [1]


def test_an_op_that_raised_or_never_ended_returned_nothing() -> None:
    raised, unended = ADD.replace("add", "add!"), ADD.replace("add", "add?")
    assert rows(trace_of(f"{raised} {unended}")) == []


def test_a_result_is_there_when_its_op_has_returned() -> None:
    results = Results(trace_of(f"{ADD}:4 {ADD}:4"))
    assert results.between(0, None, START_NS + 3999).tolist() == []
    assert results.between(0, None, START_NS + 4000).tolist() == [0]
    assert results.between(0, START_NS + 4000, START_NS + 8000).tolist() == [1]


def test_sources_are_ops_at_call_sites_most_bytes_first() -> None:
    small = "add[2->2]"  # 16 bytes
    trace = trace_of(f"{small}:5@a.py:1:f {ADD}:1@a.py:2:g {small}:5@a.py:1:f {ADD}:2@a.py:2:g")
    results = Results(trace)
    first, second = results.sources(results.between(0, None, 1 << 62), 5)
    assert (first.op, first.place, first.function) == ("add", "a.py:2", "g")
    assert (first.calls, first.bytes, first.largest_bytes, first.dur_ns) == (2, 256, 128, 3000)
    assert (second.place, second.calls, second.bytes) == ("a.py:1", 2, 32)
    assert results.sources(results.between(0, None, 1 << 62), 1) == (first,)


def test_processes_are_kept_apart() -> None:
    builder = TraceBuilder()
    for number in range(2):
        builder.process(10 + number)
        builder.thread(number, 10 + number)
    signature = signature_of("exp", "4->4")
    for number in (0, 1, 1):
        builder.span(number, START_NS, 5, "exp", signature=signature)
    trace = builder.build()
    assert Results(trace).processes() == [0, 1]
    assert (rows(trace, 0), rows(trace, 1)) == ([0], [1, 2])


def test_a_trace_without_ops_has_none() -> None:
    results = Results(Trace())
    assert results.processes() == []
    assert results.sources(results.between(0, None, 0), 5) == ()
