"""The disk limit: what a run folder takes, as the disk counts it, while a program is recorded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cores import CORES
from tests.stores import process_folder, read, recording
from tinytrace.errors import UsageError
from tinytrace.tracer.disk_limit import on_disk
from tinytrace.tracer.options import Options
from tinytrace.tracer.records import MIN_DISK_LIMIT_BYTES, Kind

# Threads that each do spans of many names, and set a counter.
PROGRAM = """
import sys, threading
from tinytrace.tracer.records import MIN_DISK_LIMIT_BYTES, Kind
from tinytrace.tracer.session import load_core

folder, limit, threads, spans = sys.argv[1], *map(int, sys.argv[2:])
recorder = load_core()
recorder.open(folder, limit)
loss = recorder.series("loss", "")

def work(thread):
    labels = [recorder.label(f"{thread} {n} {'x' * 20}", "") for n in range(1000)]
    for i in range(spans):
        recorder.end(recorder.begin(Kind.SPAN, labels[i % 1000]), 0)
        recorder.counter(loss, i)

working = [threading.Thread(target=work, args=(n,)) for n in range(threads)]
for thread in working:
    thread.start()
for thread in working:
    thread.join()
stats = recorder.stats()
print(stats["dropped"], stats["folded_segments"], stats["errno"])
"""
CASES = {  # threads, spans of each
    "c, one thread": ("c", 4_000_000, 1, 400_000),
    "c, with large segments": ("c", 20_000_000, 1, 900_000),
    "c, threads whose open segments take most of it": ("c", 4_000_000, 10, 40_000),
    "python, one thread": ("python", 4_000_000, 1, 120_000),
    "python, threads whose open segments take most of it": ("python", 4_000_000, 10, 12_000),
}


def taken_bytes(folder: Path) -> int:
    """What ``du`` says of a folder that is being written to."""
    total = folder.stat().st_blocks
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                total += os.stat(entry.path).st_blocks  # noqa: PTH116
            except FileNotFoundError:  # folded meanwhile
                continue
    return total * 512


@pytest.mark.parametrize("case", [c for c in CASES if CASES[c][0] in CORES])
def test_a_run_folder_never_exceeds_the_limit(case: str, tmp_path: Path) -> None:
    name, limit_bytes, threads, spans = CASES[case]
    folder = process_folder(tmp_path)
    command = [sys.executable, "-c", PROGRAM, str(folder), *map(str, (limit_bytes, threads, spans))]
    with subprocess.Popen(
        command, env={**os.environ, "TINYTRACE_CORE": name}, stdout=subprocess.PIPE, text=True
    ) as process:
        most_bytes = 0
        while process.poll() is None:
            most_bytes = max(most_bytes, taken_bytes(folder))
        assert process.stdout is not None and process.returncode == 0
        dropped, folded, failure = map(int, process.stdout.read().split())
    assert limit_bytes / 2 < most_bytes <= limit_bytes
    assert (dropped, failure) == (0, 0) and folded > 0
    trace = read(tmp_path)
    assert len(trace.spans) + trace.aggregates.count.sum() == threads * spans


@pytest.mark.parametrize("name", CORES)
def test_what_finds_no_room_is_dropped_counted_and_said(name: str, tmp_path: Path) -> None:
    tokens = []
    with recording(name, tmp_path, MIN_DISK_LIMIT_BYTES) as recorder:
        label = recorder.label("stays open", "")
        for _ in range(40):  # a segment with an open span cannot be folded
            tokens.append(recorder.begin(Kind.SPAN, label))
            for _ in range(4095):
                recorder.instant(label)
        stats = recorder.stats()
        assert 0 < stats["spans"] < 40 * 4096
        assert stats["spans"] + stats["dropped"] == 40 * 4096
        assert stats["errno"] == 0
        assert taken_bytes(process_folder(tmp_path)) <= MIN_DISK_LIMIT_BYTES
        for token in reversed(tokens):
            recorder.end(token, 0)
        while not recorder.begin(Kind.SPAN, label):  # they can be folded now
            recorder.counter(recorder.series("", ""), 0.0)
    trace = read(tmp_path)
    assert len([text for text in trace.warnings if "the disk limit is reached" in text]) == 1


@pytest.mark.parametrize("name", CORES)
def test_tables_keep_to_their_share_and_the_rest_is_counted(name: str, tmp_path: Path) -> None:
    with recording(name, tmp_path, MIN_DISK_LIMIT_BYTES) as recorder:
        ids = {recorder.label(f"{n} {'x' * 1000}", "") for n in range(2000)}
        tables = process_folder(tmp_path) / "tables.tt"
        assert tables.stat().st_size <= MIN_DISK_LIMIT_BYTES // 8
        stats = recorder.stats()
    assert stats["names_left_out"] > 0 and stats["errno"] == 0
    assert len(ids) == 2000 - stats["names_left_out"] + 1  # they share one


@pytest.mark.parametrize("name", CORES)
def test_a_limit_that_is_too_small_is_refused(name: str, tmp_path: Path) -> None:
    too_small = MIN_DISK_LIMIT_BYTES - 1
    with (
        pytest.raises(ValueError, match="at least 4000000 bytes, not 3999999"),
        recording(name, tmp_path, too_small),
    ):
        pass
    with pytest.raises(UsageError, match="at least 4,000,000 bytes, not 3,999,999"):
        Options(tmp_path / "trace.json", disk_limit_bytes=too_small)


def test_a_file_takes_whole_blocks_and_a_name() -> None:
    assert [on_disk(n) for n in (0, 1, 4096, 4097)] == [64, 4160, 4160, 8256]
