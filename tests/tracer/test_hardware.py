"""Hardware counters: what is asked for, why not, and the arithmetic of counters that take turns."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest

from tinytrace.tracer import hardware
from tinytrace.tracer.event_files import EventFiles
from tinytrace.tracer.hardware import Counting, Event, HardwareCounters, events_of

# The kernel counts these without any hardware, by the same mechanism.
CLOCK, FAULTS = Event("clock", 1, 1), Event("faults", 1, 2)
STANDS_STILL = Event("unaligned", 1, 7)  # accesses that the kernel had to mend: x86 has none
NOT_THERE = Event("nothing", 4242, 0)  # no such kind of counter


def open_files() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def test_what_counted_all_the_time_is_taken_as_it_is() -> None:
    counting = Counting()
    for value in (10**15 + 1, 2 * 10**15 + 3):
        counting.add(value, value, value)
    assert counting.total == 2 * 10**15 + 3
    assert counting.counted_percent is None


def test_what_counted_for_a_part_of_the_time_is_scaled_in_each_interval() -> None:
    counting = Counting()
    counting.add(100, 10, 10)
    counting.add(160, 30, 20)  # 60 in 10 of 20 ns
    counting.add(170, 70, 30)  # 10 in 10 of 40 ns
    assert counting.total == 100 + 60 * 2 + 10 * 4
    assert counting.counted_percent == pytest.approx(100 * 30 / 70)


def test_an_interval_in_which_it_did_not_get_to_count_is_estimated_with_the_next_one() -> None:
    counting = Counting()
    counting.add(100, 10, 10)
    counting.add(100, 20, 10)
    assert counting.total == 100
    counting.add(150, 30, 20)  # 50 in 10 of the 20 ns since it last counted
    assert counting.total == 200


def test_a_process_that_did_not_run_has_counted_nothing_more() -> None:
    counting = Counting()
    counting.add(100, 10, 10)
    counting.add(100, 10, 10)
    assert (counting.total, counting.counted_percent) == (100, None)


@pytest.mark.parametrize(
    ("vendor", "names"),
    [
        ("GenuineIntel", {"llc_references": (0, 2), "llc_misses": (0, 3)}),
        ("AuthenticAMD", {"l2_references": (0, 2), "l2_misses": (0, 3)}),
        ("", {"llc_references": (3, 0x2), "llc_misses": (3, 0x10002)}),
    ],
)
def test_misses_have_the_name_of_the_level_whose_they_are(
    vendor: str, names: dict[str, tuple[int, int]]
) -> None:
    found = {event.name: (event.type, event.config) for event in events_of(vendor)}
    core = {"cycles": (0, 0), "instructions": (0, 1), "l1d_misses": (3, 0x10000)}
    assert found == core | names


def test_a_counter_that_is_not_there_is_named_with_the_kernels_reason() -> None:
    counters = HardwareCounters(None, "on", (CLOCK, NOT_THERE))
    try:
        assert counters.meta["counted"] == ["clock"]
        assert counters.meta["missing"] == {"nothing": "ENOENT"}
        assert [name for name, _, _ in counters.read()] == ["clock"]
    finally:
        counters.close()


def test_a_counter_that_stands_still_has_no_value_and_not_0() -> None:
    counters = HardwareCounters(None, "on", (STANDS_STILL,))
    try:
        assert counters.meta["counted"] == ["unaligned"]
        assert counters.read() == []
    finally:
        counters.close()


def test_none_is_tried_where_it_is_switched_off() -> None:
    assert HardwareCounters(None, "off", (CLOCK,)).meta["refused"] == "off"


def test_none_is_tried_under_a_seccomp_filter_unless_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hardware, "_seccomp", lambda: True)
    assert HardwareCounters(None, "auto", (CLOCK,)).meta["refused"] == "seccomp"
    asked = HardwareCounters(None, "on", (CLOCK,))
    asked.close()
    assert asked.meta["counted"] == ["clock"]


def test_none_is_kept_in_a_virtual_machine_unless_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hardware, "_seccomp", lambda: False)
    monkeypatch.setattr(hardware, "cpu_info", lambda: {"flags": "fpu hypervisor sse"})
    before = open_files()
    left = HardwareCounters(None, "auto", (CLOCK,))
    assert (left.meta["refused"], left.meta["counted"], left.read()) == ("virtual", [], [])
    assert open_files() == before
    missing = HardwareCounters(None, "auto", (NOT_THERE,))
    assert (missing.meta["refused"], missing.meta["missing"]) == (None, {"nothing": "ENOENT"})
    monkeypatch.setattr(hardware, "cpu_info", lambda: {"flags": "fpu sse"})
    kept = HardwareCounters(None, "auto", (CLOCK,))
    kept.close()
    assert (kept.meta["refused"], kept.meta["counted"]) == (None, ["clock"])


def test_a_program_that_may_open_few_files_keeps_them_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "FEWEST_FILES", 10**12)
    assert HardwareCounters(None, "on", (CLOCK,)).meta["refused"] == "files"


def test_other_systems_have_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert HardwareCounters(None, "on", (CLOCK,)).meta["refused"] == "system"


def test_on_a_kernel_that_cannot_tell_threads_from_processes_both_count_and_that_is_said() -> None:
    class Older(EventFiles):
        def event_open(self, attributes: bytes) -> tuple[int, int]:
            flags = int.from_bytes(attributes[40:48], sys.byteorder)
            if flags >> 35:
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
            return super().event_open(attributes)

    counters = HardwareCounters(Older(), "on", (CLOCK,))
    try:
        assert (counters.meta["counted"], counters.meta["children"]) == (["clock"], True)
        assert [row[:2] for row in counters.read()] == [("clock", "count")]
    finally:
        counters.close()


def test_two_threads_do_not_read_at_once() -> None:
    counters = HardwareCounters(None, "on", (CLOCK,))
    try:
        with counters._reading:
            assert counters.read() == []
        assert len(counters.read()) == 1
    finally:
        counters.close()


def test_what_is_not_counted_is_in_the_meta() -> None:
    meta = HardwareCounters(None, "off").meta
    assert meta["earlier_threads"] == len(list(Path("/proc/self/task").iterdir())) - 1
    paranoid = Path("/proc/sys/kernel/perf_event_paranoid")
    assert meta["paranoid"] == int(paranoid.read_text(encoding="ascii"))
    assert meta["children"] is False
