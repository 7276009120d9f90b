"""`MemoryTracker`."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest

import tinytrace as tt
from tests.cores import CORES, core
from tinytrace.errors import UsageError
from tinytrace.toolkit.memory import MemoryTracker

ONE = 1_000_000  # elements of 8 bytes: 8 MB
SLACK_MB = 0.3  # Python's own objects, where only tracemalloc can tell


@pytest.fixture(autouse=True, params=CORES)
def which_core(request: pytest.FixtureRequest) -> Iterator[str]:
    with core(request.param):
        yield request.param
    assert not tracemalloc.is_tracing()


def near(mb: float) -> object:
    return pytest.approx(mb, abs=SLACK_MB)


def test_the_peak_is_what_there_was_at_one_time_and_not_what_was_allocated_in_all() -> None:
    with MemoryTracker() as m:
        for _ in range(3):
            x = np.ones(ONE)
            del x
        y = np.ones(ONE)
        z = np.ones(ONE)
        del z
    assert m.peak_usage == near(16)
    assert m.net_usage == near(8)
    assert len(y) == ONE


def test_it_begins_from_what_is_there_and_freeing_older_arrays_lowers_the_level() -> None:
    older = [np.ones(ONE), np.ones(ONE)]
    with MemoryTracker() as m:
        older.pop()
        kept = np.ones(ONE)
    if m.what == "NumPy arrays":  # tracemalloc knows nothing of what is older
        assert m.net_usage == near(0)
        assert m.peak_usage == near(0)
    assert len(kept) == len(older[0])


def test_trackers_lie_inside_each_other_and_beside_a_recording() -> None:
    with tt.trace(sampler="none"), MemoryTracker() as outer:
        a = np.ones(ONE)
        with MemoryTracker() as inner:
            b = np.ones(2 * ONE)
            del b
        assert inner.peak_usage == near(16)
    assert outer.peak_usage == near(24)
    assert len(a) == ONE


def test_a_recording_that_begins_and_ends_inside_leaves_it_alone() -> None:
    with MemoryTracker() as m:
        a = np.ones(ONE)
        with tt.trace(sampler="none", ops=False):
            b = np.ones(ONE)
        del b
    if m.what == "NumPy arrays":
        assert m.peak_usage == near(16)
        assert m.net_usage == near(8)
    assert len(a) == ONE


def test_arrays_of_other_threads_are_counted() -> None:
    made = []
    with MemoryTracker() as m:
        thread = threading.Thread(target=lambda: made.append(np.ones(ONE)))
        thread.start()
        thread.join()
    assert m.peak_usage == near(8)


def test_while_the_block_runs_it_tells_what_there_was_so_far() -> None:
    with MemoryTracker() as m:
        x = np.ones(ONE)
        assert m.peak_usage == near(8)
        del x
        assert m.net_usage == near(0)
    assert m.peak_usage == near(8)


def test_pythons_own_objects_on_request_with_the_lines_that_hold_them() -> None:
    with MemoryTracker(python_heap=True) as m:
        kept = [bytes(1000) for _ in range(5000)]
    assert m.heap_bytes is not None
    assert m.heap_bytes > 5_000_000
    assert m.heap_peak_bytes is not None
    assert m.heap_peak_bytes >= m.heap_bytes
    assert m.lines[0].file == __file__
    assert m.lines[0].bytes > 5_000_000
    assert len(kept) == 5000


def test_every_call_of_a_function_is_measured() -> None:
    m = MemoryTracker()

    @m
    def work(n: int) -> int:
        return int(np.ones(n).sum())

    assert work(ONE) == ONE
    assert m.peak_usage == near(8)
    assert work(2 * ONE) == 2 * ONE
    assert m.peak_usage == near(16)


def test_one_tracker_measures_one_block_at_a_time_and_nothing_before_it() -> None:
    m = MemoryTracker()
    with pytest.raises(RuntimeError, match="not measured anything"):
        _ = m.peak_usage
    with m, pytest.raises(UsageError, match="measuring already"):
        m.__enter__()
    with pytest.raises(KeyError), m:
        raise KeyError
    assert m.peak_usage >= 0


def test_more_blocks_than_can_be_watched_are_an_error_and_the_others_go_on() -> None:
    trackers = [MemoryTracker() for _ in range(65)]
    if trackers[0].what != "NumPy arrays":
        return
    for tracker in trackers[:64]:
        tracker.__enter__()
    with pytest.raises(ValueError, match="64"):
        trackers[64].__enter__()
    x = np.ones(ONE)
    for tracker in trackers[:64]:
        tracker.__exit__(None, None, None)
        assert tracker.peak_usage == near(8)
    assert len(x) == ONE
