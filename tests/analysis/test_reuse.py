"""Reuse distances, modelled."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given

from tests.builders import trace_of, traces
from tests.peaks_by_hand import PEAKS, level
from tinytrace.analysis.counting import count_trace
from tinytrace.analysis.op_parts import op_parts
from tinytrace.analysis.peaks import Peaks
from tinytrace.analysis.reuse import ModelledTraffic, Reuse, Reuses
from tinytrace.tracer.trace import Trace

LEVELS = (level("L1", 1000, 9.0), level("L2", 2500, 8.0), level("DRAM", None, 1.0))
SMALL = replace(PEAKS, levels=LEVELS)


def reuse(text: str, op: str, peaks: Peaks | None = SMALL) -> Reuse:
    """The reuse of the calls of an op."""
    parts = op_parts(count_trace(trace_of(text)))
    names = [parts.trace.strings[i] for i in parts.name_id]
    return Reuses(parts, peaks).of(names.index(op))


def test_what_other_ops_touch_between_two_calls_is_the_distance() -> None:
    # `exp` reads and writes 8 × 8 bytes; in between: 2 × 800, or 800, or nothing
    text = "exp[8->8]:1 copy[50->50]:1 copy[50->50]:1 exp[8->8]:1 copy[50->50]:1 exp[8->8]:1 exp[8->8]:1"
    found = reuse(text, "exp")
    assert (found.footprint_bytes, found.distance_bytes) == (128, 800)  # the median of 1600, 800, 0
    assert (found.fits, found.level) == ("L1", "L1")


def test_the_level_has_room_for_what_is_touched_and_the_operands() -> None:
    between = "copy[50->50]:1 " * 2
    found = reuse(f"exp[30->30]:1 {between} exp[30->30]:1", "exp")
    assert (found.footprint_bytes, found.distance_bytes, found.fits, found.level) == (
        480,
        1600,
        "L1",
        "L2",
    )


def test_a_single_call_has_no_distance_and_no_peaks_no_level() -> None:
    assert reuse("exp[8->8]:1", "exp") == Reuse(128, None, "L1", None)
    assert reuse("exp[8->8]:1 exp[8->8]:1", "exp", None) == Reuse(128, 0, None, None)
    assert reuse("exp:1 exp:1", "exp") == Reuse(None, 0, None, None)


def test_other_threads_do_not_count() -> None:
    trace = trace_of("exp[8->8]:1 _:9 exp[8->8]:1", worker="copy[50->50]:3")
    parts = op_parts(count_trace(trace))
    names = [parts.trace.strings[i] for i in parts.name_id]
    assert Reuses(parts, SMALL).of(names.index("exp")).distance_bytes == 0


def test_what_ops_move_is_given_to_the_level_that_each_call_finds_its_operands_in() -> None:
    # copy moves 800 bytes, exp 128: the second copy is at distance 0, the second exp at 1600, then 800, then 0
    text = "exp[8->8]:1 copy[50->50]:1 copy[50->50]:1 exp[8->8]:1 copy[50->50]:1 exp[8->8]:1 exp[8->8]:1"
    parts = op_parts(count_trace(trace_of(text)))
    traffic = Reuses(parts, SMALL).traffic(0)
    assert traffic.at_worst == (("L1", 800 + 800 + 128 + 128), ("L2", 128), ("DRAM", 0))
    assert traffic.unknown_bytes == 128 + 800  # the first of each
    assert traffic.at_best == (("L1", 4 * 128 + 3 * 800), ("L2", 0), ("DRAM", 0))
    assert traffic.total_bytes == 4 * 128 + 3 * 800
    assert Reuses(parts, None).traffic(0) == ModelledTraffic(2912, (), (), 2912)
    assert Reuses(parts, SMALL).traffic(1).total_bytes == 0


def test_at_best_a_call_finds_in_each_cache_as_much_as_that_can_hold() -> None:
    parts = op_parts(count_trace(trace_of("copy[250->250]:1 copy[250->250]:1 exp:1")))
    traffic = Reuses(parts, SMALL).traffic(
        0
    )  # 4,000 bytes a call: 1,000 in the L1, 1,500 more in the L2
    assert traffic.at_best == (("L1", 2000), ("L2", 3000), ("DRAM", 3000))
    assert traffic.at_worst == (("L1", 0), ("L2", 0), ("DRAM", 4000))
    assert traffic.unknown_bytes == 4000


@given(traces())
def test_nothing_of_what_ops_move_is_lost_or_counted_twice(trace: Trace) -> None:
    parts = op_parts(count_trace(trace))
    reuses = Reuses(parts, SMALL)
    found = [reuses.traffic(row) for row in range(len(trace.processes))]
    moved = np.append(np.maximum(parts.counts.bytes, 0), 0)[parts.signature_id] * parts.leaves
    folded = np.nansum(parts.bytes[parts.folded & (parts.leaves > 0)])
    assert sum(one.total_bytes for one in found) == int(moved[~parts.folded].sum() + folded)
    for one in found:
        assert sum(n for _, n in one.at_worst) + one.unknown_bytes == one.total_bytes
        assert sum(n for _, n in one.at_best) <= one.total_bytes + len(SMALL.levels)
        # At worst, no less comes from beyond a level than at best.
        for n in range(1, len(SMALL.levels)):
            best, worst = (sum(b for _, b in bound[n:]) for bound in (one.at_best, one.at_worst))
            assert best <= worst + one.unknown_bytes + len(SMALL.levels)
