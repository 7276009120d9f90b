"""A full disk: recording ends and says why, the program goes on, and nothing half-written is left."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cores import CORES
from tests.perfetto_engine import check_trace_file
from tests.stores import names, read, recording
from tinytrace.tracer.records import Kind

REASON = "recording ended early: No space left on device"
PROGRAM = """
import tinytrace as tt
for i in range(9000):
    with tt.span("work"):
        pass
print("the program has ended")
raise SystemExit(7)
"""


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of this size, mounted meanwhile."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def launch(disk: Path, core: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Record the program, which has 9,000 spans, with its trace on that disk."""
    script = disk.parent / "program.py"
    script.write_text(PROGRAM)
    return subprocess.run(
        [sys.executable, "-m", "tinytrace", "--sampler", "none", "-o", str(disk / "trace.json"),
         *arguments, str(script)],
        env={**os.environ, "TINYTRACE_CORE": core}, cwd=disk.parent, text=True, capture_output=True, check=False,
    )  # fmt: skip


def recover(run: Path, output: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tinytrace", "recover", str(run), "-o", str(output)],
        text=True, capture_output=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("core", CORES)
def test_recording_ends_with_the_reason_and_keeps_what_was_recorded(
    core: str, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", "1m") as disk, recording(core, disk / "run") as recorder:
        label = recorder.label("work", "")
        for _ in range(6000):
            recorder.end(recorder.begin(Kind.SPAN, label), 0)
        stats = recorder.stats()
        assert stats["errno"] == errno.ENOSPC
        assert stats["spans"] == 4096 and stats["dropped"] > 0
        recorder.close()
        trace = read(disk / "run")
        assert names(trace) == ["work"] * 4096
        assert REASON in trace.warnings


@pytest.mark.parametrize("core", CORES)
def test_tables_that_do_not_fit_are_not_torn(core: str, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "1m") as disk, recording(core, disk / "run") as recorder:
        ids = [recorder.label(f"{n:04d} {'x' * 5000}", "") for n in range(400)]
        assert ids == list(range(1, 401))
        assert recorder.stats()["errno"] == errno.ENOSPC
        recorder.close()
        trace = read(disk / "run")
        assert REASON in trace.warnings
        assert not any("torn" in text for text in trace.warnings)


@pytest.mark.parametrize("core", CORES)
def test_a_program_whose_disk_is_full_runs_to_its_end(core: str, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "2m") as disk:
        done = launch(disk, core)
        assert (done.returncode, done.stdout) == (7, "the program has ended\n")
        assert "Traceback" not in done.stderr
        kept = "it is kept: python -m tinytrace recover "
        if (disk / "trace.json").exists():
            assert REASON in " ".join(done.stderr.split())
            check_trace_file(disk / "trace.json")
            assert not (disk / ".tinytrace").exists()
        else:
            assert kept in done.stderr
        assert [p for p in disk.iterdir() if p.name not in {"trace.json", ".tinytrace"}] == []


@pytest.mark.parametrize("core", CORES)
def test_a_trace_that_does_not_fit_leaves_the_run_to_recover(core: str, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "4m") as disk:
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(700_000))
        done = launch(disk, core)
        assert (done.returncode, done.stdout) == (7, "the program has ended\n")
        (line,) = done.stderr.splitlines()
        assert "No space left on device" in line
        run = Path(line.rpartition("python -m tinytrace recover ")[2])
        assert sorted(p.name for p in disk.iterdir()) == [".tinytrace", "ballast"]
        output = tmp_path / "recovered.json"
        saved = recover(run, output)
        assert saved.returncode == 0, saved.stderr
        assert "9,000 spans recorded" in saved.stderr
        check_trace_file(output)
        assert not (disk / ".tinytrace").exists()
