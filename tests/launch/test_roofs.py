"""The roofs of the machine in the trace of a run: kept ones, or measured when the program has ended well."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.launch.both import USE_NUMPY, Ended, Place
from tinytrace.analysis.peaks import META_KEY, Peaks
from tinytrace.analysis.peaks_machine import Machine

WAITS = USE_NUMPY + "import os, time; os.write(1, b'ready\\n')\ntime.sleep(1000)\n"
NOT_KNOWN = "the roofs of the machine are not known: "
CALIBRATE = NOT_KNOWN + "python -m tinytrace calibrate measures them, for the runs to come"


def place_without_roofs(folder: Path, program: str = USE_NUMPY, **environment: str) -> Place:
    """A place where nothing is kept yet."""
    place = Place.make(folder, prog=program)
    place.environment = {"XDG_CACHE_HOME": str(folder / "cache"), **environment}
    return place


def kept(folder: Path) -> list[Path]:
    """The files that are kept."""
    return sorted((folder / "cache" / "tinytrace").glob("*"))


def warned(place: Place) -> list[str]:
    """What the trace says about roofs that it has not."""
    return [text for text in place.trace().warnings if text.startswith(NOT_KNOWN)]


def test_kept_roofs_are_in_the_trace_and_nothing_is_measured(tmp_path: Path) -> None:
    place = Place.make(tmp_path, prog=USE_NUMPY)
    place.same("prog.py")
    trace = place.trace()
    peaks = Peaks.of(trace)
    assert peaks is not None
    assert peaks.machine["cpu"] == "invented"
    assert peaks.threads == trace.meta["numerics"]["threads"]
    assert warned(place) == []


def test_where_none_are_kept_they_are_measured_once_after_the_program(tmp_path: Path) -> None:
    place = place_without_roofs(tmp_path, OPENBLAS_NUM_THREADS="1")
    place.same("prog.py")
    trace = place.trace()
    peaks = Peaks.of(trace)
    assert peaks is not None
    assert peaks.quick
    assert peaks.threads == 1
    assert peaks.fingerprint == Machine.here(1).fingerprint
    assert len(trace.processes) == 1  # who measured is not in the trace
    [file] = kept(tmp_path)
    assert json.loads(file.read_bytes())["fingerprint"] == peaks.fingerprint
    before = file.stat().st_mtime_ns
    place.record("prog.py")
    assert Peaks.of(place.trace()) == peaks
    assert file.stat().st_mtime_ns == before


def test_what_is_going_on_is_said(tmp_path: Path) -> None:
    place = place_without_roofs(tmp_path)
    ended = place.record("prog.py", own=())
    assert ended.stderr.startswith(
        b"tinytrace: measuring the roofs of this machine, once, in about a second"
    )


def test_no_calibrate_measures_nothing_and_the_trace_says_so(tmp_path: Path) -> None:
    place = place_without_roofs(tmp_path)
    place.same("prog.py", own=("-q", "--no-calibrate"))
    assert META_KEY not in place.trace().meta
    assert warned(place) == [CALIBRATE]
    assert kept(tmp_path) == []


def test_a_program_without_numpy_needs_no_roofs(tmp_path: Path) -> None:
    place = place_without_roofs(tmp_path, "print(1)\n")
    place.same("prog.py")
    assert place.trace().warnings == ()
    assert kept(tmp_path) == []


def test_a_cache_that_cannot_be_written_is_no_reason_to_have_none(tmp_path: Path) -> None:
    place = place_without_roofs(tmp_path)
    (tmp_path / "cache").write_text("no folder")
    place.same("prog.py")
    assert Peaks.of(place.trace()) is not None


@pytest.mark.parametrize("content", [b"", b"[" * 9999, b'{"form": 1}'])
def test_a_broken_file_is_measured_again(content: bytes, tmp_path: Path) -> None:
    place = place_without_roofs(tmp_path, OPENBLAS_NUM_THREADS="1")
    file = tmp_path / "cache" / "tinytrace" / f"peaks-{Machine.here(1).fingerprint}.json"
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    place.same("prog.py")
    assert Peaks.of(place.trace()) is not None
    assert json.loads(file.read_bytes())["quick"] is True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_program_that_dies_of_a_signal_is_not_kept_waiting(
    number: signal.Signals, tmp_path: Path
) -> None:
    place = place_without_roofs(tmp_path, WAITS)
    process = place.start(place.command(("prog.py",)))
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(number)
    assert place.end(process).status == -number
    assert warned(place) == [CALIBRATE]
    assert kept(tmp_path) == []


def test_a_program_that_fails_is_measured_all_the_same(tmp_path: Path) -> None:
    place = place_without_roofs(tmp_path, USE_NUMPY + "raise SystemExit(3)\n")
    assert place.same("prog.py").status == 3
    assert Peaks.of(place.trace()) is not None


ASSUMED = (
    "the NumPy and BLAS of the program are not known: taken for those found later, BLAS threads: "
)


def test_what_is_recovered_has_the_roofs_of_the_blas_that_is_here_and_says_so(
    tmp_path: Path,
) -> None:
    place = Place.make(tmp_path, prog=USE_NUMPY + "import os\nos._exit(5)\n")
    assert place.record("prog.py").status == 5
    trace = place.recover()
    peaks = Peaks.of(trace)
    assert peaks is not None
    assert f"{ASSUMED}{peaks.threads}" in trace.warnings
    assert trace.meta["numerics"]["assumed"] is True


def test_what_could_not_be_saved_here_is_saved_elsewhere_with_its_roofs(tmp_path: Path) -> None:
    breaks = "import builtins, json\nnp.empty = json.loads = builtins.open = None\n"
    place = Place.make(tmp_path, prog=USE_NUMPY + breaks)
    place.same("prog.py")
    assert Peaks.of(place.trace()) is not None


BROKEN = {
    "no process": "import os\ndef f(*a, **k): raise OSError(11, 'no more processes')\nos.posix_spawn = f\n",
    "waits for all": "import os, signal\ndef reap(n, f):\n    try: os.waitpid(-1, os.WNOHANG)\n"
    "    except OSError: pass\nsignal.signal(signal.SIGCHLD, reap)\n",
}


def test_where_no_process_can_be_started_the_warning_says_why(tmp_path: Path) -> None:
    place = place_without_roofs(tmp_path, USE_NUMPY + BROKEN["no process"])
    place.same("prog.py")
    assert warned(place) == [NOT_KNOWN + "[Errno 11] no more processes"]


def test_a_program_that_waits_for_all_its_children_is_no_obstacle(tmp_path: Path) -> None:
    place = place_without_roofs(tmp_path, USE_NUMPY + BROKEN["waits for all"])
    place.same("prog.py")
    assert Peaks.of(place.trace()) is not None


def test_sigterm_while_measuring_kills_both_and_keeps_the_run(tmp_path: Path) -> None:
    place = place_without_roofs(tmp_path)
    process = place.start(place.command(("prog.py",), own=()))
    assert process.stderr is not None
    assert b"measuring" in process.stderr.readline()
    measuring: list[Any] = []
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")

    def started() -> bool:
        measuring[:] = children.read_text().split()
        return bool(measuring)

    place.wait_until(started)
    process.send_signal(signal.SIGTERM)
    ended = place.end(process)
    assert ended.status == -signal.SIGTERM
    assert not Path(f"/proc/{measuring[0]}").exists()
    assert len(place.runs()) == 1
    assert place.recover().meta["numerics"]["threads"] >= 1


def test_many_runs_at_once_leave_one_whole_file(tmp_path: Path) -> None:
    place = place_without_roofs(tmp_path, OPENBLAS_NUM_THREADS="1")
    running: list[subprocess.Popen[bytes]] = []
    for i in range(3):
        command = place.command(("prog.py",))
        command[command.index("-o") + 1] = str(place.out / f"{i}.json")
        running.append(place.start(command))
    assert [place.end(process) for process in running] == [Ended(0, b"", b"")] * 3
    [file] = kept(tmp_path)
    assert Peaks.from_json(json.loads(file.read_bytes())).quick
