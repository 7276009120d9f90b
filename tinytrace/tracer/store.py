"""Run folders: where they are, whether they are in use, and how they become a `Trace`.

``<output folder>/.tinytrace/<run>/`` holds ``lock``, ``run.json`` (command and core) and one folder per
process (`tinytrace.tracer.records`). Every process of the run holds a shared lock on ``lock``, which the kernel
takes away when the process ends, in whatever way; who wants the run for itself asks for an exclusive one.

A program may close every file that it did not open (daemons do), and the lock is gone. So each process says
in ``alive-<its folder>`` who it is: who got the exclusive lock looks whether one of those still lives.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

from tinytrace.errors import StoreError
from tinytrace.tracer.files import out_of_the_way

STORE_NAME = ".tinytrace"
LOCK_NAME = "lock"
RUN_NAME = "run.json"
PROCESS_NAME = re.compile(r"p\d+-\d+")
ALIVE = "alive-"
PIDS = "/proc/self/ns/pid"  # numbers of processes mean the same where this link is the same


def create_run(parent: Path, run_id: str, description: dict[str, Any]) -> tuple[Path, int]:
    """Make and lock a run folder under ``parent``; returns it and the lock's file descriptor.

    Raises:
        StoreError: it cannot be made (no permission, read-only or full file system).
    """
    run = parent / STORE_NAME / run_id
    try:
        run.mkdir(parents=True)
        (run / LOCK_NAME).touch(0o600)
        lock = join_run(run)
        (run / RUN_NAME).write_text(json.dumps(description))
    except OSError as problem:
        remove_run(run)
        raise StoreError(
            f"cannot record in {run}: {problem.strerror}; name another place with -o"
        ) from problem
    return run, lock


def join_run(run: Path) -> int:
    """Hold a run as one of its processes; returns the lock's file descriptor, −1 if it cannot be had."""
    return _lock(run, fcntl.LOCK_SH)


def claim_run(run: Path) -> int:
    """Hold an ended run for oneself; returns the lock's file descriptor, −1 where there is no lock.

    Raises:
        StoreError: one of its processes lives, or somebody else has claimed it.
    """
    try:
        lock = _lock(run, fcntl.LOCK_EX)
    except BlockingIOError:
        raise StoreError(
            f"{run} is in use: a process of it still runs, or it is being recovered; try again later"
        ) from None
    if pid := _living(run):
        if lock >= 0:
            os.close(lock)
        raise StoreError(f"{run} is in use: its process {pid} still runs; try again later")
    return lock


def _lock(run: Path, how: int) -> int:
    try:
        lock = out_of_the_way(os.open(run / LOCK_NAME, os.O_RDWR | os.O_CLOEXEC))
    except OSError:
        return -1
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        if how == fcntl.LOCK_EX:
            raise
        return -1  # somebody is just looking, or is about to remove the run
    except OSError:  # a file system without locks
        os.close(lock)
        return -1
    return lock


def prove_life(folder: Path) -> Path:
    """Say beside a process folder that this process is recorded into it; returns the file that says so.

    It says nothing where it cannot be written, or where there is no ``/proc``.
    """
    proof = folder.with_name(f"{ALIVE}{folder.name}")
    with contextlib.suppress(OSError):
        proof.write_text(f"{os.getpid()} {_began(os.getpid())} {os.readlink(PIDS)}")  # noqa: PTH115
    return proof


def _living(run: Path) -> int:
    """Return the number of a process that is recorded into this run and lives; 0: none is known to."""
    for proof in sorted(run.glob(f"{ALIVE}*")):
        try:
            pid, began, pids = proof.read_text().split()
            if pids == os.readlink(PIDS) and began == _began(int(pid)):  # noqa: PTH115
                return int(pid)
        except (OSError, ValueError):  # it has ended, or has a number elsewhere; what is not ours
            continue
    return 0


def _began(pid: int) -> str:
    """Return when a process began, in ticks since the machine did: numbers of processes are used again.

    Raises:
        ProcessLookupError: it has ended.
        OSError: it cannot be asked.
    """
    state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    if state in {"Z", "X"}:  # nobody has looked yet how it ended
        raise ProcessLookupError(pid)
    return rest[18]  # field 22 of proc_pid_stat(5)


def process_folder(run: Path) -> Path:
    """Make the folder of this process in a run: ``p<pid>-<n>``, n counting programs of one pid."""
    for n in range(10_000):
        folder = run / f"p{os.getpid()}-{n}"
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise StoreError(f"cannot record in {run}: too many programs with one process id")


def remove_run(run: Path) -> None:
    """Remove a run folder, and the folder of runs when it was the last; never raises."""
    shutil.rmtree(run, ignore_errors=True)
    try:
        run.parent.rmdir()
    except OSError:
        return


def in_use(run: Path) -> bool:
    """Whether a process of this run still lives."""
    try:
        lock = claim_run(run)
    except StoreError:
        return True
    if lock >= 0:
        os.close(lock)
    return False


def unfinished_runs(folder: Path) -> list[Path]:
    """Runs under ``folder`` that ended without a trace: oldest first."""
    try:
        runs = sorted((folder / STORE_NAME).iterdir())
    except OSError:
        return []
    return [run for run in runs if (run / LOCK_NAME).exists() and not in_use(run)]


def process_folders(run: Path) -> list[Path]:
    """The folders of the processes that recorded something in a run.

    Raises:
        StoreError: there is no such run, nothing was recorded in it, or it cannot be read.
    """
    try:
        if not run.is_dir():
            raise StoreError(f"no run folder: {run}")
        named = [f for f in run.iterdir() if PROCESS_NAME.fullmatch(f.name) and f.is_dir()]
        folders = [f for f in named if any(f.iterdir())]
    except OSError as problem:
        raise StoreError(f"cannot read {run}: {problem.strerror}") from problem
    if not folders:
        raise StoreError(f"nothing was recorded in {run}")
    return sorted(folders)
