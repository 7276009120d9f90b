"""Figures that the program gives with ``tt.op``: counting, rates, summary and the JSON agree on them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from tests.builders import START_NS, TraceBuilder, signature_of
from tinytrace.analysis.budget import fit
from tinytrace.analysis.counting import count_trace, coverage, uncounted
from tinytrace.analysis.op_groups import OpGroup
from tinytrace.analysis.rates import rate_counters
from tinytrace.analysis.summary import summarise
from tinytrace.exporters.chrome import pieces
from tinytrace.tracer.records import Flag, Kind
from tinytrace.tracer.trace import Trace

MATMUL = signature_of("matmul", "2x3,3x4->2x4")  # 48 FLOPs, 208 bytes


def _around(arguments: dict[str, Any] | None, *, flags: int = 0, inside: bool = True) -> Trace:
    """An op "mine" of 10 µs with these arguments; a matmul of 4 µs inside it, and one after it."""
    builder = TraceBuilder()
    thread = builder.thread(builder.process(1, end_ns=START_NS + 20_000), 1)
    mine = builder.span(thread, START_NS, 10_000, "mine", args=arguments, flags=flags)
    if inside:
        builder.span(thread, START_NS + 2000, 4000, "matmul", signature=MATMUL, parent=mine)
    builder.span(thread, START_NS + 11_000, 4000, "matmul", signature=MATMUL)
    return builder.build()


def _written(trace: Trace) -> list[tuple[str, int | None, int | None]]:
    events = json.loads(b"".join(pieces(trace)))
    ops = [e for e in events if e["ph"] == "X" and e["cat"] == "op"]
    return [(e["name"], e["args"]["flops"], e["args"]["bytes"]) for e in ops]


def _rated(trace: Trace, name: str) -> float:
    return sum(
        float(r.value[:-1] @ np.diff(r.t_ns)) for r in rate_counters(trace) if r.name == name
    )


def _row(trace: Trace, name: str) -> OpGroup:
    return next(row for row in summarise(trace).ops if row.op == name)


def _assert_agreed(trace: Trace, flops: int, bytes_moved: int) -> None:
    """Counting, the sum over the file's events, and the rates over time tell the same."""
    written = _written(trace)
    for name, place, expected in (("flops", 1, flops), ("bytes", 2, bytes_moved)):
        assert count_trace(trace).total(name) == expected  # type: ignore[arg-type]
        assert sum(int(event[place] or 0) for event in written) == expected
        rate = {"flops": "gflops", "bytes": "gbps"}[name]
        assert _rated(trace, rate) == pytest.approx(expected)


def test_declared_figures_count_instead_of_what_runs_inside() -> None:
    trace = _around({"flops": 1000, "bytes": 500})
    _assert_agreed(trace, 1000 + 48, 500 + 208)
    assert _written(trace) == [("mine", 1000, 500), ("matmul", None, None), ("matmul", 48, 208)]
    mine, matmul = _row(trace, "mine"), _row(trace, "matmul")
    assert mine.gflops == pytest.approx(1000 / 10_000)  # over its whole time
    assert mine.gbps == pytest.approx(500 / 10_000)
    assert mine.flops_per_byte == 2
    assert matmul.gflops == pytest.approx(48 / 4000)  # of the one that counts
    assert (matmul.uncounted_calls, mine.uncounted_calls) == (0, 0)


def test_bytes_come_from_inside_where_only_flops_were_declared() -> None:
    trace = _around({"flops": 1000, "bytes": None})
    _assert_agreed(trace, 1000 + 48, 208 + 208)
    assert _written(trace)[:2] == [("mine", 1000, None), ("matmul", None, 208)]
    assert _row(trace, "mine").gbps is None
    assert _row(trace, "mine").only_outer


def test_a_declared_zero_is_a_zero() -> None:
    trace = _around({"flops": 0})
    _assert_agreed(trace, 48, 208 + 208)
    assert _written(trace)[0] == ("mine", 0, None)
    assert _row(trace, "mine").gflops == 0


