"""What holds for every test: it leaves nothing behind; and in CI a skipped test is a failed one."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.peaks_by_hand import keep_invented_roofs

settings.register_profile("tinytrace", deadline=None)  # no test asserts real time
settings.load_profile("tinytrace")

# Recorded programs, here and in processes of their own, find roofs that are kept: nothing is measured, and
# what the user of this machine has kept is neither read nor written.
CACHE = tempfile.mkdtemp(prefix="tinytrace-tests-")
os.environ["XDG_CACHE_HOME"] = CACHE
keep_invented_roofs()
_owner = os.getpid()


@atexit.register
def _remove_cache() -> None:
    if os.getpid() == _owner:  # and not a fork of this process
        shutil.rmtree(CACHE, ignore_errors=True)


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGPROF, signal.SIGALRM)
THREAD_NAME = (
    "tinytrace"  # the names of all our threads begin with it, as the kernel knows them too
)


# Shells start what runs in the background with SIGINT ignored, and children inherit that: not what a user has.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def our_threads() -> set[str]:
    """Names of the threads of ours that run now, started from Python or from C."""
    names = {t.name for t in threading.enumerate()}
    for comm in Path("/proc/self/task").glob("*/comm"):
        try:
            names.add(comm.read_text(encoding="utf-8", errors="replace").strip())
        except OSError:  # it has ended meanwhile
            continue
    return {name for name in names if name.startswith(THREAD_NAME)}


def process_state() -> dict[str, Any]:
    """Everything that a profiler may be tempted to change and forget to change back."""
    return {
        "switch interval": sys.getswitchinterval(),
        "environment": {k: v for k, v in os.environ.items() if k != "PYTEST_CURRENT_TEST"},
        "working directory": str(Path.cwd()),
        "profile function": sys.getprofile(),
        "trace function": sys.gettrace(),
        "import hooks": list(sys.meta_path),
        "module search path": list(sys.path),
        "excepthook": sys.excepthook,
        "threads' excepthook": threading.excepthook,
        "signal handlers": {s.name: signal.getsignal(s) for s in SIGNALS},
        "profiling timers": [
            signal.getitimer(t)[1] for t in (signal.ITIMER_REAL, signal.ITIMER_PROF)
        ],
    }


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    """After each test the process is as it was before."""
    before = process_state()
    yield
    after = process_state()
    changed = {name: (before[name], after[name]) for name in before if before[name] != after[name]}
    assert changed == {}
    assert our_threads() == set()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run in CI that skipped a test: everything that can be needed is there."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    if os.environ.get("CI") and skipped and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
