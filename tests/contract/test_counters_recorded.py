"""Counters of whole recordings, on both cores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import tinytrace as tt
from tests.cores import CORES, core
from tests.perfetto_engine import check_trace_file
from tinytrace.tracer.session import Session

MB = 1_000_000


@pytest.fixture(params=CORES)
def which_core(request: pytest.FixtureRequest) -> Iterator[str]:
    with core(request.param):
        yield request.param


def values(trace: tt.Trace) -> dict[tuple[str, str], list[float]]:
    """By name and unit, in order of time."""
    found: dict[tuple[str, str], list[float]] = {}
    for row in range(len(trace.series)):
        name = trace.strings[trace.series.name_id[row]], trace.strings[trace.series.unit_id[row]]
        rows = trace.counters.series_id == row
        assert (np.diff(trace.counters.t_ns[rows]) >= 0).all()
        found[name] = trace.counters.value[rows].tolist()
    return found


def test_memory_and_cpu_are_counted_from_the_beginning_to_the_end(
    which_core: str, tmp_path: Path
) -> None:
    path = tmp_path / "trace.json"
    with tt.trace(path, sampler="none") as recording:
        session = Session._current
        assert session is not None
        assert session.sampling is not None
        kept = np.ones(10 * MB // 8)
        session.sampling.tick()
        temporary = kept + 1
        del temporary
        session.sampling.tick()
        del kept
    trace = recording.result
    assert trace is not None
    assert tt.load(path) == trace
    engine = check_trace_file(path)
    found = values(trace)
    resident = found["rss_mb", "MB"]
    assert len(resident) >= 3
    assert all(1 < value < 100_000 for value in resident)
    assert len(found["cpu_percent", "%"]) >= 2
    assert all(value >= 0 for value in found["cpu_percent", "%"])
    times = trace.counters.t_ns
    start_ns, end_ns = int(trace.processes.start_ns[0]), int(trace.processes.end_ns[0])
    assert ((times >= start_ns) & (times <= end_ns)).all()
    tracks = engine.query("select distinct name from counter_track")
    drawn = {row["name"].removesuffix(" value") for row in tracks}
    assert {
        "rss_mb",
        "cpu_percent",
        "system_percent",
        "page_faults_count",
        "major_faults_count",
    } <= drawn
    faults = found["page_faults", "count"]
    assert faults == sorted(faults)
    assert all(value >= 0 for value in found["system_percent", "%"])
    if which_core == "python":  # what cannot be counted has no series, and that is said
        assert ("array_mb", "MB") not in found
        assert any("array memory was not counted" in warning for warning in trace.warnings)
        return
    live, peak = found["array_mb", "MB"], found["array_peak_mb", "MB"]
    assert max(live) > 9.9
    assert live[-1] == pytest.approx(0, abs=0.1)
    assert max(peak) == pytest.approx(20, abs=0.1)  # both arrays at once
    allocations = found["allocations", "count"]
    assert allocations == sorted(allocations)
    assert allocations[-1] >= 2
    assert {"array_mb", "array_peak_mb", "allocations_count"} <= drawn


def test_without_samples_the_thread_still_reads_the_counters(which_core: str) -> None:
    with tt.trace(sampler="none", ops=False) as recording:
        session = Session._current
        assert session is not None and session.sampling is not None
        while session.sampling.stats()["rounds"] < 10:
            sum(range(1000))
    assert recording.result is not None
    assert len(recording.result.samples) == 0
    assert len(values(recording.result)["rss_mb", "MB"]) >= 3