def test_the_outer_of_two_declared_ops_counts() -> None:
    builder = TraceBuilder()
    thread = builder.thread(builder.process(1), 1)
    outer = builder.span(thread, START_NS, 9000, "outer", args={"flops": 100})
    inner = builder.span(
        thread, START_NS, 8000, "inner", args={"flops": 70, "bytes": 9}, parent=outer
    )
    builder.span(thread, START_NS, 4000, "matmul", signature=MATMUL, parent=inner)
    trace = builder.build()
    _assert_agreed(trace, 100, 9)
    assert _written(trace) == [("outer", 100, None), ("inner", None, 9), ("matmul", None, None)]


@pytest.mark.parametrize(
    "nonsense", [-1, -0.5, "many", True, [1], {}, None, 2**63, 10**400, "nan", "inf"]
)
def test_a_figure_that_makes_no_sense_is_not_known(nonsense: object) -> None:
    trace = _around({"flops": nonsense})
    assert count_trace(trace).total("flops") == 2 * 48  # what ran inside counts
    assert _written(trace)[:2] == [("mine", None, None), ("matmul", 48, 208)]
    alone = _around({"flops": nonsense}, inside=False)
    assert _written(alone)[0] == ("mine", None, None)
    assert [one.op for one in uncounted(alone)] == ["mine"]
    assert coverage(alone) == pytest.approx(4 / 14)
    assert _row(alone, "mine").uncounted_calls == 1


@pytest.mark.parametrize("text", ['{"flops": NaN}', '{"flops": Infinity}', '{"flops": 1e999}', "["])
def test_arguments_of_another_program_are_not_trusted(text: str) -> None:
    trace = _around({"flops": 7})
    strings = tuple(text if s.startswith("{") else s for s in trace.strings)
    changed = Trace(
        **{**{f: getattr(trace, f) for f in trace.__dataclass_fields__}, "strings": strings}
    )
    assert count_trace(changed).total("flops") == 2 * 48
    assert _written(changed)[0][1] is None


@pytest.mark.parametrize("flag", [Flag.RAISED, Flag.OPEN])
def test_a_declared_op_that_did_not_end_counts_by_what_ran_inside(flag: Flag) -> None:
    trace = _around({"flops": 1000}, flags=flag)
    _assert_agreed(trace, 2 * 48, 2 * 208)


def test_fractions_are_rounded() -> None:
    assert _written(_around({"flops": 2.5e6}))[0][1] == 2_500_000


def test_a_declared_op_without_ops_inside_is_rated_over_its_whole_time() -> None:
    builder = TraceBuilder()
    thread = builder.thread(builder.process(1), 1)
    mine = builder.span(thread, START_NS, 10_000, "mine", args={"flops": 1000})
    builder.span(thread, START_NS, 9000, "part", kind=Kind.SPAN, parent=mine)
    assert _row(builder.build(), "mine").gflops == pytest.approx(0.1)


def test_declared_figures_survive_a_budget() -> None:
    builder = TraceBuilder()
    thread = builder.thread(builder.process(1), 1)
    for number in range(2000):
        start_ns = START_NS + 1000 * number
        builder.span(thread, start_ns, 900, "mine", args={"flops": 10 + number % 7})
    trace = builder.build()
    smaller = fit(trace, 40_000)
    assert len(smaller.spans) < 1000
    assert count_trace(smaller).total("flops") == count_trace(trace).total("flops")


def test_a_budget_that_cannot_be_kept_is_said_not_to_be() -> None:
    builder = TraceBuilder()
    thread = builder.thread(builder.process(1), 1)
    for number in range(2000):  # each figure is a group of its own
        builder.span(thread, START_NS + 1000 * number, 900, "mine", args={"flops": 10 + number})
    smaller = fit(builder.build(), 40_000)
    assert any("more than the 0.04 MB that were asked for" in text for text in smaller.warnings)
    assert count_trace(smaller).total("flops") == sum(range(10, 2010))
