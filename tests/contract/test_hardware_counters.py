"""Files of hardware counters on both cores, with events that the kernel counts without any hardware."""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tinytrace as tt
from tests.cores import CORES, core
from tests.lock import turns_of_others
from tests.perfetto_engine import check_trace_file
from tinytrace.tracer import hardware
from tinytrace.tracer.event_files import EventFiles
from tinytrace.tracer.hardware import Event, EventCalls, HardwareCounters
from tinytrace.tracer.session import Session, load_core

FAULTS = (Event("faults", 1, 2),)  # page faults in user mode
PAGES = 500


@pytest.fixture(params=CORES)
def which_core(request: pytest.FixtureRequest) -> Iterator[str]:
    with core(request.param):
        yield request.param


@pytest.fixture
def counters(which_core: str) -> Iterator[HardwareCounters]:
    found = HardwareCounters(load_core(which_core), "on", FAULTS)
    assert isinstance(found._calls, EventFiles) == (which_core == "python")
    yield found
    found.close()


def touch(pages: int) -> None:
    fresh = mmap.mmap(-1, pages * mmap.PAGESIZE)
    fresh.madvise(mmap.MADV_NOHUGEPAGE)
    for page in range(pages):
        fresh[page * mmap.PAGESIZE] = 1
    fresh.close()


def count(counters: HardwareCounters) -> float:
    return sum(value for _, _, value in counters.read())


def test_every_fresh_page_is_counted(counters: HardwareCounters) -> None:
    before = count(counters)
    touch(PAGES)
    assert PAGES <= count(counters) - before < 2 * PAGES


def test_threads_that_begin_later_are_counted_and_forked_processes_are_not(
    counters: HardwareCounters,
) -> None:
    before = count(counters)
    thread = threading.Thread(target=touch, args=(PAGES,))
    thread.start()
    thread.join()
    assert PAGES <= count(counters) - before < 2 * PAGES
    code = f"import mmap; m = mmap.mmap(-1, {20 * PAGES} * 4096); m.write(bytes(len(m)))"
    before = count(counters)
    subprocess.run([sys.executable, "-c", code], check=True)
    assert count(counters) - before < 10 * PAGES


def test_the_file_has_a_high_number_and_is_closed_on_exec(counters: HardwareCounters) -> None:
    [(_, fd, _, _)] = counters._open
    assert fd >= hardware.FEWEST_FILES // 2
    assert fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    with open(os.devnull, "rb") as first:
        own = first.fileno()
    lowest = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest)
    assert own == lowest < fd


class Said:
    """Keeps the warnings of a recorder, which opens and reads as it did."""

    def __init__(self, calls: EventCalls) -> None:
        self.event_open, self.event_read = calls.event_open, calls.event_read
        self.event_close = calls.event_close
        self.said: list[bytes] = []

    def put(self, entry: int, payload: bytes) -> None:
        self.said.append(payload)


@pytest.mark.parametrize("other", ["eventfd", "event", "file", "nothing"])
def test_a_number_that_the_program_has_taken_is_neither_read_nor_closed(
    counters: HardwareCounters, other: str, tmp_path: Path
) -> None:
    recorder = Said(counters._calls)
    mine = HardwareCounters(recorder, "on", FAULTS)
    [(_, fd, number, _)] = mine._open
    if other == "nothing":
        os.close(fd)
    else:
        made = {
            "eventfd": lambda: os.eventfd(7),
            "event": lambda: mine._calls.event_open(hardware._attributes(FAULTS[0], 0))[0],
            "file": lambda: os.open(tmp_path / "own", os.O_RDWR | os.O_CREAT),
        }[other]()
        os.dup2(made, fd)
        os.close(made)
    assert mine._calls.event_read(fd, number) is None
    assert mine.read() == mine.read() == []
    assert recorder.said == [hardware.CLOSED.encode()]
    mine.close()
    if other == "nothing":
        with pytest.raises(OSError, match="Bad file"):
            os.fstat(fd)
        return
    if other == "eventfd":  # reading it would have set it back to 0
        assert os.read(fd, 8) == (7).to_bytes(8, sys.byteorder)
    os.close(fd)  # it is still there


def test_reading_does_not_give_up_the_interpreters_lock(counters: HardwareCounters) -> None:
    counters.read()
    assert turns_of_others(counters.read) == 0


