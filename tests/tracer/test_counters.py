"""Counters of the process: what is written, what is left out, and that nothing gets out."""

import mmap
import subprocess
import sys
from typing import ClassVar

import psutil
import pytest

from tests.cores import CORES
from tests.lock import turns_of_others
from tinytrace.tracer import counters
from tinytrace.tracer.counters import ProcessCounters
from tinytrace.tracer.session import load_core


class Sink:
    """Keeps what a recorder would write."""

    def __init__(self) -> None:
        self.names: list[tuple[str, str]] = []
        self.values: list[tuple[str, float, int]] = []

    def series(self, name: str, unit: str) -> int:
        self.names.append((name, unit))
        return len(self.names)

    def counter(self, series: int, value: float, t_ns: int = 0) -> None:
        self.values.append((self.names[series - 1][0], value, t_ns))

    def of(self, name: str) -> list[tuple[float, int]]:
        return [(value, t_ns) for n, value, t_ns in self.values if n == name]


class SinkWithMemory(Sink):
    def memory(self) -> tuple[int, int, int]:
        return 3_000_000, 5_500_000, 42


def test_resident_memory_is_what_the_kernel_says() -> None:
    sink = Sink()
    ProcessCounters(sink, clock=lambda: 1000).tick()
    [(rss_mb, t_ns)] = sink.of("rss_mb")
    assert t_ns == 1000
    now_mb = psutil.Process().memory_info().rss / 1e6
    assert rss_mb == pytest.approx(now_mb, rel=0.2)


def test_the_recorders_own_reading_of_resident_memory_comes_first_and_may_say_nothing() -> None:
    class SinkWithResident(Sink):
        readings: ClassVar[list[int | None]] = [2_500_000, None]

        def resident_bytes(self) -> int | None:
            return self.readings.pop(0)

    sink = SinkWithResident()
    counters = ProcessCounters(sink, clock=lambda: 1000)
    counters.tick()
    counters.tick()
    assert sink.of("rss_mb") == [(2.5, 1000)]


@pytest.mark.parametrize("name", CORES)
def test_only_the_compiled_core_reads_resident_memory_and_as_psutil_does(name: str) -> None:
    resident = getattr(load_core(name), "resident_bytes", None)
    assert (resident is not None) == (name == "c")
    if resident:
        assert resident() == pytest.approx(psutil.Process().memory_info().rss, rel=0.2)


def test_reading_resident_memory_does_not_give_up_the_interpreters_lock() -> None:
    """Another thread that waits for the lock gets no turn while it is read a thousand times in a row."""
    read = counters.resident_reader(Sink())
    assert read is not None
    read()
    assert turns_of_others(read) == 0


def test_where_there_is_no_proc_psutil_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counters, "STATM", b"/nowhere/statm")
    assert counters._statm_reader() is None
    sink = Sink()
    ProcessCounters(sink, clock=lambda: 1000).tick()
    assert sink.of("rss_mb")[0][0] == pytest.approx(
        psutil.Process().memory_info().rss / 1e6, rel=0.2
    )


def test_cpu_percent_is_cpu_time_over_elapsed_time_and_may_exceed_100() -> None:
    sink = Sink()
    times = iter([0, 50_000_000, 100_000_000])
    cpu = iter([7_000_000, 7_000_000 + 125_000_000, 132_000_000])
    counters = ProcessCounters(sink, clock=lambda: next(times), cpu_clock=lambda: next(cpu))
    for _ in range(3):
        counters.tick()
    assert sink.of("cpu_percent") == [(250.0, 50_000_000), (0.0, 100_000_000)]


def test_the_first_tick_has_no_cpu_percent_as_there_is_nothing_to_compare_with() -> None:
    sink = Sink()
    ProcessCounters(sink).tick()
    assert sink.of("cpu_percent") == []


def test_two_ticks_at_the_same_time_give_no_second_value() -> None:
    sink = Sink()
    counters = ProcessCounters(sink, clock=lambda: 5)
    counters.tick()
    counters.tick()
    assert sink.of("cpu_percent") == []


def test_time_in_the_kernel_is_that_since_the_tick_before_and_page_faults_are_all() -> None:
    sink = Sink()
    times = iter([0, 50_000_000, 50_000_000, 100_000_000])
    usage = iter([(7.0, 1000, 2), (7.01, 1500, 2), (7.01, 1500, 2), (7.11, 1500, 9)])
    counters = ProcessCounters(sink, clock=lambda: next(times), usage=lambda: next(usage))
    for _ in range(4):
        counters.tick()
    percent, at_ns = zip(*sink.of("system_percent"), strict=True)
    assert percent == pytest.approx((20.0, 200.0))
    assert at_ns == (50_000_000, 100_000_000)
    assert [value for value, _ in sink.of("page_faults")] == [1000, 1500, 1500, 1500]
    assert [value for value, _ in sink.of("major_faults")] == [2, 2, 2, 9]


def test_page_faults_are_those_of_memory_that_is_touched_for_the_first_time() -> None:
    sink = Sink()
    counters = ProcessCounters(sink)
    counters.tick()
    fresh = mmap.mmap(-1, 200 * mmap.PAGESIZE)
    for page in range(200):
        fresh[page * mmap.PAGESIZE] = 1
    counters.tick()
    fresh.close()
    (before, _), (after, _) = sink.of("page_faults")
    assert 200 <= after - before < 2000


def test_array_memory_is_written_when_the_recorder_counts_it() -> None:
    sink = SinkWithMemory()
    ProcessCounters(sink, clock=lambda: 9).tick()
    assert sink.of("array_mb") == [(3.0, 9)]
    assert sink.of("array_peak_mb") == [(5.5, 9)]
    assert sink.of("allocations") == [(42.0, 9)]
    assert ("array_mb", "MB") in sink.names


def test_without_array_memory_there_is_no_series_for_it() -> None:
    sink = Sink()
    ProcessCounters(sink).tick()
    assert not [name for name, _ in sink.names if "array" in name or name == "allocations"]


def test_a_process_that_cannot_be_read_leaves_out_its_values_and_nothing_else() -> None:
    ended = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process = psutil.Process(ended.pid)
    ended.communicate()
    sink = SinkWithMemory()
    ProcessCounters(sink, process).tick()
    assert sink.of("rss_mb") == []
    assert len(sink.of("array_mb")) == 1


def test_hardware_counters_are_written_by_their_names_with_the_time_of_the_tick() -> None:
    sink = Sink()
    readings = iter([[("cycles", "count", 5.0), ("cycles_counted", "%", 50.0)], []])
    counters = ProcessCounters(sink, clock=lambda: 1000, hardware=lambda: next(readings))
    counters.tick()
    counters.tick()
    assert sink.of("cycles") == [(5.0, 1000)]
    assert sink.of("cycles_counted") == [(50.0, 1000)]
    assert {("cycles", "count"), ("cycles_counted", "%")} <= set(sink.names)


def test_a_recorder_that_has_stopped_does_not_stop_the_sampling_thread() -> None:
    class Broken(Sink):
        def counter(self, series: int, value: float, t_ns: int = 0) -> None:
            raise OSError("disk full")

    ProcessCounters(Broken()).tick()


def test_importing_the_module_does_not_import_psutil() -> None:
    code = "import sys, tinytrace.tracer.counters; sys.exit('psutil' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
