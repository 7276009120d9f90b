"""The sampling thread in Python with clocks, sleeps and threads given to it."""

from __future__ import annotations

import gc
import math
import os
import random
import statistics
import subprocess
import sys
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

from tinytrace.tracer import assemble
from tinytrace.tracer.recorder import PythonRecorder
from tinytrace.tracer.records import cpu_halves
from tinytrace.tracer.sampler import (
    LONGEST_SLEEP,
    NOT_ALONE,
    OWN_GILS,
    Place,
    PythonSampler,
    thread_cpu_ns,
)

MS = 1_000_000


class World:
    """A clock that only sleeping moves; threads that are where they are told; sleeps that come late."""

    def __init__(self, recorder: PythonRecorder, rate_hz: float, n: int, **given: Any) -> None:
        self.now_ns = 1_000 * MS
        self.sleeps: list[float] = []
        self.late_ns = 0
        self.threads: dict[int, FrameType] = {}
        self.cpu_ns: dict[int, int] = {}
        self.n = n
        self.sampler = PythonSampler(
            recorder, rate_hz, given.pop("ticks", []), clock=lambda: self.now_ns, sleep=self.sleep,
            rng=random.Random(7), frames=lambda: dict(self.threads),
            cpu_clock=lambda native: self.cpu_ns.get(native, -1), **given,
        )  # fmt: skip

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now_ns += int(seconds * 1e9) + self.late_ns
        self.before_round(len(self.sleeps))
        if len(self.sleeps) > self.n:
            self.sampler._stopping = True

    def before_round(self, number: int) -> None:
        """What happens in the program before this round, the first is 1."""

    def run(self) -> None:
        self.sampler.start()
        with self.sampler._ended:
            pass
        self.sampler.stop()


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[PythonRecorder]:
    recorder = PythonRecorder(clock=lambda: 900 * MS)
    (tmp_path / "p1-0").mkdir()
    recorder.open(str(tmp_path / "p1-0"), 10**9)
    yield recorder
    recorder.close()


def samples(tmp_path: Path) -> list[tuple[int, int, int, int]]:
    """Thread, time, weight, CPU time."""
    found = assemble.read_run(tmp_path).samples
    columns = (found.thread, found.t_ns, found.weight_ns, found.cpu_ns)
    return list(zip(*(c.tolist() for c in columns), strict=True))


def test_the_sleeps_are_drawn_from_an_exponential_distribution(recorder: PythonRecorder) -> None:
    world = World(recorder, 1000, 20_000)
    world.run()
    sleeps = np.array(world.sleeps)
    mean = 0.001 * (1 - math.exp(-LONGEST_SLEEP))  # cut off there
    assert statistics.fmean(world.sleeps) == pytest.approx(mean, rel=0.02)
    assert sleeps.max() == pytest.approx(0.001 * LONGEST_SLEEP)
    for q in (0.1, 0.5, 0.9):
        assert np.quantile(sleeps, q) == pytest.approx(-0.001 * math.log(1 - q), rel=0.03)
    assert world.sampler.stats()["achieved_hz"] == pytest.approx(1e9 / (mean * 1e9), rel=0.02)


def test_lateness_and_the_largest_gap_are_measured(recorder: PythonRecorder) -> None:
    class Late(World):
        def before_round(self, number: int) -> None:
            if number == 3:
                self.now_ns += 40 * MS

    world = Late(recorder, 1000, 5)
    world.late_ns = 2 * MS
    world.run()
    stats = world.sampler.stats()
    assert stats["rounds"] == 5
    assert stats["late_ns"] == pytest.approx((5 * 2 + 40) * MS, abs=10)  # sleeps are rounded
    assert stats["largest_gap_ns"] == pytest.approx(world.sleeps[2] * 1e9 + 42 * MS, abs=10)
    assert stats["sampled_ns"] == pytest.approx(sum(world.sleeps[:5]) * 1e9 + 50 * MS, abs=10)


