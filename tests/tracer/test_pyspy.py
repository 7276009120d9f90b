"""py-spy as the sampler: the real one on real programs, and its files as they may be left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinytrace.errors import StoreError
from tinytrace.tracer import pyspy
from tinytrace.tracer.pyspy import LOG_NAME, MARKER_FILE, OUTPUT_NAME, TIMES_NAME, PySpySampler
from tinytrace.tracer.pyspy_samples import PySpySamples, read_samples
from tinytrace.tracer.records import Entry

# argv: folder, "stop" or "kill", rate, "native" or not. The phases say on stdout when they began.
PROGRAM = """
import os, signal, sys, threading, time
from pathlib import Path
import numpy as np
from tinytrace.tracer.pyspy import PySpySampler

class Recorder:
    def put(self, entry, payload):
        print("warning", payload.decode(), flush=True)

def for_a_while():
    end = time.monotonic() + 0.15
    while time.monotonic() < end:
        yield

def pure_python():
    for _ in for_a_while():
        sum(k for k in range(1000))

def matrices():
    a = np.ones((200, 200))
    for _ in for_a_while():
        a @ a

def sorting():
    x = np.random.default_rng(1).random(20_000).tolist()
    for _ in for_a_while():
        sorted(x)

def waiter(event):
    event.wait()

folder, way, rate, native = sys.argv[1:]
sampler = PySpySampler(Recorder(), float(rate), native == "native", Path(folder))
sampler.start()
try:
    os.wait()
except ChildProcessError:
    print("childless", flush=True)
event = threading.Event()
thread = threading.Thread(target=waiter, args=(event,), name="the waiter")
thread.start()
sampler.tick()
for phase in (pure_python, matrices, sorting):
    print(phase.__name__, time.monotonic_ns(), flush=True)
    phase()
print("end", time.monotonic_ns(), thread.native_id, os.getpid(), flush=True)
if way == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
sampler.tick()
event.set()
thread.join()
sampler.tick()
time.sleep(0.1)
sampler.stop()
sampler.stop()
print("stats", sampler.stats(), flush=True)
"""
PHASES = ("pure_python", "matrices", "sorting")


class Recorder:
    """Keeps the warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def put(self, entry: int, payload: bytes) -> None:
        assert entry == Entry.WARNING
        self.warnings.append(payload.decode())


def run_program(
    folder: Path, way: str = "stop", rate: int = 1000, native: str = ""
) -> dict[str, list[str]]:
    """Run `PROGRAM`; what it printed by first word."""
    environment = {**os.environ, "PYTHONPATH": str(Path(pyspy.__file__).parents[2])}
    command = [sys.executable, "-c", PROGRAM, str(folder), way, str(rate), native]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == (-signal.SIGKILL if way == "kill" else 0), done.stderr
    return {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()}


def stack(samples: PySpySamples, row: int) -> list[str]:
    """Function names from the root inwards."""
    names = []
    at = int(samples.stack_id[row])
    while at >= 0:
        names.append(samples.frames[samples.stack_frame_id[at]][0])
        at = int(samples.stack_parent[at])
    return names[::-1]


def time_in(samples: PySpySamples, function: str, tid: int) -> list[tuple[int, int]]:
    """Begin and end of each sample of a thread with this function in its stack."""
    return [
        (int(t - w), int(t))
        for row, (t, w, of) in enumerate(
            zip(samples.t_ns, samples.weight_ns, samples.tid, strict=True)
        )
        if of == tid and function in stack(samples, row)
    ]


def check(samples: PySpySamples) -> None:
    """What the columns promise."""
    assert (samples.weight_ns > 0).all()
    order = np.lexsort((samples.t_ns, samples.tid))
    assert (order == np.arange(len(order))).all()
    begin = samples.t_ns - samples.weight_ns
    same = samples.tid[1:] == samples.tid[:-1]
    assert (begin[1:][same] >= samples.t_ns[:-1][same]).all()
    assert (begin >= samples.begin_ns).all()
    assert (samples.t_ns <= samples.end_ns).all()
    assert (samples.stack_parent < np.arange(len(samples.stack_parent))).all()
    assert not [f for f in samples.frames if f[1] == MARKER_FILE] or MARKER_FILE not in {
        samples.frames[f][1] for f in samples.stack_frame_id
    }


