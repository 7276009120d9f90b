"""py-spy as the sampler: started beside the program, stopped with it, its clock tied to ours.

py-spy reads the stacks from another process, so it needs no GIL and sees C code that holds it. Of
its formats only ``chrometrace`` has times: microseconds since py-spy began, on the same clock as
ours (Rust's ``Instant`` is CLOCK_MONOTONIC), one event per frame that appears or goes. So there is
no drift, only an offset. It is found with a *marker*: a function of ours that spends a known
stretch of time on each of its lines, run once when sampling begins and once when it ends.
`tinytrace.tracer.pyspy_samples` puts the two together after the run.

In the folder: ``pyspy.json`` (written by py-spy when it ends, also when the program was killed),
``pyspy.log`` (what it printed), ``pyspy.times`` (ours: one JSON object per line).

Nothing here may import NumPy: it runs before the user's program.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import signal
import subprocess
import sysconfig
import threading
import time
from pathlib import Path
from typing import Any, Protocol

from tinytrace.errors import StoreError
from tinytrace.tracer.records import Entry

OUTPUT_NAME = "pyspy.json"
LOG_NAME = "pyspy.log"
TIMES_NAME = "pyspy.times"
MARKER_FILE = "<tinytrace clock marker>"

START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 60.0
# py-spy keeps every event in memory until it ends: about 1 MB per second at 1 kHz.
LONGEST_S = 900
# A native stack stops the program for about 4 ms: at 1 kHz it ran 5 times slower (indicative).
NATIVE_RATE_HZ = 100.0
MARKER_LINES = 40

_PR_SET_PTRACER = 0x59616D61
# The shell waits for a line before it becomes py-spy: by then its pid may trace us. It is nobody's
# child (the program's own os.wait() must not see it) and has its own session (no Ctrl-C).
_LAUNCH = (
    "exec 3<&0; log=$1; shift; "
    '{ read -r _ <&3 && exec "$@" 3<&- </dev/null >"$log" 2>&1; } & echo $!'
)
_ENDED = re.compile(r"Samples: (\d+) Errors: (\d+)")


class _Notes(Protocol):
    def put(self, entry: int, payload: bytes) -> None: ...


class PySpySampler:
    """Run ``py-spy record`` on this process.

    Args:
        recorder: warnings are put there (``put``).
        rate_hz: samples per second; at most `NATIVE_RATE_HZ` with native frames.
        native: C, C++ and Fortran frames too. py-spy then stops the program for every sample;
            otherwise it never does.
        folder: an existing folder of this process; the files stay there.
    """

    def __init__(self, recorder: _Notes, rate_hz: float, native: bool, folder: Path) -> None:
        self._recorder = recorder
        self._native = native
        self._rate_hz = max(1, round(min(rate_hz, NATIVE_RATE_HZ) if native else rate_hz))
        self._capped = native and rate_hz > NATIVE_RATE_HZ
        self._folder = Path(folder).absolute()
        self._owner = os.getpid()
        self._process: _Outsider | None = None
        self._tids: set[int] = set()
        self._previous_tick_ns = 0
        self._stats: dict[str, int] = {}
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start py-spy, wait until it samples, and run the marker.

        Raises:
            StoreError: py-spy is not installed, or may not read this process, or does not begin.
        """
        launched_ns = time.monotonic_ns()
        self._process = _launch(self._command(), self._folder / LOG_NAME)
        try:
            self._wait_until_sampling()
        except StoreError:
            self._process.kill()
            self._process = None
            _allow_tracing_by(0)
            raise
        ready_ns = time.monotonic_ns()
        self._note(
            launched_ns=launched_ns, ready_ns=ready_ns, rate_hz=self._rate_hz, pid=self._owner,
            native=self._native,
        )  # fmt: skip
        self._tids = _threads_now()
        self._note_threads()
        self._previous_tick_ns = ready_ns
        self._mark("start")
        self._stats = {"rate_hz": self._rate_hz, "start_wait_ns": ready_ns - launched_ns}
        if self._capped:
            self._warn(
                f"py-spy sampled at {self._rate_hz} Hz: with native frames it stops the program"
            )

    def tick(self) -> None:
        """Note which threads have ended; call it every 50 ms or so. Never raises.

        py-spy does not say when a thread ends: its last stack would seem to last for ever.
        """
        if self._process is None or os.getpid() != self._owner:
            return
        self._note_ends()

    def _note_ends(self) -> set[int]:
        """Note the threads that have ended since the last time; return those that there are."""
        now_ns = time.monotonic_ns()
        tids = _threads_now()
        gone = self._tids - tids
        if gone:
            self._note(ended=sorted(gone), t_ns=self._previous_tick_ns)
        if tids - self._tids:
            self._note_threads()
        self._tids = tids
        self._previous_tick_ns = now_ns
        return tids

    def stop(self) -> None:
        """Run the marker once more, end py-spy and wait for its file. Never raises; idempotent."""
        with self._lock:
            process, self._process = self._process, None
        if process is None or os.getpid() != self._owner:
            return
        try:
            if process.is_running():
                self._mark("stop")
                process.interrupt()
            else:
                self._warn(
                    "py-spy ended before the program did "
                    f"(it is stopped after {LONGEST_S} s, as it keeps its samples in memory)"
                )
            alive = self._note_ends()
            self._note(stopped_ns=time.monotonic_ns(), alive=sorted(alive))
            if not process.wait(STOP_TIMEOUT_S):
                process.kill()
                self._warn(f"py-spy did not write its samples within {STOP_TIMEOUT_S:.0f} s")
            self._read_log()
            _allow_tracing_by(0)
        except Exception as error:  # whatever it is, the program must not notice
            self._warn(f"py-spy could not be stopped in order: {error}")

    def stats(self) -> dict[str, int]:
        """``rate_hz``, ``start_wait_ns``; after the end also ``samples`` and ``errors`` of py-spy.

        py-spy counts one sample per thread.
        """
        return dict(self._stats)

    def _command(self) -> list[str]:
        inside = Path(sysconfig.get_path("scripts")) / "py-spy"
        program = str(inside) if inside.exists() else shutil.which("py-spy")
        if program is None:
            raise StoreError(
                "py-spy is not installed: pip install py-spy, or use another --sampler"
            )
        mode = "--native" if self._native else "--nonblocking"
        return [
            program, "record", "--pid", str(self._owner), "--format", "chrometrace",
            "--rate", str(self._rate_hz), "--duration", str(LONGEST_S), "--idle", "--threads",
            "--full-filenames", mode, "--output", str(self._folder / OUTPUT_NAME),
        ]  # fmt: skip

    def _wait_until_sampling(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            running = self._process.is_running()
            said = self._said()
            if "Sampling process" in said:
                return
            if not running:
                reason = " ".join(said.split())
                if "ermission" in reason:
                    reason += (
                        " (ptrace is not permitted: kernel.yama.ptrace_scope, a container's rules)"
                    )
                raise StoreError(
                    f"py-spy cannot sample this process: {reason or 'it ended at once'}"
                )
            time.sleep(0.002)
        raise StoreError(f"py-spy did not begin to sample within {START_TIMEOUT_S:.0f} s")

    def _said(self) -> str:
        try:
            return (self._folder / LOG_NAME).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""

    def _read_log(self) -> None:
        counts = _ENDED.search(self._said())
        if counts:
            self._stats["samples"], self._stats["errors"] = map(int, counts.groups())

    def _mark(self, which: str) -> None:
        """Spend about half a sampling period on each line of the marker, and write down when."""
        line_ns = int(min(max(0.5e9 / self._rate_hz, 200_000), 5_000_000))
        first_ns: list[int] = []
        last_ns: list[int] = []

        def spin() -> None:
            clock = time.monotonic_ns
            now = clock()
            first_ns.append(now)
            end = now + line_ns
            while now < end:
                now = clock()
            last_ns.append(now)

        before_ns = time.monotonic_ns()
        _MARKERS[which](spin)
        after_ns = time.monotonic_ns()
        # The line was on top from after the last look at the clock in the line before to before the
        # first one in the line after.
        begins = [before_ns, *last_ns[:-1]]
        ends = [*first_ns[1:], after_ns]
        self._note(marker=marker_name(which), begins_ns=begins, ends_ns=ends)

    def _note_threads(self) -> None:
        """Note native ids and names of the threads.

        py-spy cannot read the ids before Python 3.11, and misses the name of a thread that it sees
        before Python has noted it.
        """
        threads = [(t.ident, t.native_id, t.name) for t in threading.enumerate()]
        self._note(threads=threads, t_ns=time.monotonic_ns())

    def _note(self, **fields: Any) -> None:
        line = json.dumps(fields, separators=(",", ":")) + "\n"
        with open(self._folder / TIMES_NAME, "a", encoding="utf-8") as file:
            file.write(line)

    def _warn(self, text: str) -> None:
        try:
            self._recorder.put(Entry.WARNING, text.encode("utf-8", "surrogatepass"))
        except Exception:  # a recorder that has stopped: nowhere left to say it
            return


def marker_name(which: str) -> str:
    """Return the name of the marker function: as it stands in py-spy's frames."""
    return f"tinytrace_clock_marker_{which}"


def _compile_markers() -> dict[str, Any]:
    """Make the two functions of `MARKER_LINES` lines: line 2 + k is the k-th stretch of time."""
    markers: dict[str, Any] = {}
    for which in ("start", "stop"):
        source = f"def {marker_name(which)}(spin):\n" + "    spin()\n" * MARKER_LINES
        exec(compile(source, MARKER_FILE, "exec"), markers)
        markers[which] = markers[marker_name(which)]
    return markers


_MARKERS = _compile_markers()


def _launch(command: list[str], log: Path) -> _Outsider:
    try:
        shell = subprocess.Popen(
            ["/bin/sh", "-c", _LAUNCH, "sh", str(log), *command],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise StoreError(f"py-spy cannot be started: {error}") from error
    assert shell.stdin is not None
    assert shell.stdout is not None
    try:
        with shell.stdin, shell.stdout:
            pid = int(shell.stdout.readline() or b"0")
            _allow_tracing_by(pid)
            shell.stdin.write(b"\n")
    except (OSError, ValueError) as error:
        raise StoreError(f"py-spy cannot be started: {error}") from error
    finally:
        shell.wait()
    return _Outsider(pid)


def _allow_tracing_by(pid: int) -> None:
    """Let ``pid`` (0: nobody) read this process where Yama asks for it; elsewhere do nothing."""
    try:
        if Path("/proc/sys/kernel/yama/ptrace_scope").read_text(encoding="ascii").strip() != "1":
            return
        ctypes.CDLL(None).prctl(_PR_SET_PTRACER, ctypes.c_ulong(pid), 0, 0, 0)
    except (OSError, AttributeError):
        return  # no Yama, or no prctl: py-spy itself will say whether it may


def _threads_now() -> set[int]:
    try:
        return {int(path.name) for path in Path("/proc/self/task").iterdir()}
    except OSError:
        return {t.native_id for t in threading.enumerate() if t.native_id is not None}


class _Outsider:
    """A process that is not our child, told from a later one with the same pid by its start."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._started = self._start_and_state()[0]

    def _start_and_state(self) -> tuple[str, str]:
        """Start time in clock ticks and state; ("", "") once it is gone."""
        try:
            stat = Path(f"/proc/{self._pid}/stat").read_text(encoding="ascii", errors="replace")
        except FileNotFoundError:
            if Path("/proc/self/stat").exists():
                return "", ""
            return self._without_proc()
        except OSError:
            return "", ""
        after_name = stat.rpartition(")")[2].split()
        return after_name[19], after_name[0]

    def _without_proc(self) -> tuple[str, str]:
        try:
            os.kill(self._pid, 0)
        except OSError:
            return "", ""
        return "unknown", "R"

    def is_running(self) -> bool:
        started, state = self._start_and_state()
        return started != "" and started == self._started and state not in "ZX"

    def interrupt(self) -> None:
        self._signal(signal.SIGINT)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        if self.is_running():
            try:
                os.kill(self._pid, number)
            except ProcessLookupError:
                return  # it ended between the two lines

    def wait(self, timeout_s: float) -> bool:
        """Wait for its end; False if it still runs after ``timeout_s``."""
        deadline = time.monotonic() + timeout_s
        while self.is_running():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.002)
        return True