def test_a_weight_is_the_time_since_the_round_before(
    recorder: PythonRecorder, tmp_path: Path
) -> None:
    here = sys._getframe()

    class Comings(World):
        def before_round(self, number: int) -> None:
            self.now_ns = 2_000 * MS + number**2 * MS
            self.cpu_ns[501] = 5 * MS + number * MS // 2
            self.threads = {1: here} if number != 3 else {}
            if number == 4:  # met before it is sampled: it did an operation
                recorder.thread(2, 502).created_ns = self.now_ns - 3 * MS
            if number in (4, 5):
                self.threads[2] = here

    recorder.thread(1, 501)
    world = Comings(recorder, 1000, 5)
    world.run()
    recorder.close()
    assert samples(tmp_path) == [
        (0, 2_001 * MS, 1_001 * MS, -1),  # since the beginning
        (0, 2_004 * MS, 3 * MS, MS // 2),
        (0, 2_016 * MS, 7 * MS, -1),  # it was away, and did who knows what
        (0, 2_025 * MS, 9 * MS, MS // 2),
        (1, 2_016 * MS, 3 * MS, -1),  # since it was first met
        (1, 2_025 * MS, 9 * MS, -1),
    ]


def test_cpu_time_beyond_32_bits_is_recorded(recorder: PythonRecorder, tmp_path: Path) -> None:
    cpu_ns = [1, 1 + 7 * 10**9, 1 + 7 * 10**9 + 2**32, 0]
    here = sys._getframe()

    class Busy(World):
        def before_round(self, number: int) -> None:
            self.threads = {1: here}
            self.now_ns = number * 20 * 10**9
            self.cpu_ns[501] = cpu_ns[number - 1]

    recorder.thread(1, 501)
    Busy(recorder, 1000, 3).run()
    recorder.close()
    assert [cpu for *_, cpu in samples(tmp_path)] == [-1, 7 * 10**9, 2**32]
    assert cpu_halves(2**32 - 1) == (2**32 - 2, 0)  # which would read as not known


def test_ticks_come_as_often_as_they_should_and_may_fail(recorder: PythonRecorder) -> None:
    called: list[int] = []

    def tick() -> None:
        called.append(world.now_ns)
        raise OSError("nothing to be read")

    world = World(recorder, 0, 50, ticks=[(0.05, tick)])
    world.run()
    assert called[0] == 1_000 * MS  # at once
    assert all(b - a >= 50 * MS for a, b in pairwise(called))
    assert 15 < len(called) < 50
    assert world.sampler.stats()["samples"] == 0


def test_what_fails_while_sampling_ends_the_recording_and_is_kept(recorder: PythonRecorder) -> None:
    class Broken(World):
        def before_round(self, number: int) -> None:
            self.threads = {1: None}  # type: ignore[dict-item]

    world = Broken(recorder, 1000, 50)
    world.run()
    assert world.sampler.stats()["rounds"] == 1
    assert recorder.stats()["errno"] != 0


def test_a_place_is_that_of_the_frame_however_the_frame_goes_on() -> None:
    frame = sys._getframe()
    place = Place(frame)
    line = frame.f_lineno - 1
    assert place.f_lineno == line
    assert (place.f_code, place.f_back) == (frame.f_code, None)


def test_nothing_is_kept_alive_by_a_sample(recorder: PythonRecorder) -> None:
    """Frames are let go at once: what a function holds is destroyed where and when it would be."""
    sampler = PythonSampler(recorder, 1000, [])
    sampler._ident = threading.get_ident()
    there, go, frames = threading.Event(), threading.Event(), []

    def wait() -> None:
        frames.append(sys._getframe())
        there.set()
        go.wait()

    thread = threading.Thread(target=wait)
    thread.start()
    there.wait()
    sampler._look()  # makes the frame objects of what it waits in
    held = sys.getrefcount(frames[0])
    gc.disable()
    try:
        places = sampler._look()
        held_now = sys.getrefcount(frames[0])
    finally:
        gc.enable()
        go.set()
        thread.join()
    assert thread.ident in places
    assert threading.get_ident() not in places
    assert held_now == held


def test_with_a_second_interpreter_sampling_ends_and_that_is_said(
    recorder: PythonRecorder, tmp_path: Path
) -> None:
    here, ticked = sys._getframe(), list[int]()

    class Crowded(World):
        def before_round(self, number: int) -> None:
            self.threads = {1: here}

    recorder.thread(1, 501)
    answers = iter([True, True, False])
    world = Crowded(
        recorder, 1000, 6, ticks=[(1e-9, lambda: ticked.append(1))], alone=lambda: next(answers)
    )
    world.run()
    recorder.close()
    assert len(samples(tmp_path)) == 2
    stats = world.sampler.stats()
    assert (stats["samples"], stats["rounds"]) == (2, 2)
    assert stats["sampled_ns"] == pytest.approx(sum(world.sleeps[:2]) * 1e9, abs=10)
    assert len(ticked) >= 6  # counters are read on
    assert assemble.read_run(tmp_path).warnings[0] == NOT_ALONE


SECOND_INTERPRETER = """
import pathlib, sys, tempfile, threading
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
from tests.contract.recorded import record
from tests.rounds import wait_for_rounds

BUSY = "n = 0\\nwhile n < 3_000_000: n += 1"

def program():
    wait_for_rounds(3)
    others = [interpreters.create() for _ in range(3)]
    threads = [threading.Thread(target=interpreters.run_string, args=(o, BUSY)) for o in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for other in others:
        interpreters.destroy(other)

trace = record("python", program, sampler="thread", rate_hz=10_000, ops=False)
print(len(trace.samples), *trace.warnings, sep="|")
"""


def test_a_program_with_several_interpreters_does_not_crash() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SECOND_INTERPRETER],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    count, *warnings = done.stdout.strip().split("|")
    assert int(count) > 0
    assert warnings == ([NOT_ALONE] if sys.version_info >= OWN_GILS else [])


def test_the_cpu_time_of_what_is_no_thread_of_ours_is_not_known() -> None:
    assert thread_cpu_ns(threading.get_native_id()) > 0
    assert thread_cpu_ns(os.getppid()) == -1


@pytest.mark.parametrize("rate_hz", [0, -1])
def test_neither_a_rate_nor_a_tick_is_an_error(recorder: PythonRecorder, rate_hz: float) -> None:
    with pytest.raises(ValueError, match="neither a rate nor a tick"):
        PythonSampler(recorder, rate_hz, [])


def test_starting_twice_is_an_error_and_stopping_twice_is_not(recorder: PythonRecorder) -> None:
    sampler = PythonSampler(recorder, 1000, [])
    sampler.start()
    with pytest.raises(RuntimeError, match="running"):
        sampler.start()
    sampler.stop()
    sampler.stop()
    sampler.start()
    sampler.stop()