def test_samples_of_a_real_program_lie_where_the_program_was(tmp_path: Path) -> None:
    printed = run_program(tmp_path)
    samples = read_samples(tmp_path)
    assert samples is not None
    check(samples)
    waiter, main = int(printed["end"][1]), int(printed["end"][2])
    assert samples.thread_names[main] == "MainThread"
    assert samples.thread_names[waiter] == "the waiter"
    assert samples.clock_drift_ns is not None
    assert 0 < samples.clock_error_ns < 50_000_000
    # py-spy may be held up and see a change late: but most of a phase is where it really was.
    starts = [int(printed[phase][0]) for phase in (*PHASES, "end")]
    for phase, begin, end in zip(PHASES, starts, starts[1:], strict=False):
        found = time_in(samples, phase, main)
        assert found, phase
        inside = sum(max(0, min(b, end) - max(a, begin)) for a, b in found)
        assert inside > sum(b - a for a, b in found) - inside, phase
    order = [time_in(samples, phase, main)[0][0] for phase in PHASES]
    assert order == sorted(order)
    # Every moment between the markers is accounted for, but for the first sample's wait.
    rows = samples.tid == main
    first = int((samples.t_ns - samples.weight_ns)[rows].min())
    assert int(samples.weight_ns[rows].sum()) == samples.end_ns - first
    # The waiter was seen waiting, and no longer than it lived.
    waits = time_in(samples, "waiter", waiter)
    assert waits[0][0] < starts[-1]
    assert waits[-1][1] < samples.end_ns
    assert "childless" in printed
    assert "'samples'" in " ".join(printed["stats"])


def test_nothing_is_lost_when_the_program_is_killed(tmp_path: Path) -> None:
    printed = run_program(tmp_path, "kill")
    wait_for(tmp_path / OUTPUT_NAME)
    samples = read_samples(tmp_path)
    assert samples is not None
    check(samples)
    main = int(printed["end"][2])
    for phase in PHASES:
        assert time_in(samples, phase, main), phase
    assert samples.clock_drift_ns is None


def wait_for(path: Path) -> None:
    """Wait until py-spy has ended, which it says in its log."""
    log = path.with_name(LOG_NAME)
    for _ in range(500):
        if path.exists() and "Wrote chrome trace" in log.read_text(encoding="utf-8"):
            return
        time.sleep(0.02)
    pytest.fail(f"py-spy did not end: {log.read_text(encoding='utf-8')}")


def test_native_frames_are_seen_and_the_rate_is_capped_and_said(tmp_path: Path) -> None:
    printed = run_program(tmp_path, rate=1000, native="native")
    samples = read_samples(tmp_path)
    assert samples is not None
    check(samples)
    files = {samples.frames[f][1] for f in samples.stack_frame_id}
    assert any(".so" in file for file in files)
    assert "native" in printed["warning"]
    assert "100," in " ".join(printed["stats"])


def test_our_own_frames_and_threads_are_taken_out(tmp_path: Path) -> None:
    ours = str(Path(pyspy.__file__).parent)
    launcher, worker = f"{ours}/launcher.py", f"{ours}/sampler.py"
    lib = "/usr/lib/python3/"
    main = [("main", launcher), ("<module>", "train.py"), ("step", "train.py"), ("end", worker)]
    write(
        tmp_path,
        events(1, "thread (1): MainThread", [("<module>", "<frozen runpy>"), *main], 0, 2000)
        + events(2, "thread (2): tt", [("_bootstrap", lib + "threading.py"), ("tick", worker)], 0)
        + events(4, "thread (4)", [("tick", worker), ("memory_info", "psutil.py")], 0)
        + events(3, "thread (3): user", [("_bootstrap", lib + "threading.py"), ("f", "u.py")], 0),
    )
    samples = read_samples(tmp_path)
    assert samples is not None
    check(samples)
    stacks = {int(samples.tid[row]): stack(samples, row) for row in range(len(samples.t_ns))}
    assert stacks == {1: ["<module>", "step", "end"], 3: ["_bootstrap", "f"]}
    assert set(samples.thread_names) == {1, 3}


