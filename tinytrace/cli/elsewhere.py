"""Doing something of ours in a fresh interpreter: where the program has changed this one, or to be alone."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from dataclasses import dataclass

from tinytrace.tracer.files import out_of_the_way
from tinytrace.tracer.launcher import PACKAGE_ROOT

# Without the working directory, where modules of any name may lie.
CODE = """
import sys
sys.path[:] = [*filter(None, sys.path), sys.argv.pop(1)]
from tinytrace.cli import script
script()
"""


@dataclass(frozen=True)
class Elsewhere:
    """A fresh interpreter.

    Attributes:
        python: the interpreter.
        environment: its environment, in which nothing asks for recording.
    """

    python: str
    environment: dict[str, str]

    def run(self, arguments: list[str], limit_s: float | None = None) -> tuple[int | None, str]:
        """Run a command of ours to its end; it is killed after so many seconds, or when this is interrupted.

        Returns:
            the exit code, None where it was killed or somebody else has waited for it; and what it printed, to
            stdout and to stderr.

        Raises:
            OSError: it cannot be started.
        """
        reading, writing = (out_of_the_way(fd) for fd in os.pipe())
        try:
            pid = os.posix_spawn(
                self.python,
                [self.python, "-c", CODE, PACKAGE_ROOT, *arguments],
                self.environment,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, writing, 1),
                    (os.POSIX_SPAWN_DUP2, writing, 2),
                ],
            )
        except OSError:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        printed = None
        try:
            printed = _read(reading, None if limit_s is None else time.monotonic() + limit_s)
        finally:
            os.close(reading)
            code = _reap(pid, kill=printed is None)
        return code, (printed or b"").decode("utf-8", "replace")


def _read(fd: int, until_s: float | None) -> bytes | None:
    """All that comes until the other end is closed; None: time is up."""
    poll, parts = select.poll(), list[bytes]()
    poll.register(fd, select.POLLIN)
    while True:
        left_ms = None if until_s is None else max(0.0, until_s - time.monotonic()) * 1e3
        if not poll.poll(left_ms):
            return None
        part = os.read(fd, 65536)
        if not part:
            return b"".join(parts)
        parts.append(part)


def _reap(pid: int, *, kill: bool) -> int | None:
    if kill:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    try:
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except ChildProcessError:  # the program has a handler of SIGCHLD that waits for everybody
        return None
    return None if kill else code
