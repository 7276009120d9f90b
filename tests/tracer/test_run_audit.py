"""The self-audit of a run, of its processes together."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from tinytrace.tracer.reading import SUM_DTYPE
from tinytrace.tracer.records import Kind
from tinytrace.tracer.run_audit import audit_of_run


def process(kinds: list[Kind], summed: dict[Kind, int] | None = None) -> Any:
    """A process of 1 ms, in which recording an op took 100 ns."""
    sums = np.zeros(len(summed or {}), SUM_DTYPE)
    sums["kind"], sums["count"] = [*(summed or {})], [*(summed or {}).values()]
    records = SimpleNamespace(
        spans={0: {"kind": np.array(kinds, "u1")}}, sums={0: sums}, samples=np.zeros(0, [("t_ns", "u8")]),
        is_folded=np.zeros(0, "?"), folded_samples=0, folded_counters=0, folded_flows=0,
    )  # fmt: skip
    audit = {"own_overhead_percent": 1.0, "overhead_ns_per_op": 100}
    meta = {"start_ns": 10**6, "end_ns": 2 * 10**6, "audit": audit}
    return SimpleNamespace(meta=meta, records=records, lost_flows=3)


def test_a_call_in_a_framework_costs_as_much_as_ten_ops() -> None:
    plain = audit_of_run([process([Kind.OP, Kind.SPAN, Kind.DATA])], 3, 0)
    assert plain["own_overhead_percent"] == 1.0
    kinds = [Kind.OP, Kind.LAYER, Kind.FORWARD, Kind.BACKWARD, Kind.OPTIMIZER]
    # Four calls, each 9 ops more, 100 ns each, of 1 ms.
    assert audit_of_run([process(kinds)], 5, 0)["own_overhead_percent"] == 1.36
    folded = audit_of_run([process([], {Kind.LAYER: 10, Kind.OP: 5})], 0, 0)
    assert folded["own_overhead_percent"] == 1.9


def test_arrows_that_lost_an_end_are_among_the_folded() -> None:
    assert audit_of_run([process([]), process([])], 0, 0)["folded_flows"] == 6
