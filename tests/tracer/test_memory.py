"""Array memory: bytes alive, their peak, and how many blocks were allocated. Only the compiled core counts them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from tests.contract.recorded import record
from tests.cores import CORES
from tinytrace.tracer.session import load_core

MB = 1_000_000


def reading(program: Callable[[Callable[[], tuple[int, int, int]]], object]) -> None:
    """Record a program; it is given the function that reads the counters."""
    if "c" in CORES:
        native = load_core("c")
        record("c", lambda: program(native.memory))


def test_live_and_peak_bytes_are_those_of_the_arrays() -> None:
    def program(memory: Callable[[], tuple[int, int, int]]) -> None:
        before, _, count = memory()
        kept = [np.zeros(MB, "u1"), np.empty(2 * MB, "u1")]
        now, peak, allocations = memory()
        assert (now - before, peak - before) == (3 * MB, 3 * MB)
        assert allocations - count == 2
        kept.pop()
        now, peak, _ = memory()
        assert (now - before, peak - before) == (MB, 3 * MB)
        assert memory()[1] - before == MB  # the peak is that since the last reading

    reading(program)


def test_temporaries_show_in_the_peak() -> None:
    x, y = np.ones(MB // 8), np.ones(MB // 8)

    def program(memory: Callable[[], tuple[int, int, int]]) -> None:
        before = memory()[0]
        z = (x + 1) * (y + 2)
        now, peak, _ = memory()
        assert now - before == z.nbytes
        assert peak - before >= 2 * z.nbytes

    reading(program)


def test_arrays_that_grow_are_counted_by_what_they_have() -> None:
    def program(memory: Callable[[], tuple[int, int, int]]) -> None:
        a = np.zeros(MB, "u1")
        before = memory()[0]
        a.resize(3 * MB, refcheck=False)
        # The size of the old block is the allocator's, up to a page more.
        assert 2 * MB - 8192 <= memory()[0] - before <= 2 * MB
        a.resize(0, refcheck=False)
        del a
        assert -MB - 8192 <= memory()[0] - before <= -MB + 8192

    reading(program)


def test_allocations_of_threads_balance() -> None:
    def work(n: int) -> None:
        for _ in range(50):
            np.empty(n, "u1").copy()

    def program(memory: Callable[[], tuple[int, int, int]]) -> None:
        work(10)
        before, _, count = memory()
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, [1000, 20_000, 300_000, 1000]))
        now, peak, allocations = memory()
        assert now == before
        assert allocations - count == 4 * 50 * 2
        assert peak - before >= 600_000

    reading(program)


def test_older_arrays_that_are_freed_do_not_hide_new_ones() -> None:
    older = [np.ones(10 * MB, "u1")]

    def program(memory: Callable[[], tuple[int, int, int]]) -> None:
        older.clear()
        assert memory()[0] == 0
        new = np.empty(6 * MB, "u1")
        assert memory()[:2] == (6 * MB, 6 * MB)
        del new
        assert memory()[0] == 0

    reading(program)


def test_arrays_outlive_the_recording_that_saw_them_made() -> None:
    kept: list[Any] = []
    for core in CORES * 3:
        record(core, lambda: kept.append(np.ones(MB, "u1")))
        assert core == "python" or load_core("c").memory() is None
    kept.clear()
    for core in CORES:
        record(core, lambda: np.ones(MB, "u1").sum())


def test_the_python_recorder_says_that_it_does_not_count_memory() -> None:
    trace = record("python", lambda: np.ones(MB, "u1"))
    assert "array memory was not counted: that takes the compiled core" in trace.warnings
    assert trace.strings.count("array_mb") == 0