def event(
    ph: str, tid: int, name: str, ts: int, place: tuple[str, int] = ("", 0)
) -> dict[str, Any]:
    args = {"filename": place[0], "line": place[1]}
    return {"args": args, "cat": "py-spy", "name": name, "ph": ph, "pid": 9, "tid": tid, "ts": ts}


def events(
    tid: int, head: str, frames: list[tuple[str, str]], begin_us: int = 0, end_us: int = 5000
) -> list[dict[str, Any]]:
    """A stack that appears and goes, as py-spy writes it."""
    places = [(head, ""), *frames]
    return [
        *[event("B", tid, name, begin_us, (file, 0)) for name, file in places],
        *[event("E", tid, name, end_us, (file, 0)) for name, file in reversed(places)],
    ]


def write(folder: Path, of_py_spy: list[dict[str, Any]], notes: list[dict[str, Any]] = ()) -> None:  # type: ignore[assignment]
    text = json.dumps(of_py_spy, separators=(",", ":"))
    (folder / OUTPUT_NAME).write_text(text, encoding="utf-8")
    begin = {"launched_ns": 0, "ready_ns": 1_000_000_000, "rate_hz": 1000}
    lines = "".join(json.dumps(note) + "\n" for note in [begin, *notes])
    (folder / TIMES_NAME).write_text(lines, encoding="utf-8")


def marker_events(name: str, seen_at_us: list[tuple[int, int]]) -> list[dict[str, Any]]:
    """Samples of the marker: (time, index of its line)."""
    found = [event("B", 1, "thread (1): MainThread", seen_at_us[0][0])]
    for t_us, k in seen_at_us:
        found.append(event("B", 1, name, t_us, (MARKER_FILE, k + 2)))
        found.append(event("E", 1, name, t_us + 400, (MARKER_FILE, k + 2)))
    found.append(event("E", 1, "thread (1): MainThread", seen_at_us[-1][0] + 400))
    return found


def marker_note(which: str, first_ns: int, line_ns: int) -> dict[str, Any]:
    edges = [first_ns + k * line_ns for k in range(41)]
    return {"marker": pyspy.marker_name(which), "begins_ns": edges[:-1], "ends_ns": edges[1:]}


