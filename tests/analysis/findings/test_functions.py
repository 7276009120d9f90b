"""Rules that look at the ops of a whole function: temporaries, optimizers, loaders."""

from __future__ import annotations

from dataclasses import replace

from tests.analysis.findings.traces import found
from tests.builders import START_NS, TraceBuilder, trace_of
from tinytrace.analysis.findings import optimizers, sample_loader, temporaries
from tinytrace.tracer.trace import Operand, Signature, Trace

NEW = "[1000x100:f4,1000x100:f4->1000x100:f4]"
CHAIN = " ".join(
    f"{op}{NEW}:{us}@m.py:7:{{}}" for op, us in (("add", 50), ("multiply", 90), ("exp", 60))
)


def function_of_calls(calls: list[tuple[str, Signature]], function: str = "gelu") -> Trace:
    builder = TraceBuilder()
    builder.process(1)
    builder.thread(0, 1)
    frame = builder.frame(function, "m.py", 7)
    for number, (name, signature) in enumerate(calls):
        builder.span(0, START_NS + number * 10**6, 10**6, name, signature=signature, callsite=frame)
    return builder.build()


def into(operand_of: int) -> Signature:
    """An addition; its result lies in an input's memory, or (−1) in its own."""
    x = Operand("float32", (1000, 100), itemsize=4)
    return Signature("add", (x, x, replace(x, alias=operand_of)), 2)


def test_three_new_arrays_in_a_function_are_a_chain() -> None:
    [finding] = found(temporaries.NAME, trace_of(CHAIN.format(*["gelu"] * 3)))
    # One op has to stay, and is at least as long as the longest was: 90 of the 200 µs.
    assert (finding.line, finding.function, finding.ceiling_ns) == (7, "gelu", 110_000)
    assert "1.2 MB of new arrays, 1.2 MB when each op runs once" in finding.evidence


def test_three_functions_with_an_op_each_are_no_chain() -> None:
    assert found(temporaries.NAME, trace_of(CHAIN.format("f", "g", "h"))) == []


def test_small_arrays_are_no_chain() -> None:
    small = CHAIN.replace("1000x100", "100x100").format(*["gelu"] * 3)
    assert found(temporaries.NAME, trace_of(small)) == []


def test_a_function_that_works_in_place_is_taken_to_do_so_throughout() -> None:
    new = [(op, replace(into(-1), op=op)) for op in ("add", "multiply", "subtract")]
    assert len(found(temporaries.NAME, function_of_calls(new))) == 1
    in_place = [(op, replace(into(0), op=op)) for op in ("add", "multiply", "subtract", "divide")]
    assert found(temporaries.NAME, function_of_calls(new + in_place)) == []


def test_results_without_allocations_are_no_temporaries() -> None:
    calls = [(op, replace(into(-1), op=op)) for op in ("add", "multiply", "subtract")] * 10
    trace = function_of_calls(calls)
    builder = TraceBuilder(strings={s: i for i, s in enumerate(trace.strings)})
    series = builder.series("allocations", "count")
    for number in range(6):
        builder.counter(series, START_NS + number * 5 * 10**6, 100.0 + number)
    read = builder.build()
    assert len(found(temporaries.NAME, trace)) == 1
    with_counters = replace(trace, strings=read.strings, series=read.series, counters=read.counters)
    assert found(temporaries.NAME, with_counters) == []


def test_an_optimizer_has_a_rule_of_its_own() -> None:
    text = CHAIN.format(*["Adam.step"] * 3) + f" sqrt{NEW}:10@m.py:9:Adam.step"
    assert found(temporaries.NAME, trace_of(text)) == []
    [finding] = found(optimizers.NAME, trace_of(text))
    assert (finding.function, finding.ceiling_ns) == ("Adam.step", 120_000)


def test_plain_gradient_descent_is_let_be() -> None:
    text = f"multiply{NEW}:50@m.py:7:SGD.step subtract{NEW}:50@m.py:7:SGD.step"
    assert found(optimizers.NAME, trace_of(text)) == []


def loader(pieces: int, rows: int = 16) -> Trace:
    """One batch: a copy of every sample, then a join of them all."""
    image = Operand("float32", (rows, 16), itemsize=4)
    joined = Operand("float32", (pieces, rows, 16), itemsize=4)
    copy = Signature("array", (image, image), 1)
    stack = Signature("stack", (*[image] * pieces, joined), pieces)
    calls = [("array", copy)] * pieces + [("stack", stack)]
    return function_of_calls(calls, "batches")


def test_a_batch_of_single_samples_is_named_with_what_made_them() -> None:
    [finding] = found(sample_loader.NAME, loader(20))
    assert (finding.function, finding.ceiling_ns, finding.confidence) == (
        "batches",
        21 * 10**6,
        "high",
    )


def test_a_join_of_few_arrays_is_let_be() -> None:
    assert found(sample_loader.NAME, loader(7)) == []


def test_a_join_of_large_arrays_is_let_be() -> None:
    assert found(sample_loader.NAME, loader(20, rows=2_000)) == []


def test_ops_that_run_about_once_per_batch_are_not_its_pieces() -> None:
    image = Operand("float32", (16, 16), itemsize=4)
    stack = Signature("stack", (*[image] * 20, Operand("float32", (20, 16, 16), itemsize=4)), 20)
    copy = Signature("array", (image, image), 1)
    trace = function_of_calls([("array", copy)] * 7 + [("stack", stack)], "batches")
    [finding] = found(sample_loader.NAME, trace)
    assert finding.confidence == "medium"