def values(trace: tt.Trace, name: str, process: int = 0) -> list[float]:
    found = []
    for row in range(len(trace.series)):
        if (
            trace.strings[trace.series.name_id[row]] == name
            and trace.series.process[row] == process
        ):
            found += trace.counters.value[trace.counters.series_id == row].tolist()
    return found


def test_a_recording_has_them_from_its_beginning_to_its_end(
    which_core: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "events_of", lambda vendor: FAULTS)
    with tt.trace(tmp_path / "trace.json", sampler="none", hardware_counters="on") as recording:
        session = Session._current
        assert session is not None
        assert session.sampling is not None
        session.sampling.tick()
        touch(PAGES)
    assert session._hardware is not None
    assert session._hardware._open == []
    trace = recording.result
    assert trace is not None
    assert tt.load(tmp_path / "trace.json") == trace
    tracks = check_trace_file(tmp_path / "trace.json").query("select name from counter_track")
    assert "faults_count" in {row["name"].removesuffix(" value") for row in tracks}
    found = values(trace, "faults")
    assert found == sorted(found)
    assert found[-1] - found[0] >= PAGES
    meta = trace.meta["hardware_counters"]
    assert (meta["when"], meta["counted"]) == ("on", ["faults"])
    assert not [text for text in trace.warnings if "counter" in text]


PROGRAM = """
import json, mmap, os, sys
import tinytrace as tt
from tinytrace.tracer import hardware
from tinytrace.tracer.hardware import Event
from tinytrace.tracer.session import Session
hardware.events_of = lambda vendor: (Event("faults", 1, 2),)

def touch(pages):
    fresh = mmap.mmap(-1, pages * mmap.PAGESIZE)
    fresh.madvise(mmap.MADV_NOHUGEPAGE)
    for page in range(pages):
        fresh[page * mmap.PAGESIZE] = 1

def events():
    links = [link for link in os.scandir("/proc/self/fd") if link.is_symlink()]
    return sum("perf_event" in os.readlink(link.path) for link in links if os.path.lexists(link.path))

with tt.trace("trace.json", sampler="none", hardware_counters=sys.argv[1], children=True) as recording:
    Session._current.sampling.tick()
    """


def run(tmp_path: Path, code: str, when: str = "on") -> tuple[Any, tt.Trace]:
    """What a program prints as JSON, and its trace."""
    program = PROGRAM + code.strip().replace("\n", "\n    ")
    done = subprocess.run(
        [sys.executable, "-c", program, when], cwd=tmp_path, check=True, capture_output=True
    )
    assert done.stderr == b""
    return json.loads(done.stdout), tt.load(tmp_path / "trace.json")


CLOSES_ALL = """
os.closerange(3, 10000)
own = [os.eventfd(n + 1) for n in range(700)]
Session._current.sampling.tick()
Session._current.sampling.tick()
print(json.dumps([own, [int.from_bytes(os.read(fd, 8), sys.byteorder) for fd in own]]))
"""


def test_a_program_that_closes_all_files_keeps_its_own_and_no_wrong_number_is_written(
    which_core: str, tmp_path: Path
) -> None:
    (numbers, contents), trace = run(tmp_path, CLOSES_ALL)
    assert contents == list(range(1, 701))
    assert numbers == sorted(numbers)
    assert max(numbers) > 512  # among them those that ours had
    readings = values(trace, "faults")
    assert 1 <= len(readings) <= 3  # those before
    assert [text for text in trace.warnings if "counter" in text] == [hardware.CLOSED]


FIRST_FILES = "print(json.dumps([os.open(os.devnull, 0) for _ in range(20)]))"


def test_what_the_program_opens_has_the_numbers_that_it_would_have_without_us(
    which_core: str, tmp_path: Path
) -> None:
    with_us, _ = run(tmp_path, FIRST_FILES)
    without, _ = run(tmp_path, FIRST_FILES, "off")
    assert with_us == without


FORKS = """
pid = os.fork()
if pid == 0:
    touch(3000)
    Session._current.sampling.tick()
    print(json.dumps(events()), flush=True)
    os._exit(0)
os.waitpid(pid, 0)
"""


def test_the_child_of_a_fork_counts_for_itself(which_core: str, tmp_path: Path) -> None:
    files, trace = run(tmp_path, FORKS)
    assert files == 1  # its own, and not the parent's
    assert len(trace.processes) == 2
    parent, child = values(trace, "faults", 0), values(trace, "faults", 1)
    assert child[-1] - child[0] >= 3000
    assert parent[-1] - parent[0] < 3000