def test_the_offset_is_where_most_samples_of_the_marker_agree(tmp_path: Path) -> None:
    offset_ns = 7_000_000_000
    note = marker_note("start", offset_ns + 3_000_000, 500_000)
    rng = np.random.default_rng(3)
    times_us = np.sort(rng.choice(np.arange(3001, 22000, 450), 20, replace=False)).tolist()
    seen = [(t, (t - 3000) * 1000 // 500_000) for t in times_us]
    seen[7] = (seen[7][0], seen[7][1] + 5)  # py-spy was held up after this one
    program = events(1, "thread (1): MainThread", [("work", "w.py")], 30_000, 40_000)
    write(tmp_path, marker_events(note["marker"], seen) + program, [note])
    samples = read_samples(tmp_path)
    assert samples is not None
    check(samples)
    assert samples.clock_error_ns < 250_000
    begin = int((samples.t_ns - samples.weight_ns).min())
    assert abs(begin - (offset_ns + 30_000_000)) <= samples.clock_error_ns
    assert samples.clock_drift_ns is None


def test_without_a_marker_the_times_are_those_of_the_start_and_the_error_is_said(
    tmp_path: Path,
) -> None:
    write(tmp_path, events(1, "thread (1): MainThread", [("f", "f.py")], 0, 5000))
    samples = read_samples(tmp_path)
    assert samples is not None
    assert samples.t_ns.tolist() == [1_005_000_000]
    assert samples.weight_ns.tolist() == [5_000_000]
    assert samples.clock_error_ns == 1_000_000_000
    assert any("off by 1000 ms" in w for w in samples.warnings)


def test_a_long_run_is_cut_into_pieces_that_add_up(tmp_path: Path) -> None:
    write(tmp_path, events(1, "thread (1): MainThread", [("f", "f.py")], 0, 1_000_003))
    samples = read_samples(tmp_path)
    assert samples is not None
    check(samples)
    assert int(samples.weight_ns.sum()) == 1_000_003_000
    assert int(samples.weight_ns.max()) <= 10_000_000
    assert len(samples.t_ns) == 101


def test_a_change_of_line_is_a_change_of_stack(tmp_path: Path) -> None:
    head = "thread (1): MainThread"
    write(
        tmp_path,
        [
            event("B", 1, head, 0), event("B", 1, "f", 0, ("f.py", 1)),
            event("E", 1, "f", 2000, ("f.py", 1)), event("B", 1, "f", 2000, ("f.py", 2)),
            event("E", 1, "f", 5000, ("f.py", 2)), event("E", 1, head, 5000),
        ],
    )  # fmt: skip
    samples = read_samples(tmp_path)
    assert samples is not None
    lines = [samples.frames[samples.stack_frame_id[s]][2] for s in samples.stack_id]
    assert lines == [1, 2]
    assert samples.weight_ns.tolist() == [2_000_000, 3_000_000]


def test_a_stack_that_py_spy_could_not_read_leaves_the_one_before_in_place(tmp_path: Path) -> None:
    head = "thread (1): MainThread"
    write(
        tmp_path,
        [
            event("B", 1, head, 0), event("B", 1, "f", 0), event("E", 1, "f", 2000),
            event("B", 1, "g", 3000), event("E", 1, "g", 5000), event("E", 1, head, 5000),
        ],
    )  # fmt: skip
    samples = read_samples(tmp_path)
    assert samples is not None
    assert [stack(samples, row) for row in (0, 1)] == [["f"], ["g"]]
    assert samples.weight_ns.tolist() == [3_000_000, 2_000_000]


def test_a_thread_of_c_code_that_leaves_python_has_no_stack_meanwhile(tmp_path: Path) -> None:
    head = "thread (7)"
    write(
        tmp_path,
        [
            event("B", 1, head, 0), event("B", 1, "callback", 0),
            event("E", 1, "callback", 2000), event("E", 1, head, 5000),
        ],
    )  # fmt: skip
    samples = read_samples(tmp_path)
    assert samples is not None
    assert samples.weight_ns.tolist() == [2_000_000]
    assert samples.thread_names == {}


def test_numbers_of_pthread_become_native_ids_also_when_threads_share_one(tmp_path: Path) -> None:
    notes = [
        {"threads": [[0xABC, 41, "first"]], "t_ns": 0},
        {"threads": [[0xABC, 42, "second"]], "t_ns": 1_003_000_000},
    ]
    first = events(0xABC, "thread (0xABC): a", [("f", "f.py")], 0, 3000)
    second = events(0xABC, "thread (0xABC): b", [("f", "f.py")], 3000, 5000)
    write(tmp_path, first + second, notes)
    samples = read_samples(tmp_path)
    assert samples is not None
    assert samples.tid.tolist() == [41, 42]
    assert samples.thread_names == {41: "first", 42: "second"}


def test_a_stack_without_its_callers_is_given_to_the_one_before_and_counted(
    tmp_path: Path,
) -> None:
    head = "thread (1): MainThread"
    whole = [("<module>", "f.py"), ("f", "f.py"), ("g", "f.py")]
    write(
        tmp_path,
        events(1, head, whole[:2], 0, 2000)
        + events(1, head, whole[2:], 2000, 2500)
        + events(1, head, whole, 2500, 4000)
        + events(1, head, [("_run_exitfuncs", "atexit.py")], 4000, 5000),
    )
    samples = read_samples(tmp_path)
    assert samples is not None
    assert [stack(samples, row) for row in range(4)] == [
        ["<module>", "f"], ["<module>", "f"], ["<module>", "f", "g"], ["_run_exitfuncs"],
    ]  # fmt: skip
    assert samples.mended_ns == 500_000


def test_a_thread_lasts_no_longer_than_it_was_seen_alive(tmp_path: Path) -> None:
    seen = [
        *events(1, "thread (1): MainThread", [("f", "f.py")], 0, 5000),
        *events(2, "thread (2): a", [("g", "f.py")], 0, 5000),
        *events(3, "thread (3): b", [("h", "f.py")], 0, 5000),
    ]
    notes = [{"ended": [2], "t_ns": 1_003_000_000}, {"stopped_ns": 0, "alive": [1]}]
    write(tmp_path, seen, notes)
    samples = read_samples(tmp_path)
    assert samples is not None
    assert dict(zip(samples.tid.tolist(), samples.t_ns.tolist(), strict=True)) == {
        1: 1_005_000_000, 2: 1_003_000_000,
    }  # fmt: skip
    assert any(w.startswith("1 short-lived thread") for w in samples.warnings)


def test_a_file_cut_short_gives_what_is_there_and_a_warning(tmp_path: Path) -> None:
    write(tmp_path, events(1, "thread (1): MainThread", [("f", "f.py"), ("g", "f.py")], 0, 5000))
    whole = (tmp_path / OUTPUT_NAME).read_bytes()
    for length in range(len(whole)):
        (tmp_path / OUTPUT_NAME).write_bytes(whole[:length])
        samples = read_samples(tmp_path)
        assert samples is not None
        assert any("cut short" in w for w in samples.warnings), length


def test_a_file_larger_than_a_chunk_is_read_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = "thread (1): MainThread"
    many = [
        e for k in range(50) for e in events(1, head, [(f"f{k}", "f.py")], k * 100, k * 100 + 50)
    ]
    write(tmp_path, many)
    at_once = read_samples(tmp_path)
    monkeypatch.setattr("tinytrace.tracer.pyspy_runs._CHUNK_BYTES", 200)
    in_pieces = read_samples(tmp_path)
    assert at_once is not None
    assert in_pieces is not None
    assert at_once.frames == in_pieces.frames
    assert (at_once.t_ns == in_pieces.t_ns).all()
    assert len(at_once.t_ns) == 50


@pytest.mark.parametrize("text", ["", "{}", "[1]", '[{"ph":"B"}]', "[{]", "not json"])
def test_a_file_that_is_not_py_spys_is_a_warning(tmp_path: Path, text: str) -> None:
    write(tmp_path, [])
    (tmp_path / OUTPUT_NAME).write_text(text, encoding="utf-8")
    samples = read_samples(tmp_path)
    assert samples is not None
    assert len(samples.t_ns) == 0
    assert samples.warnings


def test_a_missing_file_is_a_warning_and_no_trace_of_py_spy_is_none(tmp_path: Path) -> None:
    assert read_samples(tmp_path) is None
    write(tmp_path, [])
    (tmp_path / OUTPUT_NAME).unlink()
    samples = read_samples(tmp_path)
    assert samples is not None
    assert any("left no samples" in w for w in samples.warnings)


def test_without_py_spy_the_error_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    sampler = PySpySampler(Recorder(), 1000, False, tmp_path)
    with pytest.raises(StoreError, match="py-spy is not installed: pip install py-spy"):
        sampler.start()
    sampler.tick()
    sampler.stop()
    assert sampler.stats() == {}


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo 'Error: Permission denied (os error 13)'; exit 1", "Permission denied.*ptrace"),
        ("exit 3", "it ended at once"),
        ("echo 'no such option'; exit 2", "no such option"),
    ],
)
def test_a_py_spy_that_cannot_sample_is_an_error_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, reason: str
) -> None:
    program = tmp_path / "py-spy"
    program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    sampler = PySpySampler(Recorder(), 1000, False, tmp_path)
    with pytest.raises(StoreError, match=reason) as raised:
        sampler.start()
    assert "\n" not in str(raised.value)
    sampler.stop()


def test_a_py_spy_that_ended_early_is_said_at_the_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "py-spy"
    program.write_text("#!/bin/sh\necho 'py-spy> Sampling process'\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    recorder = Recorder()
    sampler = PySpySampler(recorder, 1000, False, tmp_path)
    sampler.start()
    sampler._process.wait(10)  # type: ignore[union-attr]
    sampler.stop()
    assert any("ended before the program did" in w for w in recorder.warnings)


def test_a_forked_child_leaves_its_parents_py_spy_alone(tmp_path: Path) -> None:
    sampler = PySpySampler(Recorder(), 100, False, tmp_path)
    sampler.start()
    process = sampler._process
    assert process is not None
    sampler._owner += 1  # as seen from another process
    sampler.tick()
    sampler.stop()
    assert process.is_running()
    process.interrupt()
    assert process.wait(30)
