"""Run folders: where they are, whether they are in use, and how they become a `Trace`.

``<output folder>/.tinytrace/<run>/`` holds ``lock`` (flocked while a process of the run lives),
``run.json`` (command and options) and one folder per process (`tinytrace.tracer.records`).
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from pathlib import Path
from typing import Any

from tinytrace.errors import StoreError
from tinytrace.tracer.files import OwnFile

STORE_NAME = ".tinytrace"
LOCK_NAME = "lock"
RUN_NAME = "run.json"


def create_run(parent: Path, run_id: str, description: dict[str, Any]) -> tuple[Path, OwnFile]:
    """Make and lock a run folder under ``parent``; returns it and the lock.

    Raises:
        StoreError: it cannot be made (no permission, read-only or full file system).
    """
    run = parent / STORE_NAME / run_id
    try:
        run.mkdir(parents=True)
        lock = lock_run(run)
        (run / RUN_NAME).write_text(json.dumps(description))
    except OSError as problem:
        remove_run(run)
        raise StoreError(
            f"cannot record in {run}: {problem.strerror}; name another place with -o"
        ) from problem
    return run, lock


def lock_run(run: Path) -> OwnFile:
    """Say that a process of this run lives, until it closes what is returned, or dies.

    Raises:
        OSError: the folder is gone, or full.
    """
    lock = OwnFile(str(run / LOCK_NAME), os.O_RDWR | os.O_CREAT)
    fcntl.flock(
        lock.number(), fcntl.LOCK_SH
    )  # each process has one; `in_use` holds it for a moment
    return lock


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
        lock = os.open(run / LOCK_NAME, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(lock)
    return False


def unfinished_runs(folder: Path) -> list[Path]:
    """Runs under ``folder`` that ended without a trace: oldest first."""
    store = folder / STORE_NAME
    if not store.is_dir():
        return []
    runs = [run for run in sorted(store.iterdir()) if (run / LOCK_NAME).exists()]
    return [run for run in runs if not in_use(run)]


def process_folders(run: Path) -> list[Path]:
    """The process folders of a run, in order of their making.

    Raises:
        StoreError: there is no such run, or nothing was recorded in it.
    """
    if not run.is_dir():
        raise StoreError(f"no run folder: {run}")
    folders = [f for f in run.iterdir() if f.name.startswith("p") and (f / "tables.tt").is_file()]
    if not folders:
        raise StoreError(f"nothing was recorded in {run}")
    return sorted(folders, key=lambda f: ((f / "tables.tt").stat().st_ctime_ns, f.name))
