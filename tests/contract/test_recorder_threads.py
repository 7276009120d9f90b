"""What both recorders keep of threads that have ended: what they wrote, and no more."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from tests.cores import CORES
from tests.stores import NO_LIMIT, check_valid, names, process_folder, recording
from tinytrace.tracer.assemble import read_run
from tinytrace.tracer.records import (
    MIN_DISK_LIMIT_BYTES,
    RECORD_BYTES,
    SEGMENT_HEADER_BYTES,
    Flag,
    Kind,
)

THREADS, SPANS, MAIN = 300, 3, 100_000


@pytest.fixture(params=CORES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def run_threads(recorder: Any) -> None:
    """Run short threads, one after the other."""

    def work() -> None:
        for _ in range(SPANS):
            recorder.end(recorder.begin(Kind.SPAN, recorder.label("short", "")), 0)

    for _ in range(THREADS):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()


def test_threads_that_have_ended_leave_files_as_long_as_what_they_wrote(
    name: str, tmp_path: Path
) -> None:
    with recording(name, tmp_path) as recorder:
        run_threads(recorder)
    sizes = [path.stat().st_size for path in process_folder(tmp_path).glob("spans-*.seg")]
    assert len(sizes) == THREADS
    # The last ones may not have been looked at since.
    assert sorted(sizes)[: THREADS - 5] == [SEGMENT_HEADER_BYTES + SPANS * RECORD_BYTES] * (
        THREADS - 5
    )
    trace = read_run(tmp_path)
    check_valid(trace)
    assert names(trace) == ["short"] * THREADS * SPANS
    assert trace.warnings == ("the description of the run is lost",)  # a session writes it


def test_threads_that_have_ended_are_folded_when_the_disk_limit_asks_for_it(
    name: str, tmp_path: Path
) -> None:
    with recording(name, tmp_path, limit_bytes=MIN_DISK_LIMIT_BYTES) as recorder:
        run_threads(recorder)
        for _ in range(MAIN):  # the main thread's own segments take the room
            recorder.end(recorder.begin(Kind.SPAN, recorder.label("main", "")), 0)
    trace = read_run(tmp_path)
    check_valid(trace)
    assert len(trace.aggregates) > 0
    assert len(trace.spans) + int(trace.aggregates.count.sum()) == THREADS * SPANS + MAIN


def test_a_span_that_its_ended_thread_left_open_is_ended_by_another(
    name: str, tmp_path: Path
) -> None:
    tokens: list[int] = []
    with recording(name, tmp_path, limit_bytes=NO_LIMIT) as recorder:
        thread = threading.Thread(
            target=lambda: tokens.append(recorder.begin(Kind.SPAN, recorder.label("left", "")))
        )
        thread.start()
        thread.join()
        run_threads(recorder)
        recorder.end(tokens[0], 0)
    trace = read_run(tmp_path)
    left = names(trace).index("left")
    assert not trace.spans.flags[left] & Flag.OPEN
    assert trace.spans.dur_ns[left] > 0
