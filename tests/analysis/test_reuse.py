"""Reuse distances, modelled."""

from __future__ import annotations

from dataclasses import replace

from tests.builders import trace_of
from tests.peaks_by_hand import PEAKS, level
from tinytrace.analysis.counting import count_trace
from tinytrace.analysis.op_parts import op_parts
from tinytrace.analysis.peaks import Peaks
from tinytrace.analysis.reuse import Reuse, Reuses

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
